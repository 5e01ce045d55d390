/* SPDX-License-Identifier: MIT */
/* dbus.h - as much of D-Bus as is needed to pass a turn by a signal. */
#ifndef PATHBUS_BENCH_DBUS_H
#define PATHBUS_BENCH_DBUS_H

#include <stdint.h>

struct dbus {
	int fd;
	uint32_t serial;
	unsigned have;
	unsigned char in[8192];
};

/* Connects as this process's user, and asks for the signals that are sent from the object `path`. Ends the program if it cannot. */
void dbus_open(struct dbus *dbus, const char *address, const char *path);
void dbus_close(struct dbus *dbus);
void dbus_signal(struct dbus *dbus, const char *path);
/* Sleeps in poll until such a signal has come. */
void dbus_await(struct dbus *dbus);

#endif
