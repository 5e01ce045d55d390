/* SPDX-License-Identifier: MIT */
/*
 * carrier.h - rings the lanes that have more members than a poster should pay for (design 4).
 */
#ifndef PATHBUS_DAEMON_CARRIER_H
#define PATHBUS_DAEMON_CARRIER_H

#include "loop.h"

struct carrier;
struct topics;

int carrier_bell_new(void); /* the daemon's bell: the caller's; or -errno */
/* NULL: no memory. */
struct carrier *carrier_new(struct loop *loop, int bell, struct topics *topics);
struct carrier *carrier_free(struct carrier *carrier);

#endif
