/* SPDX-License-Identifier: MIT */
/*
 * topic.c - members of topics and their lanes; names.c has the tables by which they are found.
 */
#include "topic.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crossing.h"
#include "happening.h"
#include "keeping.h"
#include "log.h"
#include "names.h"
#include "os/os.h"
#include "regions.h"
#include "syncing.h"
#include "topic_log.h"
#include "trace.h"
#include "user.h"
#include "wire.h"

/* --- topics ---------------------------------------------------------------------------------------- */

struct topics *topics_new(void)
{
	struct topics *topics = calloc(1, sizeof(*topics));

	if (!topics)
		return NULL;
	if (names_init(topics) < 0) {
		free(topics);
		return NULL;
	}
	return topics;
}

struct topics *topics_free(struct topics *topics)
{
	struct table_entry *entry;

	if (!topics)
		return NULL;
	topics->emptied = NULL;
	while ((entry = table_any(&topics->by_key)))
		topic_free(table_container(entry, struct topic_name, by_key)->topic);
	names_deinit(topics);
	free(topics);
	return NULL;
}

struct topic *topics_find_number(const struct topics *topics, uint64_t number)
{
	return roster_find(&topics->roster, number);
}

struct topic *topics_after(const struct topics *topics, uint64_t number)
{
	return roster_after(&topics->roster, number);
}

size_t topics_count(const struct topics *topics)
{
	return topics->n_topics;
}

void topics_on_empty(struct topics *topics, void (*fn)(void *arg), void *arg)
{
	topics->emptied = fn;
	topics->arg = arg;
}

int topics_add(struct topics *topics, const struct topic_key *key, struct topic_name **ret)
{
	struct topic *topic = calloc(1, sizeof(*topic));
	int r;

	if (!topic)
		return -ENOMEM;
	topic->topics = topics;
	topics->n_topics++;
	topic->opened_ns = os_now_ns();
	r = roster_add(&topics->roster, topic, &topic->number);
	if (r == 0)
		r = topic_add_name(topic, key, ret);
	if (r < 0)
		topic_free(topic);
	return r;
}

enum { N_LANE_COSTS = 3 };

static void lane_costs(const struct lane_shape *shape, struct cost *ret)
{
	ret[0] = (struct cost){ CHARGE_LANES, 1 };
	ret[1] = (struct cost){ CHARGE_LANE_BYTES, lane_size(shape) };
	ret[2] = (struct cost){ CHARGE_DESCRIPTORS, 2 }; /* its memory and its first bell */
}

/* Takes the lane out. */
static void free_lane(struct topic_lane *lane)
{
	struct user *user = user_ref(lane->user);
	struct topic_lane **at = &lane->topic->lanes;
	struct cost costs[N_LANE_COSTS];

	lane_costs(&lane->shape, costs);
	trace_forget(lane);
	lane_counts_take(lane);
	while (*at != lane)
		at = &(*at)->next;
	*at = lane->next;
	topic_lane_free(lane);
	user_release_costs(user, costs, N_LANE_COSTS);
	user_unref(user);
}

void topic_walk_begin(struct topic_walk *walk, struct topic *topic)
{
	*walk = (struct topic_walk){ .topic = topic, .member = topic->members, .next = topic->walks };
	topic->walks = walk;
}

void topic_walk_end(struct topic_walk *walk)
{
	struct topic_walk **at = walk->topic ? &walk->topic->walks : NULL;

	while (at && *at != walk)
		at = &(*at)->next;
	if (at)
		*at = walk->next;
	*walk = (struct topic_walk){ 0 };
}

void topic_empty(struct topic *topic)
{
	crossing_end(topic);
	syncing_end(topic);
	while (topic->lanes)
		free_lane(topic->lanes);
}

struct topic *topic_free(struct topic *topic)
{
	struct topics *topics = topic->topics;

	while (topic->walks)
		topic_walk_end(topic->walks);
	while (topic->members) {
		struct member *member = topic->members;

		topic->members = member->next;
		regions_leave(member);
		user_release(member->lane->user, CHARGE_MEMBERS, 1);
		free(member->path);
		free(member);
	}
	keeping_free(topic->kept);
	topic_log_free(topic->log);
	while (topic->names)
		names_free_first(topic);
	topic_empty(topic);
	roster_remove(&topics->roster, topic->number);
	if (--topics->n_topics == 0 && topics->emptied)
		topics->emptied(topics->arg);
	free(topic);
	return NULL;
}

/* --- lanes ----------------------------------------------------------------------------------------- */

struct topic_lane *topic_find_lane(const struct topic *topic, const struct user *user, uint32_t rights)
{
	struct topic_lane *lane = topic->lanes;

