/* SPDX-License-Identifier: MIT */
/* crossing_internal.h - a crossing as crossing.c and crossing_state.c share it. */
#ifndef PATHBUS_DAEMON_CROSSING_INTERNAL_H
#define PATHBUS_DAEMON_CROSSING_INTERNAL_H

#include "crossing.h"
#include "known.h"
#include "loop.h"
#include "share.h"
#include "side.h"
#include "state.h"
#include "topic_lane.h"
#include "wire.h"

/* What a user has said on this topic: its messages that were carried. Kept for all of the crossing's time, since who comes
 * back may publish again what was carried already. */
struct speaker {
	struct speaker *next;
	struct user *user;
	struct known said;
};

struct crossing_lane {
	struct crossing *crossing;
	struct topic_lane *lane;
	struct side side;
	struct speaker *speaker;
	struct state state;              /* what the page says, as far as is known */
	uint64_t carried;                /* the generation up to which all was taken */
	unsigned group;                  /* if it is listened to: */
	struct loop_event *rung, *later; /* NULL: it is not */
	struct share_place turn;         /* of its user's time */
	uint64_t heard_ns;               /* its bell, for what is not in the others yet; 0: it rests */
	bool is_new;                     /* has not been looked at */
	bool was_put;                    /* something was put into it since it was heard last: then that may be why it rings */
	bool rests;                      /* its user has had as much carried as may be: not listened to until `later` */
};

struct crossing {
	struct topic *topic;
	struct loop *loop;
	struct speaker *speakers;
	struct loop_event *settling; /* a lane that was left is at its end */
	struct state state; /* the topic's: only here it gets its versions */
	struct user *setter; /* who has set it; NULL: nobody yet */
};

static inline bool is_taken_from(const struct topic_lane *lane)
{
	return lane->rights & WIRE_RIGHT_POST;
}

static inline bool is_put_into(const struct topic_lane *lane)
{
	return lane->rights & WIRE_RIGHT_SUBSCRIBE;
}

/* --- crossing_state.c --- */
/* What the lane's members, or a link, have set there by themselves goes to the others. */
void crossing_take_state(struct crossing_lane *from);
/* A lane comes. */
void crossing_join_state(struct crossing_lane *end);
/* All lanes have come, and none of those whose members may post has a state: that of before, if it was kept. */
void crossing_begin_state(struct crossing *crossing);

#endif
