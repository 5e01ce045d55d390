/* SPDX-License-Identifier: MIT */
/* The seams: what becomes of a post while the daemon dies and comes back, while one daemon takes over from another,
 * and while some processes reach only the sidecar.
 *
 * Channels 0 and 1 are the lanes of two daemons, or of two lives of one; channel 2 is the sidecar. The bell is taken
 * as reliable (wake.pml): a member notices that generation is not what it saw, and whether it is is all that is kept
 * of generation: `news`, one bit for each member and channel. To take a baseline is to clear it. Sidecars come and go
 * as in leave.pml; here it is enough to count their members.
 *
 * `truth` counts changes of the file; the poster changes it and then posts. The subscriber looks at it when it opens,
 * at every event and at RESYNC.
 *
 * Claims, when all is at rest:
 *   looked     the subscriber has looked since the last post that returned
 *   answered   nobody is stuck in an opening or a post
 *
 * Size: -DPOSTS.
 *
 * Who takes part:
 *   P_NOBUS     the poster cannot reach a daemon              M_NOBUS   the subscriber cannot
 *   ONESHOT     the poster may close and open again around each post, and closes after the last one
 *   M_FIRST     the subscriber has joined before the poster opens
 * What happens (unless said otherwise the daemon dies and comes back, at any moment):
 *   NO_DEATH    it lives on                                   NO_RESTART  it dies and stays away
 *   TAKEOVER    the second daemon (the system's) appears while the first (a user's) is there, which then steps down
 *   ENDS        a lane ends some time after its last member has left, and its sidecar is no longer watched for; the
 *               daemon looks for one a last time, and if one has come it is linked first
 *   LINK_DIES   the link is killed once, at any step; with NO_DEATH
 *
 * The documented limit: NO_RESTART and M_NOBUS without M_FIRST. A sidecar that appears after the poster has opened,
 * a daemon that dies for good before it notices, and a poster that never calls the library again.
 *
 * Broken on purpose; each must be caught:
 *   NO_WORD      a poster does not look at the death word
 *   WORD_LATE    the sockets end before the word is marked
 *   NO_RESYNC    a member that has joined anew does not look
 *   LOOK_FIRST   it looks and then takes its baseline
 *   NO_FIRST     the link does not announce itself
 *   LATE_BASE    it announces itself and then takes its baselines
 *   LATE_LINK    an opening is answered although an existing sidecar is not linked yet
 *   NO_COUNT     a sidecar that came and went before the link could join it is forgotten
 *   FORGETS      (with ENDS) a lane ends without that last look
 *   NO_WATCH     a daemon that starts does not look for a sidecar that is there already
 *   LINK_LEAVES  the link leaves a living daemon while the sidecar has other members
 *   LINK_HASTY   it leaves as the last one out without a last look at the sidecar
 *   LINK_TERM    it leaves when it is told to (SIGTERM), not when its daemon's word is marked
 *   LINK_BLIND   it leaves when the word is marked without a last look at the lane, and does not announce itself
 *   WORD_EARLY   (with NO_LAST) a poster looks at the death word before it adds to generation; alone it is made up for
 *                by what the link and the members do after the word
 *   NO_HANDOVER  (with TAKEOVER) the daemon that steps down does not post to the other one
 *   EARLY_HAND   (with TAKEOVER) it posts there and then marks its word
 *
 * Different, and as sound:
 *   NO_LAST      the link looks at the lane after the word and does not announce itself before it leaves
 *   NO_LOOK      it announces itself before it leaves and does not look at the lane
 */
#ifndef POSTS
#define POSTS 1
#endif
#define S 2                     /* the sidecar's channel */

#ifdef M_NOBUS
#define M_BUS false
#else
#define M_BUS true
#endif
#ifdef P_NOBUS
#define P_BUS false
#else
#define P_BUS true
#endif

bit  m_news[3];                 /* the subscriber's */
bit  lane_news[2], side_news[2];        /* those of each link, in its lane and in the sidecar */

bit  up[2];                     /* the daemon answers, and its clients' sockets are open */
bit  word[2];                   /* its death word is marked */
byte members = 0;               /* of the sidecar, links included */
bit  appeared[2];               /* the daemon has yet to deal with a sidecar that it saw come */
bit  running[2];                /* it has a link */
#ifdef ENDS
byte openings = 0;
byte here[2];                   /* members of each lane, links not counted */
bit  lane[2];                   /* there is one */
#define LANE(life)   lane[life]
#define EMPTY(life)  (lane[life] && here[life] == 0 && openings == 0 && !running[life])
#ifdef FORGETS
#define LAST_LOOK(life)  true
#else
#define LAST_LOOK(life)  (!appeared[life])
#endif
#else
#define LANE(life)   true
#endif
bit  linked[2];                 /* its link has joined both sides and announced itself */

