/* SPDX-License-Identifier: MIT */
/*
 * carrier.h - rings those lanes of a user that have more members than a poster should pay for (design 4).
 *
 * One bell for all of them, which every client of that user has.
 */
#ifndef PATHBUS_DAEMON_CARRIER_H
#define PATHBUS_DAEMON_CARRIER_H

#include <stdbool.h>

#include "loop.h"
#include "page.h"

struct carrier;
struct share;
struct topic_lane;

/*
 * A lane with more than `offload_members` that listen, or more than `offload_message_members` and messages, is offloaded.
 * `share`: its user's, of main's time. `loop` NULL: the caller calls carrier_carry and carrier_look_for_messages. -EMFILE, -ENFILE, -ENOMEM.
 */
int carrier_new(struct loop *loop, struct share *share, unsigned offload_members, unsigned offload_message_members,
                struct carrier **ret);
/* It has no lanes any more. Takes NULL. Returns NULL. */
struct carrier *carrier_free(struct carrier *carrier);
/* Other numbers. Each of its lanes follows when members of it come or go (topic_lane_offload_anew). */
void carrier_set(struct carrier *carrier, unsigned offload_members, unsigned offload_message_members);
/* Might this lane be offloaded, or not be any more, after that? Then carrier_members_came and carrier_members_left decide. */
bool carrier_may_change(const struct topic_lane *lane);
int carrier_bell(const struct carrier *carrier); /* stays the carrier's */

/* For topic_lane.c. The page is mapped, and stays so if the lane's `page` becomes it. */
void carrier_members_came(struct topic_lane *lane, struct page *page);
void carrier_members_left(struct topic_lane *lane);
/* The lane ends. */
void carrier_forget(struct topic_lane *lane);

/* Rings the lanes that are or were offloaded and have been posted to since; returns whether it wants to be called again, in the
 * user's next turn. `begin`: the bell has been rung. */
bool carrier_carry(struct carrier *carrier, bool begin);
/* Also its work: whoever publishes first in a lane rings the carrier's bell. Looks which lanes have to be offloaded for
 * that; returns whether it wants to be called again. `begin`: the bell has been rung. */
bool carrier_look_for_messages(struct carrier *carrier, bool begin);

#endif
