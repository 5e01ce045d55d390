/* SPDX-License-Identifier: MIT */
/*
 * log_file.h - a file of the log, written by a thread: a disk may take its time, or a network's file system for ever.
 *
 * The thread is there while there is something to write. One file at a time.
 */
#ifndef PATHBUS_DAEMON_LOG_FILE_H
#define PATHBUS_DAEMON_LOG_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Opens it, or makes it. `path` is absolute. -EISDIR, -ELOOP (a symbolic link), -EEXIST (no regular file),
 * -EMLINK (it has other names), -errno. */
int log_file_open(const char *path);
/* From then on there is a thread; before, lines are written at once: what a thread has that is there already (capabilities, and what
 * Landlock lets it do) would not be given up with main's. */
void log_file_started(void);
int log_file_give(uid_t uid, gid_t gid);
int log_file_folder(void); /* stays its own */
/* By its name again, in the same folder: by the thread. */
void log_file_reopen(void);
/* The error of the last such opening, once; 0: there was none, or not since it was asked last. Negative. */
int log_file_take_error(void);
/* Lines that were taken and could not be written, since it was asked last. */
uint64_t log_file_take_failed(void);
/* False: there is no room. */
bool log_file_put(const char *line, size_t size);
/* Waits for what is there, up to so many milliseconds, then closes it. */
void log_file_close(unsigned ms);

#endif
