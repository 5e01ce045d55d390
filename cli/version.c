/* SPDX-License-Identifier: MIT */
/* version.c - `pathbusctl version`: its own, and that of the library it runs with. */
#include <stdio.h>

#include "command.h"
#include "tell.h"

static int run(const struct pathbus_options *options, size_t n_files, char **files)
{
	(void)options, (void)n_files, (void)files;
	printf("pathbusctl %s (libpathbus %s)\n", PATHBUS_VERSION, pathbus_version());
	return tell_flush();
}

const struct command command_version = {
	.name = "version",
	.summary = "print the versions of pathbusctl and of the library",
	.run = run,
};
