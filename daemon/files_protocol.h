/* SPDX-License-Identifier: MIT */
/*
 * files_protocol.h - what pathbusd's main process and its files workers say to each other.
 *
 * One struct per message over a SOCK_SEQPACKET pair, cut after the used part of `path`; both ends are the same
 * program. A worker says that it is ready by a reply with id 0, then answers one request after the other.
 */
#ifndef PATHBUS_DAEMON_FILES_PROTOCOL_H
#define PATHBUS_DAEMON_FILES_PROTOCOL_H

#include <limits.h>
#include <stdint.h>

#include "key.h"
#include "wire.h"

_Static_assert(WIRE_MAX_PATH < PATH_MAX, "a client's path fits");

/* FILES_FD_WATCH is the inotify descriptor, shared by all workers and main, so that the number of a watch
 * means the same folder to all. Workers only add to it; main reads it. */
enum { FILES_FD_SOCKET = 3, FILES_FD_WATCH = 4 };

/*
 * In the daemon of all users a worker is forked by the files process, with its client's identity. With each request comes
 * the client's connection, which says whose root the path is to be seen in. What it may not look at as that user (the root of a
 * process that protects itself, and shared memory, which is the daemon's) it asks a child of the files process for,
 * here: it sends the request on, and is answered by an opener_reply with a descriptor.
 */
enum { FILES_FD_OPENER = 5 };
/* And there: the root folder where everybody is who is nowhere else, O_PATH. */
enum { FILES_FD_HOME = 6 };

struct opener_reply {
	int32_t error; /* -errno; 0: a descriptor comes along */
};

#define FILES_WORKER_ARGUMENT "--worker"

struct files_request {
	uint32_t id;
	int32_t pid;          /* in a user's daemon: whose root the path is to be seen in; 0: not known, the daemon's own */
	int32_t descriptor;   /* -1; or shared memory that `pid` has at this number is meant, `path` is its label, and the reply
	                       * comes with another descriptor of it */
	uint8_t at_home;      /* in the daemon of all users: not in the client's root, but where everybody is */
	char path[PATH_MAX];  /* absolute, with its end */
};

struct files_reply {
	uint32_t id;
	int32_t error;        /* -errno; then the rest is not valid, but for the watches */
	struct topic_key key;
	uint8_t exists;       /* the file; the next three lines are valid only then, but for the rights */
	uint8_t may_read, may_write;
	uint8_t read_only;    /* the mount is: `may_write` is what would be, were it not */
	uint8_t sidecar;      /* there may be one in the folder, whose descriptor comes along */
	uint8_t runtime;      /* in the daemon of all users: there may be one in its user's runtime folder */
	uint32_t owner;       /* of the sidecar; (uid_t)-1: not known */
	int32_t runtime_watch; /* > 0: of that folder; else the -errno, or 0: not asked for */
	int32_t watch;        /* > 0: of the folder; else the -errno why it could not be watched */
	uint8_t lost_watch;   /* another one was added, which is not named here */
	uint64_t file_dev, file_ino, n_links;
	/* of the file, without symbolic links; empty: not known. With the id 0, which says that the worker is
	 * ready: its sandbox, and `error` is why it has none. */
	char path[PATH_MAX];
};

#endif
