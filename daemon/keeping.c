/* SPDX-License-Identifier: MIT */
/*
 * keeping.c - see keeping.h.
 *
 * What stands in a page that only subscribers have mapped is never taken: they may write there what they like. So main has a copy
 * of its own from the moment that a lane of posters goes.
 */
#include "keeping.h"

#include <errno.h>
#include <stdlib.h>

#include "crossing.h"
#include "folders.h"
#include "happening.h"
#include "limit.h"
#include "log.h"
#include "loop.h"
#include "names.h"
#include "os/os.h"
#include "rights_watch.h"
#include "states.h"
#include "topic_log.h"
#include "topic_rules.h"
#include "user.h"
#include "wire.h"

struct kept {
	struct topic *topic;
	struct state state; /* of a version above 0 */
	struct user *user;  /* who has set it */

	/* While the topic has no members; else keeper is NULL. */
	struct keeper *keeper;
	struct kept *next, **at;
	uint64_t until_ns; /* os_now_ns; UINT64_MAX: ever */
};

struct keeper {
	const struct context *context;
	struct kept *first, **last;
	struct kept *walk; /* the next one to be looked at; NULL: none is, */
	uint64_t next_ns;  /* and then this is when there is something to do again */
	struct loop_event *timer;
};

/* --- what is charged -------------------------------------------------------------------------------- */

/* Whatever another user had charged before. */
static void give_name(struct topic_name *name, struct user *user)
{
	if (name->user)
		user_release(name->user, CHARGE_WATCHES, 1);
	user_unref(name->user);
	name->user = user_ref(user);
}

/* The name's watch, which may be another's now; and as long as the account is there it has a bell. */
static int charge(struct kept *kept, struct topic_name *name)
{
	bool is_first = user_has(kept->user, CHARGE_KEPT) == 0;
	const struct cost costs[] = {
		{ CHARGE_KEPT, 1 },
		{ CHARGE_WATCHES, name->user != kept->user },
		{ CHARGE_DESCRIPTORS, is_first },
	};
	const char *limit;
	int r = user_charge_costs(kept->user, costs, sizeof(costs) / sizeof(costs[0]), &limit);

	if (r == 0 && name->user != kept->user)
		give_name(name, kept->user);
	return r;
}

static void release(struct kept *kept)
{
	user_release(kept->user, CHARGE_KEPT, 1);
	if (user_has(kept->user, CHARGE_KEPT) == 0)
		user_release(kept->user, CHARGE_DESCRIPTORS, 1);
}

bool topic_is_kept(const struct topic *topic)
{
	return topic->kept && topic->kept->keeper;
}

/* --- those without members --------------------------------------------------------------------------- */

static void set_timer(struct keeper *keeper)
{
	const uint64_t most = UINT64_C(1000000000) * 3600;
	uint64_t now = os_now_ns(), left;

	if (keeper->walk || keeper->next_ns == UINT64_MAX)
		return;
	left = keeper->next_ns > now ? keeper->next_ns - now : 0;
	loop_set(keeper->timer, left < most ? (unsigned)(left / 1000000) + 1 : (unsigned)(most / 1000000));
}

static void list(struct keeper *keeper, struct kept *kept, uint64_t keep_s)
{
	kept->keeper = keeper;
	kept->until_ns = keep_s == TOPIC_KEEP_EVER ? UINT64_MAX : os_now_ns() + keep_s * UINT64_C(1000000000);
	kept->next = NULL;
	kept->at = keeper->last;
	*keeper->last = kept;
	keeper->last = &kept->next;
	kept->topic->topics->n_kept++;
	if (kept->until_ns < keeper->next_ns) {
		keeper->next_ns = kept->until_ns;
		set_timer(keeper);
	}
}

static void unlist(struct kept *kept)
{
	struct keeper *keeper = kept->keeper;

	if (!keeper)
		return;
	if (keeper->walk == kept)
		keeper->walk = kept->next;
	*kept->at = kept->next;
	if (kept->next)
		kept->next->at = kept->at;
	else
		keeper->last = kept->at;
	kept->keeper = NULL;
	kept->topic->topics->n_kept--;
	release(kept);
}

struct kept *keeping_free(struct kept *kept)
{
	if (!kept)
		return NULL;
	unlist(kept);
	kept->topic->kept = NULL;
	user_unref(kept->user);
	free(kept);
	return NULL;
}