	while (lane && (lane->retired || lane->user != user || lane->rights != rights))
		lane = lane->next;
	return lane;
}

static bool has_other_lanes(const struct topic_lane *lane)
{
	const struct topic_lane *other = lane->topic->lanes;

	while (other && (other == lane || other->retired))
		other = other->next;
	return other != NULL;
}

static int make_lane(struct topic_name *name, const struct joining *joining, struct topic_lane **ret, const char **ret_limit)
{
	struct topic *topic = name->topic;
	struct cost costs[N_LANE_COSTS];
	int r;

	lane_costs(&joining->shape, costs);
	r = user_charge_costs(joining->user, costs, N_LANE_COSTS, ret_limit);
	if (r < 0)
		return r;
	r = topic_lane_new(joining->user, joining->rights, &name->key, &joining->shape, ret);
	if (r < 0) {
		user_release_costs(joining->user, costs, N_LANE_COSTS);
		return r;
	}
	(*ret)->topic = topic;
	(*ret)->number = ++topic->topics->last_lane;
	(*ret)->next = topic->lanes;
	topic->lanes = *ret;
	if (!has_other_lanes(*ret)) /* else they know better */
		keeping_put(*ret);
	return 0;
}

void topic_drop_empty_lanes(struct topic *topic)
{
	for (struct topic_lane *lane = topic->lanes, *next; lane && topic->n_members > 0; lane = next) {
		next = lane->next;
		if (lane->n_members == 0 && lane->n_links == 0 && !lane->crossing)
			free_lane(lane); /* if another has the topic open, the crossing has taken what there was */
	}
}

void topic_keep_lanes(struct topic *topic, const struct user *user, bool keep)
{
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (lane->user == user)
			lane->kept = keep;
}

bool topic_was_posted(struct topic *topic, const struct user *user)
{
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (lane->user == user && topic_lane_was_posted(lane))
			return true;
	return false;
}

