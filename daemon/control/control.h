/* SPDX-License-Identifier: MIT */
/*
 * control.h - the control socket's server: HTTP and JSON for admins. docs/control-api.json says what is asked and answered.
 *
 * Its work is done in the loop, a little at a time: nothing here waits, and what one request costs is bounded, in time between
 * two looks at the descriptors and in memory.
 */
#ifndef PATHBUS_DAEMON_CONTROL_CONTROL_H
#define PATHBUS_DAEMON_CONTROL_CONTROL_H

#include <stdbool.h>

struct context;
struct control;
struct control_place;

/* Serves at the place, whose socket stays the caller's and is closed after this has ended. 0, -ENOMEM. */
int control_start(const struct context *context, const struct control_place *place, struct control **ret);
/* Is somebody connected? Takes NULL. */
bool control_is_used(const struct control *control);
/* Ends all its connections. Takes NULL; returns NULL. */
struct control *control_end(struct control *control);

#endif