static void end(const struct context *context, struct topic *topic)
{
	if (topic_is_kept(topic))
		topic_log_forgotten(topic, topic->kept->user);
	if (topic->has_opened)
		happening_note(HAPPENING_TOPIC_CLOSED, .topic = topic->number, .path = topic_path(topic));
	rights_watch_forget(context->rights_watch, topic);
	for (struct topic_name *name = topic->names; name; name = name->next)
		folders_detach(context->folders, name);
	topic_free(topic);
}

/* Some at a time, since there may be many. */
static void look_at_all(void *arg)
{
	struct keeper *keeper = arg;
	uint64_t now = os_now_ns();

	if (!keeper->walk) {
		keeper->walk = keeper->first;
		keeper->next_ns = UINT64_MAX;
	}
	for (unsigned n = 0; keeper->walk && n < LIMIT_KEPT_IN_A_ROW; n++) {
		struct kept *kept = keeper->walk;

		keeper->walk = kept->next;
		if (kept->until_ns <= now)
			end(keeper->context, kept->topic);
		else if (kept->until_ns < keeper->next_ns)
			keeper->next_ns = kept->until_ns;
	}
	if (keeper->walk)
		loop_call_soon(keeper->timer);
	else
		set_timer(keeper);
}

void keeping_folder_gone(const struct context *context, struct topic_name *name)
{
	struct kept *kept = name->topic->kept;

	/* Not now: whoever says so is walking over the folder's names. */
	if (!kept || !kept->keeper || !folders_is_gone(context->folders, name))
		return;
	kept->until_ns = kept->keeper->next_ns = 0;
	set_timer(kept->keeper);
}

void keeping_set(struct topic *topic, uint64_t keep_s)
{
	struct kept *kept = topic->kept;

	if (topic->keep_s == keep_s)
		return;
	topic->keep_s = keep_s;
	if (!kept || !kept->keeper)
		return;
	/* Not now: whoever says so is walking over all topics. */
	kept->until_ns = keep_s == TOPIC_KEEP_EVER ? UINT64_MAX : keep_s > 0 ? os_now_ns() + keep_s * UINT64_C(1000000000) : 0;
	if (kept->until_ns < kept->keeper->next_ns) {
		kept->keeper->next_ns = kept->until_ns;
		set_timer(kept->keeper);
	}
}

/* --- the state ---------------------------------------------------------------------------------------- */

const struct state *keeping_state(const struct topic *topic)
{
	return topic->kept ? &topic->kept->state : NULL;
}

struct user *keeping_user(const struct topic *topic)
{
	return topic->kept ? topic->kept->user : NULL;
}

void keeping_take(struct topic *topic, const struct state *state, struct user *user)
{
	struct kept *kept = topic->kept;

	if (topic->keep_s == 0 || state->version == 0)
		return;
	if (kept && kept->state.value == state->value) {
		if (state->version > kept->state.version)
			kept->state.version = states_version(kept->state.version, state->version);
		return;
	}
	if (!kept) {
		kept = calloc(1, sizeof(*kept));
		if (!kept) {
			log_event(REASON_NO_MEMORY, "no memory to keep a topic's state");
			return;
		}
		kept->topic = topic;
		topic->kept = kept;
	}
	user_unref(kept->user);
	kept->user = user_ref(user);
	kept->state = (struct state){ .value = state->value, .version = states_version(kept->state.version, state->version) };
}

void keeping_take_lane(struct topic_lane *lane)
{
	struct page *page;
	struct state now;

	if (lane->topic->keep_s == 0 || lane->retired || !(lane->rights & WIRE_RIGHT_POST))
		return;
	page = topic_lane_borrow(lane);
	if (!page)
		log_event(REASON_NO_MEMORY, "no memory to keep a topic's state");
	else if (state_look(page, &now))
		keeping_take(lane->topic, &now, lane->user);
	topic_lane_return(lane, page);
}

void keeping_put(struct topic_lane *lane)
{
	const struct state *state = keeping_state(lane->topic);
	struct page *page;
	uint32_t slot;

	if (!state || !(lane->rights & WIRE_RIGHT_SUBSCRIBE))
		return;
	page = topic_lane_borrow(lane);
	if (!page) {
		log_event(REASON_NO_MEMORY, "no memory to tell a topic's state that was kept");
		return;
	}
	slot = topic_lane_take_slot(lane);
	(void)state_put(page, slot, NULL, &(struct state){ .value = state->value, .version = state->version });
	topic_lane_return_slot(lane, slot);
	topic_lane_return(lane, page);
}

