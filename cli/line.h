/* SPDX-License-Identifier: MIT */
/*
 * line.h - what the commands print: a line for people, or a JSON object on a line.
 */
#ifndef PATHBUS_CLI_LINE_H
#define PATHBUS_CLI_LINE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "pathbus.h"

#define LINE_TIME_SIZE 32
#define LINE_ORIGIN_SIZE 17
#define LINE_BYTES_SIZE 24
#define LINE_DURATION_SIZE 24

/* An event as `listen` shows it. */
struct line_event {
	const char *file; /* as on the command line */
	const struct pathbus_event *event;
	enum pathbus_transport_kind transport;
	struct timespec time; /* CLOCK_REALTIME: when it was published, or, of what is no message, received */
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

/* What `post --wait` found on one file. */
struct line_sync {
	const char *file;
	enum pathbus_transport_kind transport;
	const struct pathbus_sync *sync;
	bool prefixed; /* of several files: the text begins with the name */
};

/* What `region dump` found. */
struct line_region {
	const char *file, *name;
	const struct pathbus_region_info *info;
	uint64_t version;           /* of the bytes */
	const unsigned char *bytes; /* the first n_bytes; NULL: there is no whole version to see */
	size_t n_bytes;
};

/* RFC 3339, UTC, milliseconds. */
void line_time(struct timespec time, char ret[LINE_TIME_SIZE]);
/* CLOCK_MONOTONIC nanoseconds of the past, as wall-clock time. */
struct timespec line_wall_clock(uint64_t monotonic_ns);
/* Nanoseconds since 1970. */
struct timespec line_time_of(uint64_t wall_ns);
/* 16 hexadecimal digits. Too large for a number of JSON, and nobody calculates with it. */
void line_origin(uint64_t origin, char ret[LINE_ORIGIN_SIZE]);
/* "100M": 1024 based, with one digit after the point where it is no whole number of them. */
void line_bytes(uint64_t n, char ret[LINE_BYTES_SIZE]);
/* "45s", "12m", "3h", "3h20m", "2d", "2d4h": in whole units, two of them from hours on. */
void line_duration(uint64_t ms, char *ret); /* LINE_DURATION_SIZE bytes */
/* The user's name, or the number; "unknown". Valid until the next call. */
const char *line_user(uid_t uid);
/* "post", "resync" ... */
const char *line_event_name(enum pathbus_event_kind kind);

/* Each returns a line with its newline, to be freed, or NULL: out of memory. */
char *line_event_text(const struct line_event *);
char *line_event_json(const struct line_event *);
char *line_check_json(const struct line_check *);
char *line_sync_json(const struct line_sync *);
char *line_state_json(const char *file, uint64_t value, uint64_t version);
char *line_lock_json(const char *file, const struct pathbus_lock_info *);
/* Several lines: the lock, and one for each that holds it or waits. */
void line_print_lock(const struct pathbus_lock_info *);
char *line_region_json(const struct line_region *);
/* Several lines: the count, and one for each that is missing. */
void line_print_sync(const struct line_sync *);

#endif