bool topic_has_members_of(const struct topic *topic, const struct user *user)
{
	for (const struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (lane->user == user && lane->n_members > 0)
			return true;
	return false;
}

void topic_resync(struct topic *topic)
{
	happening_note(HAPPENING_RESYNC, .topic = topic->number, .path = topic_path(topic));
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		topic_lane_resync(lane);
}

void topic_resync_for(struct topic *topic, const struct user *user)
{
	bool may_post = false;

	happening_note(HAPPENING_RESYNC, .topic = topic->number, .path = topic_path(topic), .uid = user_uid(user), .has_uid = true);
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		may_post |= lane->user == user && (lane->rights & WIRE_RIGHT_POST);
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (may_post || lane->user == user)
			topic_lane_resync(lane);
}

void topic_post(struct topic *topic)
{
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		topic_lane_post(lane);
}

int topic_link_join(struct topic_lane *lane, pid_t pid, unsigned *ret_group, uint32_t *ret_slot)
{
	struct page *page = topic_lane_borrow(lane);
	int r;

	if (!page)
		return -errno;
	r = topic_lane_listen_in(lane, page, ret_group);
	if (r == 0) {
		lane->n_links++;
		*ret_slot = topic_lane_take_slot(lane);
		if (*ret_slot != WIRE_NO_SLOT)
			page_take_slot(page, *ret_slot, pid);
	}
	topic_lane_return(lane, page);
	return r < 0 ? r : lane->groups[*ret_group].bell;
}

void topic_link_leave(struct topic_lane *lane, unsigned group, uint32_t slot, bool died)
{
	struct page *page = topic_lane_borrow(lane);

	topic_lane_unlisten(lane, group);
	if (page && slot != WIRE_NO_SLOT) {
		if (died)
			topic_lane_recover(lane, page, slot);
		page_leave_slot(page, slot);
	}
	topic_lane_return(lane, page);
	topic_lane_return_slot(lane, slot);
	lane->n_links--;
}

/* --- members --------------------------------------------------------------------------------------- */

/* Into a lane that is there. 0 or -errno. */
static int enter(struct member *member, bool listens)
{
	struct topic_lane *lane = member->lane;
	struct page *page = topic_lane_borrow(lane);
	int r = page ? 0 : -errno;

	if (r == 0 && listens)
		r = topic_lane_listen_in(lane, page, &member->group);
	if (r == 0) {
		member->slot = topic_lane_take_slot(lane);
		if (member->slot != WIRE_NO_SLOT)
			page_take_slot(page, member->slot, member->pid);
		lane->n_members++;
	}
	topic_lane_return(lane, page);
	return r;
}

static int charge_name(struct topic_name *name, struct user *user, const char **ret_limit)
{
	int r = name->user ? 0 : user_charge_costs(user, &(struct cost){ CHARGE_WATCHES, 1 }, 1, ret_limit);

	if (r == 0 && !name->user)
		name->user = user_ref(user);
	return r;
}

/* One who has it is not in it by this name any more, or never came to be: it is charged to another who is. If there is none it
 * stays with who had it last, since nobody else has asked for it. */
static void pass_name_on(struct topic_name *name, struct user *user)
{
	const struct member *other = name->topic->members;

	if (name->user != user)
		return;
	while (other && other->name != name)
		other = other->next;
	if (!other || other->lane->user == user)
		return;
	user_move_charge(user, other->lane->user, CHARGE_WATCHES, 1);
	name->user = user_ref(other->lane->user);
	user_unref(user);
}

int topic_join(struct topic_name *name, const struct joining *joining, struct member **ret, const char **ret_limit)
{
	struct topic *topic = name->topic;
	struct member *member = NULL;
	int r;

	*ret_limit = NULL;
	r = charge_name(name, joining->user, ret_limit);
	if (r < 0)
		return r;
	r = user_charge_costs(joining->user, &(struct cost){ CHARGE_MEMBERS, 1 }, 1, ret_limit);
	if (r < 0) {
		pass_name_on(name, joining->user);
		return r;
	}
	member = calloc(1, sizeof(*member));
	if (!member)
		r = -ENOMEM;
	if (r == 0) {
		member->name = name;
		member->rights = joining->rights;
		member->pid = joining->pid;
		member->group = TOPIC_NO_GROUP;
		member->lane = topic_find_lane(topic, joining->user, joining->rights);
		if (!member->lane)
			r = make_lane(name, joining, &member->lane, ret_limit);
		if (r == 0) {
			r = enter(member, joining->listens);
			if (r == -EDQUOT)
				*ret_limit = user_refusal(joining->user, CHARGE_DESCRIPTORS);
			if (r < 0)
				topic_drop_empty_lanes(topic);
		}
	}
	if (r < 0) {
		free(member);
		user_release(joining->user, CHARGE_MEMBERS, 1);
		pass_name_on(name, joining->user);
		return r;
	}
	member->number = ++topic->topics->last_member;
	member->since_ns = os_now_ns();
	member->next = topic->members;
	member->at = &topic->members;
	if (topic->members)
		topic->members->at = &member->next;
	topic->members = member;
	topic->n_members++;
	name->n_members++;
	*ret = member;
	return 0;
}

void topic_leave(struct member *member, enum leave how)
{
	struct topic_lane *lane = member->lane;
	struct topic *topic = lane->topic;
	struct page *page = topic_lane_borrow(lane);

	trace_left(member);
	regions_leave(member);
	if (!page)
		log_event(REASON_NO_MEMORY, "no memory to clear a slot, or to tell others of a member's end");
	if (member->group != TOPIC_NO_GROUP)
		topic_lane_unlisten(lane, member->group);
	if (page) {
		/* Others: members, a sidecar's behind a link, or other lanes'. Before the slot is cleared, so that who finds the
		 * slot free has been told. */
		if (how == LEAVE_DIED)
			topic_lane_recover(lane, page, member->slot); /* before the others are told: then they see it */
		if (how != LEAVE_CLOSED && member->told && (member->rights & WIRE_RIGHT_POST) && lane->n_listening > 0) {
			struct lane view = topic_lane_view(lane, page);

			lane_resync(&view);
			lane->own.units += GENERATION_POST;
			happening_note(HAPPENING_RESYNC, .topic = topic->number, .path = topic_path(topic), .pid = member->pid,
			               .uid = user_uid(lane->user), .has_uid = true, .what = "died");
		}
		if (member->slot != WIRE_NO_SLOT)
			page_leave_slot(page, member->slot);
		topic_lane_return(lane, page);
	}
	/* What writes there may go on, once the process is scheduled again, for as long as the lane is there. */
	if (how != LEAVE_LOST || member->slot == WIRE_NO_SLOT)
		topic_lane_return_slot(lane, member->slot);
	*member->at = member->next;
	if (member->next)
		member->next->at = member->at;
	for (struct topic_walk *walk = topic->walks; walk; walk = walk->next)
		if (walk->member == member)
			walk->member = member->next;
	topic->n_members--;
	member->name->n_members--;
	lane->n_members--;
	user_release(lane->user, CHARGE_MEMBERS, 1);
	pass_name_on(member->name, lane->user);
	free(member->path);
	free(member);
}

int member_bell(const struct member *member)
{
	return member->lane->groups[member->group].bell;
}
