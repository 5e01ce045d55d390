/* SPDX-License-Identifier: MIT */
/* The wake-up protocol of a lane: one page, one bell, NP posters, NS members.
 *
 *   generation  posts so far
 *   want        the highest generation some member had seen when it last went to sleep
 *   rung        the generation for which the bell was last rung
 *   edge[m]     member m's edge-triggered event; one write to the bell sets it for every member
 *
 * Every access to the three words is a step of its own, as it is in C with sequentially consistent atomics.
 * The bell reaches the members one after another, and others may run in between.
 *
 * Claim, for every member and at every moment, not only when all is quiet: a member that sleeps with no edge
 * pending has seen every post that has returned. Nobody has to move for that to become true, so it does not
 * matter who is stopped or dead: a process that is killed is one that is never scheduled again, and the search
 * covers that at every step. -DCRASH spells the poster's death out all the same.
 *
 * Sizes: -DNP (posters) -DNS (members) -DPOSTS (in all, whoever makes them).
 *
 * Broken on purpose; each must be caught:
 *   RUNG_FIRST    rung moves before the bell is rung
 *   RUNG_AHEAD    rung moves to the current generation, not to the poster's own
 *   STRICT        the poster rings for want > rung instead of want >= rung
 *   LOOK_FIRST    the poster reads want and rung before it adds to generation
 *   FRESH_HIGH    a new page starts with rung above generation
 *   NO_RECHECK    the member sleeps without looking at generation again
 *   WANT_AFTER    the member looks again and then sets want (what a store that is not sequentially consistent
 *                 amounts to)
 *   WANT_STORE    want is stored plainly, so that a slow member can lower it
 *   WANT_RACY     want is raised by a load, a comparison and a store
 *   LATE_COLLECT  the member collects its edges after its last look
 *   DRAIN         a poster empties the bell before it rings; events not yet collected are gone with it
 *   STRAY_BLIND   (with STRAY) posters do not notice that rung is another lane's number
 *   STRAY_RUNG    (with STRAY) the one that rang the wrong bell moves rung all the same
 *
 * Different, and as sound:
 *   RUNG_ONCE     rung moves only from the value that was compared with want: one compare-and-swap, as in lane.c
 *   STRAY         (with RUNG_ONCE) the handle of one poster moves here from another lane in the middle of its first
 *                 post. Either it has added there and puts a number of that lane into rung here; posters that
 *                 find rung above generation ring, and put it right. Or it has added here and rings the bell
 *                 that is no longer its own; then it leaves rung alone. It repeats the post before it returns.
 *   LAZY_ARM      a member that finds the generation for which it armed last sleeps without arming again
 *   RUNG_STORE    rung is stored plainly: it may fall, which costs superfluous rings and nothing else
 *   RUNG_THEN     the poster reads rung first and want after it
 *   FRESH_LOW     a new page has rung 0: the first post rings although nobody has armed
 */
#ifndef NP
#define NP 2
#endif
#ifndef NS
#define NS 2
#endif
#ifndef POSTS
#define POSTS 3
#endif
#define FOREIGN 100             /* above all generations of this lane */

byte generation = 1;
byte want = 0;                  /* below rung: nobody has armed, so the first post rings nobody */
#if defined(FRESH_HIGH)
byte rung = 2;
#elif defined(FRESH_LOW)
byte rung = 0;
#else
byte rung = 1;
#endif

byte left = POSTS;              /* posts still to be made */
byte returned = 0;              /* the highest generation whose post has returned */
bit  edge[NS];
bit  asleep[NS];
byte seen[NS];

#define RAISE(word, value)  if :: word < value -> word = value :: else fi

/* The claim. It can become false where a post returns and where a member falls asleep, and is checked there. */
inline claim() {
  k = 0;
  do
  :: k < NS -> assert(!(asleep[k] && !edge[k] && seen[k] < returned)); k++
  :: else -> break
  od;
  k = 0
}

#ifdef CRASH
#define MAY_DIE  if :: skip :: goto dead fi
#else
#define MAY_DIE  skip
#endif

