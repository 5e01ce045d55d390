/* SPDX-License-Identifier: MIT */
/*
 * crossing.h - topics with several lanes: what is posted in one is carried to the others.
 *
 * Out of lanes whose members may post, into lanes whose members may subscribe. The daemon is in each of them like a member
 * (side.h). Whatever stands in a lane's memory, it is only taken for what that lane's user may say.
 */
#ifndef PATHBUS_DAEMON_CROSSING_H
#define PATHBUS_DAEMON_CROSSING_H

#include "state.h"
#include "topic.h"

struct context;

/*
 * Lanes have come, or have lost their last member: the topic's lanes are joined, or not any more; what is left in a lane is
 * carried before it goes. Before an opening is answered. 0, -ENOMEM, -EMFILE...: some lane is not joined with the others.
 */
int crossing_update(const struct context *context, struct topic *topic);
/* The same for lanes that a link has left. */
void crossing_settle(struct topic *topic);
/* The lane has been closed: what was posted before is carried, and nothing after that. */
void crossing_retire(struct topic_lane *lane);
/* The topic ends. */
void crossing_end(struct topic *topic);

/* The state, as set or read by a member of this lane: linearizable, whatever lane who else is on. -EAGAIN: it was not what was
 * expected. */
int crossing_set_state(struct crossing_lane *by, uint64_t value, const uint64_t *expected);
struct state crossing_get_state(struct crossing_lane *by);
struct state crossing_known_state(const struct topic *topic); /* as far as main has looked */
/* Its lanes are about to go, or all but one: what they say last is kept, if the topic's state is (keeping.h). */
void crossing_keep_state(struct topic *topic);

/* Is all that was in the lane up to this generation in the others by now? Carries some of it. */
bool crossing_has_carried(struct crossing_lane *from, uint64_t generation);
/* Up to which generation it is. */
uint64_t crossing_carried(const struct crossing_lane *from);
struct page *crossing_page(const struct crossing_lane *in); /* while it is there */

/* One of the daemon's own, in this lane only, which is among those of a crossing. */
void crossing_post(struct crossing_lane *in);
void crossing_resync(struct crossing_lane *in);

#endif
