/* SPDX-License-Identifier: MIT */
/* A lock that is kept near: who gives it back goes on holding a byte of the file, and takes the lock again by a word in
 * memory, without asking the kernel, until somebody else wants it. libclient/lock_near.c, lock_file.c.
 *
 *   p, b     two bytes that the kernel locks: the lock's own, and that of who keeps it near. They end with their holder.
 *            Several may share p.
 *   kept     somebody keeps it near, and holds b; changed only by who holds p alone or, back to 0, by those who share it
 *   since    it has the lock now; written only by who keeps it
 *   wanted   others want it: set by who holds p, before it looks at `since`
 *   held, died  the record: somebody has it by p; somebody has died with it
 *
 *   slow take  Lock p. If it is kept: wanted = 1, then look at `since`; if that is set, wait for b, and look again: still set,
 *              it has died. Write that down; then kept = 0.
 *   fast take  since = 1, then look at `wanted`: if it is set, take that back, unlock b, and go the slow way.
 *   fast give  since = 0, then look at `wanted`: if it is set, unlock b.
 *   slow give  Write down that it is free, unlock p. Before that it may be kept: lock b (if nobody has it), since = 0,
 *              wanted = 0, kept = 1.
 *
 * Lockers take it alone, ROUNDS times, and then close it or do nothing any more; SHARERS take it with others. Each may also only try. All may be mended: who is told that
 * somebody has died with it says so at once.
 *
 * Claims: who is in alone is in alone; who comes in after somebody has died in there is told; without -DCRASH nobody is told; when
 * all is at rest, nobody waits.
 *
 * -DCRASH: each may die at any step.
 *
 * Not needed for these claims: that `wanted` is cleared (KEEP_WANTED); without that nothing is kept near for long.
 *
 * Broken on purpose; each must be caught:
 *   NO_LOOK       a fast take does not look at `wanted`
 *   LOOK_FIRST    it looks before it sets `since`
 *   WANT_LATE     a slow take looks at `since`, and then sets `wanted`
 *   NO_WAIT       it does not wait for b
 *   NO_RECHECK    having b, it does not look again, and takes it for dead
 *   RECORD_FIRST  (with CRASH, two sharers) it reads the record, and then whether it is kept
 *   FORGET_EARLY  (with CRASH) kept = 0 before it is written down that somebody has died
 *   GIVE_QUIET    a fast give does not look at `wanted`
 *   GIVE_EARLY    it looks before since = 0
 *   KEEP_BLIND    it is kept although b is another's
 *   KEEP_LATE     p is unlocked first, and then b locked
 *   BACK_LATE     a fast take that finds it wanted unlocks b before it takes `since` back
 */
#ifndef LOCKERS
#define LOCKERS 2
#endif
#ifndef SHARERS
#define SHARERS 1
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif

byte p = 0, n_share = 0, b = 0;
bit  kept = 0, since = 0, wanted = 0, held = 0, died = 0;
byte inside = 0, sharing = 0, done = 0;
bit  lost = 0; /* somebody has died in there, and nobody has been told */

#ifdef CRASH
#define MAY_DIE  if :: true :: true -> goto dead fi
#else
#define MAY_DIE  skip
#endif

/* What a slow take does once it has p. `got`: not only tried in vain. */
inline settle() {
#ifdef RECORD_FIRST
  told = held || died;
  MAY_DIE;
  w = kept;
#else
  w = kept;
  MAY_DIE;
  told = held || died;
#endif
  MAY_DIE;
  if
  :: w ->
#ifdef WANT_LATE
     s = since;
     MAY_DIE;
     wanted = 1;
#else
     wanted = 1;
     MAY_DIE;
     s = since;
#endif
     MAY_DIE;
     if
     :: s ->
#ifndef NO_WAIT
        if
        :: atomic { b == 0 -> b = _pid }
        :: gives_up -> got = 0
        fi;
#endif
        MAY_DIE;
        if
        :: got ->
#ifndef NO_RECHECK
           s = since;
#endif
           MAY_DIE;
           if :: s -> told = 1 :: else fi;
           if :: b == _pid -> b = 0 :: else fi
        :: else
        fi;
        s = 0
     :: else
     fi
  :: else
  fi
}

inline forget() {
  if :: kept -> kept = 0 :: else fi
}

