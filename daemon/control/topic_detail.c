/* SPDX-License-Identifier: MIT */
/*
 * topic_detail.c - GET /v1/topics/ID: all that is known of one topic.
 *
 * It has several lists, each with a cursor of its own. One after the other is told, in pieces; where somebody joins or leaves
 * meanwhile the answer is of no single moment. If the topic ends meanwhile there is no answer.
 */
#include <stdlib.h>

#include "control_limit.h"
#include "daemon/crossing.h"
#include "daemon/context.h"
#include "daemon/endpoint.h"
#include "daemon/keeping.h"
#include "daemon/regions.h"
#include "daemon/topic.h"
#include "daemon/topic_counts.h"
#include "list.h"
#include "routes.h"
#include "state.h"
#include "topics.h"

#define NAMES_SIZE (LIMIT_CONTROL_ANSWER / 4) /* what of the answer names may have: "names" says how many there are */

struct detail {
	uint64_t number; /* the topic's */
	struct topic_walk walk;
	struct list_page lanes, members, regions, endpoints;
	/* A part of the answer: false: it goes on with it in the next turn. */
	bool (*part)(struct control_request *request, struct detail *detail, struct topic *topic);
};

/* --- members ----------------------------------------------------------------------------------------- */

static void tell_member(struct answer *answer, const struct member *member, const struct page *page)
{
	struct member_counts counts = page ? member_counts_of(member, page) : (struct member_counts){ 0 };
	uid_t uid = user_uid(member->lane->user);

	answer_object(answer, NULL);
	answer_number(answer, "id", member->number);
	answer_number(answer, "pid", (uint64_t)member->pid);
	answer_number(answer, "uid", uid);
	tell_command(answer, member->pid, uid);
	answer_text(answer, "transport", member->subscriber ? "socket" : "memory");
	tell_rights(answer, "rights", member->rights);
	answer_number(answer, "posts", counts.posts);
	answer_number(answer, "messages", counts.messages);
	if (counts.knows_behind) {
		answer_number(answer, "behind_posts", counts.behind_posts);
		answer_number(answer, "behind_messages", counts.behind_messages);
	} else {
		answer_null(answer, "behind_posts");
		answer_null(answer, "behind_messages");
	}
	answer_number(answer, "client", member->client);
	answer_number(answer, "since_ms", member->since_ns / 1000000);
	answer_end(answer);
}

/* The last who came first. */
static bool tell_members(struct control_request *request, struct detail *detail, struct topic *topic)
{
	struct list_page *page = &detail->members;
	struct topic_lane *lane = NULL;
	struct page *mapped = NULL;
	bool is_over = false;

	(void)topic;
	while (detail->walk.member && !is_over && !list_is_full(request, page)) {
		const struct member *member = detail->walk.member;

		detail->walk.member = member->next;
		is_over = control_turn_is_over(request);
		if (member->number >= page->at || !member->told)
			continue;
		if (member->lane != lane) {
			if (lane)
				topic_lane_return(lane, mapped);
			lane = member->lane;
			mapped = topic_lane_borrow(lane);
		}
		tell_member(control_answer(request), member, mapped);
		page->at = member->number;
		page->n++;
	}
	if (lane)
		topic_lane_return(lane, mapped);
	return !detail->walk.member || list_is_full(request, page);
}

/* --- what the topic has ------------------------------------------------------------------------------ */

static void tell_lane(struct answer *answer, struct topic_lane *lane)
{
	struct page *page = topic_lane_borrow(lane);
	struct lane_counts counts = page ? lane_counts_of(page) : (struct lane_counts){ 0 };

	topic_lane_return(lane, page);
	answer_object(answer, NULL);
	answer_number(answer, "id", lane->number);
	answer_number(answer, "uid", user_uid(lane->user));
	tell_rights(answer, "rights", lane->rights);
	answer_number(answer, "generation", counts.posts + counts.messages);
	answer_bool(answer, "offloaded", lane->offloaded);
	answer_bool(answer, "linked", lane->n_links > 0);
	answer_number(answer, "memory_bytes", lane_size(&lane->shape));
	answer_number(answer, "members", lane->n_members);
	answer_end(answer);
}

/* The last that was made first. */
static bool tell_lanes(struct control_request *request, struct detail *detail, struct topic *topic)
{
	struct list_page *page = &detail->lanes;
	struct topic_lane *lane = topic->lanes;

	while (lane && lane->number >= page->at)
		lane = lane->next;
	for (; lane && !list_is_full(request, page); lane = lane->next) {
		tell_lane(control_answer(request), lane);
		page->at = lane->number;
		page->n++;
		if (control_turn_is_over(request))
			return false;
	}
	list_end(request, page, "lanes_next", !lane);
	return true;
}

static void tell_region(struct answer *answer, const struct region *region)
{
	unsigned n = 0;

	answer_object(answer, NULL);
	answer_number(answer, "id", region->number);
	answer_bytes(answer, "name", region->name, region->name_size);
	answer_number(answer, "size", region->shape.data_size);
	answer_number(answer, "version", region_version_now(region));
	answer_bool(answer, "replaced", region->replaced);
	answer_number(answer, "uid", user_uid(region->user));
	answer_number(answer, "n_holders", region->n_holders);
	answer_list(answer, "holders");
	for (const struct region_holder *holder = region->holders; holder && n++ < LIMIT_CONTROL_HOLDERS; holder = holder->next) {
		answer_object(answer, NULL);
		answer_number(answer, "pid", (uint64_t)holder->member->pid);
		answer_number(answer, "uid", user_uid(holder->member->lane->user));
		answer_bool(answer, "writes", holder->writes);
		answer_end(answer);
	}
	answer_end(answer);
	answer_end(answer);
}

