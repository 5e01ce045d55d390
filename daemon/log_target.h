/* SPDX-License-Identifier: MIT */
/*
 * log_target.h - where the lines of the log go.
 *
 *   auto        the journal where stderr leads there, else stderr
 *   stderr      as text; where it leads to the journal with a priority (<4>) in front
 *   journal     by its own protocol, with PRIORITY, PATHBUS_REASON and SYSLOG_IDENTIFIER
 *   syslog      /dev/log
 *   file:PATH   with times; opened anew when it is told to (logrotate), and written by a thread of its own
 *
 * None of them makes its caller wait. What cannot be taken at once is dropped and counted, and that is told with the next line
 * that can; a file has room for some.
 */
#ifndef PATHBUS_DAEMON_LOG_TARGET_H
#define PATHBUS_DAEMON_LOG_TARGET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "log.h"

bool log_target_is_valid(const char *target);

/*
 * From then on lines go there; before, to stderr. To be called while files may still be made and opened. 0, or -errno: `ret_error`
 * says what is wrong, and lines go where they went.
 */
#define LOG_TARGET_ERROR_SIZE 512u
int log_target_open(const char *target, char *ret_error);
/* Until this is called errors are written to stderr too: somebody may be waiting there for a start that fails. */
void log_target_started(void);
/* A file is to be this user's, who will write it. 0 or -errno. */
int log_target_give(uid_t uid, gid_t gid);
/* The folder of a file, held open; -1: there is none. A sandbox has to let files be made and written there. */
int log_target_folder(void);
/* A file is opened by its name again; other sockets are connected anew. Does not wait: what goes wrong is told later, and lines go
 * on as before. */
void log_target_reopen(void);
/* Waits a little for lines that are on their way. */
void log_target_close(void);

/* One line of printable text. */
void log_target_put(enum log_level level, const char *reason, const char *text);
uint64_t log_target_n_dropped(void);

/* Only tests change them. */
extern const char *log_target_journal, *log_target_syslog;

#endif
