/* SPDX-License-Identifier: MIT */
/*
 * departure.h - a connection has ended without a goodbye: has its process ended, too?
 *
 * Most often it is just about to: its descriptors are closed before it is gone, and until then one of its threads may
 * still be writing into a lane. What it held there is given back only once it is certain that it has gone.
 */
#ifndef PATHBUS_DAEMON_DEPARTURE_H
#define PATHBUS_DAEMON_DEPARTURE_H

#include <stdbool.h>
#include <sys/types.h>

#include "loop.h"

struct departure;

typedef void departure_fn(void *arg, bool is_gone);

/* Calls `decided` once, later, never from within, and not after departure_free: when the process has ended, or after
 * LIMIT_DEPARTURE_MS. NULL: no memory. */
struct departure *departure_new(struct loop *loop, pid_t pid, departure_fn *decided, void *arg);
struct departure *departure_free(struct departure *departure);

#endif
