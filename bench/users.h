/* SPDX-License-Identifier: MIT */
/* users.h - processes of other users, and topics of a daemon that serves them all. */
#ifndef PATHBUS_BENCH_USERS_H
#define PATHBUS_BENCH_USERS_H

#include "bench.h"

enum who { ONE, OTHER, FLOOD, N_WHO };

/* This process, for good. */
void become(enum who who);
/* A file of the folder that all may read and write; before anybody opens it. */
void make_common_file(const struct settings *settings, const char *name);
/* With the daemon of all users. */
pathbus_topic *open_common(const struct settings *settings, const char *name, unsigned flags, pathbus **ret_bus);

void measure_flood(const struct settings *settings); /* flood.c */

#endif