/* The oldest first. */
static bool tell_regions(struct control_request *request, struct detail *detail, struct topic *topic)
{
	struct list_page *page = &detail->regions;
	const struct region *region = topic->regions;

	while (region && region->number <= page->at)
		region = region->next;
	for (; region && !list_is_full(request, page); region = region->next) {
		tell_region(control_answer(request), region);
		page->at = region->number;
		page->n++;
		if (control_turn_is_over(request))
			return false;
	}
	list_end(request, page, "regions_next", !region);
	return true;
}

/* The newest first. Names that are only waited for are none. */
static bool tell_endpoints(struct control_request *request, struct detail *detail, struct topic *topic)
{
	struct list_page *page = &detail->endpoints;
	const struct endpoint *endpoint = topic->endpoints;
	struct answer *answer = control_answer(request);

	while (endpoint && endpoint->id >= page->at)
		endpoint = endpoint->next;
	for (; endpoint && !list_is_full(request, page); endpoint = endpoint->next) {
		page->at = endpoint->id;
		if (endpoint->client && endpoint->member) {
			answer_object(answer, NULL);
			answer_number(answer, "id", endpoint->id);
			answer_bytes(answer, "name", endpoint->name, endpoint->name_size);
			answer_number(answer, "pid", (uint64_t)endpoint->member->pid);
			answer_number(answer, "uid", user_uid(endpoint->member->lane->user));
			answer_number(answer, "waiting", endpoint->n_waiting);
			answer_end(answer);
			page->n++;
		}
		if (control_turn_is_over(request))
			return false;
	}
	list_end(request, page, "endpoints_next", !endpoint);
	return true;
}

/* Of those of its lanes whose members may set it; none of them is waited for that change it all the time. */
static void tell_state(struct answer *answer, struct topic *topic)
{
	struct topic_lane *lane = topic->lanes;
	struct state state = { 0 };

	if (!lane && keeping_state(topic)) {
		state = *keeping_state(topic);
	} else if (lane && lane->crossing) {
		state = crossing_get_state(lane->crossing);
	} else if (lane) {
		struct page *page = topic_lane_borrow(lane);

		if (page && !state_look(page, &state))
			state = (struct state){ 0 };
		topic_lane_return(lane, page);
	}
	if (state.version == 0) {
		answer_null(answer, "state");
		return;
	}
	answer_object(answer, "state");
	answer_number(answer, "value", state.value);
	answer_number(answer, "version", state.version);
	answer_end(answer);
}

/* --- parts, one after the other ------------------------------------------------------------------------ */

static bool part_endpoints(struct control_request *request, struct detail *detail, struct topic *topic)
{
	if (!tell_endpoints(request, detail, topic))
		return false;
	detail->part = NULL;
	return true;
}

static bool part_regions(struct control_request *request, struct detail *detail, struct topic *topic)
{
	if (!tell_regions(request, detail, topic))
		return false;
	answer_list(control_answer(request), "endpoint_list");
	detail->part = part_endpoints;
	return true;
}

static bool part_members(struct control_request *request, struct detail *detail, struct topic *topic)
{
	if (!tell_members(request, detail, topic))
		return false;
	list_end(request, &detail->members, "members_next", !detail->walk.member);
	answer_list(control_answer(request), "region_list");
	detail->part = part_regions;
	return true;
}

static bool part_lanes(struct control_request *request, struct detail *detail, struct topic *topic)
{
	if (!tell_lanes(request, detail, topic))
		return false;
	answer_list(control_answer(request), "member_list");
	topic_walk_begin(&detail->walk, topic);
	detail->part = part_members;
	return true;
}

static bool part_head(struct control_request *request, struct detail *detail, struct topic *topic)
{
	struct answer *answer = control_answer(request);
	struct list_page names = { .limit = detail->lanes.limit };

	answer_object(answer, NULL);
	tell_topic(answer, topic);
	tell_state(answer, topic);
	answer_list(answer, "all_names");
	for (const struct topic_name *name = topic->names; name && !list_is_full(request, &names) && answer_size(answer) < NAMES_SIZE;
	     name = name->next, names.n++)
		answer_text(answer, NULL, name->path);
	answer_end(answer);
	answer_list(answer, "lane_list");
	detail->part = part_lanes;
	return true;
}

static void go_on(struct control_request *request)
{
	struct detail *detail = control_state(request);
	struct topic *topic = topics_find_number(control_context(request)->topics, detail->number);

	if (!topic || !topic->names) {
		control_reply_error(request, 404, "not-found", NULL, "topic %llu has just ended", (unsigned long long)detail->number);
		return;
	}
	while (detail->part)
		if (!detail->part(request, detail, topic) || (detail->part && control_turn_is_over(request)))
			return;
	answer_end(control_answer(request));
	control_reply(request);
}

static void end(void *arg)
{
	struct detail *detail = arg;

	topic_walk_end(&detail->walk);
	free(detail);
}

void control_get_topic(struct control_request *request)
{
	struct topic *topic = topic_of(request);
	struct detail *detail, begun;

	if (!topic)
		return;
	begun = (struct detail){ .number = topic->number, .part = part_head };
	if (!list_begin(request, "lanes_after", UINT64_MAX, &begun.lanes) ||
	    !list_begin(request, "members_after", UINT64_MAX, &begun.members) ||
	    !list_begin(request, "regions_after", 0, &begun.regions) ||
	    !list_begin(request, "endpoints_after", UINT64_MAX, &begun.endpoints))
		return;
	detail = malloc(sizeof(*detail));
	if (!detail) {
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
		return;
	}
	*detail = begun;
	control_go_on(request, go_on, detail, end);
}
