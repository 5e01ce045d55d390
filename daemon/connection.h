/* SPDX-License-Identifier: MIT */
/*
 * connection.h - one connection, as the files that work on it share it.
 */
#ifndef PATHBUS_DAEMON_CONNECTION_H
#define PATHBUS_DAEMON_CONNECTION_H

#include "client.h"
#include "drop.h"
#include "endpoints.h"
#include "identity.h"
#include "queue.h"
#include "share.h"
#include "topic.h"
#include "user.h"
#include "wire.h"

struct departure;
struct restoring;
struct syncing;

/* A frame that waits to be sent, or several frames of events. */
struct out {
	struct out *next;
	int fds[WIRE_MAX_DESCRIPTORS]; /* borrowed: of the daemon, or of `member`'s topic */
	unsigned n_fds;                /* 0 once the first byte is sent */
	bool owns_fds;                 /* or they are this frame's own, to be closed then */
	struct member *member;         /* whose answer this is; NULL: nobody's */
	unsigned n_events;             /* 0: it is an answer */
	size_t size, sent, room;
	unsigned char bytes[];
};

struct client {
	struct clients *clients;
	const struct context *context;
	struct client *next, **at;
	uint64_t number;   /* this daemon's how-manieth: no other one ever has it; 0 once it has ended */
	uint64_t since_ns; /* os_now_ns */
	uint64_t n_requests; /* frames */
	int socket;
	struct user *user; /* what it has is charged to */
	uid_t uid;
	gid_t gid;
	pid_t pid;
	struct identity *identity;
	struct identity *held; /* the same, from the connection's end until its members are out; NULL: not */
	struct loop_event *readable, *writable, *timer;
	bool greeted;
	bool ending;  /* nothing is read or handled any more, and nothing added to what is sent */
	bool ended;   /* nor is anything sent; freed in the loop's next round */
	enum leave how; /* it ended: LEAVE_LOST until it is certain that its process has ended as well */
	bool departure_is_over;
	bool paused;  /* not read from: too much is pending */
	bool resting; /* not written to for a moment: `timer` */
	bool unheard; /* it takes nothing any more; what it sent before is still read: it may have said goodbye */

	unsigned char *stash; /* what was read and not yet handled */
	size_t stash_size;

	/* Reading waits for its user's turn; or for room, or time, that its user has to have for the next frame. */
	struct share_place read_turn, read_wait;
	enum waits { WAITS_NOT, WAITS_FOR_ROOM, WAITS_FOR_TIME } waits;
	uint64_t waits_since_ns; /* 0: it has got on since */

	struct out *out, **out_last;
	size_t out_bytes;   /* of answers */
	unsigned n_out_fds; /* descriptors that are these frames' own */
	unsigned n_in_flight; /* those that were sent; it may have taken them meanwhile */
	size_t event_bytes; /* memory for events, apart from them: who does not take its events may still post */
	unsigned event_frames;
	struct out *events; /* the last one, if it is for events and has room; else NULL */

	/* turns.c: those of its topics that may have news for it, and making frames of them. */
	struct queue due;
	struct loop_event *pump; /* NULL: it has no socket-only topics that want events */
	struct share_place pump_turn, pump_wait; /* it waits for its user's turn, or for room */
	unsigned deliveries;     /* that its posts may still make in this turn */

	/* syncing.c: not answered yet; and those of them for which only names are missing. */
	struct syncing *syncs;
	unsigned n_syncs;
	struct queue naming;
	struct loop_event *namer; /* NULL: it has not needed it yet */

	struct endpoint_user endpoints; /* endpoints.c */
	/* region_frames.c: regions that it is bringing back. */
	struct restoring *restorings;
	unsigned n_restorings;

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
/* The same with one descriptor, which it takes over in any case. Returns whether the client is one that can be sent to. */
bool client_send_fd(struct client *client, const void *frame, size_t size, int fd);
void client_send_error(struct client *client, uint32_t request, int error, const char *text);
/* An event: kept until client_flush. client_has_room says whether there should be another one. */
void client_send_event(struct client *client, const void *frame, size_t size);
bool client_has_room(const struct client *client);
void client_flush(struct client *client);
void client_writable(void *arg); /* its socket is */
void client_forget_out(struct client *client);

/* Ends the connection: tells the client why (`text` NULL: the reason's own), counts and logs. */
void client_drop(struct client *client, enum drop why, const char *text);
/* Sends a last frame of one that is ending, behind what waits; it ends once all that is taken, or after a while. */
void client_send_last(struct client *client, const void *frame, size_t size);
/* Ends it at once: nothing is sent any more. */
void client_finish(struct client *client, enum leave how);

/* reading.c */
void reading_init(struct client *client);
void reading_readable(void *client);
void reading_forget(struct client *client); /* what was read and not yet handled */

/* An answer has been found, so it may be read from again. */
void client_look_again(struct client *client);

/* It has room itself, or will be told when it has: but its user may have none. Then `place` waits for that. */
void client_wait_for_room(struct client *client, struct share_place *place);
bool client_has_hung_up(const struct client *client); /* it has ended, and that is only not its turn yet */
/* Descriptors that this user's connections have taken meanwhile are not in flight any more. */
void clients_note_taken(struct clients *clients, struct user *user);

/* The topic that it knows by this number; NULL: none. One whose answer is still on its way it cannot know. */
struct member *client_member(const struct client *client, uint32_t topic);

/* socket_frames.c: frames on topics that were opened for the socket. */
enum drop frame_post(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_publish(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_set_state(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_get_state(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_seen(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_sync(struct client *client, const struct wire_header *header, const void *frame);
/* region_frames.c */
enum drop frame_region_open(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_region_close(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_region_restore(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_region_list(struct client *client, const struct wire_header *header, const void *frame);

/* endpoint_frames.c */
enum drop frame_listen(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_unlisten(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_taken(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_connect(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_cancel(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_token(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_redeem(struct client *client, const struct wire_header *header, const void *frame);
enum drop frame_endpoint_list(struct client *client, const struct wire_header *header, const void *frame);

/* member_frames.c */
enum drop frame_member_list(struct client *client, const struct wire_header *header, const void *frame);

#endif
