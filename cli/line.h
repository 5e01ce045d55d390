/* SPDX-License-Identifier: MIT */
/*
 * line.h - what `listen` and `check` print, as text and as JSON.
 */
#ifndef PATHBUS_CLI_LINE_H
#define PATHBUS_CLI_LINE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "pathbus.h"

#define LINE_TIME_SIZE 32

/* An event as `listen` shows it. */
struct line_event {
	const char *file; /* as on the command line */
	const struct pathbus_event *event;
	enum pathbus_transport_kind transport;
	struct timespec time; /* CLOCK_REALTIME, when it was received */
};

/* What `check` found. */
struct line_check {
	const char *file;
	struct pathbus_transport transport;
	bool may_subscribe, may_post;
	bool daemon_asked;   /* false: --transport peer */
	int daemon_error;    /* 0: it answers; else a negative errno */
	const char *address; /* NULL: unknown */
	uint64_t ping_ns;    /* if it answers */
};

/* RFC 3339, UTC, milliseconds. */
void line_time(struct timespec time, char ret[LINE_TIME_SIZE]);
/* CLOCK_MONOTONIC nanoseconds of the past, as wall-clock time. */
struct timespec line_wall_clock(uint64_t monotonic_ns);
/* "post", "resync" ... */
const char *line_event_name(enum pathbus_event_kind kind);

/* Each returns a line with its newline, to be freed, or NULL: out of memory. */
char *line_event_text(const struct line_event *);
char *line_event_json(const struct line_event *);
char *line_check_json(const struct line_check *);

#endif
