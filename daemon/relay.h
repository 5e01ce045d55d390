/* SPDX-License-Identifier: MIT */
/*
 * relay.h - the daemon's own end of a lane that has socket-only members: the mapping, and the bell it listens to for
 * them. It exists as long as there are such members, and listens while one of them subscribes.
 */
#ifndef PATHBUS_DAEMON_RELAY_H
#define PATHBUS_DAEMON_RELAY_H

#include "lane.h"
#include "loop.h"
#include "queue.h"
#include "ring.h"
#include "topic.h"

struct relay {
	struct topic_lane *lane;
	struct loop *loop;
	void *map;
	struct ring ring; /* ring.page: the lane's */
	unsigned n_members;
	uint64_t number;                        /* the last that was given to a message whose client does not count */
	unsigned group, n_listening;            /* those that want events */
	struct loop_event *rung;                /* NULL: nobody wants events */

	/* turns.c: those that have been told everything; and those of them that are to be looked at again. */
	struct queue resting, looked_at;
	struct loop_event *looking, *lease;
	uint64_t lease_ns; /* 0: `lease` is not set */
};

/* The topic's, made if it has none; it counts one member more. 0, -ENOMEM, -errno. */
int relay_join(struct topic_lane *lane, struct loop *loop, struct relay **ret);
void relay_leave(struct relay *relay);
/* Listens, if it does not yet: one of its members wants events. 0, -ENOMEM, -EMFILE... */
int relay_listen(struct relay *relay);
/* It does not any more. */
void relay_unlisten(struct relay *relay);
/* A number for a message whose client does not count: above `last`, which is of the same opening. Above what other
 * openings of its origin were given, too, earlier ones of another daemon's included. */
uint64_t relay_new_number(struct relay *relay, uint64_t last);

/* The lane to post to, and to arm. */
struct lane relay_lane(const struct relay *relay);

#endif
