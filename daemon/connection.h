/* SPDX-License-Identifier: MIT */
/*
 * connection.h - one connection, as client.c and frames.c share it.
 */
#ifndef PATHBUS_DAEMON_CONNECTION_H
#define PATHBUS_DAEMON_CONNECTION_H

#include "client.h"
#include "drop.h"
#include "topic.h"
#include "wire.h"

struct departure;
struct subscriber;
struct syncing;

/* A frame that waits to be sent, or several frames of events. */
struct out {
	struct out *next;
	int fds[WIRE_MAX_DESCRIPTORS]; /* borrowed: of the daemon, or of `member`'s topic */
	unsigned n_fds;                /* 0 once the first byte is sent */
	struct member *member;         /* whose answer this is; NULL: nobody's */
	unsigned n_events;             /* 0: it is an answer */
	size_t size, sent, room;
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
	enum leave how; /* it ended: LEAVE_LOST until it is certain that its process has ended as well */
	bool departure_is_over;
	bool paused;  /* not read from: too much is pending */
	bool resting; /* not written to for a moment: `timer` */
	bool unheard; /* it takes nothing any more; what it sent before is still read: it may have said goodbye */

	unsigned char *stash; /* what was read and not yet handled */
	size_t stash_size;

	struct out *out, **out_last;
	size_t out_bytes;   /* answers */
	size_t event_bytes; /* events, apart from them: who does not take its events may still post */
	unsigned event_frames;
	struct out *events; /* the last one, if it is for events and has room; else NULL */

	/* subscriber.c: those of its topics that may have news for it, and making frames of them. */
	struct subscriber *due, **due_last;
	struct loop_event *pump; /* NULL: it has no socket-only topics */
	struct syncing *syncs;   /* syncing.c: not answered yet */
	unsigned n_syncs;

	struct departure *departure; /* it has ended, and its process has not been seen to end */
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
/* An event: kept until client_flush. client_has_room says whether there should be another one. */
void client_send_event(struct client *client, const void *frame, size_t size);
bool client_has_room(const struct client *client);
void client_flush(struct client *client);

/* Ends the connection: tells the client why (`text` NULL: the reason's own), counts and logs. */
void client_drop(struct client *client, enum drop why, const char *text);
/* In good order. */
void client_end(struct client *client);

/* An answer has been found, so it may be read from again. */
void client_look_again(struct client *client);

/* The topic that it knows by this number; NULL: none. One whose answer is still on its way it cannot know. */
struct member *client_member(const struct client *client, uint32_t topic);

/* socket_frames.c: frames on topics that were opened for the socket. */
enum drop frame_post(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_publish(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_set_state(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_get_state(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_seen(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_sync(struct client *client, const struct wire_header *header, const void *frame);

#endif
