/* SPDX-License-Identifier: MIT */
/* events.c - GET /v1/events: a stream of what happens, of the kinds and files that are asked for. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "control_limit.h"
#include "daemon/happening.h"
#include "os/os.h"
#include "routes.h"
#include "stream.h"
#include "topics.h"

#define OF_LANES (1u << HAPPENING_POST | 1u << HAPPENING_MESSAGE | 1u << HAPPENING_GAP)
#define EVERYTHING ((1u << N_HAPPENINGS) - 1)

struct events {
	struct watcher *watcher;
	struct control_stream *stream;
	struct answer *line;
};

static struct events *events_free(struct events *events)
{
	if (events) {
		watcher_free(events->watcher);
		answer_free(events->line);
		free(events);
	}
	return NULL;
}

/* --- one --------------------------------------------------------------------------------------------- */

/* By the system's clock, of a moment of the monotonic one. */
static uint64_t unix_ns_of(uint64_t time_ns)
{
	uint64_t now_ns = os_now_ns();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec - (now_ns > time_ns ? now_ns - time_ns : 0);
}

static void put_name(struct answer *line, const char *key, const struct happening *happening)
{
	if (happening->name_size > 0)
		answer_bytes(line, key, happening->name, happening->name_size);
	else
		answer_text(line, key, happening->name);
}

/* What is of one kind only. */
static void put_particulars(struct answer *line, const struct happening *happening)
{
	switch (happening->kind) {
	case HAPPENING_POST:
		answer_number(line, "posts", happening->n);
		break;
	case HAPPENING_MESSAGE:
		answer_number(line, "size", happening->n);
		break;
	case HAPPENING_GAP:
		answer_number(line, "missed", happening->n);
		break;
	case HAPPENING_MEMBER_JOINED:
	case HAPPENING_MEMBER_LEFT:
		answer_text(line, "transport", happening->what);
		break;
	case HAPPENING_RESYNC:
		answer_bool(line, "died", happening->what != NULL);
		break;
	case HAPPENING_LIMIT:
		answer_text(line, "reason", happening->name);
		answer_text(line, "text", happening->text);
		break;
	case HAPPENING_LINK:
		answer_text(line, "what", happening->what);
		break;
	case HAPPENING_REGION:
	case HAPPENING_ENDPOINT:
		put_name(line, "name", happening);
		answer_text(line, "what", happening->what);
		break;
	case HAPPENING_LOG:
		answer_text(line, "level", happening->what);
		answer_text(line, "reason", happening->name);
		answer_text(line, "text", happening->text);
		break;
	case HAPPENING_RELOAD:
		answer_text(line, "what", happening->what);
		answer_text(line, "text", happening->text);
		break;
	case HAPPENING_CLIENT_CONNECTED:
	case HAPPENING_CLIENT_GONE:
	case HAPPENING_TOPIC_OPENED:
	case HAPPENING_TOPIC_CLOSED:
	case N_HAPPENINGS:
		break;
	}
}

static void happened(void *arg, const struct happening *happening)
{
	struct events *events = arg;
	struct answer *line = events->line;

	if (control_stream_is_full(events->stream)) {
		control_stream_drop(events->stream);
		return;
	}
	answer_object(line, NULL);
	answer_number(line, "time_ns", happening->time_ns);
	answer_time(line, "time", unix_ns_of(happening->time_ns));
	answer_text(line, "kind", happening_name(happening->kind));
	if (happening->topic)
		answer_number(line, "topic", happening->topic);
	if (happening->path)
		answer_path(line, "path", happening->path);
	if (happening->client)
		answer_number(line, "client", happening->client);
	if (happening->pid > 0)
		answer_number(line, "pid", (uint64_t)happening->pid);
	if (happening->has_uid)
		answer_number(line, "uid", happening->uid);
	if (happening->command)
		answer_text(line, "command", happening->command[0] ? happening->command : NULL);
	put_particulars(line, happening);
	answer_end(line);
	(void)control_stream_send(events->stream, line);
}

/* --- what is asked for --------------------------------------------------------------------------------- */

/* "post,message". False: there is no such kind. */
static bool parse_kinds(const char *list, unsigned *ret)
{
	enum happening_kind kind;

	*ret = 0;
	for (;;) {
		size_t size = strcspn(list, ",");

		if (!happening_from(list, size, &kind))
			return false;
		*ret |= 1u << kind;
		if (list[size] == '\0')
			return true;
		list += size + 1;
	}
}

/* False: it has been answered. */
static bool parse_query(struct control_request *request, unsigned *ret_kinds)
{
	const char *kinds = control_query(request, "kind");
	uint64_t posts;

	if (!control_query_number(request, "posts", 0, 1, &posts))
		return false;
	*ret_kinds = posts ? EVERYTHING : EVERYTHING & ~OF_LANES;
	if (kinds && !parse_kinds(kinds, ret_kinds)) {
		control_reply_error(request, 400, "bad-query", "kind=topic-opened,topic-closed for instance; docs/control-api.json lists them",
		                    "kind takes kinds of events with commas between");
		return false;
	}
	if (kinds && posts)
		*ret_kinds |= OF_LANES;
	if (kinds && *ret_kinds & OF_LANES)
		*ret_kinds |= 1u << HAPPENING_GAP;
	return control_check_pattern(request);
}

static void ended(void *arg)
{
	struct events *events = arg;

	events_free(events);
}

void control_get_events(struct control_request *request)
{
	const char *path = control_query(request, "path");
	struct events *events;
	char *pattern;
	unsigned kinds;

	if (!parse_query(request, &kinds))
		return;
	events = calloc(1, sizeof(*events));
	pattern = path ? strdup(path) : NULL; /* the request goes with its answer */
	if (events)
		events->line = answer_new(LIMIT_CONTROL_STREAM / 4);
	if (!events || !events->line || (path && !pattern)) {
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
		events_free(events);
		free(pattern);
		return;
	}
	events->stream = control_stream_start(request, ended, events);
	if (!events->stream) {
		events_free(events);
	} else {
		events->watcher = watcher_new(kinds, pattern, happened, events);
		if (!events->watcher) {
			control_stream_end(events->stream);
			events_free(events);
		}
	}
	free(pattern);
}
