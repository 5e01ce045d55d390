/* SPDX-License-Identifier: MIT */
/*
 * held.h - the command of `lock run`, and a process that keeps the lock while it runs.
 */
#ifndef PATHBUS_CLI_HELD_H
#define PATHBUS_CLI_HELD_H

#include <stdbool.h>

/* Notes which signals are ignored, before anybody changes that: the command finds them so. 0 or a negative errno. */
int held_init(void);

/*
 * Runs a command with its arguments, which end with NULL, and waits for its end. Its descriptors are ours. Signals
 * that ask to end are passed on to it, unless they come from the terminal, which sends them to it anyway. Returns its
 * exit status, 128 and the number of the signal that ended it, STATUS_NOT_RUN, STATUS_NOT_FOUND, or STATUS_FAILED
 * (told).
 */
int held_run(char **command, const char *file, const char *lock, bool abandoned);

#endif
