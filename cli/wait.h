/* SPDX-License-Identifier: MIT */
/*
 * wait.h - the end of `post --wait`: until those who listen have caught up. And how a signal interrupts that, or
 * whatever else waits with a limit.
 */
#ifndef PATHBUS_CLI_WAIT_H
#define PATHBUS_CLI_WAIT_H

#include <stdbool.h>
#include <stdint.h>

#include "pathbus.h"

struct wait {
	uint64_t timeout_ns;
	bool json;
	bool several; /* files: the lines of text begin with the name */
};

/*
 * From now on the first SIGINT, SIGTERM or SIGHUP (unless it is ignored) does not end the process, but the waiting; so
 * it leaves the topics in good order, and nobody is told that it may have died in the middle of a post. A second one
 * ends it at once. Returns 0 or a negative errno.
 */
int wait_init(void);

/* The signal that has come, or 0. */
int wait_stopped(void);

/* If one has come: lets it end the process after all, so that whoever started it sees why. */
void wait_end(void);

/* Waits until deadline_ns (CLOCK_MONOTONIC) and prints what it found. Returns the exit status; STATUS_FAILED, and
 * nothing printed, after a signal. */
int wait_for_subscribers(const struct wait *, const char *file, pathbus_topic *topic, uint64_t deadline_ns);

#endif
