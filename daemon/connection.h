/* SPDX-License-Identifier: MIT */
/*
 * connection.h - one connection, as client.c and frames.c share it.
 */
#ifndef PATHBUS_DAEMON_CONNECTION_H
#define PATHBUS_DAEMON_CONNECTION_H

#include "client.h"
#include "drop.h"
#include "wire.h"

/* A frame that waits to be sent. */
struct out {
	struct out *next;
	int fds[WIRE_MAX_DESCRIPTORS]; /* borrowed: of the daemon, or of `member`'s topic */
	unsigned n_fds;                /* 0 once the first byte is sent */
	struct member *member;         /* whose answer this is; NULL: nobody's */
	size_t size, sent;
	unsigned char bytes[];
};

struct client {
	struct clients *clients;
	const struct context *context;
	struct client *next, **at;
	int socket;
	uid_t uid;
	pid_t pid;
	struct loop_event *readable, *writable, *timer;
	bool greeted;
	bool ending;  /* nothing is read, sent or handled any more; freed in the loop's next round */
	bool died;    /* it ended without a goodbye */
	bool paused;  /* not read from: too much is pending */
	bool resting; /* not written to for a moment: `timer` */

	unsigned char *stash; /* what was read and not yet handled */
	size_t stash_size;

	struct out *out, **out_last;
	size_t out_bytes;

	struct opening **openings; /* LIMIT_CLIENT_OPENINGS places */
	unsigned n_openings;
	struct member **members; /* by id - 1 */
	uint32_t members_size, n_members;
	uint32_t free_hint; /* no free place below */
};

/* Handles one whole frame. Returns 0, or the reason to drop the connection. */
enum drop frame_handle(struct client *client, const struct wire_header *header, const void *frame);

/*
 * Sends a frame, or keeps it until the socket takes it. `fds` stay their owner's, who must outlive the
 * connection, or be `member`'s topic. A client that cannot be sent to is dropped.
 */
void client_send(struct client *client, const void *frame, size_t size, const int *fds, unsigned n_fds,
                 struct member *member);
void client_send_error(struct client *client, uint32_t request, int error, const char *text);

/* Ends the connection: tells the client why (`text` NULL: the reason's own), counts and logs. */
void client_drop(struct client *client, enum drop why, const char *text);
/* In good order. */
void client_end(struct client *client);

/* An answer has been found, so it may be read from again. */
void client_look_again(struct client *client);

#endif
