/* SPDX-License-Identifier: MIT */
/* The message ring: N slots, NW writers, one reader.
 *
 *   head      the next ticket
 *   skips     the last skipped ticket << 4 | how many there were
 *   tag[i]    of slot i: its ticket << 5 | owner << 3 | state
 *   one, two  what is written between the claim and the commit: the ticket, in two halves, to be seen together
 *   note      with them: the skips before the ticket
 *
 * Every access to one of these is a step of its own. A writer that stops, for ever or until it is late, is one that is
 * not scheduled; a lease that runs out is one of the reader's steps, which it may take at any time.
 *
 * Claims:
 *   counted   whenever the reader counts, delivered + missed is the number of messages (tickets that were ever claimed)
 *             before the ticket up to which it has counted. Each ticket once: the cursor only grows
 *   noted     the number of skips that a message notes, and that a baseline takes along, is of the tickets before it
 *   torn      what is delivered was written whole, for this ticket, and the reader's second look does not lie
 *   stuck     when nothing moves any more, every living writer is through, and the reader has counted all messages,
 *   held      no slot is held by anybody,
 *   tickets   and every ticket was either a message or a skip
 *   own       (with OWN) while a writer writes, the slot is its own
 *   owed      (with LATE) a message that is being written when the reader has joined comes after its baseline
 *
 * Sizes: -DN (slots) -DNW (writers) -DMESSAGES (in all, whoever writes them) -DREADERS (0 or 1) -DRECOVERERS.
 *
 * Different, and as sound:
 *   STOP           writer 0 may die at every step, and then what it holds is given back for it (ring_recover)
 *   LATE           the reader joins at any moment
 *   JOINS          (with LATE) and then it does nothing
 *   OWN            that claim, too: it fails before what comes of it does
 *
 * Broken on purpose; each must be caught:
 *   NO_MARK        a slot that is held is passed by the head without having been marked with the ticket
 *   NO_RECORD      the head moves on before the skip is recorded
 *   RECORD_BLIND   who records a skip does not look whether the head is still there
 *   NO_HELP        (with STOP and END_BLIND) who finds the slot at the head taken does not move the head
 *   HELP_BLIND     who helps moves the head without recording a skip
 *   END_BLIND      (with STOP) the reader does not move a head that stayed behind
 *   NO_RECHECK     the reader does not look at the tag again after it has copied
 *   FREE_AT_LEASE  a slot whose lease ran out is free at once, not when its owner gives it back
 *   FREE_AT_SKIP   the same for one that is skipped
 *   NO_GIVE_BACK   a writer that was too late leaves its slot as it is
 *   COMMIT_STORE   the commit is a store
 *   SKIPS_FIRST    a writer looks at skips before it looks at the head
 *   SKIPS_LAST     ... after it has moved the head
 *   END_ONCE       the reader does not look at the head again after it has looked at skips
 *   END_NEXT       the reader counts a skip of the ticket at the head itself
 *   NO_RECOVER     (with STOP) nobody gives back what a dead writer held
 *   RECOVER_EARLY  what writer 0 holds is given back although it lives
 *   RECOVER_ALL    (with STOP and two that recover) what is given back is not compared with its owner again
 *   BASE_HEAD      (with LATE) the baseline is the head, whoever is in the middle of a message
 *   BASE_SKIPS     (with LATE) it goes back to the first that is being written, with the head's number of skips
 */
#ifndef N
#define N 2
#endif
#ifndef NW
#define NW 2
#endif
#ifndef MESSAGES
#define MESSAGES 3
#endif
#ifndef READERS
#define READERS 1
#endif
#if READERS == 0 || defined(JOINS)
#define READS 0
#else
#define READS 1
#endif
#ifndef RECOVERERS
#define RECOVERERS 1
#endif
#define MAX_TICKET 24

#define VOID 0
#define CLAIMED 1
#define COMMITTED 2
#define VOID_BUSY 3
#define SKIPPED 4
#define SKIPPED_BUSY 5

