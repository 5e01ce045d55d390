/* SPDX-License-Identifier: MIT */
/*
 * turns.h - which of a lane's socket-only members are looked at, and when those of a connection are told.
 */
#ifndef PATHBUS_DAEMON_TURNS_H
#define PATHBUS_DAEMON_TURNS_H

#include <stdint.h>

#include "queue.h"

struct client;
struct relay;
struct subscriber;

/* A subscriber's: among the relay's that rest or are to be looked at, or among those of its connection that are due. */
struct turn {
	struct queue place;
	struct subscriber *subscriber;
	struct relay *relay;
	struct client *client;
};

enum turn_end { TURN_RESTS, TURN_GOES_ON, TURN_STALLED };

/* subscriber.c: tells some events, `budget` at most; it is lowered. *ret_lease_ns: when one that stalled is to look
 * again. */
enum turn_end subscriber_take_turn(struct subscriber *subscriber, unsigned *budget, uint64_t *ret_lease_ns);

/* It arms, and finds what came meanwhile. 0, -ENOMEM. */
int turns_join(struct turn *turn);
void turns_leave(struct turn *turn); /* nothing, if it has not joined */

/* The lane has changed. */
void turns_look(struct relay *relay);
void turns_looking(void *relay); /* at those that are to be looked at, some at a time */
void turns_lease_is_over(void *relay);
/* The poster has changed it and is going to be told so: connections that have room are sent it before that, unless they
 * are very many or have much to be told. */
void turns_deliver(struct relay *relay, struct client *poster);
/* The connection has taken something. */
void turns_go_on(struct client *client);

#endif
