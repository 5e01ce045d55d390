/* SPDX-License-Identifier: MIT */
/*
 * forker_protocol.h - what main of the daemon of all users and its files process say to each other.
 *
 * One struct per message over a SOCK_SEQPACKET pair; both ends are the same program. Main makes the socket pairs by which it
 * talks to what is started, so it needs not wait for an answer, and is never sent a descriptor.
 */
#ifndef PATHBUS_DAEMON_FORKER_PROTOCOL_H
#define PATHBUS_DAEMON_FORKER_PROTOCOL_H

#include <stdint.h>

/* Started as `pathbusd --files UID GID [--managed] [--no-sandbox]` with these descriptors. The listener is only asked for its name: a
 * client's connection has the same. */
#define FORKER_ARGUMENT "--files"
#define FORKER_MANAGED_ARGUMENT "--managed" /* a service manager has started the daemon, perhaps with mounts of its own */
enum { FORKER_FD_MAIN = 3, FORKER_FD_LISTENER = 4 };

enum forker_type {
	/* main to files; `id` is main's number for what is started. Descriptors in this order */
	FORKER_WATCH = 1, /* the inotify descriptor, for workers; before any is started */
	FORKER_WORKER,    /* a client's connection, the worker's end of a pair */
	FORKER_AGENT,     /* a client's connection, the link agent's end of a pair, the death page */
	FORKER_KILL,      /* what was started by that id */
	/* files to main */
	FORKER_READY = 16, /* it has given up what it does not need, or `error` says why not: then it ends */
	FORKER_STARTED,    /* `pid` */
	FORKER_ENDED,      /* it is gone, or could not be started: `error` */
};

struct forker_message {
	uint32_t type;
	uint32_t id;
	int32_t pid;
	int32_t error;     /* -errno or 0; READY: > 0: roots other than ours cannot be looked at */
};

#define FORKER_MAX_DESCRIPTORS 3

#endif
