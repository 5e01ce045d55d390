/* SPDX-License-Identifier: MIT */
/* launch.h - stands for macOS's header of that name, so that what is written for launchd is compiled and run elsewhere, too. */
#ifndef PATHBUS_TESTS_LAUNCH_H
#define PATHBUS_TESTS_LAUNCH_H

#include <stddef.h>

/* 0 and so many descriptors, in memory that is freed by the caller; or an error's number. */
int launch_activate_socket(const char *name, int **fds, size_t *cnt);

#endif
