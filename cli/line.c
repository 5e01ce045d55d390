/* SPDX-License-Identifier: MIT */
/* line.c - times, names, lines for people. */
#include "line.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "tell.h"

void line_time(struct timespec time, char ret[LINE_TIME_SIZE])
{
	char seconds[LINE_TIME_SIZE];
	struct tm parts;

	gmtime_r(&time.tv_sec, &parts);
	strftime(seconds, sizeof(seconds), "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(ret, LINE_TIME_SIZE, "%.20s.%03uZ", seconds, (unsigned)(time.tv_nsec / 1000000) % 1000);
}

struct timespec line_wall_clock(uint64_t monotonic_ns)
{
	struct timespec wall, now;
	int64_t ago, ns;

	clock_gettime(CLOCK_REALTIME, &wall);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ago = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec - (int64_t)monotonic_ns;
	ns = (int64_t)wall.tv_sec * 1000000000 + wall.tv_nsec - ago;
	return (struct timespec){ .tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000) };
}

void line_origin(uint64_t origin, char ret[LINE_ORIGIN_SIZE])
{
	snprintf(ret, LINE_ORIGIN_SIZE, "%016llx", (unsigned long long)origin);
}

void line_bytes(uint64_t n, char ret[LINE_BYTES_SIZE])
{
	static const char suffixes[] = "KMGTPE";
	unsigned i = 0;

	while (i + 1 < sizeof(suffixes) && n >> (10 * (i + 1)))
		i++;
	if (i == 0)
		snprintf(ret, LINE_BYTES_SIZE, "%llu", (unsigned long long)n);
	else if (n & ((UINT64_C(1) << 10 * i) - 1))
		snprintf(ret, LINE_BYTES_SIZE, "%.1f%c", (double)n / (double)(UINT64_C(1) << 10 * i), suffixes[i - 1]);
	else
		snprintf(ret, LINE_BYTES_SIZE, "%llu%c", (unsigned long long)(n >> 10 * i), suffixes[i - 1]);
}

void line_duration(uint64_t ms, char *ret)
{
	static const struct { char name; uint64_t seconds; } units[] = { { 'd', 86400 }, { 'h', 3600 }, { 'm', 60 }, { 's', 1 } };
	uint64_t seconds = ms / 1000;
	size_t i = 0;
	int n;

	while (units[i].seconds > 1 && seconds < units[i].seconds)
		i++;
	n = snprintf(ret, LINE_DURATION_SIZE, "%llu%c", (unsigned long long)(seconds / units[i].seconds), units[i].name);
	if (i < 2 && seconds % units[i].seconds / units[i + 1].seconds)
		snprintf(ret + n, LINE_DURATION_SIZE - (size_t)n, "%llu%c",
			 (unsigned long long)(seconds % units[i].seconds / units[i + 1].seconds), units[i + 1].name);
}

const char *line_user(uid_t uid)
{
	static char text[24];
	const struct passwd *entry;

	if (uid == (uid_t)-1)
		return "unknown";
	entry = getpwuid(uid);
	if (entry && entry->pw_name[0])
		return entry->pw_name;
	snprintf(text, sizeof(text), "%llu", (unsigned long long)uid);
	return text;
}

const char *line_event_name(enum pathbus_event_kind kind)
{
	switch (kind) {
	case PATHBUS_EVENT_POST:
		return "post";
	case PATHBUS_EVENT_MESSAGE:
		return "message";
	case PATHBUS_EVENT_GAP:
		return "gap";
	case PATHBUS_EVENT_RESYNC:
		return "resync";
	case PATHBUS_EVENT_ERROR:
		return "error";
	default: /* listen opens nothing that others would tell of, or it is of a newer library */
		return "unknown";
	}
}

/* The bytes in quotes, as one word of a line. Returns where it ends; ESCAPE_SIZE(size) + 2 will do. */
static char *quote(char *to, const void *bytes, size_t size)
{
	const char *at = bytes;

	*to++ = '"';
	while (size > 0) {
		const char *mark = memchr(at, '"', size);
		size_t n = mark ? (size_t)(mark - at) : size;

		to += escape(at, n, to, ESCAPE_SIZE(n));
		if (mark) {
			*to++ = '\\';
			*to++ = '"';
			n++;
		}
		at += n;
		size -= n;
	}
	*to++ = '"';
	*to = '\0';
	return to;
}

