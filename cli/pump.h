/* SPDX-License-Identifier: MIT */
/*
 * pump.h - joins a connected socket to standard input and output.
 */
#ifndef PATHBUS_CLI_PUMP_H
#define PATHBUS_CLI_PUMP_H

#include <stdbool.h>

/* Until both directions have ended, or a signal (wait.h). Takes the socket over. Returns the exit status. */
int pump_run(int socket, bool keeps_bounds);

#endif
