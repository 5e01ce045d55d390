/* SPDX-License-Identifier: MIT */
/* Hiding one's own posts by counting.
 *
 * One handle: a reader, and NOWN threads that post through the same handle. One stranger or more (NP) posts too.
 *
 *   generation, want, rung, edge, asleep, seen   as in wake.pml (the bell rings the reader; it is the one member)
 *   own           the handle's posts; raised before generation
 *   reported      what the reader has told its program: how many posts of others
 *
 * The reader reads generation and then own. What it has read of own is at least what generation holds of it, so the
 * difference never exceeds the posts of others; it may fall short of them, and below what was reported, while an
 * own post is between its two steps. That post rings when it is through, so the reader comes again.
 *
 * Claims:
 *   heard    the posts reported never exceed those that others have made: the program does not hear itself
 *   missed   when the reader sleeps with no edge pending, and no thread of the handle is within a post, the program
 *            has been given an event since the last post of a stranger that returned
 *
 * Sizes: -DNP (strangers) -DNOWN (threads of the handle) -DTHEIRS -DOURS (posts in all).
 *
 * Broken on purpose; each must be caught:
 *   OWN_AFTER     own is raised after generation                                 (heard; with DEAF: missed)
 *   OWN_FIRST     the reader reads own and then generation                       (heard; with DEAF: missed)
 *   OWN_RACY      own is raised by a load and a store, by several threads        (heard; with DEAF: missed)
 *   FORGET        reported becomes the difference even when that has fallen       (heard)
 *   UNEQUAL       any difference from what was reported is an event, not only more (heard)
 *   SWALLOW       a thread that has posted collects the edge, so that the program is not woken by its own post
 *                                                                                (missed)
 *   SILENT        own posts do not ring                                          (missed)
 * DEAF leaves out the first claim, to show that a stranger's post is swallowed as well.
 *
 * Different, and as sound:
 *   DUE_RECHECK   before it sleeps the reader looks whether something is due, not whether generation has moved
 */
#ifndef NP
#define NP 1
#endif
#ifndef NOWN
#define NOWN 1
#endif
#ifndef THEIRS
#define THEIRS 2
#endif
#ifndef OURS
#define OURS 2
#endif

byte generation = 1;
byte want = 0;
byte rung = 1;
byte own = 0;

byte theirs = THEIRS, ours = OURS;      /* posts still to be made */
byte strangers = 0;                     /* posts of others that generation holds */
byte returned = 0;                      /* of those, the highest that has returned */
byte under_way = 0;                     /* own posts that have begun and not returned */
bit  edge = 0;
bit  asleep = 0;
byte told = 0;                          /* strangers' posts made before the last event was given to the program */
short reported = 0;
#if defined(FORGET) || defined(UNEQUAL)
short total = 0;                        /* all that was ever reported; otherwise the same as reported */
#else
#define total reported
#endif

#define RAISE(word, value)  if :: word < value -> word = value :: else fi
#define MISSED  (asleep && !edge && under_way == 0 && told < returned)
#define HEARD   (total > strangers)

inline ring(g) {
  w = want;
  if
  :: w >= rung ->
     w = 0;
     edge = 1;
     d_step { RAISE(rung, g); g = 0 }
  :: d_step { else -> w = 0; g = 0 }
  fi
}

active [NP] proctype stranger() {
  byte g = 0, w = 0, mine = 0;

  do
  :: d_step { theirs > 0 -> theirs--; generation++; g = generation; strangers++; mine = strangers };
     ring(g);
     d_step { RAISE(returned, mine); mine = 0; assert(!MISSED) }
  od
}

active [NOWN] proctype thread() {
  byte g = 0, w = 0, old = 0;

  do
#if defined(OWN_AFTER)
  :: d_step { ours > 0 -> ours--; under_way++; generation++; g = generation };
     own++;
#elif defined(OWN_RACY)
  :: d_step { ours > 0 -> ours--; under_way++; old = own };
     d_step { own = old + 1; old = 0 };
     d_step { generation++; g = generation };
#else
  :: d_step { ours > 0 -> ours--; under_way++; own++ };
     d_step { generation++; g = generation };
#endif
#ifdef SILENT
     g = 0;
#else
     ring(g);
#endif
#ifdef SWALLOW
     edge = 0;
#endif
     d_step { under_way--; assert(!MISSED) }
  od
}

active proctype reader() {
  byte g, there = 0;
  short others = 0;

look:
#ifdef OWN_FIRST
  others = own;
  d_step { g = generation; there = strangers; others = g - 1 - others };
#else
  atomic { g = generation; there = strangers };
  others = g - 1 - own;
#endif
  d_step {
    if
    :: others > reported ->
#if defined(FORGET) || defined(UNEQUAL)
       total = total + others - reported;
#endif
       reported = others;
       told = there
#ifdef UNEQUAL
    :: others < reported -> total++; reported = others; told = there
#endif
#ifdef FORGET
    :: others < reported -> reported = others
#endif
    :: else
    fi;
    others = 0;
    there = 0;
#ifndef DEAF
    assert(!HEARD)
#endif
  };
  d_step { RAISE(want, g) };
#ifdef DUE_RECHECK
  g = generation;
  if :: g - 1 - own > reported -> goto look :: else fi;
#else
  if :: generation != g -> goto look :: else fi;
#endif
  d_step { g = 0; asleep = 1; assert(!MISSED) };
  d_step { asleep = 0; edge = 0 };
  goto look
}
