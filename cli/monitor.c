/* SPDX-License-Identifier: MIT */
/* monitor.c - `pathbusctl monitor`: what happens in the daemon, line by line as it happens. */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "control.h"
#include "line.h"
#include "os/os.h"
#include "paint.h"
#include "stop.h"
#include "tell.h"

#define MAX_COUNT UINT64_C(1000000000)

enum { OPTION_FILTER = OPTION_LONG, OPTION_KIND, OPTION_NO_POSTS, OPTION_COUNT, OPTION_TIMEOUT, OPTION_JSON };

static const struct option_spec specs[] = {
	{ OPTION_FILTER, "filter", "GLOB", "only of paths that match: /srv/*.db, or /srv/** for all below /srv" },
	{ OPTION_KIND, "kind", "KINDS", "only these, with commas between: post,message" },
	{ OPTION_NO_POSTS, "no-posts", NULL, "all but posts and messages" },
	{ OPTION_COUNT, "count", "N", "stop after N events" },
	{ OPTION_TIMEOUT, "timeout", "SECONDS", "stop after so long; 0.5 is half a second" },
	{ OPTION_JSON, "json", NULL, "print a JSON object per event" },
	{ 'q', "quiet", NULL, "do not say on stderr that it has begun" },
	{ 0 },
};

static const char *filter, *kinds;
static bool no_posts, as_json, quiet, limited;
static uint64_t count, timeout_ns;

static bool set(int id, const char *value)
{
	switch (id) {
	case OPTION_FILTER:
		filter = value;
		return true;
	case OPTION_KIND:
		kinds = value;
		return true;
	case OPTION_NO_POSTS:
		no_posts = true;
		return true;
	case OPTION_COUNT:
		return options_number("count", value, 1, MAX_COUNT, &count);
	case OPTION_TIMEOUT:
		limited = true;
		return options_seconds("timeout", value, &timeout_ns);
	case OPTION_JSON:
		as_json = true;
		return true;
	default:
		quiet = true;
		return true;
	}
}

struct monitor {
	struct control *control;
	int signals;
	uint64_t n_events;
	bool stopped;         /* by a signal, or since nobody reads the output any more */
	int status;
};

/* --- one line ------------------------------------------------------------------------------------------------------ */

static enum paint colour_of(const char *kind)
{
	static const struct { const char *kind; enum paint colour; } colours[] = {
		{ "post", PAINT_GREEN },     { "message", PAINT_CYAN },  { "dropped", PAINT_RED },  { "gap", PAINT_YELLOW },
		{ "resync", PAINT_YELLOW },  { "limit", PAINT_RED },     { "log", PAINT_DIM },      { "reload", PAINT_BLUE },
	};

	for (size_t i = 0; i < sizeof(colours) / sizeof(colours[0]); i++)
		if (strcmp(colours[i].kind, kind) == 0)
			return colours[i].colour;
	return PAINT_PLAIN;
}

/* Those that have a place of their own in the line, or say what another says. */
static bool is_shown_already(const char *key)
{
	static const char *const keys[] = { "kind", "time", "time_ns", "topic", "path", "path_bytes", "pid", "uid", "command" };
	size_t size = strlen(key);

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		if (strcmp(keys[i], key) == 0)
			return true;
	return size > 6 && strcmp(key + size - 6, "_bytes") == 0;
}

/* " key=value", the value in quotes unless it is one word. */
static void add_value(FILE *to, const char *key, const char *value)
{
	bool plain = value[0] && !strpbrk(value, " \"=");

	fprintf(to, " %s=", tell_name(key));
	value = tell_name(value);
	if (plain) {
		fputs(value, to);
		return;
	}
	fputc('"', to);
	for (; *value; value++)
		fprintf(to, "%s%c", *value == '"' ? "\\" : "", *value);
	fputc('"', to);
}

static void add_sender(FILE *to, const struct json *event)
{
	char *command = json_name(event, "command"), pid[24];

	if (json_number(event, "pid")) {
		snprintf(pid, sizeof(pid), "%" PRIu64, json_number(event, "pid"));
		add_value(to, "pid", pid);
	}
	if (json_has_number(event, "uid"))
		add_value(to, "user", line_user((uid_t)json_number(event, "uid")));
	if (command && *command)
		add_value(to, "command", command);
	free(command);
}

static void add_event(FILE *to, const struct json *event)
{
	const char *kind = json_text(event, "kind"), *time = json_text(event, "time");
	char *path = json_name(event, "path");
	enum paint colour = colour_of(kind ? kind : "");

	fprintf(to, "%s%s%s", paint(PAINT_DIM), time ? tell_name(time) : "-", paint_end(PAINT_DIM));
	fprintf(to, " %s%s%s", paint(colour), kind ? tell_name(kind) : "-", paint_end(colour));
	if (path)
		fprintf(to, " %s", tell_name(path));
	add_sender(to, event);
	for (const void *at = json_first(event); at; at = json_after(event, at)) {
		char *value = is_shown_already(json_key(at)) ? NULL : json_shown(event, json_key(at));

		if (value)
			add_value(to, json_key(at), value);
		free(value);
	}
	fprintf(to, "\n");
	free(path);
}

