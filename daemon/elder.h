/* SPDX-License-Identifier: MIT */
/*
 * elder.h - the system-wide daemon: while it serves, a user's daemon without an explicit address does not
 * (design 7.7: one daemon decides).
 */
#ifndef PATHBUS_DAEMON_ELDER_H
#define PATHBUS_DAEMON_ELDER_H

#include <stdbool.h>

#include "folders.h"
#include "loop.h"

struct elder;

/* Does it accept connections? Never blocks. */
bool elder_serves(void);

/* Watches for it; `came` is called once it accepts connections. NULL: no memory. */
struct elder *elder_new(struct loop *loop, struct folders *folders, loop_fn *came, void *arg);
struct elder *elder_free(struct elder *elder);

#endif
