/* SPDX-License-Identifier: MIT */
/* Joining and leaving a sidecar: who may rename the folder away, and when.
 *
 * The folder stands for its page: `path` is the inode that the name leads to, 0 if there is none. The locks are
 * open file description locks on that inode that nobody waits for: `shared[i]` counts, `exclusive[i]` says so.
 *
 *   join    Open the page. If there is none: build a folder under a hidden name, lock its page shared, move it into
 *           place without replacing. Else try the exclusive lock. Who gets it has found what a crash left: check
 *           that the path still names this inode, rename the folder away, remove it, start again. Else take the
 *           shared lock and check that the path still names this inode. Whatever fails: start again.
 *   leave   Drop the shared lock, try the exclusive one. Who gets it checks that the path still names this inode and
 *           renames the folder away. Who does not get it leaves: somebody else is there, and sees to it.
 *
 * Claims:
 *   taken    a folder that is renamed away is not that of a living member
 *   apart    who has just joined is in the folder that the path names; with `taken`: all living members are in one
 *   litter   when all have left, nothing is left in place. With -DCRASH, where a process may die at any step, this
 *            is asked when one more has come and gone.
 *
 * Sizes: -DN (processes) -DROUNDS (how often each joins and leaves).
 *
 * -DLINK adds the daemon's link. It joins like a member when it sees a folder, and leaves only as the last one out:
 * it keeps its shared lock until an upgrade of it succeeds. It tries that when it has joined and whenever the bell
 * has rung; so a leaver that was not the last rings, and does so after it has dropped its lock. `litter` is asked
 * when all is at rest. (Not with CRASH: the kernel rings nobody when a process dies.)
 *
 * Broken on purpose; each must be caught:
 *   NO_CHECK_JOIN    the joiner does not look at the path after its shared lock         (apart)
 *   CHECK_EARLY      it looks before it takes the lock                                  (apart)
 *   NO_CHECK_LEFT    a joiner does not look at the path after its exclusive lock        (taken)
 *   NO_CHECK_LEAVE   a leaver does not                                                  (taken)
 *   UNLOCK_EARLY     who renames away has let go of the lock                            (taken)
 *   LATE_LOCK        the maker moves its folder into place and then locks it            (apart)
 *   GIVE_UP          a joiner that fails once it has the shared lock just closes, and does not leave (litter)
 *   UPGRADE          leavers upgrade their lock instead of dropping it first: both fail (litter)
 *   QUIET            (with LINK) a leaver does not ring                                 (litter)
 *   RING_EARLY       (with LINK) it rings and then drops its lock                       (litter)
 *   LINK_WAITS       (with LINK) the link waits for the bell before its first try       (litter)
 *
 * Different, and as sound for these claims:
 *   ADOPT            a joiner never tries the exclusive lock, and joins what a crash left
 */
#ifndef N
#define N 3
#endif
#ifndef ROUNDS
#define ROUNDS 1
#endif
#define INODES ((N + 1) * ROUNDS + 2)  /* each makes one at most, each time it joins */

byte path = 0;
byte next = 1;                  /* the next inode */
byte shared[INODES];
bit  exclusive[INODES];
byte living[INODES];            /* members that have joined and not begun to leave */
byte through = 0;               /* processes that have left for good or died */
bit  bell = 0;                  /* the link's */

/* Each process keeps what it holds: 0 no lock, 1 the shared one, 2 the exclusive one. */
#define FREE(i)       (shared[i] == 0 && !exclusive[i])
#define SHARE(i)      shared[i]++; held = 1
#define EXCLUDE(i)    exclusive[i] = 1; held = 2
#define LET_GO(i)     if :: held == 1 -> shared[i]-- :: held == 2 -> exclusive[i] = 0 :: else fi; held = 0

#define BEGIN_LIFE(i) living[i]++; joined = 1; assert(path == i)                /* apart */
#define END_LIFE(i)   if :: joined -> living[i]-- :: else fi; joined = 0
#define RENAME_AWAY   assert(path == 0 || living[path] == 0); path = 0          /* taken */

/* A process that dies loses its lock; the folder stays as it is. */
#ifdef CRASH
#define MAY_DIE  if :: true :: me < N -> goto out fi
#define COMERS   (N + 1)
#else
#define MAY_DIE  skip
#define COMERS   N
#endif

