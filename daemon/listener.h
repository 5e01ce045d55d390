/* SPDX-License-Identifier: MIT */
/*
 * listener.h - accepts connections, also when descriptors are short.
 */
#ifndef PATHBUS_DAEMON_LISTENER_H
#define PATHBUS_DAEMON_LISTENER_H

#include "client.h"

struct listener;

/* `socket` stays the caller's. NULL: no memory. */
struct listener *listener_new(struct loop *loop, int socket, struct clients *clients);
struct listener *listener_free(struct listener *listener);

#endif
