/* SPDX-License-Identifier: MIT */
/*
 * server.h - a daemon from its start to its end.
 */
#ifndef PATHBUS_DAEMON_SERVER_H
#define PATHBUS_DAEMON_SERVER_H

#include "options.h"

/* Serves until a signal, or until the system-wide daemon comes. Returns the exit status (exit.h). */
int server_run(struct options *options);

#endif
