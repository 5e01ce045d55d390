/* SPDX-License-Identifier: MIT */
/* ping.c - `pathbusctl ping`: does the daemon answer, where, how fast? */
#include <stdio.h>

#include "command.h"
#include "tell.h"

static int run(const struct pathbus_options *options, size_t n_files, char **files)
{
	struct pathbus_options bus_only = *options;
	const char *address;
	uint64_t ns;
	pathbus *bus;
	int error;

	(void)n_files, (void)files;
	if (options->transport == PATHBUS_PEER) {
		tell("ping asks the daemon, and --transport peer never does; leave it out");
		return STATUS_USAGE;
	}
	bus_only.transport = PATHBUS_BUS;
	error = pathbus_new(&bus, &bus_only);
	if (error < 0)
		return tell_daemon_error(&bus_only, error);
	error = pathbus_ping(bus, &ns);
	if (error == 0) {
		address = pathbus_address(bus);
		printf("the daemon at %s answered in %.1f us\n", address ? tell_name(address) : "?",
		       (double)ns / 1e3);
	}
	pathbus_free(bus);
	return error < 0 ? tell_daemon_error(&bus_only, error) : tell_flush();
}

const struct command command_ping = {
	.name = "ping",
	.summary = "ask the daemon for an answer, print its address and the time it took",
	.about = "Exits with 69 if no daemon answers.",
	.run = run,
};
