/* SPDX-License-Identifier: MIT */
/*
 * stop.h - signals as something to poll for.
 */
#ifndef PATHBUS_CLI_STOP_H
#define PATHBUS_CLI_STOP_H

/*
 * From now on SIGINT, SIGTERM and SIGHUP (unless it is ignored: nohup) do not end the process, and they and
 * SIGCHLD make the returned descriptor readable. It lives as long as the process. Negative errno on failure.
 */
int stop_init(void);

/* After it: a change of the terminal's size (SIGWINCH) makes it readable, too. 0, -errno. */
int stop_watch_size(void);

/* Empties the descriptor. Returns the last signal that asks to stop since the last call, or 0. */
int stop_take(void);

#endif