#ifdef NO_CHECK_LEFT
#define STILL_LEFT  true
#else
#define STILL_LEFT  (path == ino)
#endif
#ifdef NO_CHECK_LEAVE
#define STILL_MINE  true
#else
#define STILL_MINE  (path == ino)
#endif

/* with the exclusive lock: rename the folder away if it is still the one that is locked */
inline clear_away(still) {
  if
  :: still ->
     MAY_DIE;
#ifdef UNLOCK_EARLY
     atomic { LET_GO(ino) };
#endif
     atomic { RENAME_AWAY }
  :: else
  fi;
  MAY_DIE;
  atomic { LET_GO(ino); ino = 0 }
}

active [COMERS] proctype member() {
  byte me = _pid, ino = 0, held = 0, round = 0;
  bit joined = 0;

  me < N || through == N;               /* the last comer waits until all others are through */

join:
  ino = path;
  if
  :: ino == 0 ->
     if
#ifdef LATE_LOCK
     :: atomic { path == 0 -> ino = next; next++; path = ino };
        atomic { !exclusive[ino] -> SHARE(ino); BEGIN_LIFE(ino) };
#else
     /* what is built under a hidden name is nobody's business until it is moved into place, locked */
     :: atomic { path == 0 -> ino = next; next++; SHARE(ino); path = ino; BEGIN_LIFE(ino) };
#endif
        goto live
     :: else -> goto join
     fi
  :: else
  fi;
#ifndef ADOPT
  if
  :: atomic { FREE(ino) -> EXCLUDE(ino) };
     clear_away(STILL_LEFT);
     goto join
  :: else
  fi;
#endif
#ifdef CHECK_EARLY
  if :: path == ino :: else -> goto join fi;
#endif
  if
  :: atomic { !exclusive[ino] -> SHARE(ino) }
  :: else -> goto join
  fi;
  MAY_DIE;
#ifdef GIVE_UP
  if :: true :: goto out fi;
#endif
  if
#if defined(NO_CHECK_JOIN) || defined(CHECK_EARLY)
  :: atomic { true -> BEGIN_LIFE(ino) }
#else
  :: atomic { path == ino -> BEGIN_LIFE(ino) }
  :: atomic { else -> LET_GO(ino); ino = 0 };
     goto join
#endif
  fi;

live:
  MAY_DIE;
#ifdef RING_EARLY
  bell = 1;
#endif
#ifdef UPGRADE
  atomic { END_LIFE(ino) };
  if
  :: atomic { shared[ino] == 1 -> LET_GO(ino); EXCLUDE(ino) }
  :: else -> atomic { LET_GO(ino) }
  fi;
#else
  atomic { END_LIFE(ino); LET_GO(ino) };
  MAY_DIE;
  if
  :: atomic { FREE(ino) -> EXCLUDE(ino) }
  :: else
  fi;
#endif
  if
  :: held == 2 -> clear_away(STILL_MINE)
  :: else ->
     ino = 0;
#if !defined(QUIET) && !defined(RING_EARLY)
     bell = 1
#endif
  fi;
  round++;
  if :: round < ROUNDS -> goto join :: else fi;

out:
  atomic {
    END_LIFE(ino);
    LET_GO(ino);
    ino = 0;
    through++;
#ifndef LINK
    assert(through < COMERS || path == 0)       /* litter */
#endif
  }
}

#ifdef LINK
active proctype link() {
  byte ino = 0, held = 0;
  bit joined = 0;

watch:
  atomic { path != 0 -> ino = path };
  if
  :: atomic { !exclusive[ino] -> SHARE(ino) }
  :: else -> goto watch
  fi;
  if
  :: atomic { path == ino -> BEGIN_LIFE(ino); bell = 0 }
  :: atomic { else -> LET_GO(ino); ino = 0 };
     goto watch
  fi;
#ifdef LINK_WAITS
  atomic { bell -> bell = 0 };
#endif
  do
  :: atomic { shared[ino] == 1 -> END_LIFE(ino); LET_GO(ino); EXCLUDE(ino) };
     break
  :: else -> atomic { bell -> bell = 0 }
  od;
  atomic { STILL_MINE -> RENAME_AWAY };
  atomic { LET_GO(ino); ino = 0 };
  goto watch
}

active proctype rest() {
end:
  do
  :: atomic { timeout -> assert(path == 0) }    /* litter */
  od
}
#endif
