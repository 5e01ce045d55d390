/* SPDX-License-Identifier: MIT */
/*
 * logging.h - the log of a running daemon: its target, and the timer by which what was left out is told.
 */
#ifndef PATHBUS_DAEMON_LOGGING_H
#define PATHBUS_DAEMON_LOGGING_H

#include <stdbool.h>
#include <sys/types.h>

struct loop;
struct options;

/* While files may still be made and opened. Returns an exit status. */
int logging_start(const struct options *options);
/* Before root is given up: a file of the log is to be this user's. */
void logging_give(uid_t uid, gid_t gid);
/* Serving has begun. -ENOMEM: what is left out is told with the next line. The loop has to live until logging_leave. */
int logging_attach(struct loop *loop);
void logging_leave(void);
/* What was left out is told, and what is on its way is waited for. */
void logging_end(void);

#endif
