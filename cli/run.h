/* SPDX-License-Identifier: MIT */
/*
 * run.h - the command of `listen --exec`: one child at a time.
 */
#ifndef PATHBUS_CLI_RUN_H
#define PATHBUS_CLI_RUN_H

#include <stdbool.h>
#include <sys/types.h>

#include "line.h"

/*
 * Starts `/bin/sh -c COMMAND` in a process group of its own, with the event in its environment and the message, or
 * nothing, as its input. Returns 0, or a negative errno. Whoever starts one calls run_reap until it has ended.
 */
int run_start(const char *command, const struct line_event *line, pid_t *ret);

/* Has it ended? Then *ret_status is as waitpid gives it. Never waits. */
bool run_reap(pid_t child, int *ret_status);

/* Tells how it failed, if it did. Returns whether it did. */
bool run_failed(int status);

/* Sends a signal to the command and all that it has started. */
void run_signal(pid_t child, int number);

#endif
