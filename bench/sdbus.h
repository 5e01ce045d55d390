/* SPDX-License-Identifier: MIT */
/* sdbus.h - one connection of this process by systemd's library, to pass a turn by a signal. */
#ifndef PATHBUS_BENCH_SDBUS_H
#define PATHBUS_BENCH_SDBUS_H

/* As dbus.h, whose dbus-daemon it is. */
void sdbus_open(const char *address, const char *path);
void sdbus_close(void);
void sdbus_signal(const char *path);
void sdbus_await(void);

#endif