/* NULL: no memory. To be freed. */
static char *line_of(const struct json *event)
{
	char *line = NULL;
	size_t size;
	FILE *to;
	bool failed;

	if (as_json)
		return json_line(event);
	to = open_memstream(&line, &size);
	if (!to)
		return NULL;
	add_event(to, event);
	failed = ferror(to) != 0;
	if (fclose(to) != 0 || failed) {
		free(line);
		return NULL;
	}
	return line;
}

/* --- the stream ---------------------------------------------------------------------------------------------------- */

static bool on_ready(void *userdata)
{
	struct monitor *monitor = userdata;

	if (stop_take())
		monitor->stopped = true;
	return !monitor->stopped;
}

/*
 * Without stdio, and only when there is room: so neither a terminal that is held nor a pipe that nobody empties holds up a signal.
 * Meanwhile the daemon counts what it has to drop. False: enough.
 */
static bool put(struct monitor *monitor, const char *line)
{
	size_t size = strlen(line), used = 0;

	while (used < size && !monitor->stopped) {
		struct pollfd at[2] = {
			{ .fd = monitor->signals, .events = POLLIN },
			{ .fd = STDOUT_FILENO, .events = POLLOUT },
		};
		size_t part = size - used < PIPE_BUF ? size - used : PIPE_BUF;
		ssize_t n;

		if (poll(at, 2, -1) < 0)
			continue;
		if (at[0].revents)
			on_ready(monitor);
		if (monitor->stopped || !at[1].revents)
			continue;
		n = write(STDOUT_FILENO, line + used, part);
		if (n >= 0) {
			used += (size_t)n;
		} else if (errno == EPIPE) {
			monitor->stopped = true;
		} else if (errno != EINTR && errno != EAGAIN) {
			tell("cannot write to the output: %s", strerror(errno));
			monitor->status = STATUS_FAILED;
			return false;
		}
	}
	return used == size;
}

static bool take(const struct json *event, void *userdata)
{
	struct monitor *monitor = userdata;
	const char *kind = json_text(event, "kind");
	char *line = line_of(event);
	bool done;

	if (!line) {
		tell("out of memory");
		monitor->status = STATUS_FAILED;
		return false;
	}
	done = put(monitor, line);
	free(line);
	/* What is said about the stream itself is no event. */
	if (done && !(kind && strcmp(kind, "dropped") == 0))
		monitor->n_events++;
	return done && !(count && monitor->n_events == count);
}

static void begun(void *userdata)
{
	const struct monitor *monitor = userdata;

	if (!quiet)
		fprintf(stderr, "monitoring the daemon at %s\n", tell_name(control_socket(monitor->control)));
}

static int watch(struct monitor *monitor)
{
	const char *const pairs[] = { "kind", kinds, "path", filter, "posts", kinds || no_posts ? NULL : "1", NULL };
	char *target = control_target("/v1/events", pairs);
	int status;

	if (!target) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	control_watch(monitor->control, monitor->signals, 0, on_ready, monitor);
	control_watch_output(monitor->control, STDOUT_FILENO);
	if (limited)
		control_until(monitor->control, os_now_ns() + timeout_ns);
	status = control_stream(monitor->control, target, begun, take, monitor);
	free(target);
	if (status != STATUS_OK)
		return control_tell(monitor->control, status);
	if (monitor->status == STATUS_OK && !monitor->stopped && limited && count && monitor->n_events < count)
		return STATUS_TIMEOUT;
	return monitor->status;
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct monitor monitor = { .signals = stop_init() };
	int status;

	(void)n_words, (void)words;
	if (kinds && no_posts) {
		tell("--kind and --no-posts exclude each other");
		return STATUS_USAGE;
	}
	if (monitor.signals < 0) {
		tell("cannot start: %s", strerror(-monitor.signals));
		return STATUS_FAILED;
	}
	status = control_open(options, &monitor.control);
	if (status != STATUS_OK)
		return status;
	status = watch(&monitor);
	control_close(monitor.control);
	return status;
}

const struct command command_monitor = {
	.name = "monitor",
	.summary = "print what happens in the daemon: a line for each post and event",
	.about = "A line is the time, what has happened, and whatever is known of it:\n"
		 "  2026-11-21T12:34:56.789Z post /data/app.db pid=4711 user=alice command=server posts=3\n"
		 "  2026-11-21T12:34:56.790Z member-joined /data/app.db pid=4712 user=bob command=viewer\n"
		 "The kinds are client-connected, client-gone, topic-opened, topic-closed, member-joined, member-left,\n"
		 "post, message, gap, resync, limit, link, region, endpoint, log and reload; and \"dropped\" says how many\n"
		 "the daemon could not tell, since they were not read in time: so a slow output never slows the bus.\n"
		 "\n"
		 "It ends with 0 by SIGINT, SIGTERM or SIGHUP, when --count is reached, when --timeout is over and\n"
		 "there is no --count (with one: 124), and when nobody reads its output any more; with 69 when the\n"
		 "daemon ends.",
	.options = specs,
	.set = set,
	.run = run,
};
