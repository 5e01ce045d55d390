/* SPDX-License-Identifier: MIT */
/*
 * daemon.h - a private pathbusd for a case.
 *
 * Its socket is `socket` in the case's folder unless the case sets `address` first, and its stderr goes to a
 * file beside that, which is printed if the case fails.
 */
#ifndef PATHBUS_TESTS_DAEMON_H
#define PATHBUS_TESTS_DAEMON_H

#include "harness/process.h"

struct harness_daemon {
	struct harness_process process;
	const char *address;
	const char *log;
	const char *program; /* NULL: pathbusd */
};

/*
 * Starts `pathbusd --address ADDRESS ARGUMENT...` (a NULL-ended list, or NULL) and returns when it accepts
 * connections. One that was stopped or killed can be started again, on the same address.
 */
void harness_daemon_start(struct harness_daemon *, const char *const *arguments);
void harness_daemon_stop(struct harness_daemon *);    /* SIGTERM, and an exit with 0 */
void harness_daemon_kill(struct harness_daemon *);    /* SIGKILL */
void harness_daemon_suspend(struct harness_daemon *); /* SIGSTOP: there, but silent */
void harness_daemon_resume(struct harness_daemon *);  /* SIGCONT */

#endif
