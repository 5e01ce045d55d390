/* SPDX-License-Identifier: MIT */
/*
 * idle.h - a daemon that is started on demand ends when nobody has needed it for a while.
 *
 * Nothing wakes up for it while there is something to do: whoever ends or goes says so.
 */
#ifndef PATHBUS_DAEMON_IDLE_H
#define PATHBUS_DAEMON_IDLE_H

#include "context.h"
#include "loop.h"

struct idle;

/* `leave` is called when there have been no clients and no topics for `idle-exit`, and nobody waits at the listener. It begins
 * with such a rest. `idle-exit` 0: never. NULL: no memory. */
struct idle *idle_new(const struct context *context, int listener, loop_fn *leave, void *arg);
struct idle *idle_free(struct idle *idle); /* takes NULL */
/* Something has ended: a connection, a topic; or `idle-exit` is another. Takes NULL. */
void idle_note(struct idle *idle);

#endif
