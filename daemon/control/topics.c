/* SPDX-License-Identifier: MIT */
/* topics.c - GET /v1/topics. */
#include "topics.h"

#include "control_limit.h"
#include "daemon/context.h"
#include "daemon/endpoint.h"
#include "daemon/keeping.h"
#include "daemon/narrow.h"
#include "daemon/regions.h"
#include "daemon/topic.h"
#include "daemon/topic_counts.h"
#include "list.h"
#include "os/os.h"
#include "routes.h"
#include "wire.h"

/* A topic may have more names, regions and endpoints than are counted for one line of a list. */
#define COUNTED LIMIT_CONTROL_PAGE

/* --- one topic --------------------------------------------------------------------------------------- */

/* Nothing that is carried between lanes is counted twice: what is in one of them was posted there, or came from another. */
static void tell_posts(struct answer *answer, struct topic *topic)
{
	struct lane_counts most = { 0 };
	unsigned n = 0;

	for (struct topic_lane *lane = topic->lanes; lane && n++ < COUNTED; lane = lane->next) {
		struct page *page = topic_lane_borrow(lane);
		struct lane_counts counts = page ? lane_counts_of(page) : (struct lane_counts){ 0 };

		topic_lane_return(lane, page);
		most.posts = counts.posts > most.posts ? counts.posts : most.posts;
		most.messages = counts.messages > most.messages ? counts.messages : most.messages;
	}
	answer_number(answer, "posts", most.posts);
	answer_number(answer, "messages", most.messages);
}

static void tell_lanes(struct answer *answer, const struct topic *topic)
{
	uint64_t n = 0, n_subscribers = 0, n_posters = 0;
	bool linked = false;

	for (const struct topic_lane *lane = topic->lanes; lane; lane = lane->next) {
		n++;
		linked |= lane->n_links > 0;
		n_subscribers += lane->rights & WIRE_RIGHT_SUBSCRIBE ? lane->n_members : 0;
		n_posters += lane->rights & WIRE_RIGHT_POST ? lane->n_members : 0;
	}
	answer_number(answer, "members", topic->n_members);
	answer_number(answer, "subscribers", n_subscribers);
	answer_number(answer, "posters", n_posters);
	answer_number(answer, "lanes", n);
	answer_bool(answer, "linked", linked);
}

void tell_topic(struct answer *answer, struct topic *topic)
{
	uint64_t n_names = 0, n_regions = 0, n_endpoints = 0;

	for (const struct topic_name *name = topic->names; name && n_names < COUNTED; name = name->next)
		n_names++;
	for (const struct region *region = topic->regions; region && n_regions < COUNTED; region = region->next)
		n_regions++;
	for (const struct endpoint *endpoint = topic->endpoints; endpoint && n_endpoints < COUNTED; endpoint = endpoint->next)
		n_endpoints += endpoint->client != NULL;
	answer_number(answer, "id", topic->number);
	answer_path(answer, "path", topic->names->path);
	answer_number(answer, "names", n_names);
	tell_lanes(answer, topic);
	tell_posts(answer, topic);
	answer_bool(answer, "kept", topic_is_kept(topic));
	answer_number(answer, "regions", n_regions);
	answer_number(answer, "endpoints", n_endpoints);
	answer_number(answer, "opened_ms", topic->opened_ns / 1000000);
}

void tell_rights(struct answer *answer, const char *key, uint32_t rights)
{
	answer_list(answer, key);
	if (rights & WIRE_RIGHT_SUBSCRIBE)
		answer_text(answer, NULL, "subscribe");
	if (rights & WIRE_RIGHT_POST)
		answer_text(answer, NULL, "post");
	answer_end(answer);
}

void tell_command(struct answer *answer, pid_t pid, uid_t uid)
{
	char name[64];
	uid_t owner;

	(void)uid;
	if (pid > 0 && os_process_name(pid, &owner, name, sizeof(name)) == 0)
		answer_text(answer, "command", name);
	else
		answer_null(answer, "command");
}

struct topic *topic_of(struct control_request *request)
{
	struct topic *topic = topics_find_number(control_context(request)->topics, control_id(request));

	if (!topic)
		control_reply_error(request, 404, "not-found", "GET /v1/topics lists those that there are", "there is no topic %llu",
		                    (unsigned long long)control_id(request));
	return topic;
}

/* --- all of them ------------------------------------------------------------------------------------- */

static bool has_name_like(const struct topic *topic, const char *pattern)
{
	unsigned n = 0;

	for (const struct topic_name *name = topic->names; name && n++ < COUNTED; name = name->next)
		if (name->path && narrow_matches(pattern, name->path))
			return true;
	return false;
}

static uint64_t look(struct control_request *request, uint64_t after, bool *ret_told)
{
	struct topic *topic = topics_after(control_context(request)->topics, after);
	const char *pattern = control_query(request, "path");

	if (!topic)
		return 0;
	*ret_told = topic->names && (!pattern || has_name_like(topic, pattern));
	if (*ret_told) {
		answer_object(control_answer(request), NULL);
		tell_topic(control_answer(request), topic);
		answer_end(control_answer(request));
	}
	return topic->number;
}

/* How long a match takes goes by how many components both have. */
static bool is_pattern(const char *text)
{
	size_t size = 0, n = 0;

	for (; text[size]; size++)
		n += text[size] == '/';
	return text[0] == '/' && size <= LIMIT_CONTROL_PATTERN && n <= LIMIT_CONTROL_PATTERN_COMPONENTS;
}

bool control_check_pattern(struct control_request *request)
{
	const char *pattern = control_query(request, "path");

	if (!pattern || is_pattern(pattern))
		return true;
	control_reply_error(request, 400, "bad-query", "path=/srv/** for instance",
	                    "path takes a pattern that begins with /, of at most %u bytes and %u components", LIMIT_CONTROL_PATTERN,
	                    LIMIT_CONTROL_PATTERN_COMPONENTS);
	return false;
}

void control_get_topics(struct control_request *request)
{
	if (control_check_pattern(request))
		control_tell_list(request, "topics", look);
}
