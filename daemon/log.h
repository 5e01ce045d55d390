/* SPDX-License-Identifier: MIT */
/*
 * log.h - the log: one line an event, each with a level and a reason (log_reasons.h).
 *
 * Never waits for whoever reads it (log_target.h). Whatever others can cause is rate-limited, each reason by itself: some lines at
 * once, and then how many more there were, at growing pauses. Bytes that are no printable text are escaped in all lines;
 * what others have chosen (paths, names) is to be escaped by who writes the line, so that it shows where it ends.
 */
#ifndef PATHBUS_DAEMON_LOG_H
#define PATHBUS_DAEMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "log_reasons.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

#define LOG_REASON(reason, level, limited, name, meaning) REASON_##reason,
enum log_reason { LOG_REASONS(LOG_REASON) N_REASONS };
#undef LOG_REASON

#define LOG_TEXT_SIZE 1024u /* of a line's text; what is longer is cut */

void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "error", "warning", "info", "debug"; false: it is none of these. */
bool log_level_from(const char *name, enum log_level *ret);
const char *log_level_name(enum log_level level);

const char *log_reason_name(enum log_reason reason);    /* "limit-topics" */
enum log_level log_reason_level(enum log_reason reason);

void log_event(enum log_reason reason, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Lines that one of many can cause, each with a limit of its own: so one does not hide another's. Zeroed at first. */
struct log_limit {
	struct log_limit *next, **at; /* among those that have left something out; NULL: it has not */
	enum log_reason reason;           /* of what was left out last */
	char whose[24];
	uint64_t end_ns;    /* of the pause; 0: there was no line yet */
	uint64_t n_dropped; /* in this pause */
	unsigned n, n_pauses; /* lines in this pause; pauses in a row in which something was left out */
};
/* `whose` begins the line: "WHOSE: TEXT". */
void log_event_of(struct log_limit *limit, const char *whose, enum log_reason reason, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Its owner goes: what it left out is told. */
void log_limit_end(struct log_limit *limit);

/* What was left out is told at a pause's end, by log_tell_left_out, which is to be called in so many milliseconds when `fn` says
 * so, instead of when it was to be called before; it returns when it is to be called again, 0: not. Without `fn` it is told with
 * the next line of that reason. */
void log_set_waker(void (*fn)(void *arg, unsigned ms), void *arg);
unsigned log_tell_left_out(void);
void log_tell_all_left_out(void); /* whatever the pause: the end */

#endif