/* --- ending and beginning ----------------------------------------------------------------------------- */

/* It is kept under one name, that of who has set the state if it is charged for one: others may have given it any number of them. */
static struct topic_name *name_to_keep(const struct topic *topic)
{
	struct topic_name *name = topic->names;

	while (name && name->user != topic->kept->user)
		name = name->next;
	return name ? name : topic->names;
}

static void forget_other_names(const struct context *context, struct topic *topic, struct topic_name *stays)
{
	rights_watch_forget(context->rights_watch, topic);
	for (struct topic_name *name = topic->names; name; name = name->next)
		if (name != stays)
			folders_detach(context->folders, name);
	names_free_but(topic, stays);
}

/* What is known of the state from those who could set it. */
static void take_all(struct topic *topic)
{
	if (topic->crossing)
		crossing_keep_state(topic);
	for (struct topic_lane *lane = topic->lanes; lane && !topic->crossing; lane = lane->next)
		keeping_take_lane(lane);
}

static bool keep(const struct context *context, struct topic *topic, struct user *user)
{
	struct keeper *keeper = context->keeper;
	struct topic_name *name;
	struct kept *kept;

	if (topic_is_kept(topic))
		return true; /* who opened it did not get it */
	if (topic->keep_s == 0)
		return false;
	take_all(topic);
	kept = topic->kept;
	if (!kept)
		return false;
	name = name_to_keep(topic);
	/* One that is not watched may be another one of the same number when somebody comes again. */
	if (folders_is_gone(context->folders, name)) {
		log_event(REASON_NOT_KEPT, "a topic's state is not kept, since its folder is gone or cannot be watched");
		return false;
	}
	if (charge(kept, name) < 0)
		return false; /* which has been logged */
	topic_log_ends(topic, user, true);
	topic_empty(topic);
	forget_other_names(context, topic, name);
	list(keeper, kept, topic->keep_s);
	return true;
}

void keeping_end(const struct context *context, struct topic *topic, struct user *user)
{
	if (keep(context, topic, user))
		return;
	topic_log_ends(topic, user, false);
	end(context, topic);
}

void keeping_look(struct topic_name *name, const struct files_reply *reply)
{
	struct topic *topic = name->topic;
	struct kept *kept = topic->kept;
	bool is_over;

	if (!kept)
		return;
	is_over = topic->keep_s == 0;
	/* A watch is a folder's for good: one of the same number that was made later has another. */
	if (kept->keeper)
		is_over |= reply->watch <= 0 || reply->watch != name->watch || kept->until_ns <= os_now_ns();
	if (!is_over)
		return;
	topic_log_forgotten(topic, kept->user);
	keeping_free(kept);
}

void keeping_begin(struct topic_name *name, struct user *user)
{
	struct kept *kept = name->topic->kept;

	if (!kept || !kept->keeper)
		return;
	if (name->user != user && user_may_have(user, CHARGE_WATCHES, 1)) {
		user_charge_anyway(user, CHARGE_WATCHES, 1);
		give_name(name, user);
	}
	unlist(kept);
}

void topic_forget(const struct context *context, struct topic *topic)
{
	if (topic_is_kept(topic)) {
		end(context, topic);
		return;
	}
	keeping_free(topic->kept);
	topic->keep_s = 0; /* nor is what its lanes say; who joins it anew says what holds then */
	rights_watch_rejoin(context->rights_watch, topic);
}

size_t topics_n_kept(const struct topics *topics)
{
	return topics->n_kept;
}

/* --- life --------------------------------------------------------------------------------------------- */

struct keeper *keeper_new(const struct context *context)
{
	struct keeper *keeper = calloc(1, sizeof(*keeper));

	if (!keeper)
		return NULL;
	keeper->context = context;
	keeper->last = &keeper->first;
	keeper->next_ns = UINT64_MAX;
	keeper->timer = loop_timer(context->loop, look_at_all, keeper);
	return keeper->timer ? keeper : keeper_free(keeper);
}

struct keeper *keeper_free(struct keeper *keeper)
{
	if (keeper)
		loop_event_free(keeper->timer);
	free(keeper);
	return NULL;
}