byte truth = 0, returned = 0, looked = 0;
bit  m_joined = 0, p_done = 0;

/* a client takes a daemon whose word is marked for dead */
#define ANSWERS(life)  (up[life] && !word[life])
#ifdef LATE_LINK
#define OPENS(life)    (ANSWERS(life) && LANE(life))
#else
#define OPENS(life)    (ANSWERS(life) && LANE(life) && (members == 0 || linked[life]))
#endif

/* the folder appears with its first member, and is gone with the last */
#define ENTER  if :: members == 0 -> appeared[0] = up[0] && LANE(0); appeared[1] = up[1] && LANE(1) :: else fi; members++
#ifdef ENDS
#define ENTER_LANE(life)  here[life]++
#define QUIT(channel)  if :: channel == S -> members-- :: else -> here[channel]-- fi
#else
#define ENTER_LANE(life)  skip
#define QUIT(channel)  if :: channel == S -> members-- :: else fi
#endif

/* ++generation by a member; a link does not count its own posts, so it posts with one of the lower two */
inline post(channel) {
  atomic {
    m_news[channel] = 1;
    if
    :: channel == S -> side_news[0] = running[0]; side_news[1] = running[1]
    :: else -> lane_news[channel] = running[channel]
    fi
  }
}
#define LINK_ENDS(life)        linked[life] = 0; running[life] = 0; lane_news[life] = 0; side_news[life] = 0
#define LINK_POSTS_LANE(life)  m_news[life] = 1
#define LINK_POSTS_SIDE(life)  atomic { m_news[S] = 1; side_news[1 - life] = running[1 - life] }

/* An opening: the system's daemon (1) first, then the user's (0), then the sidecar. It waits for the link. */
inline join(channel, bus) {
#ifdef ENDS
  openings++;                                   /* a lane does not end while somebody waits for it */
  do
  :: atomic {
       /* a new lane: first the watch, then the look */
       if
       :: bus && ANSWERS(1) && !lane[1] -> lane[1] = 1; appeared[1] = (members > 0)
       :: bus && !ANSWERS(1) && ANSWERS(0) && !lane[0] -> lane[0] = 1; appeared[0] = (members > 0)
       fi
     }
  ::
#endif
  atomic {
    if
    :: bus && OPENS(1) -> channel = 1; ENTER_LANE(1)
    :: bus && !ANSWERS(1) && OPENS(0) -> channel = 0; ENTER_LANE(0)
    :: !bus || (!ANSWERS(0) && !ANSWERS(1)) -> channel = S; ENTER
    fi
#ifdef ENDS
    ; openings--
#endif
  }
#ifdef ENDS
     ; break
  od
#endif
}

active proctype subscriber() {
  byte channel, old;

  join(channel, M_BUS);
  m_news[channel] = 0;
  atomic { looked = truth; m_joined = 1 };      /* who opens reads the file itself */

  do
  :: atomic { m_news[channel] -> m_news[channel] = 0; looked = truth }
  :: atomic {
       /* the socket has ended, or a retry will succeed */
       (channel != S && !up[channel]) || (M_BUS && channel == S && (ANSWERS(0) || ANSWERS(1))) ->
       old = channel;
       channel = 0
     };
     join(channel, M_BUS);
#ifdef LOOK_FIRST
     looked = truth;
#endif
     atomic { m_news[old] = 0; m_news[channel] = 0; QUIT(old); old = 0 };
#if !defined(LOOK_FIRST) && !defined(NO_RESYNC)
     looked = truth
#endif
  od
}

active proctype poster() {
  byte channel, old, posts = 0;

#ifdef M_FIRST
  m_joined;
#endif
  join(channel, P_BUS);
  do
  :: posts < POSTS ->
#ifdef ONESHOT
     if
     :: atomic { QUIT(channel); channel = 0 };
        join(channel, P_BUS)
     :: true
     fi;
#endif
     truth++;
again:
#ifdef WORD_EARLY
     if
     :: atomic { channel != S && word[channel] -> old = channel; channel = 0 };
        join(channel, P_BUS);
        atomic { QUIT(old); old = 0 };
        goto again
     :: else
     fi;
     post(channel);
     atomic { returned = truth; posts++ }
#else
     post(channel);
     if
#ifndef NO_WORD
     :: atomic { channel != S && word[channel] -> old = channel; channel = 0 };
        join(channel, P_BUS);
        atomic { QUIT(old); old = 0 };
        goto again                              /* it posts there too, before it returns */
#endif
     :: atomic { channel == S || !word[channel] -> returned = truth; posts++ }
#ifdef NO_WORD
     :: atomic { channel != S && word[channel] -> returned = truth; posts++ }
#endif
     fi
#endif
  :: else -> break
  od;
  atomic {
#ifdef ONESHOT
    QUIT(channel);
#endif
    p_done = 1
  }
}

