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

#include "line.h"
#include "pathbus.h"

struct loop_file { /* the userdata of its topic */
	const char *name;
	pathbus_topic *topic; /* NULL: lost */
};

enum loop_format { LOOP_TEXT, LOOP_JSON, LOOP_RAW };

struct loop {
	/* set by the caller, and the caller's */
	pathbus *bus;
	struct loop_file *files;
	size_t n_files;
	int signals;          /* stop_init's */
	uint64_t count;       /* 0: no limit */
	bool limited;         /* by the time: */
	uint64_t timeout_ns;
	enum loop_format format;
	int separator;        /* after each raw message, a byte; -1: none */
	const char *command;  /* NULL: none */

	/* the loop's own */
	uint64_t deadline_ns;
	uint64_t n_events;    /* printed; raw: messages */
	size_t n_lost;
	char *line;           /* being printed; NULL: none */
	size_t line_used, line_size;
	struct pathbus_event event; /* of the line and the child; its message is the library's, until the next */
	struct line_event shown;    /* the same */
	pid_t child;          /* 0: none */
	bool blind;           /* this output cannot be watched for its end */
	bool ending;          /* no more events are taken; the child is waited for */
	int stopped_by;       /* the signal passed on to the child; its death by it is no failure */
	int status;
};

/* Prints events until the end. Returns the exit status. */
int loop_run(struct loop *);

#endif
