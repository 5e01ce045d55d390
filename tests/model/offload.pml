/* SPDX-License-Identifier: MIT */
/* The offloaded lane: posters ring the carrier, and the carrier rings the members.
 *
 * Two groups of members, each with a bell of its own. Member 0 is in group 0 and was there from the start;
 * member 1 joins group 1. While `offload` is not set, a poster rings group 0 itself. Once it is set, posters ring
 * only the carrier's bell, and the carrier rings both groups. Whoever joins group 1 is let in only after the
 * flag has been set: from then on a poster that may still ring group 0 alone has added to generation
 * already, so the newcomer has seen that post.
 *
 *   generation, want, rung, edge, asleep, seen   as in wake.pml
 *   bell          the carrier's own bell, which it reads empty
 *   last          the carrier's note: the generation for which it last rang; 0 for a carrier that has just started
 *
 * Claim, for every member and at every moment: one that sleeps with no edge pending has seen every post that has
 * returned, or the carrier has something to do (its bell is rung, it is at work, or it has died and its
 * successor has not yet had its first look).
 *
 * Sizes: -DNP (posters) -DPOSTS (in all). -DCRASH: a poster may die at any step. -DCARRIER_DIES: the carrier dies
 * once, at any step, and is replaced. -DBACK: when group 1 is empty again the flag may be taken back.
 *
 * Broken on purpose; each must be caught:
 *   EARLY_GROUP   group 1 is handed out before the flag is set
 *   FLAG_EARLY    the poster reads the flag before it adds to generation
 *   RUNG_FIRST    the poster moves rung before it rings the carrier
 *   RING_FIRST    the carrier rings and then notes the generation
 *   NOTE_LATE     the carrier looks and rings, and then notes the generation of that moment
 *   LATE_COLLECT  the carrier looks at generation and then empties its bell
 *   BASELINE      a carrier takes the generation it finds as one it has rung for
 *   NO_FIRST_LOOK (with CARRIER_DIES) the successor waits for its bell before it looks
 *   BACK_EARLY    (with BACK) the flag is taken back while group 1 has a member
 *   BACK_DEAF     (with BACK) the carrier goes home once it has taken the flag back: a poster may be on its way
 */
#ifndef NP
#define NP 2
#endif
#ifndef POSTS
#define POSTS 2
#endif
#define NS 2

byte generation = 1;
byte want = 0;
byte rung = 1;
bit  offload = 0;
bit  bell = 0;
bit  busy = 0;                  /* the carrier owes a look */

byte left = POSTS;
byte returned = 0;
bit  edge[NS];
bit  asleep[NS];
byte seen[NS];
bit  gone = 0;                  /* member 1 has left group 1 */

#define RAISE(word, value)  if :: word < value -> word = value :: else fi
#ifdef BACK_DEAF
bit deaf = 0;
#define OWED  (busy || (bell && !deaf))
#else
#define OWED  (busy || bell)
#endif

inline claim() {
  k = 0;
  do
  :: k < NS -> assert(!(asleep[k] && !edge[k] && seen[k] < returned && !OWED)); k++
  :: else -> break
  od;
  k = 0
}

#ifdef CRASH
#define MAY_DIE  if :: skip :: goto dead fi
#else
#define MAY_DIE  skip
#endif

active [NP] proctype poster() {
  byte g = 0, w = 0, k = 0;
  bit flag = 0;

  do
  ::
#ifdef FLAG_EARLY
     flag = offload;
#endif
     atomic { left > 0 -> left--; generation++; g = generation }
     MAY_DIE;
     w = want;
     if
     :: w >= rung ->
        w = 0;
#ifdef RUNG_FIRST
        d_step { RAISE(rung, g) }
#endif
#ifndef FLAG_EARLY
        flag = offload;
#endif
        MAY_DIE;
        if
        :: d_step { flag -> flag = 0; bell = 1 }
        :: d_step { else -> edge[0] = 1 }
        fi;
        MAY_DIE;
        d_step {
#ifndef RUNG_FIRST
          RAISE(rung, g);
#endif
          RAISE(returned, g); g = 0; claim()
        }
     :: d_step { else -> w = 0; flag = 0; RAISE(returned, g); g = 0; claim() }
     fi
  od;
#ifdef CRASH
dead:
  atomic { g = 0; w = 0; flag = 0 }
#endif
}

active [NS] proctype member() {
  byte me = _pid - NP, k = 0;

#ifndef EARLY_GROUP
  if :: me == 1 -> offload :: else fi;
#endif
look:
  seen[me] = generation;
  d_step { RAISE(want, seen[me]) }
  if :: generation != seen[me] -> goto look :: else fi;
  d_step { asleep[me] = 1; claim() }
  if
  :: d_step { asleep[me] = 0; edge[me] = 0 }
     goto look
#ifdef BACK
  :: d_step { me == 1 -> asleep[me] = 0; gone = 1 }
#endif
  fi
}

/* What only the carrier knows dies with it, so only what it has done to the others tells its deaths apart. */
#ifdef CARRIER_DIES
#define DIES  if :: skip :: d_step { !died -> died = 1; last = 0; g = 0; busy = 1 }; goto start fi
#else
#define DIES  skip
#endif

active proctype carrier() {
  byte last = 0, g = 0, k = 0;
  bit died = 0;

  offload = 1;
start:
#ifdef BASELINE
  last = generation;
#endif
#ifndef NO_FIRST_LOOK
  if :: busy -> goto work :: else fi;           /* a successor looks before it waits */
#endif

  do
#ifdef LATE_COLLECT
  :: d_step { bell -> busy = 1 };
work:
     g = generation;
     bell = 0;
#else
  :: d_step { bell -> bell = 0; busy = 1 };
work:
     g = generation;
#endif
     DIES;
     if
     :: g != last ->
#ifndef RING_FIRST
        last = g;
#endif
        edge[0] = 1;
        DIES;
        edge[1] = 1;
        DIES;
#if defined(RING_FIRST) || defined(NOTE_LATE)
        last = generation;
#endif
     :: else
     fi;
     d_step { g = 0; busy = 0; claim() }

#ifdef BACK
#ifdef BACK_EARLY
  :: d_step { offload -> offload = 0 }
#else
  :: d_step { offload && gone -> offload = 0 };
#endif
#ifdef BACK_DEAF
     d_step { deaf = 1; claim() };
     break
#endif
#endif

#ifdef CARRIER_DIES
  :: d_step { !died -> died = 1; last = 0; busy = 1 };
     goto start
#ifdef NO_FIRST_LOOK
  :: d_step { busy && !bell -> busy = 0; claim() }      /* it waits, and so owes nothing */
#endif
#endif
  od
}
