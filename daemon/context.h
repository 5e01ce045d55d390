/* SPDX-License-Identifier: MIT */
/*
 * context.h - the parts of a running daemon, made and owned by server.c, as connections see them.
 */
#ifndef PATHBUS_DAEMON_CONTEXT_H
#define PATHBUS_DAEMON_CONTEXT_H

#include <stdint.h>

struct options;
struct loop;
struct death_page;
struct topics;
struct files;
struct folders;
struct runtime;
struct linker;
struct endpoints;
struct regions;
struct rights_watch;
struct keeper;
struct users;
struct forker;
struct control;
struct reload;
struct clients;
struct idle;

struct context {
	const struct options *options;
	struct loop *loop;
	const struct death_page *death;
	struct users *users;
	struct topics *topics;
	struct files *files;
	struct folders *folders;
	struct runtime *runtime;
	struct linker *linker;
	struct endpoints *endpoints;
	struct regions *regions;
	struct rights_watch *rights_watch;
	struct keeper *keeper;
	struct forker *forker; /* of the daemon of all users; else NULL */
	struct clients *clients;
	struct control *control; /* NULL: there is no control socket */
	struct reload *reload;
	struct idle *idle; /* NULL: it goes on without anybody */
	uint8_t id[16]; /* of this run */
	uint64_t started_ns;
	const char *address; /* where it serves */
};

#endif
