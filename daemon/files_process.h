/* SPDX-License-Identifier: MIT */
/*
 * files_process.h - the files process of the daemon of all users: the only one that may become another user.
 *
 * It is small and does little: on main's word it forks a worker, or starts a link agent, for a client, and ends it. Who the
 * client is it asks the kernel, by the connection that main passes on; main's word is not taken for that, and connections
 * that were not accepted at the daemon's own address are refused. It touches no client's path: a child of it opens a
 * client's root folder, if the worker may not.
 */
#ifndef PATHBUS_DAEMON_FILES_PROCESS_H
#define PATHBUS_DAEMON_FILES_PROCESS_H

#include <stdbool.h>

/* UID and GID of the service user. `managed`: a service manager has started the daemon. Serves until main has ended. Returns the exit status. */
int files_process_run(const char *uid, const char *gid, bool managed, bool sandboxed);

#endif
