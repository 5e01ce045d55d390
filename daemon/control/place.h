/* SPDX-License-Identifier: MIT */
/*
 * place.h - where the control socket is: beside the bus's own, or where `control` says; and whose it is.
 */
#ifndef PATHBUS_DAEMON_CONTROL_PLACE_H
#define PATHBUS_DAEMON_CONTROL_PLACE_H

#include <stdbool.h>
#include <sys/types.h>

#include "daemon/serving.h"

struct options;

struct control_place {
	bool is_on;
	struct serving serving; /* of one that was inherited only the listener */
	gid_t group;            /* who may use it beside root and this process's user; (gid_t)-1: nobody */
};

/*
 * Takes the place, beside `bus`, and listens; `user` is the service user of the daemon of all users, else NULL. `inherited`, if not
 * -1, is a listening socket that whoever has started us made: it is taken over in any case, and its file left alone. EXIT_STOPPED,
 * or logs why not and returns the exit status.
 */
int control_place_take(const struct options *options, const struct serving *bus, const struct service_user *user, int inherited,
                       struct control_place *ret);
/* Closes it and removes its files. What was never taken may be zeroed. */
void control_place_leave(struct control_place *place);

#endif
