/* SPDX-License-Identifier: MIT */
/*
 * share.h - a user's share of main's time. What it asks for beyond that in one round of the loop waits for the next, however many
 * connections it has; and what has to wait for room, or for time to pass, is called again.
 */
#ifndef PATHBUS_DAEMON_SHARE_H
#define PATHBUS_DAEMON_SHARE_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "queue.h"

struct share {
	struct loop *loop; /* NULL: nobody is called by itself */
	uint64_t turn_ns;  /* of one round; 0: as much as it wants */
	uint64_t round, spent_ns;
	bool is_running;         /* somebody is being called: since */
	uint64_t began_ns;
	struct queue parked;     /* for the next round */
	struct loop_event *turn; /* takes them out */
	struct queue waiting;    /* for room, or time */
	struct queue looked_at;  /* those of them that are being called */
	struct loop_event *wake, *room; /* call them: at a time, or soon */
	uint64_t wake_ns; /* when `wake` is set for; 0: it is not */
};

/* Somebody who may be called again. Zeroed at first, then `fn` and `arg` set once. */
struct share_place {
	struct queue place;
	loop_fn *fn;
	void *arg;
};

int share_init(struct share *share, struct loop *loop, uint64_t turn_ns); /* 0, -ENOMEM */
void share_deinit(struct share *share); /* nobody is in it */

/* Calls it, if nobody of the user waits for its turn and there is time left in this round of the loop; else in its turn, in a later
 * round. Returns whether it was called. */
bool share_run(struct share *share, struct share_place *place);
/* For who is being called, between two steps: it has had its time, and should go on in a later round. */
bool share_is_over(const struct share *share);

/* To be called when there may be room, or at `at_ns` at the latest; now and then before that, to see whether it still has to. */
void share_wait(struct share *share, struct share_place *place, uint64_t at_ns);
/* There is room. */
void share_room(struct share *share);

/* It is not to be called any more. */
static inline void share_leave(struct share_place *place)
{
	queue_remove(&place->place);
}

#endif
