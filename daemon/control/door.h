/* SPDX-License-Identifier: MIT */
/*
 * door.h - the connections of the control socket: how many there may be, of whom, and for how long one may keep the others waiting.
 *
 * evhttp accepts whoever comes, and does not say when one has gone. So each connection has a place here by its descriptor, and whether
 * that is still the same socket is looked at when places run out.
 */
#ifndef PATHBUS_DAEMON_CONTROL_DOOR_H
#define PATHBUS_DAEMON_CONTROL_DOOR_H

#include <stdbool.h>

struct door;
struct evhttp;
struct loop;

/* Accepts for `http`. The socket stays the caller's. NULL: no memory. */
struct door *door_new(struct loop *loop, struct evhttp *http, int socket);
/* Before `http` is freed: nobody is accepted any more. */
void door_close(struct door *door);
struct door *door_free(struct door *door); /* after it. Takes NULL; returns NULL */

/* Has somebody come through who is still there? */
bool door_is_used(const struct door *door);

/* What the connection does now; it must have come through here. */
enum door_state {
	DOOR_WAITS,   /* for its next request */
	DOOR_ANSWERS, /* until all of the answer is taken */
	DOOR_STREAMS  /* for as long as it likes */
};
/* False: there was no place for it, and it is being closed. */
bool door_note(struct door *door, int fd, enum door_state state);

#endif