/* What follows the file: the sender, the key, and, last since it may be long, the message. NULL: out of memory. */
static char *message_text(const struct pathbus_event *event)
{
	char *text = malloc(96 + ESCAPE_SIZE(event->key_size) + ESCAPE_SIZE(event->data_size)), *at = text;

	if (!text)
		return NULL;
	if (event->pid)
		at += sprintf(at, " pid=%lld", (long long)event->pid);
	if (event->uid != (uid_t)-1)
		at += sprintf(at, " uid=%llu", (unsigned long long)event->uid);
	if (event->key) {
		at += sprintf(at, " key=");
		at = quote(at, event->key, event->key_size);
	}
	*at++ = ' ';
	quote(at, event->data, event->data_size);
	return text;
}

char *line_event_text(const struct line_event *line)
{
	const struct pathbus_event *event = line->event;
	char time[LINE_TIME_SIZE], *rest = NULL, *text;

	if (event->kind == PATHBUS_EVENT_MESSAGE)
		rest = message_text(event);
	else if (event->kind != PATHBUS_EVENT_GAP)
		rest = strdup("");
	else if (asprintf(&rest, " missed %llu message%s", (unsigned long long)event->count,
			  event->count == 1 ? "" : "s") < 0)
		rest = NULL;
	if (!rest)
		return NULL;
	line_time(line->time, time);
	if (asprintf(&text, "%s %s %llu %s%s\n", time, line_event_name(event->kind),
		     (unsigned long long)event->count, tell_name(line->file), rest) < 0)
		text = NULL;
	free(rest);
	return text;
}

void line_print_sync(const struct line_sync *line)
{
	const struct pathbus_sync *sync = line->sync;
	unsigned n_missing = sync->n_subscribers - sync->n_caught_up;

	printf("%s%s%u of %u subscribers have caught up", line->prefixed ? tell_name(line->file) : "",
	       line->prefixed ? ": " : "", sync->n_caught_up, sync->n_subscribers);
	if (sync->n_untracked > 0)
		printf("; %u more cannot be followed", sync->n_untracked);
	printf("\n");
	for (unsigned i = 0; i < sync->n_laggards; i++) {
		const struct pathbus_laggard *at = &sync->laggards[i];

		printf("missing: process %lld, user %s, command %s\n", (long long)at->pid, line_user(at->uid),
		       at->command[0] ? tell_name(at->command) : "unknown");
	}
	if (n_missing > sync->n_laggards)
		printf("missing: %u more\n", n_missing - sync->n_laggards);
}

void line_print_lock(const struct pathbus_lock_info *info)
{
	static const char *const states[] = {
		[PATHBUS_LOCK_FREE] = "free", [PATHBUS_LOCK_IS_EXCLUSIVE] = "held", [PATHBUS_LOCK_IS_SHARED] = "shared",
	};

	printf("%s: %s%s\n", tell_name(info->name), states[info->state], info->abandoned ? ", abandoned" : "");
	for (unsigned i = 0; i < info->n_parties; i++) {
		const struct pathbus_lock_party *at = &info->parties[i];
		char time[LINE_TIME_SIZE];

		line_time(line_time_of(at->since_ns), time);
		printf("  %s%s by process %lld, user %s, command %s, since %s\n", at->waits ? "waited for" : "held",
		       at->shared ? " (shared)" : "", (long long)at->pid, line_user(at->uid),
		       at->command[0] ? tell_name(at->command) : "unknown", time);
	}
	if (info->n_holders + info->n_waiters > info->n_parties)
		printf("  and %u more\n", info->n_holders + info->n_waiters - info->n_parties);
}

struct timespec line_time_of(uint64_t wall_ns)
{
	return (struct timespec){ .tv_sec = (time_t)(wall_ns / 1000000000u), .tv_nsec = (long)(wall_ns % 1000000000u) };
}