/* the poster's two loads and what it makes of them */
#if defined(RUNG_THEN)
#define LOAD   w = rung
#define ARMED  (want >= w)
#elif defined(RUNG_ONCE)
#define LOAD   w = want; r = rung
#ifdef STRAY_BLIND
#define ARMED  (w >= r)
#else
#define ARMED  (w >= r || (r > g && r > generation))
#endif
#elif defined(LOOK_FIRST)
#define LOAD   w = (want >= rung)
#define ARMED  (w == 1)
#elif defined(STRICT)
#define LOAD   w = want
#define ARMED  (w > rung)
#else
#define LOAD   w = want
#define ARMED  (w >= rung)
#endif

/* and how it notes that it has rung */
#if defined(RUNG_FIRST)
#define NOTE_RUNG  skip
#elif defined(RUNG_AHEAD)
#define NOTE_RUNG  rung = generation
#elif defined(RUNG_STORE)
#define NOTE_RUNG  rung = g
#elif defined(RUNG_ONCE)
#define NOTE_RUNG  if :: rung == r && (r < g || r == FOREIGN) -> rung = g :: else fi
#else
#define NOTE_RUNG  RAISE(rung, g)
#endif

active [NP] proctype poster() {
  byte g = 0, w = 0, r = 0, k = 0;

#ifdef STRAY
  if
  :: _pid == 0 ->                               /* it added to the other lane's generation */
     LOAD;
     if
     :: w >= r ->
        do
        :: d_step { k < NS -> edge[k] = 1; k++ }
        :: d_step { k == NS -> if :: rung == r -> rung = FOREIGN :: else fi; k = 0 };
           break
        od
     :: else
     fi
  :: _pid == 0 ->                               /* it rings the other lane's bell */
     atomic { generation++; g = generation };
     LOAD;
#ifdef STRAY_RUNG
     if
     :: ARMED -> d_step { NOTE_RUNG }
     :: else
     fi
#endif
  :: else
  fi;
  atomic { g = 0; w = 0; r = 0 };
#endif

  do
  ::
#ifdef LOOK_FIRST
     LOAD;
     atomic { left > 0 -> left--; generation++; g = generation }
#else
     atomic { left > 0 -> left--; generation++; g = generation }
     MAY_DIE;
     LOAD;
#endif
     MAY_DIE;
     if
     :: ARMED ->
        w = 0;
        MAY_DIE;
#ifdef RUNG_FIRST
        d_step { RAISE(rung, g) }
        MAY_DIE;
#endif
#ifdef DRAIN
        d_step { k = 0; do :: k < NS -> edge[k] = 0; k++ :: else -> break od; k = 0 }
#endif
        do
        :: d_step { k < NS -> edge[k] = 1; k++ };
           MAY_DIE
        :: d_step {
             k == NS ->
             NOTE_RUNG;
             RAISE(returned, g);        /* at once: between rung and the return nothing is shared */
             g = 0; r = 0;
             claim()
           };
           break
        od
     :: d_step { else -> w = 0; r = 0; RAISE(returned, g); g = 0; claim() }
     fi
  od;
#ifdef CRASH
dead:
  atomic { g = 0; w = 0; r = 0; k = 0 }
#endif
}

active [NS] proctype member() {
  byte me = _pid - NP, w = 0, k = 0;
#ifdef LAZY_ARM
  byte armed = 0;
#endif

look:
  seen[me] = generation;
#ifdef LAZY_ARM
  if :: seen[me] == armed -> goto rest :: else fi;
#endif

#if defined(WANT_STORE)
  want = seen[me];
#elif defined(WANT_RACY)
  w = want;
  atomic { if :: w < seen[me] -> w = 0 :: else -> w = 0; goto again fi }
  want = seen[me];
again:
#elif !defined(WANT_AFTER)
  d_step { RAISE(want, seen[me]) }
#endif

#ifndef NO_RECHECK
  if :: generation != seen[me] -> goto look :: else fi;
#endif

#ifdef WANT_AFTER
  d_step { RAISE(want, seen[me]) }
#endif
#ifdef LATE_COLLECT
  edge[me] = 0;
#endif
#ifdef LAZY_ARM
  armed = seen[me];
rest:
#endif
  atomic { asleep[me] = 1; claim() }

  /* Woken by an edge, or called by a program that had other reasons. The edges are collected first of all. */
  d_step {
    asleep[me] = 0;
#ifndef LATE_COLLECT
    edge[me] = 0
#endif
  }
  goto look
}
