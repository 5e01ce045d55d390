/* SPDX-License-Identifier: MIT */
/*
 * log.h - lines on stderr. Never waits for whoever reads them: what does not fit is counted and dropped.
 */
#ifndef PATHBUS_DAEMON_LOG_H
#define PATHBUS_DAEMON_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "error", "warning", "info", "debug"; false: it is none of these. */
bool log_level_from(const char *name, enum log_level *ret);
const char *log_level_name(enum log_level level);

void log_write(enum log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warning(...) log_write(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_info(...) log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)

/* For lines that a peer can cause: one for each kind. Zeroed at first. */
struct log_limit {
	uint64_t window_ns; /* when the current window began */
	uint64_t n_dropped;
	unsigned n;
};

/* May another line of this kind be written? `what` names the kind when lines that were left out are told. */
bool log_allows(struct log_limit *limit, const char *what);

#endif
