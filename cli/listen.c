/* SPDX-License-Identifier: MIT */
/*
 * listen.c - `pathbusctl listen FILE...`: its options, opening, and the end.
 *
 * What happens in between is in loop.c.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "loop.h"
#include "page.h"
#include "stop.h"
#include "tell.h"

#define MAX_COUNT UINT64_C(1000000000)

enum {
	OPTION_COUNT = OPTION_LONG,
	OPTION_TIMEOUT,
	OPTION_JSON,
	OPTION_RAW,
	OPTION_NEWLINE,
	OPTION_EXEC,
	OPTION_LAST,
	OPTION_NEWEST,
	OPTION_RING,
	OPTION_MAX_MESSAGE,
	OPTION_SOCKET,
};

static const struct option_spec specs[] = {
	{ OPTION_COUNT, "count", "N", "stop after N events" },
	{ OPTION_TIMEOUT, "timeout", "SECONDS", "stop after so long; 0.5 is half a second" },
	{ OPTION_JSON, "json", NULL, "print a JSON object per event" },
	{ OPTION_RAW, "raw", NULL, "print the bytes of each message, and nothing else" },
	{ OPTION_NEWLINE, "newline", NULL, "with --raw: a newline after each message" },
	{ '0', "null", NULL, "with --raw: a zero byte after each message, as xargs -0 wants it" },
	{ OPTION_EXEC, "exec", "CMD", "run CMD with /bin/sh after each event, one at a time" },
	{ OPTION_LAST, "last", "N", "begin with the last N messages, as far as they are kept" },
	{ OPTION_NEWEST, "newest", NULL, "when behind: of each key only the newest message" },
	{ OPTION_RING, "ring", "N", "keep N messages for who is behind, if nobody is there yet (256)" },
	{ OPTION_MAX_MESSAGE, "max-message", "BYTES",
	  "allow messages of so many bytes, if nobody is there yet (4096)" },
	{ OPTION_SOCKET, "socket", NULL, "the same as --transport socket" },
	{ 'q', "quiet", NULL, "do not say on stderr that the listening has begun" },
	{ 0 },
};

static struct loop loop = { .separator = -1 };
static struct pathbus_topic_options topic_options = { .size = sizeof(topic_options) };
static unsigned flags = PATHBUS_SUBSCRIBE | PATHBUS_WALL_CLOCK;
static bool as_json, as_raw, by_socket, quiet;

static bool take_number(const char *option, const char *value, unsigned min, unsigned max, unsigned *ret)
{
	uint64_t number;

	if (!options_number(option, value, min, max, &number))
		return false;
	*ret = (unsigned)number;
	return true;
}

static bool set(int id, const char *value)
{
	switch (id) {
	case OPTION_COUNT:
		return options_number("count", value, 1, MAX_COUNT, &loop.count);
	case OPTION_TIMEOUT:
		loop.limited = true;
		return options_seconds("timeout", value, &loop.timeout_ns);
	case OPTION_JSON:
		as_json = true;
		return true;
	case OPTION_RAW:
		as_raw = true;
		return true;
	case OPTION_NEWLINE:
		loop.separator = '\n';
		return true;
	case '0':
		loop.separator = '\0';
		return true;
	case OPTION_EXEC:
		loop.command = value;
		return true;
	case OPTION_LAST:
		return take_number("last", value, 0, LANE_MAX_SLOTS, &topic_options.last);
	case OPTION_NEWEST:
		flags |= PATHBUS_NEWEST;
		return true;
	case OPTION_RING:
		return take_number("ring", value, LANE_MIN_SLOTS, LANE_MAX_SLOTS, &topic_options.ring_slots);
	case OPTION_MAX_MESSAGE:
		return take_number("max-message", value, LANE_MIN_MESSAGE, LANE_MAX_MESSAGE,
				   &topic_options.max_message);
	case OPTION_SOCKET:
		by_socket = true;
		return true;
	default:
		quiet = true;
		return true;
	}
}

/* What one option says about another. */
static bool options_agree(const struct pathbus_options *options)
{
	struct lane_shape shape;

	if (as_json && as_raw)
		tell("--json and --raw exclude each other");
	else if (loop.separator >= 0 && !as_raw)
		tell("--newline and --null go with --raw");
	else if (by_socket && options->transport == PATHBUS_PEER)
		tell("--socket and --transport peer exclude each other");
	else if (lane_shape_make(topic_options.ring_slots, topic_options.max_message, &shape) < 0)
		tell("--ring times --max-message is more than 1 GiB; take less of one of them");
	else
		return true;
	return false;
}