#define TAG(ticket, owner, state)  (((ticket) << 5) | ((owner) << 3) | (state))
#define TICKET(t)   ((t) >> 5)
#define OWNER(t)    (((t) >> 3) & 3)
#define STATE(t)    ((t) & 7)
#define WITH(t, state)  (((t) & ~7) | (state))
#define HELD(t)     (STATE(t) == CLAIMED || STATE(t) == VOID_BUSY || STATE(t) == SKIPPED_BUSY)
#define IS_SKIP(t)  (STATE(t) == SKIPPED || STATE(t) == SKIPPED_BUSY)

byte  head = N;
short skips = 0;
short tag[N];                   /* slot i: ticket i - N, as it were; 0 is as good, the head starts with N */
byte  one[N], two[N], note[N];

byte left = MESSAGES;           /* messages still to be written */
byte n_through = 0;             /* writers */
bit  dead = 0;                  /* writer 0 */
bit  message[MAX_TICKET];       /* by ticket: was it claimed? */
byte writing[NW];               /* the ticket that a writer has, 0: none */
byte total = 0;                 /* delivered and missed, by the reader */
byte base = N;                  /* where it began */

#ifdef STOP
#define MAY_STOP  if :: skip :: _pid == 0 -> goto stopped fi
#else
#define MAY_STOP  skip
#endif

/* Compare and swap: `ok` says whether it was. */
inline cas(word, from, to) {
  d_step { if :: word == (from) -> word = (to); ok = 1 :: else -> ok = 0 fi }
}

inline move_head(ticket) {
  d_step { if :: head == ticket -> head = ticket + 1 :: else fi }
}

inline record_skip(ticket) {
  w = skips;
  do
  :: (w >> 4) == ticket -> break
  :: else ->
#ifndef RECORD_BLIND
     if :: head != ticket -> break :: else fi;
#endif
     d_step {
       if
       :: skips == w -> skips = (ticket << 4) | ((w + 1) & 15); w = ticket << 4
       :: else -> w = skips
       fi
     }
  od;
  w = 0
}

/* Until it is not its owner's any more. */
inline give_back(slot, whose) {
  t = tag[slot];
  do
#ifdef RECOVER_ALL
  :: HELD(t) ->
#else
  :: HELD(t) && OWNER(t) == whose ->
#endif
     d_step {
       if
       :: tag[slot] == t -> tag[slot] = WITH(t, (STATE(t) == SKIPPED_BUSY -> SKIPPED : VOID)); t = 0
       :: else -> t = tag[slot]
       fi
     }
  :: else -> break
  od;
  t = 0
}

/* Tickets that were passed and are no messages. */
inline check_noted(ticket, noted) {
  k = N;
  n = 0;
  do
  :: k < ticket -> n = n + 1 - message[k]; k++
  :: else -> break
  od;
  assert(noted == n);
  k = 0;
  n = 0
}

