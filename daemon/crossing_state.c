/* SPDX-License-Identifier: MIT */
/*
 * crossing_state.c - one state for all lanes of a topic: its versions are made here, and the pages say what it is.
 */
#include <errno.h>

#include "crossing_internal.h"
#include "keeping.h"
#include "states.h"
#include "topic_log.h"
#include "user.h"

#define JOIN_TRIES 16

/* What is there for others is there for them, too; with a version of its own, if its users have numbered theirs further. */
static void put_state(struct crossing_lane *to)
{
	struct state put = to->crossing->state;

	if (to->state.version >= put.version && to->state.version < STATE_LAST_VERSION)
		put.version = to->state.version + 1;
	if (to->side.slot == WIRE_NO_SLOT) { /* one may be free by now */
		to->side.slot = topic_lane_take_slot(to->lane);
		to->lane->n_unslotted -= to->side.slot == WIRE_NO_SLOT;
	}
	/* Where that is not possible somebody writes there all the time, against all rules. */
	if (!state_put(to->side.lane.page, to->side.slot, NULL, &put))
		return;
	to->state = put;
	if (to->lane->n_links > 0)
		lane_ring(&to->side.lane);
}

/* From `from`, whose page says so already; NULL: by the daemon. `version`: what it should have at least. */
static void set_state(struct crossing *crossing, uint64_t value, uint64_t version, const struct crossing_lane *from,
                      struct user *setter)
{
	struct state *state = &crossing->state;

	version = states_version(state->version, version);
	*state = (struct state){ .value = value, .version = version };
	(void)user_ref(setter);
	user_unref(crossing->setter);
	crossing->setter = setter;
	topic_log_state(crossing->topic, setter, state);
	for (struct topic_lane *lane = crossing->topic->lanes; lane; lane = lane->next)
		if (lane->crossing && is_put_into(lane) && (lane->crossing != from || from->state.version < version))
			put_state(lane->crossing);
}

/* What its members, or a link, have set in the lane by themselves. */
void crossing_take_state(struct crossing_lane *from)
{
	const struct state *state = &from->crossing->state;
	struct state now;

	if (state_is_still(from->side.lane.page, &from->state) || !state_look(from->side.lane.page, &now))
		return;
	from->state = now;
	if (now.version > 0 && (now.value != state->value || state->version == 0))
		set_state(from->crossing, now.value, now.version, from, from->lane->user);
}

static void take_states(struct crossing *crossing)
{
	for (struct topic_lane *lane = crossing->topic->lanes; lane; lane = lane->next)
		if (lane->crossing && is_taken_from(lane))
			crossing_take_state(lane->crossing);
}

int crossing_set_state(struct crossing_lane *by, uint64_t value, const uint64_t *expected)
{
	struct crossing *crossing = by->crossing;

	take_states(crossing);
	if (expected && crossing->state.value != *expected)
		return -EAGAIN;
	set_state(crossing, value, 0, NULL, by->lane->user);
	if (!is_put_into(by->lane))
		put_state(by); /* its own word */
	return 0;
}

struct state crossing_get_state(struct crossing_lane *by)
{
	take_states(by->crossing);
	return is_put_into(by->lane) ? by->crossing->state : by->state;
}

/* The first that is known: what was kept of before is older. */
static uint64_t version_of_first(const struct crossing_lane *end, const struct state *first)
{
	const struct state *kept = keeping_state(end->crossing->topic);

	return !kept || first->value == kept->value ? first->version : states_version(kept->version, first->version);
}

/* A lane comes. Who has compared what is there, and then sets it in the lane by itself, fails from now on; who looks only now,
 * sees that it is to ask. */
void crossing_join_state(struct crossing_lane *end)
{
	struct page *page = end->side.lane.page;
	struct state before = { 0 }, now = { 0 };
	bool is_put = false;

	atomic_store(&page->divided, 1);
	for (unsigned tries = 0; is_taken_from(end->lane) && !is_put && tries < JOIN_TRIES; tries++) {
		(void)state_look(page, &before);
		now = before;
		is_put = state_put(page, end->side.slot, &before, &now);
	}
	end->state = now;
	if (now.version > 0 && end->crossing->state.version == 0)
		set_state(end->crossing, now.value, version_of_first(end, &now), end, end->lane->user);
	if (is_put_into(end->lane) && end->crossing->state.version > 0 && end->crossing->state.value != now.value)
		put_state(end);
}

struct state crossing_known_state(const struct topic *topic)
{
	return topic->crossing->state;
}

void crossing_begin_state(struct crossing *crossing)
{
	const struct state *kept = keeping_state(crossing->topic);

	if (kept && crossing->state.version == 0)
		set_state(crossing, kept->value, kept->version, NULL, keeping_user(crossing->topic));
}

void crossing_keep_state(struct topic *topic)
{
	struct crossing *crossing = topic->crossing;

	take_states(crossing);
	if (crossing->state.version > 0)
		keeping_take(topic, &crossing->state, crossing->setter);
}
