/* SPDX-License-Identifier: MIT */
/*
 * options.h - the command line.
 */
#ifndef PATHBUS_DAEMON_OPTIONS_H
#define PATHBUS_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "log.h"

struct options {
	bool system; /* serves all users */
	const char *address; /* NULL: the user's own place; points into argv */
	unsigned offload_members, offload_message_members;
	unsigned max_message; /* that an opening may ask for */
	uint64_t max_region_bytes; /* all of a user's regions together */
	unsigned max_regions;
	unsigned hello_ms;
	unsigned files_ms;
	enum log_level log_level;
};

/* Returns -1: go on; else the exit status (0 after --help and --version, 2 after a usage error). */
int options_parse(int argc, char **argv, struct options *ret);

#endif