active [NW] proctype writer() {
  byte h = 0, s = 0, i = 0, k = 0, n = 0;
  short t = 0, w = 0, mine = 0;
  bit ok = 0;

next:
  atomic { h = 0; s = 0; i = 0; t = 0; ok = 0; mine = 0; writing[_pid] = 0 }
  if
  :: atomic { left > 0 -> left-- }
  :: atomic { left == 0 -> n_through++; goto over }
  fi;

claim:
  atomic { i = 0; t = 0; ok = 0 }
#ifdef SKIPS_FIRST
  s = skips & 15;
#endif
  h = head;
#ifndef SKIPS_FIRST
  s = skips & 15;
#endif
  t = tag[h % N];
  MAY_STOP;
  if
  :: TICKET(t) > h -> goto claim
  :: TICKET(t) == h ->
#ifdef NO_HELP
     head != h;
#else
#ifndef HELP_BLIND
     if :: IS_SKIP(t) -> record_skip(h) :: else fi;
#endif
     move_head(h);
#endif
     goto claim
  :: TICKET(t) < h && HELD(t) ->
     i = 1;
     do
     :: i < N -> if :: HELD(tag[(h + i) % N]) -> i++ :: else -> break fi
     :: i == N -> goto next             /* -ENOBUFS */
     od;
#ifdef NO_MARK
     ok = 1;
#elif defined(FREE_AT_SKIP)
     cas(tag[h % N], t, TAG(h, OWNER(t), SKIPPED));
#else
     cas(tag[h % N], t, TAG(h, OWNER(t), SKIPPED_BUSY));
#endif
     MAY_STOP;
     if
     :: ok ->
#ifdef NO_RECORD
        move_head(h);
        MAY_STOP;
        d_step { if :: (skips >> 4) < h -> skips = (h << 4) | ((skips + 1) & 15) :: else fi }
#else
        record_skip(h);
        MAY_STOP;
        move_head(h)
#endif
     :: else
     fi;
     goto claim
  :: TICKET(t) < h && !HELD(t) ->
     d_step {
       if
       :: tag[h % N] == t ->
          mine = TAG(h, _pid, CLAIMED);
          tag[h % N] = mine;
          message[h] = 1;
          writing[_pid] = h;
          ok = 1
       :: else
       fi;
       t = 0
     };
     if :: !ok -> goto claim :: else fi
  fi;
  MAY_STOP;
  move_head(h);
  MAY_STOP;
#ifdef SKIPS_LAST
  s = skips & 15;
#endif
  one[h % N] = h;
  note[h % N] = s;
  MAY_STOP;
#ifdef OWN
  d_step { assert(HELD(tag[h % N]) && OWNER(tag[h % N]) == _pid); two[h % N] = h }
#else
  two[h % N] = h;
#endif
  MAY_STOP;
#ifdef COMMIT_STORE
  tag[h % N] = WITH(mine, COMMITTED);
#else
  d_step {
    if
    :: tag[h % N] == mine -> tag[h % N] = WITH(mine, COMMITTED); ok = 1; check_noted(h, note[h % N])
    :: else -> ok = 0
    fi
  };
#ifndef NO_GIVE_BACK
  if :: !ok -> give_back(h % N, _pid) :: else fi;
#endif
#endif
  goto next;

#ifdef STOP
stopped:
  atomic { n_through++; dead = 1; h = 0; s = 0; i = 0; t = 0; w = 0; ok = 0; mine = 0 }
#endif
over:
  skip
}

/* The claims, where they can become false. `upto`: everything before it is counted. */
inline check_count(upto) {
  k = base;
  n = 0;
  do
  :: k < upto -> n = n + message[k]; k++
  :: else -> break
  od;
  assert(total == n);
  k = 0;
  n = 0
}

/* Missed up to ticket `upto`, before which there were `s` skips. */
inline count_missed(upto) {
  d_step {
    n = (s - counted_skips) & 15;
    n = ((upto - counted) > n -> (upto - counted) - n : 0);
    total = total + n;
    ok = (n > 0);
    counted = upto;
    counted_skips = s;
    check_count(upto)
  }
}

/* Head and skips that belong together, in h and s. */
inline load_head() {
  h = head;
  do
  :: w = skips;
     t = tag[h % N];
#ifndef END_ONCE
     if :: head != h -> h = head :: else -> break fi
#else
     break
#endif
  od;
#ifdef END_NEXT
  s = w & 15;
#else
  s = (w & 15) - (((w >> 4) == h && TICKET(t) == h && IS_SKIP(t)) -> 1 : 0);
#endif
  w = 0
}

