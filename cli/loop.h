/* SPDX-License-Identifier: MIT */
/*
 * loop.h - the event loop of `listen`.
 */
#ifndef PATHBUS_CLI_LOOP_H
#define PATHBUS_CLI_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "pathbus.h"

struct loop_file { /* the userdata of its topic */
	const char *name;
	pathbus_topic *topic; /* NULL: lost */
};

struct loop {
	/* set by the caller, and the caller's */
	pathbus *bus;
	struct loop_file *files;
	size_t n_files;
	int signals;          /* stop_init's */
	uint64_t count;       /* 0: no limit */
	bool limited;         /* by the time: */
	uint64_t timeout_ns;
	bool json;
	const char *command;  /* NULL: none */

	/* the loop's own */
	uint64_t deadline_ns;
	uint64_t n_events;    /* printed */
	size_t n_lost;
	char *line;           /* being printed; NULL: none */
	size_t line_used, line_size;
	struct pathbus_event event; /* of the line and the child */
	pid_t child;          /* 0: none */
	bool blind;           /* this output cannot be watched for its end */
	bool ending;          /* no more events are taken; the child is waited for */
	int stopped_by;       /* the signal passed on to the child; its death by it is no failure */
	int status;
};

/* Prints events until the end. Returns the exit status. */
int loop_run(struct loop *);

#endif