proctype locker() {
  bit near = 0, told, s, got, gives_up, w;
  byte round = 0;

again:
  if
  :: round == ROUNDS -> goto end
  :: round == ROUNDS -> goto idle
  :: else -> round++
  fi;
  if
  :: near ->
#ifdef LOOK_FIRST
     w = wanted;
     MAY_DIE;
#endif
     since = 1;
     MAY_DIE;
#ifdef NO_LOOK
     w = 0;
#elif !defined(LOOK_FIRST)
     w = wanted;
#endif
     if
     :: !w ->
        atomic { inside++; assert(inside == 1 && sharing == 0); assert(!lost) };
#ifdef CRASH
        if :: true :: true -> goto dead_inside fi;
#endif
        inside--;
        MAY_DIE;
#ifdef GIVE_EARLY
        w = wanted;
        MAY_DIE;
        since = 0;
#else
        since = 0;
        MAY_DIE;
        w = wanted;
#endif
#ifdef GIVE_QUIET
        w = 0;
#endif
        if :: w -> b = 0; near = 0 :: else fi;
        w = 0;
        goto again
     :: else ->
#ifdef BACK_LATE
        b = 0;
        MAY_DIE;
        since = 0;
#else
        since = 0;
        MAY_DIE;
        b = 0;
#endif
        near = 0; w = 0
     fi
  :: else
  fi;

  got = 1;
  if :: gives_up = 0 :: gives_up = 1 fi;
  if
  :: atomic { p == 0 && n_share == 0 -> p = _pid }
  :: gives_up -> gives_up = 0; goto again
  fi;
  settle();
  if
  :: !got -> p = 0; told = 0; gives_up = 0; got = 0; goto again
  :: else
  fi;
  gives_up = 0;
#ifdef FORGET_EARLY
  forget();
  MAY_DIE;
#endif
  atomic { held = 1; died = told };
  MAY_DIE;
  forget();
  atomic { inside++; assert(inside == 1 && sharing == 0);
           assert(!lost || told); lost = 0 };
#ifndef CRASH
  assert(told == 0);
#endif
#ifdef CRASH
  if :: true :: true -> goto dead_inside fi;
#endif
  inside--;
  told = 0;
  MAY_DIE;
  /* kept near or not */
  if
#ifdef KEEP_LATE
  :: true -> since = 0; wanted = 0; kept = 1; near = 1; atomic { held = 0; died = 0 }; p = 0; MAY_DIE;
     atomic { b == 0 -> b = _pid }
#else
#ifdef KEEP_BLIND
  :: true -> if :: atomic { b == 0 -> b = _pid } :: else fi;
#else
  :: atomic { b == 0 -> b = _pid };
#endif
     MAY_DIE;
     since = 0;
     MAY_DIE;
#ifndef KEEP_WANTED
     wanted = 0;
     MAY_DIE;
#endif
     kept = 1;
     near = 1;
     MAY_DIE;
     atomic { held = 0; died = 0 };
     MAY_DIE;
     p = 0
#endif
  :: true -> atomic { held = 0; died = 0 }; MAY_DIE; p = 0
  fi;
  goto again;

dead_inside:
  atomic { inside--; lost = 1 };
dead:
  atomic { if :: p == _pid -> p = 0 :: else fi; if :: b == _pid -> b = 0 :: else fi; done++; goto out };
idle: /* and keeps what it has near */
  atomic { done++; goto out };
end:
  atomic { if :: b == _pid -> b = 0 :: else fi; done++ };
out:
  skip
}

proctype sharer() {
  bit told, s, w, got = 1, gives_up = 0;

  atomic { p == 0 -> n_share++ };
  settle();
#ifdef FORGET_EARLY
  forget();
  MAY_DIE;
#endif
  if :: told -> died = 1 :: else fi;
  MAY_DIE;
  forget();
  atomic { sharing++; assert(inside == 0); assert(!lost || told) };
#ifndef CRASH
  assert(told == 0);
#endif
  sharing--;
dead:
  atomic { if :: b == _pid -> b = 0 :: else fi; n_share--; done++ }
}

init {
  byte i;

  atomic {
    for (i : 1 .. LOCKERS) { run locker() }
#if SHARERS > 0
    for (i : 1 .. SHARERS) { run sharer() }
#endif
  };
  timeout -> assert(done == LOCKERS + SHARERS)
}