active [READERS] proctype reader() {
  byte at = N, counted = N, counted_skips = 0, h = 0, s = 0, a = 0, b = 0, k = 0, n = 0;
  short t = 0, w = 0;
  bit ok = 0;

#ifdef LATE
  load_head();
  atomic { at = h; counted = h; counted_skips = s; n = 0; t = 0 }
#ifndef BASE_HEAD
  k = 1;
  do
  :: k <= N && k <= h ->
     t = tag[(h - k) % N];
     d_step {
       if
       :: TICKET(t) == h - k && IS_SKIP(t) -> n++
       :: TICKET(t) == h - k && STATE(t) == CLAIMED ->
          at = h - k;
          counted = h - k;
#ifndef BASE_SKIPS
          counted_skips = s - n
#endif
       :: else
       fi;
       t = 0;
       k++
     }
  :: else -> break
  od;
  k = 0;
#endif
  d_step {
    check_noted(counted, counted_skips);
    base = counted;
    do
    :: k < NW ->
       assert(!(writing[k] && tag[writing[k] % N] == TAG(writing[k], k, CLAIMED) && writing[k] < base));
       k++
    :: else -> break
    od;
    k = 0; n = 0; h = 0; s = 0
  };
#ifdef JOINS
  false;
#endif
#endif

look:
  atomic { t = 0; h = 0; s = 0; a = 0; b = 0; w = 0; ok = 0; n = 0 }
  t = tag[at % N];
  if
  :: TICKET(t) == at && STATE(t) == COMMITTED ->
     a = one[at % N];
     s = note[at % N];
     b = two[at % N];
#ifndef NO_RECHECK
     if :: tag[at % N] != t -> goto look :: else fi;
#endif
     assert(a == at && b == at);
     count_missed(at);
     if :: ok -> goto look :: else fi;  /* told; and then again, if it is still there */
     d_step { total++; at++; counted = at; check_count(at) };
     goto look
  :: TICKET(t) == at && STATE(t) == CLAIMED ->
#ifdef FREE_AT_LEASE
     cas(tag[at % N], t, WITH(t, VOID));
#else
     cas(tag[at % N], t, WITH(t, VOID_BUSY));
#endif
     goto look
  :: TICKET(t) == at && STATE(t) != COMMITTED && STATE(t) != CLAIMED ->
     at++;
     goto look
  :: TICKET(t) != at ->
     h = head
  fi;
  if
  :: h <= at ->
#ifndef END_BLIND
     k = head;                          /* help_head */
     do
     :: k < at ->
        t = tag[k % N];
        if :: TICKET(t) != k -> break :: else fi;
        if :: IS_SKIP(t) -> record_skip(k) :: else fi;
        move_head(k);
        k++
     :: else -> break
     od;
     k = 0;
#endif
     load_head();
     t = 0;
     if :: at == h -> count_missed(at) :: else fi;
     TICKET(tag[at % N]) >= at || head > at; /* sleeps */
     goto look
  :: h > at && TICKET(t) > at ->
     /* overrun */
     at = (h - N > at -> h - N : at + 1);
     goto look
  :: h > at && TICKET(t) < at ->
     t = tag[at % N];
     if :: TICKET(t) < at -> at++ :: else fi;
     goto look
  fi
}

#if (defined(STOP) && !defined(NO_RECOVER)) || defined(RECOVER_EARLY)
active [RECOVERERS] proctype recovery() {
  byte i = 0;
  short t = 0;

#ifndef RECOVER_EARLY
  dead;
#endif
  do
  :: i < N ->
     t = tag[i];
     if :: HELD(t) && OWNER(t) == 0 -> give_back(i, 0) :: else -> t = 0 fi;
     i++
  :: else -> break
  od
}
#endif

active proctype rest() {
  byte k = 0, n = 0;

  timeout;
  d_step {
    do
    :: k < MAX_TICKET -> if :: k >= base -> n = n + message[k] :: else fi; k++
    :: else -> break
    od;
    assert(n_through == NW && (total == n || !READS));
    n = 0;
    k = 0;
    do
    :: k < head -> n = n + message[k]; k++
    :: else -> break
    od;
    /* Who died may have recorded the next one. */
    assert(head - N == n + (skips & 15) - ((skips >> 4) == head -> 1 : 0));
    k = 0;
    do
    :: k < N -> assert(!HELD(tag[k])); k++
    :: else -> break
    od
  }
}
