/* SPDX-License-Identifier: MIT */
/* sidecars.h - the hidden folders that lie in a case's folder, as seen from outside the library. */
#ifndef PATHBUS_TESTS_SIDECARS_H
#define PATHBUS_TESTS_SIDECARS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* The sidecar of a file in the case's folder `files`, or an entry in it (NULL: the folder itself). */
const char *sidecar_path(const char *name, const char *entry);
bool is_there(const char *path);
ino_t inode_of(const char *path); /* 0: it is not there */
/* Does this process hold that inode open, and does the path still lead to it? */
bool is_held(const char *path);
int n_holds(const char *path); /* how often */

/* The entries of a folder that begin with this, without `.` and `..`; 0 if there is no such folder. */
int count_entries(const char *folder, const char *prefix);

/* Removes a whole tree, as `rm -rf` does. */
void remove_all(const char *path);
/* Copies a whole tree, as `cp -a` does. */
void copy_all(const char *from, const char *to);

/* What a member leaves that dies: a whole sidecar in which nobody lives. */
void leave_sidecar(const char *name);

#endif
