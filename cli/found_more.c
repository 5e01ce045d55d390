/* SPDX-License-Identifier: MIT */
/*
 * found_more.c - what `who` tells of members besides what the library lists: how many posts a second, by two looks, and what the
 * daemon's control socket knows of them, where it lets this user. Without it what the library knows is printed, and nothing is told.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "control.h"
#include "found.h"
#include "key.h"
#include "os/os.h"
#include "tell.h"
#include "wait.h"

/* --- by two looks ------------------------------------------------------------------------------------------------- */

static bool is_same(const struct pathbus_member *a, const struct pathbus_member *b)
{
	return a->pid == b->pid && a->origin == b->origin && a->is_link == b->is_link;
}

static const struct pathbus_member *find(const struct found *found, const struct pathbus_member *member)
{
	for (size_t i = 0; i < found->n_members; i++)
		if (is_same(&found->members[i], member))
			return &found->members[i];
	return NULL;
}

static bool sleep_until(uint64_t deadline_ns)
{
	for (uint64_t now = os_now_ns(); now < deadline_ns && !wait_stopped(); now = os_now_ns()) {
		uint64_t left = deadline_ns - now;

		nanosleep(&(struct timespec){ .tv_sec = (time_t)(left / 1000000000), .tv_nsec = (long)(left % 1000000000) }, NULL);
	}
	return !wait_stopped();
}

/* Takes the members of a second look. */
static int look_twice(pathbus_topic *topic, uint64_t interval_ns, uint64_t started_ns, struct found *found)
{
	struct found_more *more;
	struct found second;
	double seconds;
	int status;

	if (!sleep_until(started_ns + interval_ns))
		return STATUS_FAILED;
	status = found_look(topic, found->file, FOUND_MEMBERS, &second);
	seconds = (double)(os_now_ns() - started_ns) / 1e9;
	more = status == STATUS_OK ? calloc(second.n_members + 1, sizeof(*more)) : NULL;
	if (!more) {
		found_free(&second);
		return status;
	}
	for (size_t i = 0; i < second.n_members; i++) {
		const struct pathbus_member *before = find(found, &second.members[i]);

		if (before && second.members[i].n_posts >= before->n_posts) {
			more[i].has_rate = true;
			more[i].rate = (double)(second.members[i].n_posts - before->n_posts) / seconds;
		}
	}
	free(found->members);
	found->members = second.members;
	found->n_members = second.n_members;
	found->more = more;
	second.members = NULL;
	found_free(&second);
	return STATUS_OK;
}

/* --- by the control socket --------------------------------------------------------------------------------------- */

/* The path as a pattern that only it matches. NULL: there is none, or no memory. */
static char *pattern_of(const char *file)
{
	char path[PATH_MAX], *pattern = NULL, *to;
	struct place place;

	if (place_resolve(-1, file, &place) < 0)
		return NULL;
	if (os_path_of(place.dir, path, sizeof(path)) == 0)
		pattern = malloc(2 * (strlen(path) + KEY_NAME_MAX + 2));
	to = pattern;
	for (const char *at = path; to && *at; at++) {
		if (strchr("*?[\\", *at))
			*to++ = '\\';
		*to++ = *at;
	}
	if (to && strcmp(path, "/") != 0)
		*to++ = '/';
	for (const char *at = place.key.name; to && *at; at++) {
		if (strchr("*?[\\", *at))
			*to++ = '\\';
		*to++ = *at;
	}
	if (to)
		*to = '\0';
	place_deinit(&place);
	return pattern;
}

/* The topic's number; 0: not known. */
static uint64_t topic_number(struct control *control, const char *pattern)
{
	const char *pairs[] = { "path", pattern, "limit", "2", NULL };
	char *target = control_target("/v1/topics", pairs);
	struct json *page = NULL;
	uint64_t number = 0;

	if (target && control_get(control, target, &page) == STATUS_OK && page && json_length(json_get(page, "topics")) == 1)
		number = json_number(json_at(json_get(page, "topics"), 0), "id");
	json_free(page);
	free(target);
	return number;
}

/* The first of this process that nothing was told of yet. */
static struct found_more *untold(struct found *found, bool *told, uint64_t pid)
{
	for (size_t i = 0; i < found->n_members; i++)
		if (!told[i] && !found->members[i].is_link && (uint64_t)found->members[i].pid == pid) {
			told[i] = true;
			return &found->more[i];
		}
	return NULL;
}

struct taker {
	struct found *found;
	bool *told;
};

static void take(struct taker *taker, const struct json *members)
{
	for (size_t i = 0; i < json_length(members); i++) {
		const struct json *member = json_at(members, i);
		const char *transport = json_text(member, "transport");
		struct found_more *more = untold(taker->found, taker->told, json_number(member, "pid"));

		if (!more)
			continue;
		if (transport)
			more->transport = strcmp(transport, "socket") == 0 ? "socket" : "memory";
		if (json_has_number(member, "behind_posts")) {
			more->knows_behind = true;
			more->behind_posts = json_number(member, "behind_posts");
			more->behind_messages = json_number(member, "behind_messages");
		}
	}
}

static void ask(struct control *control, uint64_t number, struct taker *taker)
{
	char path[48], *after = NULL;

	snprintf(path, sizeof(path), "/v1/topics/%llu", (unsigned long long)number);
	for (;;) {
		const char *pairs[] = { "limit", "1000", "members_after", after, NULL };
		char *target = control_target(path, pairs);
		struct json *page = NULL;

		if (target && control_get(control, target, &page) == STATUS_OK && page)
			take(taker, json_get(page, "member_list"));
		free(target);
		free(after);
		after = page ? json_shown(page, "members_next") : NULL;
		json_free(page);
		if (!after)
			break;
	}
}

static void ask_daemon(const struct pathbus_options *options, struct found *found)
{
	struct taker taker = { .found = found, .told = calloc(found->n_members, sizeof(bool)) };
	char *pattern = pattern_of(found->file);
	struct control *control = NULL;
	uint64_t number;

	if (taker.told && pattern && control_open(options, &control) == STATUS_OK) {
		number = topic_number(control, pattern);
		if (number)
			ask(control, number, &taker);
	}
	control_close(control);
	free(pattern);
	free(taker.told);
}

int found_more(pathbus_topic *topic, const struct pathbus_options *options, uint64_t interval_ns, struct found *found)
{
	uint64_t started_ns = os_now_ns();
	int status = STATUS_OK;

	if (interval_ns > 0) {
		if (wait_init() < 0)
			return STATUS_FAILED;
		status = look_twice(topic, interval_ns, started_ns, found);
	}
	if (!found->more)
		found->more = calloc(found->n_members + 1, sizeof(*found->more));
	if (!found->more || found->n_members == 0)
		return status;
	for (size_t i = 0; i < found->n_members; i++) {
		const struct pathbus_member *member = &found->members[i];

		found->more[i].knows_behind = member->behind_posts != UINT64_MAX;
		found->more[i].behind_posts = found->more[i].knows_behind ? member->behind_posts : 0;
		found->more[i].behind_messages = found->more[i].knows_behind ? member->behind_messages : 0;
	}
	if (found->transport == PATHBUS_BUS)
		ask_daemon(options, found);
	return status;
}
