/* SPDX-License-Identifier: MIT */
/* meeting.h - listening and connecting, for the cases about endpoints. Each fails the case when it fails. */
#ifndef PATHBUS_TESTS_MEETING_H
#define PATHBUS_TESTS_MEETING_H

#include <stdint.h>

#include "harness/process.h"
#include "pathbus.h"

struct pathbus_connection connection_of(void);
/* Connects now, or until the deadline. */
struct pathbus_connection dial(pathbus_topic *topic, const char *name);
struct pathbus_connection dial_until(pathbus_topic *topic, const char *name, uint64_t deadline);
struct pathbus_connection dial_soon(pathbus_topic *topic, const char *name); /* within the limit */
void expect_dial(pathbus_topic *topic, const char *name, uint64_t deadline, int error);

pathbus_endpoint *listen_at(pathbus_topic *topic, const char *name, unsigned flags);
void expect_listen(pathbus_topic *topic, const char *name, unsigned flags, int error);

/* The next event, besides posts and RESYNCs: this endpoint's, and of this kind. */
struct pathbus_event event_of(pathbus *bus, pathbus_endpoint *endpoint, enum pathbus_event_kind kind);
int accept_one(pathbus *bus, pathbus_endpoint *endpoint);

/* What goes in at one end comes out at the other, both ways. */
void expect_joined(int one, int other);
/* The other end is gone. */
void expect_end(int fd);

/*
 * A child that serves: listens at a name, and sends back what it gets. It says "listening", "unlistened ERROR", and is told
 * "stop taking", "take again", "end". `new_bus` makes its handle.
 */
struct server {
	struct harness_process process;
	const char *path, *name;
	unsigned flags;
	pathbus *(*new_bus)(void);
};
void server_start(struct server *server);
void server_end(struct server *server);
void server_kill(struct server *server);
/* The process sleeps, and goes on doing so: what it waits for has not come. */
void await_sleep(pid_t pid);
/* As in its stat file. */
char state_of(pid_t pid, pid_t task);
/* The server at the other end answers. */
void expect_echo(int fd);

#endif
