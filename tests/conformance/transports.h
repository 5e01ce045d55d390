/* SPDX-License-Identifier: MIT */
/*
 * transports.h - the ways a topic can take, as a table: the conformance cases run once for each.
 *
 *     START_TEST(wakes)
 *     {
 *             pathbus *bus;
 *
 *             transport_begin(_i);
 *             bus = transport_new();
 *             ...
 *     }
 *     END_TEST
 *
 *     HARNESS_CASE_EACH(wakes, N_TRANSPORTS)
 *
 * and transport_end is the suite's teardown. On the way through the runtime folder the files' folder is seen
 * read-only by the library; what a case does to the files it does in another view of the same folder.
 */
#ifndef PATHBUS_TESTS_TRANSPORTS_H
#define PATHBUS_TESTS_TRANSPORTS_H

#include <stdbool.h>
#include <stdint.h>

#include "harness/daemon.h"
#include "harness/harness.h"
#include "pathbus.h"

enum transport_id {
	ON_BUS,     /* a private daemon */
	ON_PEER,    /* the sidecar beside the file */
	ON_RUNTIME, /* the sidecar in the runtime folder */
	ON_SOCKET,  /* a private daemon, and its socket only */
	N_TRANSPORTS,
	N_FIELD_TRANSPORTS = ON_RUNTIME, /* the two that a file in an ordinary folder takes */
};

/* First thing in a case. Skips it where the machine cannot do this. */
void transport_begin(int id);
/* Last thing: for a suite's `teardown`. */
void transport_end(void);
/* Which one it was begun with. */
enum transport_id current_transport(void);
/* The daemon of a case on the bus. */
struct harness_daemon *transport_daemon(void);

/* From here on the process is an unprivileged user, who owns the case's folder. Before transport_begin. */
void transport_become_nobody(void);
/* A mount namespace of one's own, with a runtime folder of one's own; or the case is skipped. */
void transport_own_mounts(void);
bool transport_try_own_mounts(void);
/* This user's: /dev/shm/pathbus-UID. */
const char *transport_runtime_folder(void);
bool transport_own_runtime(void);

struct pathbus_options transport_options(void);
pathbus *transport_new(void);
/* The path by which topics are opened, and the one by which the case makes and changes the same file. */
const char *transport_path(const char *name);
const char *transport_edit(const char *name);
/* Opens it, and checks that it took the way of the case. */
pathbus_topic *transport_open(pathbus *bus, const char *name, unsigned flags);
void transport_expect(const pathbus_topic *topic);

/* --- events ------------------------------------------------------------------------------------------ */

bool is_readable(int fd);
/* pathbus_next, where an error fails the case. */
int take(pathbus *bus, struct pathbus_event *ret);
/* Takes what there is, until 0. Returns the posts of it; anything but posts fails the case. */
uint64_t take_posts(pathbus *bus);
/* Waits until there is one, however often the descriptor is readable for nothing. */
void take_soon(pathbus *bus, struct pathbus_event *ret);
/* Do posts that have returned show at once? Over the socket they are still under way. */
bool transport_is_immediate(void);
/* Takes what there is, posts and RESYNCs; an error fails the case. */
void drain(pathbus *bus);
/* Waits for exactly that many posts, taking everything each time the descriptor becomes readable. */
void await_posts(pathbus *bus, uint64_t n);
/* Sleeps on the descriptor until it is readable. */
void await_readable(pathbus *bus);
/* Waits for one event of this kind, passing over posts. */
void await_event(pathbus *bus, enum pathbus_event_kind kind);
/* Nothing is there, and the descriptor says so. */
void expect_quiet(pathbus *bus);

#endif
