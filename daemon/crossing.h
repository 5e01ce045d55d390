/* SPDX-License-Identifier: MIT */
/*
 * crossing.h - topics with several lanes: what is posted in one is carried to the others.
 */
#ifndef PATHBUS_DAEMON_CROSSING_H
#define PATHBUS_DAEMON_CROSSING_H

#include "topic.h"

struct context;

/*
 * Lanes have come, or have lost their last member: the topic's lanes are joined, or not any more; what is left in a lane is
 * carried before it goes. Before an opening is answered. 0, -ENOMEM, -EMFILE...: some lane is not joined with the others.
 */
int crossing_update(const struct context *context, struct topic *topic);
/* The topic ends. */
void crossing_end(struct topic *topic);

#endif
