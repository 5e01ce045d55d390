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
#include "stop.h"
#include "tell.h"

#define MAX_COUNT UINT64_C(1000000000)

enum { OPTION_COUNT = OPTION_LONG, OPTION_TIMEOUT, OPTION_JSON, OPTION_EXEC };

static const struct option_spec specs[] = {
	{ OPTION_COUNT, "count", "N", "stop after N events" },
	{ OPTION_TIMEOUT, "timeout", "SECONDS", "stop after so long; 0.5 is half a second" },
	{ OPTION_JSON, "json", NULL, "print a JSON object per event" },
	{ OPTION_EXEC, "exec", "CMD", "run CMD with /bin/sh after each event, one at a time" },
	{ 'q', "quiet", NULL, "do not say on stderr that the listening has begun" },
	{ 0 },
};

static struct loop loop;
static bool quiet;

static bool set(int id, const char *value)
{
	switch (id) {
	case OPTION_COUNT:
		return options_number("count", value, 1, MAX_COUNT, &loop.count);
	case OPTION_TIMEOUT:
		loop.limited = true;
		return options_seconds("timeout", value, &loop.timeout_ns);
	case OPTION_JSON:
		loop.json = true;
		return true;
	case OPTION_EXEC:
		loop.command = value;
		return true;
	default:
		quiet = true;
		return true;
	}
}

static int open_files(char **files)
{
	for (size_t i = 0; i < loop.n_files; i++) {
		struct loop_file *file = &loop.files[i];
		int error = pathbus_open(loop.bus, files[i], PATHBUS_SUBSCRIBE, &file->topic);

		if (error < 0)
			return tell_file_error("listen on", files[i], error);
		file->name = files[i];
		pathbus_set_userdata(file->topic, file);
	}
	return STATUS_OK;
}

/* Only when all are open: a script that waits for the last line may then post on any of them. */
static void tell_ready(void)
{
	for (size_t i = 0; !quiet && i < loop.n_files; i++) {
		struct pathbus_transport transport = { .size = sizeof(transport) };

		if (pathbus_transport(loop.files[i].topic, &transport) == 0)
			fprintf(stderr, "listening on %s (%s)\n", tell_name(loop.files[i].name),
				tell_transport(transport.kind));
	}
}

static int run(const struct pathbus_options *options, size_t n_files, char **files)
{
	int error, status;

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
	error = pathbus_new(&loop.bus, options);
	if (error < 0) {
		status = tell_daemon_error(options, error);
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
	"A line is the time, the event, how many posts are merged into it, and the file:\n"
	"  2026-11-21T12:34:56.789Z post 3 /data/app.db\n"
	"An event is \"post\"; or \"resync\": something may have been missed, so look at the file\n"
	"again; or \"error\": the file's channel is lost, which is explained on stderr. Where it is the\n"
	"daemon that is away, its return is waited for; a file that is lost otherwise (its rights, its\n"
	"folder) is given up, and when all are, listening ends with a failure. The files need not\n"
	"exist; their folders must.\n"
	"\n"
	"It ends with 0 by SIGINT, SIGTERM or SIGHUP, when --count is reached, when --timeout is over\n"
	"and there is no --count (with one: 124), and when nobody reads its output any more.\n"
	"\n"
	"CMD finds PATHBUS_FILE (as given here), PATHBUS_EVENT, PATHBUS_COUNT and PATHBUS_GENERATION\n"
	"in its environment. While it runs, posts wait and are merged into one event. Where it fails,\n"
	"that is told on stderr, and the exit status at the end is 1. A signal that ends the listening\n"
	"is passed on to CMD; a second one kills it. At any other end CMD is waited for.";

const struct command command_listen = {
	.name = "listen",
	.arguments = "FILE...",
	.summary = "print a line for each event on these files, at once",
	.about = about,
	.options = specs,
	.set = set,
	.max_files = SIZE_MAX,
	.run = run,
};
