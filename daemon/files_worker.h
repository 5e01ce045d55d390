/* SPDX-License-Identifier: MIT */
/*
 * files_worker.h - the process that touches clients' paths, so that main never does.
 */
#ifndef PATHBUS_DAEMON_FILES_WORKER_H
#define PATHBUS_DAEMON_FILES_WORKER_H

#include <stdbool.h>

/* Serves until its socket ends. `system`: as a child of the files process. Returns the exit status. */
int files_worker_run(bool system, bool sandboxed);

#endif
