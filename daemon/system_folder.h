/* SPDX-License-Identifier: MIT */
/*
 * system_folder.h - the folder of the socket that serves all users.
 *
 * It is the service user's, so that the daemon can still remove its files when it has given root up. All may look into it, and
 * nobody but root and the service user can exchange anything in it, or on the way to it.
 */
#ifndef PATHBUS_DAEMON_SYSTEM_FOLDER_H
#define PATHBUS_DAEMON_SYSTEM_FOLDER_H

#include <stdbool.h>

#include "privileges.h"

/*
 * Opens it (O_PATH, the caller's), after making it if it is not there. `adopt`: one that is root's is given to the
 * service user. 0, or -1, and the log says why not.
 */
int system_folder_open(const char *path, const struct service_user *user, bool adopt, int *ret_dir);

#endif
