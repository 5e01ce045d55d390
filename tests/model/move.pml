/* SPDX-License-Identifier: MIT */
/* Two places without a daemon: the sidecar beside the file, and the page in shared memory of those who cannot make
 * one. All processes are one user's, but some cannot make the folder (a read-only mount, say); they join it when it
 * is there. Nobody may end up alone.
 *
 * Channel 0 is the sidecar; it is there while it has members. Channels 1, 2, ... are pages in shared memory; `shm` is
 * the one that the name leads to. A page whose `closed` is set is retired for good, and whoever cannot make a sidecar
 * replaces it. `news` is "generation is not what I saw", as in seams.pml.
 *
 *   join    Into the sidecar if it is there or can be made: then kick, that is, set `closed` in the page in shared
 *           memory and ring its bell. Else into the page in shared memory, and look for the sidecar once more.
 *           Only then take the baseline, and look at `closed` after it.
 *   post    Add, then look at `closed`; if it is set, join anew and post there too, before returning.
 *   wake    If `closed` is set, join anew: baseline, then RESYNC.
 *
 * The maker of a sidecar may die before it kicks, so every joiner does; and a kicker may die before it rings, so a
 * closed page is rung again by the next who comes, and by whoever replaces it.
 *
 * Two subscribers and two posters; the second of each can make a sidecar, and the second poster leaves after its post.
 *
 * Claim, when all is at rest: both subscribers have looked since the last post that returned, and nobody is stuck.
 *
 * -DCRASH: the second poster may die at any step.
 *
 * Broken on purpose; each must be caught:
 *   NO_KICK      nobody kicks; members in shared memory watch for the sidecar and move over
 *   MOVER_KICKS  they set `closed` and ring as they move over, and a joiner of the sidecar does not
 *   KICK_LATE    a joiner of the sidecar takes its baseline and looks, and then kicks
 *   QUIET_KICK   it sets `closed` and does not ring
 *   NO_RELOOK    who has joined in shared memory does not look for the sidecar once more
 *   BLIND_JOIN   a subscriber does not look at `closed` after its baseline
 *   NO_CLOSED    a poster does not look at `closed`
 *   MAKER_KICKS  (with CRASH) only the one who made the sidecar kicks
 *   RING_ONCE    (with CRASH) a page that is closed already is not rung again by a joiner of the sidecar
 *   RING_LESS    (with CRASH) nor by the one who replaces it
 */
#define SIDE  0
#ifdef MOVER_KICKS
#define NO_KICK
#endif
#define PAGES 6

byte side = 0;                  /* members of the sidecar */
byte shm = 0;                   /* the current page in shared memory, 0: none yet */
byte last = 0;
bit  closed[PAGES];
bit  a_news[PAGES], b_news[PAGES];
byte truth = 0, returned = 0, looked[2];
byte asleep = 0, done = 0;

#define RAISE(word, value)  if :: word < value -> word = value :: else fi

#ifdef CRASH
#define MAY_DIE  if :: true :: makes && posts -> goto dead fi
#else
#define MAY_DIE  skip
#endif

#if defined(MAKER_KICKS)
#define KICKS  (shm != 0 && made)
#elif defined(RING_ONCE)
#define KICKS  (shm != 0 && !closed[shm])
#else
#define KICKS  (shm != 0)
#endif

inline ring(channel) { atomic { a_news[channel] = 1; b_news[channel] = 1 } }

inline kick() {
#ifndef NO_KICK
  if
  :: atomic { KICKS -> page = shm };
     closed[page] = 1;
     MAY_DIE;
#ifndef QUIET_KICK
     ring(page);
#endif
     page = 0
  :: else
  fi
#else
  skip
#endif
}

inline join() {
  do
  :: atomic { side > 0 || makes -> made = (side == 0); channel = SIDE; side++ };
     MAY_DIE;
#ifndef KICK_LATE
     kick();
#endif
     break
  :: else ->
     if
     :: atomic { shm != 0 && closed[shm] -> page = shm };
#ifndef RING_LESS
        ring(page);
#endif
        atomic { if :: shm == page -> last++; shm = last :: else fi; page = 0; channel = shm }
     :: atomic { shm == 0 -> last++; shm = last; channel = shm }
     :: atomic { else -> channel = shm }
     fi;
     assert(last < PAGES);
#ifdef NO_RELOOK
     break
#else
     if
     :: side > 0 -> skip                        /* there it is after all */
     :: else -> break
     fi
#endif
  od
}

#define LEAVE(channel)  if :: channel == SIDE -> side-- :: else fi

proctype subscriber(byte me; bit makes) {
  byte channel, page;
  bit made, posts = 0;

#define news(c)  ((me == 0 && a_news[c]) || (me == 1 && b_news[c]))
#define SEEN(c)  if :: me == 0 -> a_news[c] = 0 :: else -> b_news[c] = 0 fi

in:
  join();
  atomic { SEEN(channel) };                     /* the baseline */
#ifndef BLIND_JOIN
  if
  :: closed[channel] -> goto in                 /* closed and rung before the baseline */
  :: else
  fi;
#endif
  looked[me] = truth;
#ifdef KICK_LATE
  if :: channel == SIDE -> kick() :: else fi;
#endif
  asleep++;

  do
  :: atomic { news(channel) && !closed[channel] -> SEEN(channel); looked[me] = truth }
#ifdef NO_KICK
  :: atomic { channel != SIDE && side > 0 -> asleep-- };
#ifdef MOVER_KICKS
     closed[channel] = 1;
     ring(channel);
#endif
#else
  :: atomic { news(channel) && closed[channel] -> asleep-- };
#endif
     goto in
  od;
dead:
  skip
}

proctype poster(bit makes) {
  byte channel, old, page, mine;
  bit made, posts = 1;

  join();
#ifdef KICK_LATE
  if :: channel == SIDE -> kick() :: else fi;
#endif
  atomic { truth++; mine = truth };
again:
  ring(channel);
  MAY_DIE;
  if
#ifdef NO_CLOSED
  :: false ->
#else
  :: closed[channel] ->
#endif
     old = channel;
     join();
     atomic { LEAVE(old); old = 0 };
     goto again
  :: else
  fi;
  atomic { RAISE(returned, mine) };
dead:
  atomic {
    if :: makes -> LEAVE(channel) :: else fi;
    done++
  }
}

init {
  atomic { run subscriber(0, 0); run subscriber(1, 1); run poster(0); run poster(1) }
end:
  do
  :: atomic {
       timeout ->
       assert(asleep == 2 && done == 2);
       assert(looked[0] >= returned && looked[1] >= returned)
     }
  od
}