static int open_files(char **files)
{
	for (size_t i = 0; i < loop.n_files; i++) {
		struct loop_file *file = &loop.files[i];
		int error = pathbus_open_with(loop.bus, files[i], flags, &topic_options, &file->topic);

		if (error < 0)
			return tell_file_error("listen on", files[i], error);
		file->name = files[i];
		pathbus_set_userdata(file->topic, file);
	}
	return STATUS_OK;
}

/* Who asks for a size and gets another may lose messages for it. */
static void tell_limits(const struct loop_file *file)
{
	struct pathbus_limits limits = { .size = sizeof(limits) };

	if (pathbus_get_limits(file->topic, &limits) < 0 ||
	    (limits.ring_slots >= topic_options.ring_slots && limits.max_message >= topic_options.max_message))
		return;
	tell("%s keeps %u messages of up to %u bytes: who was there first has decided", tell_name(file->name),
	     limits.ring_slots, limits.max_message);
}

/* Only when all are open: a script that waits for the last line may then post on any of them. */
static void tell_ready(void)
{
	for (size_t i = 0; !quiet && i < loop.n_files; i++) {
		struct pathbus_transport transport = { .size = sizeof(transport) };

		if (pathbus_transport(loop.files[i].topic, &transport) == 0)
			fprintf(stderr, "listening on %s (%s)\n", tell_name(loop.files[i].name),
				tell_transport(transport.kind));
		tell_limits(&loop.files[i]);
	}
}

static int run(const struct pathbus_options *options, size_t n_files, char **files)
{
	struct pathbus_options own_options = *options;
	int error, status;

	if (!options_agree(options))
		return STATUS_USAGE;
	if (by_socket)
		own_options.transport = PATHBUS_SOCKET;
	loop.format = as_json ? LOOP_JSON : as_raw ? LOOP_RAW : LOOP_TEXT;
	loop.signals = stop_init();
	if (loop.signals < 0) {
		tell("cannot start: %s", strerror(-loop.signals));
		return STATUS_FAILED;
	}
	loop.n_files = n_files;
	loop.files = calloc(n_files, sizeof(*loop.files));
	if (!loop.files) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	error = pathbus_new(&loop.bus, &own_options);
	if (error < 0) {
		status = tell_daemon_error(&own_options, error);
	} else {
		status = open_files(files);
		if (status == STATUS_OK) {
			tell_ready();
			status = loop_run(&loop);
		}
	}
	pathbus_free(loop.bus);
	free(loop.files);
	return status;
}

static const char about[] =
	"A line is the time, the event, how many of it there are, and the file:\n"
	"  2026-11-21T12:34:56.789Z post 3 /data/app.db\n"
	"  2026-11-21T12:34:56.790Z message 1 /data/app.db pid=4711 uid=1000 key=\"colour\" \"blue\\x0a\"\n"
	"  2026-11-21T12:34:56.791Z gap 12 /data/app.db missed 12 messages\n"
	"An event is \"post\" (posts that come faster than they are taken are merged into one); \"message\",\n"
	"each one by itself, with the time when it was published, its sender, its key if it has one,\n"
	"and its bytes; \"gap\": so many messages were missed; \"resync\": something may have been missed, so\n"
	"look at the file again; or \"error\": the file's channel is lost, which is explained on stderr.\n"
	"Where it is the daemon that is away, its return is waited for; a file that is lost otherwise\n"
	"(its rights, its folder) is given up, and when all are, listening ends with a failure. The files\n"
	"need not exist; their folders must.\n"
	"\n"
	"With --raw nothing separates the messages unless --newline or --null is given; posts are not\n"
	"shown, gaps and resyncs are told on stderr, and --count counts messages.\n"
	"\n"
	"It ends with 0 by SIGINT, SIGTERM or SIGHUP, when --count is reached, when --timeout is over\n"
	"and there is no --count (with one: 124), and when nobody reads its output any more.\n"
	"\n"
	"CMD finds PATHBUS_FILE (as given here), PATHBUS_EVENT, PATHBUS_COUNT, PATHBUS_GENERATION and\n"
	"PATHBUS_TIME in its environment; for a message also PATHBUS_MESSAGE (unless it has zero bytes or\n"
	"64 KiB), PATHBUS_KEY, PATHBUS_PID, PATHBUS_UID and PATHBUS_ORIGIN, and the message is its standard\n"
	"input. While it runs, posts wait and are merged into one event; messages wait, and each gets a\n"
	"run of its own. Where it fails, that is told on stderr, and the exit status at the end is 1. A\n"
	"signal that ends the listening is passed on to CMD; a second one kills it. At any other end CMD\n"
	"is waited for.";

const struct command command_listen = {
	.name = "listen",
	.arguments = "FILE...",
	.summary = "print a line for each event on these files, at once",
	.about = about,
	.options = specs,
	.set = set,
	.min_words = 1,
	.max_words = SIZE_MAX,
	.run = run,
};
