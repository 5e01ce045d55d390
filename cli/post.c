/* SPDX-License-Identifier: MIT */
/* post.c - `pathbusctl post FILE...`: one post on each. */
#include <stdbool.h>
#include <stdio.h>

#include "command.h"
#include "tell.h"

static bool verbose;

static const struct option_spec specs[] = {
	{ 'v', "verbose", NULL, "print each file and the way its post took: bus or peer" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	(void)id, (void)value; /* there is only one */
	verbose = true;
	return true;
}

static int post(pathbus *bus, const char *file)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	pathbus_topic *topic;
	int error = pathbus_open(bus, file, PATHBUS_POST, &topic), status = STATUS_OK;

	if (error < 0)
		return tell_file_error("open", file, error);
	error = pathbus_post(topic);
	if (error < 0)
		status = tell_file_error("post on", file, error);
	else if (verbose && pathbus_transport(topic, &transport) == 0)
		printf("posted on %s (%s)\n", tell_name(file), tell_transport(transport.kind));
	pathbus_close(topic);
	return status;
}

static int run(const struct pathbus_options *options, size_t n_files, char **files)
{
	pathbus *bus;
	int error = pathbus_new(&bus, options), status = STATUS_OK;

	if (error < 0)
		return tell_daemon_error(options, error);
	for (size_t i = 0; i < n_files; i++) {
		int one = post(bus, files[i]);

		if (status == STATUS_OK)
			status = one;
	}
	pathbus_free(bus);
	return status == STATUS_OK ? tell_flush() : status;
}

const struct command command_post = {
	.name = "post",
	.arguments = "FILE...",
	.summary = "tell everybody who listens on a file that it has changed",
	.about = "Posts once on each file. Where one fails, the others are posted on all the same, and\n"
		 "the exit status is that of the first failure. The file need not exist; its folder\n"
		 "must.",
	.options = specs,
	.set = set,
	.max_files = SIZE_MAX,
	.run = run,
};