#if defined(NO_DEATH)
#define MAY_DIE(life)  false
#elif defined(TAKEOVER)
#define MAY_DIE(life)  (life == 0 && up[1])
#else
#define MAY_DIE(life)  (life == 0)
#endif

active proctype first() { run daemon(0) }

proctype daemon(byte life) {
  atomic {
    up[life] = 1;
#ifndef NO_WATCH
    appeared[life] = (members > 0);
#endif
#ifdef TAKEOVER
    if :: life == 0 -> run daemon(1) :: else fi
#endif
  };
  do
  :: atomic { appeared[life] && !running[life] -> appeared[life] = 0; running[life] = 1; run link(life) }
  :: MAY_DIE(life) -> break
#ifdef ENDS
  :: atomic { EMPTY(life) && LAST_LOOK(life) -> lane[life] = 0; appeared[life] = 0 }
#endif
  od;

#ifdef WORD_LATE
  up[life] = 0;
#endif
#ifdef EARLY_HAND
  post(1);
#endif
  word[life] = 1;
#if defined(TAKEOVER) && !defined(NO_HANDOVER) && !defined(EARLY_HAND)
  post(1);                                      /* for what came before the word */
#endif
  atomic {
    up[life] = 0;
    appeared[life] = 0;
#if !defined(NO_RESTART) && !defined(TAKEOVER)
    run daemon(1)
#endif
  }
}

#ifdef LINK_DIES
bit died = 0;
#define KILLED  if :: true :: atomic { !died -> died = 1 }; goto dead fi
#else
#define KILLED  skip
#endif

/* A process of its own. It counts as dealt with what it has taken from one side, and its own posts. */
proctype link(byte life) {
  if
  :: atomic { members > 0 -> members++ }
  :: atomic {
       else ->
#ifndef NO_COUNT
       LINK_POSTS_LANE(life);                   /* it came and is gone again: one post */
#endif
       LINK_ENDS(life)
     };
     goto out
  fi;
  KILLED;

#ifndef LATE_BASE
  side_news[life] = 0;
  lane_news[life] = 0;
#endif
#ifndef NO_FIRST
  LINK_POSTS_SIDE(life);
  KILLED;
  LINK_POSTS_LANE(life);
#endif
#ifdef LATE_BASE
  side_news[life] = 0;
  lane_news[life] = 0;
#endif
  linked[life] = 1;

  do
  :: lane_news[life] ->
     lane_news[life] = 0;
     KILLED;
     LINK_POSTS_SIDE(life)
  :: side_news[life] ->
     side_news[life] = 0;
     KILLED;
     LINK_POSTS_LANE(life)

     /* as the last one out, with the folder renamed away: nobody can change the page any more */
#ifdef LINK_LEAVES
  :: atomic { up[life] -> members--; linked[life] = 0 };
#else
  :: atomic { up[life] && members == 1 -> members = 0; linked[life] = 0 };
#endif
#ifndef LINK_HASTY
     if
     :: side_news[life] -> LINK_POSTS_LANE(life)
     :: else
     fi;
#endif
     atomic { LINK_ENDS(life) };
     goto out

     /* the daemon has died: nobody posts into the lane any more without noticing */
#ifdef LINK_TERM
  :: true ->
#else
  :: word[life] ->
#endif
#if !defined(LINK_BLIND) && !defined(NO_LOOK)
     if
     :: lane_news[life] -> LINK_POSTS_SIDE(life)
     :: else
     fi;
#endif
#if !defined(LINK_BLIND) && !defined(NO_LAST)
     LINK_POSTS_SIDE(life);
#endif
     atomic { members--; LINK_ENDS(life) };
     goto out
#ifdef LINK_DIES
  :: atomic { !died -> died = 1 };
     goto dead
#endif
  od;

dead:
  /* the daemon learns of it and looks again */
  members--;
  atomic { LINK_ENDS(life); appeared[life] = 1 };
out:
  skip
}

active proctype rest() {
end:
  do
  :: atomic {
       timeout ->
       assert(p_done && m_joined);
       assert(looked >= returned)
     }
  od
}
