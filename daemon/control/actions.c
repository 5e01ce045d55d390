/* SPDX-License-Identifier: MIT */
/* actions.c - what can be done to the daemon: posting, forgetting, the log's level. */
#include <stdlib.h>
#include <string.h>

#include "control_limit.h"
#include "daemon/context.h"
#include "daemon/keeping.h"
#include "daemon/log.h"
#include "daemon/topic.h"
#include "routes.h"
#include "topics.h"

/* --- posting ------------------------------------------------------------------------------------------- */

/* To each of its lanes, the oldest first: those that come meanwhile need it no more. */
struct posting {
	uint64_t topic, last, until; /* numbers, of lanes */
	char *path; /* the topic is to be found by it; NULL: it has been */
};

static void end_posting(void *arg)
{
	struct posting *posting = arg;

	free(posting->path);
	free(posting);
}

static void reply_posted(struct control_request *request, const struct topic *topic)
{
	struct answer *answer = control_answer(request);

	answer_object(answer, NULL);
	answer_bool(answer, "posted", true);
	answer_number(answer, "topic", topic->number);
	answer_end(answer);
	control_reply(request);
}

static struct topic_lane *next_lane(const struct topic *topic, const struct posting *posting)
{
	struct topic_lane *next = NULL;

	/* The newest is the first. */
	for (struct topic_lane *lane = topic->lanes; lane && lane->number > posting->last; lane = lane->next)
		if (lane->number <= posting->until)
			next = lane;
	return next;
}

static void post(struct control_request *request)
{
	struct posting *posting = control_state(request);
	struct topic *topic = topics_find_number(control_context(request)->topics, posting->topic);
	struct topic_lane *lane;

	if (!topic) {
		control_reply_error(request, 404, "not-found", NULL, "topic %llu has just ended", (unsigned long long)posting->topic);
		return;
	}
	while ((lane = next_lane(topic, posting))) {
		posting->last = lane->number;
		topic_lane_post(lane);
		if (control_turn_is_over(request))
			return;
	}
	reply_posted(request, topic);
}

static void begin_post(struct control_request *request, const struct topic *topic)
{
	struct posting *posting = control_state(request);

	posting->topic = topic->number;
	posting->until = topic->lanes ? topic->lanes->number : 0;
	posting->last = 0;
	free(posting->path);
	posting->path = NULL;
	control_go_on(request, post, posting, end_posting);
	post(request);
}

static bool has_path(const struct topic *topic, const char *path)
{
	unsigned n = 0;

	for (const struct topic_name *name = topic->names; name && n++ < LIMIT_CONTROL_PAGE; name = name->next)
		if (name->path && !name->is_foreign && strcmp(name->path, path) == 0)
			return true;
	return false;
}

/* By the paths that are known: nobody looks at files for it. */
static void find(struct control_request *request)
{
	struct posting *posting = control_state(request);
	struct topic *topic;

	while ((topic = topics_after(control_context(request)->topics, posting->topic))) {
		posting->topic = topic->number;
		if (has_path(topic, posting->path)) {
			begin_post(request, topic);
			return;
		}
		if (control_turn_is_over(request))
			return;
	}
	control_reply_error(request, 404, "not-found", "GET /v1/topics lists the paths of those that are open, without symbolic links",
	                    "no topic is open that has this path");
}

static struct posting *posting_new(struct control_request *request, const char *path)
{
	struct posting *posting = calloc(1, sizeof(*posting));

	if (posting && path)
		posting->path = strdup(path);
	if (posting && (!path || posting->path))
		return posting;
	free(posting);
	control_reply_error(request, 503, "no-memory", "try again later", "no memory");
	return NULL;
}

void control_post_topic(struct control_request *request)
{
	struct topic *topic = topic_of(request);
	struct posting *posting = topic ? posting_new(request, NULL) : NULL;

	if (!posting)
		return;
	control_go_on(request, post, posting, end_posting);
	begin_post(request, topic);
}

void control_post_path(struct control_request *request)
{
	const char *path = control_body_text(request, "path");
	struct posting *posting;

	if (!path || path[0] != '/') {
		control_reply_error(request, 400, "bad-body", "{\"path\": \"/srv/data\"}", "the body has to have an absolute path in it");
		return;
	}
	posting = posting_new(request, path);
	if (posting)
		control_go_on(request, find, posting, end_posting);
}

/* --- forgetting ---------------------------------------------------------------------------------------- */

void control_forget_topic(struct control_request *request)
{
	struct topic *topic = topic_of(request);

	if (!topic)
		return;
	log_event(REASON_ADMIN, "%s: topic %llu is forgotten", control_who(request), (unsigned long long)topic->number);
	topic_forget(control_context(request), topic);
	answer_object(control_answer(request), NULL);
	answer_bool(control_answer(request), "forgotten", true);
	answer_end(control_answer(request));
	control_reply(request);
}

/* --- the log ------------------------------------------------------------------------------------------- */

void control_set_log_level(struct control_request *request)
{
	const char *text = control_body_text(request, "level");
	enum log_level was = log_level(), level;
	struct answer *answer = control_answer(request);

	if (!text || !log_level_from(text, &level)) {
		control_reply_error(request, 400, "bad-body", "{\"level\": \"info\"}", "level is error, warning, info or debug");
		return;
	}
	log_set_level(LOG_LEVEL_INFO > was ? LOG_LEVEL_INFO : was); /* so that it is written anyway */
	log_event(REASON_ADMIN, "%s: the log's level is %s, was %s", control_who(request), log_level_name(level), log_level_name(was));
	log_set_level(level);
	answer_object(answer, NULL);
	answer_text(answer, "level", log_level_name(level));
	answer_text(answer, "was", log_level_name(was));
	answer_end(answer);
	control_reply(request);
}
