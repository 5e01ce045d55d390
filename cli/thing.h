/* SPDX-License-Identifier: MIT */
/*
 * thing.h - what programs share under a file's topic by a name, as the commands for it see it.
 */
#ifndef PATHBUS_CLI_THING_H
#define PATHBUS_CLI_THING_H

#include "pathbus.h"

struct thing {
	const char *kind; /* "region", "endpoint" */
	const char *name; /* NULL: all of them */
	const char *file;
};

/* Opens the topic of a file. Returns STATUS_OK, and pathbus_free closes it; or an exit status (told). */
int thing_open_topic(const struct pathbus_options *options, const char *file, unsigned flags, pathbus **ret_bus,
		     pathbus_topic **ret_topic);

/* "cannot VERB region "NAME" of FILE: ...". `error` is a negative errno of the library. Returns the exit status. */
int thing_tell_error(const struct thing *, const char *verb, int error);

#endif
