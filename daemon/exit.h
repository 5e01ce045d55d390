/* SPDX-License-Identifier: MIT */
/*
 * exit.h - what pathbusd's exit status means.
 */
#ifndef PATHBUS_DAEMON_EXIT_H
#define PATHBUS_DAEMON_EXIT_H

enum {
	EXIT_STOPPED = 0, /* by a signal, or because a system-wide daemon took over */
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_SERVED = 3, /* another pathbusd serves already */
};

#endif
