/* SPDX-License-Identifier: MIT */
/*
 * own_folder.h - a folder that is this user's alone.
 */
#ifndef PATHBUS_DAEMON_OWN_FOLDER_H
#define PATHBUS_DAEMON_OWN_FOLDER_H

/*
 * Makes the folder (mode 0700) if it is not there, and opens it. On success *ret_dir (O_PATH) is the
 * caller's. -EPERM: it is another user's, or open to others; -ENOTDIR: no folder, or a symbolic link.
 */
int own_folder_open(const char *path, int *ret_dir);

#endif
