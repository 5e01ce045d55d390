/* SPDX-License-Identifier: MIT */
/* states.c - set and read for members: in their lane, or in all by the crossing. */
#include "states.h"

#include <errno.h>

#include "crossing.h"
#include "keeping.h"
#include "topic_log.h"
#include "wire.h"

#define TRIES 100 /* to exchange a state that others change all the time; then it was another */

static int set_in_page(struct page *page, uint32_t slot, const struct wire_set_state *set)
{
	bool compares = set->flags & WIRE_STATE_COMPARES;
	unsigned tries = 0;
	struct state now;
	int r;

	do {
		now = state_get(page);
		if (compares && now.value != set->expected)
			return -EAGAIN;
		r = state_set(page, slot, compares ? &now : NULL, set->value, NULL);
	} while (r == -EAGAIN && compares && ++tries < TRIES);
	return r;
}

/* In a slot of the daemon's own: in the member's it may be writing itself. What is put there outlives that. */
static int set_in_lane(struct topic_lane *lane, const struct wire_set_state *set)
{
	struct page *page = topic_lane_borrow(lane);
	uint32_t slot;
	int r;

	if (!page)
		return -errno;
	slot = topic_lane_take_slot(lane);
	r = set_in_page(page, slot, set);
	topic_lane_return_slot(lane, slot);
	/* Without a post: only a link is to take it over. */
	if (r == 0 && atomic_load(&page->linked)) {
		const struct lane view = topic_lane_view(lane, page);

		lane_ring(&view);
	}
	topic_lane_return(lane, page);
	return r;
}

int states_set(struct member *member, const struct wire_set_state *set)
{
	struct topic_lane *lane = member->lane;
	int r;

	if (!(member->rights & WIRE_RIGHT_POST))
		return -EACCES;
	if (lane->crossing)
		return crossing_set_state(lane->crossing, set->value, set->flags & WIRE_STATE_COMPARES ? &set->expected : NULL);
	r = set_in_lane(lane, set);
	if (r == 0)
		topic_log_look(lane->topic, lane->user);
	return r;
}

bool states_look(const struct topic *topic, struct state *ret)
{
	const struct state *kept = keeping_state(topic);
	struct topic_lane *lane = topic->lanes;
	struct page *page;
	bool is_known;

	if (topic->crossing) {
		*ret = crossing_known_state(topic);
		return true;
	}
	while (lane && (lane->retired || !(lane->rights & WIRE_RIGHT_POST)))
		lane = lane->next;
	if (!lane) {
		*ret = kept ? *kept : (struct state){ 0 };
		return true;
	}
	page = topic_lane_borrow(lane);
	is_known = page && state_look(page, ret);
	topic_lane_return(lane, page);
	return is_known;
}

int states_get(struct member *member, struct state *ret)
{
	struct topic_lane *lane = member->lane;
	struct page *page;

	if (lane->crossing) {
		*ret = crossing_get_state(lane->crossing);
		return 0;
	}
	page = topic_lane_borrow(lane);
	if (!page)
		return -errno;
	*ret = state_get(page);
	topic_lane_return(lane, page);
	return 0;
}
