/* SPDX-License-Identifier: MIT */
/*
 * wire.h - the frames between client and daemon: layout and codec, no I/O. docs/protocol.md is the same for
 * people. All numbers are little-endian.
 *
 * A frame is a header of 12 bytes and a body:
 *
 *   offset 0  u32  size of the whole frame, header included
 *          4  u16  type
 *          6  u16  0 (reserved)
 *          8  u32  request: chosen by the client (not 0), repeated in the answer; 0 where none is expected
 *
 * Descriptors travel from daemon to client only, with the first byte of their frame.
 */
#ifndef PATHBUS_COMMON_WIRE_H
#define PATHBUS_COMMON_WIRE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_HEADER_SIZE 12u
#define WIRE_MAGIC 0x53554250u /* "PBUS" */
#define WIRE_VERSION 1u        /* the only one so far; hello and welcome agree on one */
#define WIRE_MAX_FRAME 66560u  /* either way; welcome tells the client. Only frames with a message are that large: */
#define WIRE_SMALL_FRAME (512u + 4096u) /* room for any frame but PUBLISH and EVENT_MESSAGE */
#define WIRE_MIN_FRAME 512u    /* the least that welcome may tell: room for any frame without a path */
#define WIRE_MAX_PATH 4095u    /* whatever PATH_MAX is on the system of either side */
#define WIRE_MAX_DESCRIPTORS 2u
#define WIRE_MAX_TEXT 255u
#define WIRE_MAX_DATA 65536u   /* of a message; a topic may take less */
#define WIRE_MAX_KEY 255u
#define WIRE_MAX_LAGGARDS 128u /* that SYNCED names */
#define WIRE_COMMAND_SIZE 16u
#define WIRE_NO_TIMEOUT UINT32_MAX

enum wire_type {
	/* from the client */
	WIRE_HELLO = 1,   /* first frame; answered by welcome or error */
	WIRE_OPEN = 2,    /* answered by opened or error */
	WIRE_CLOSE = 3,   /* no answer */
	WIRE_PING = 4,    /* answered by pong */
	WIRE_GOODBYE = 5, /* no answer; the client ends the connection in good order */
	/* on a topic that was opened with WIRE_OPEN_SOCKET: */
	WIRE_POST = 6,      /* these three: request 0: no answer, else answered by done or error */
	WIRE_PUBLISH = 7,
	WIRE_SET_STATE = 8,
	WIRE_GET_STATE = 9, /* answered by state or error */
	WIRE_SEEN = 10,     /* no answer */
	WIRE_SYNC = 11,     /* answered by synced or error */
	/* wire_region.h: */
	WIRE_REGION_OPEN = 12,    /* answered by region or error */
	WIRE_REGION_CLOSE = 13,   /* no answer */
	WIRE_REGION_RESTORE = 14, /* answered by restored or error */
	WIRE_REGION_LIST = 15,    /* answered by regions or error */
	/* wire_endpoint.h: */
	WIRE_LISTEN = 16,         /* answered by listening or error */
	WIRE_UNLISTEN = 17,       /* request 0: no answer, else answered by done */
	WIRE_CONNECT = 18,        /* answered by connected or error */
	WIRE_TOKEN = 19,          /* answered by token_made or error */
	WIRE_REDEEM = 20,         /* answered by connected or error */
	WIRE_ENDPOINT_LIST = 21,  /* answered by endpoints or error */
	WIRE_TAKEN = 22,          /* no answer */
	WIRE_CANCEL = 23,         /* no answer */
	/* wire_member.h: */
	WIRE_MEMBER_LIST = 24,    /* answered by members or error */
	/* from the daemon */
	WIRE_WELCOME = 64, /* with 2 descriptors: the death page, the carrier's bell */
	WIRE_OPENED = 65,  /* with 2 descriptors: the lane's page, its bell; none if it was opened for the socket */
	WIRE_ERROR = 66,   /* the request failed; request 0: the connection ends */
	WIRE_PONG = 67,
	WIRE_DONE = 68,
	WIRE_STATE = 69,
	WIRE_SYNCED = 70,
	/* request 0, on a topic that was opened with WIRE_OPEN_SOCKET: */
	WIRE_EVENT_POST = 71,
	WIRE_EVENT_MESSAGE = 72,
	WIRE_EVENT_GAP = 73,
	WIRE_EVENT_RESYNC = 74,
	/* wire_region.h: */
	WIRE_REGION = 75, /* with 1 descriptor: its memory */
	WIRE_RESTORED = 76,
	WIRE_REGIONS = 77,
	/* wire_endpoint.h: */
	WIRE_LISTENING = 78,
	WIRE_CONNECTED = 79, /* with 1 descriptor: this side's end */
	WIRE_TOKEN_MADE = 80,
	WIRE_ENDPOINTS = 81,
	WIRE_EVENT_CONNECTION = 82, /* request 0; with 1 descriptor: this side's end */
	WIRE_EVENT_UNLISTENED = 83, /* request 0 */
	/* wire_member.h: */
	WIRE_MEMBERS = 84,
};

/* struct wire_open.flags and struct wire_opened.rights */
enum {
	WIRE_RIGHT_SUBSCRIBE = 1, /* asked: fail without it; answered: has it */
	WIRE_RIGHT_POST = 2,
	/* only asked: */
	WIRE_OPEN_SOCKET = 4, /* no descriptors: events come as frames */
	WIRE_OPEN_ECHO = 8,   /* with it: the connection's own posts and messages too */
};

struct wire_header {
	uint32_t size;
	uint16_t type;
	uint32_t request;
};

struct wire_hello { /* u32 magic, u16 lowest version, u16 highest version */
	uint16_t version_min, version_max;
};

struct wire_welcome { /* u16 version, u16 0, u32 max frame, u32 max path, u32 pid of the daemon, 16 bytes id */
	uint16_t version;
	uint32_t max_frame, max_path, pid;
	uint8_t id[16]; /* of this run of the daemon */
};

/* u32 flags, u32 ring slots, u32 largest message, u32 last, u64 origin, then the path: absolute, no NUL, to the end of the
 * frame */
struct wire_open {
	uint32_t flags;
	uint32_t ring_slots, max_message; /* for a topic that is not there yet; 0: the daemon's default */
	uint32_t last;                    /* WIRE_OPEN_SOCKET: so many of the messages that are there */
	uint64_t origin;                  /* WIRE_OPEN_SOCKET: what its messages shall carry, the same after a reconnection, so
	                                   * that one that is published again is known; 0: the daemon's choice */
	const char *path; /* points into the frame; not terminated */
	uint32_t path_size;
};

/* u32 topic, u32 rights, u32 slot, u32 0, u32 ring slots, u32 largest message, u64 origin */
struct wire_opened {
	uint32_t topic;  /* names this opening in CLOSE; unique per connection while open */
	uint32_t rights;
	uint32_t slot;   /* index in the member table, or WIRE_NO_SLOT */
	uint32_t ring_slots, max_message;
	uint64_t origin; /* of what is published by it, if it was opened with WIRE_OPEN_SOCKET; else 0 */
};
#define WIRE_NO_SLOT UINT32_MAX

struct wire_close { /* u32 topic */
	uint32_t topic;
};

struct wire_topic { /* post, get_state: u32 topic */
	uint32_t topic;
};

struct wire_publish { /* u32 topic, u32 key size, u64 number, then the key and the data, to the end of the frame */
	uint32_t topic;
	uint64_t number; /* the how-manieth of this opening; 0: the daemon counts */
	const void *key, *data;
	uint32_t key_size, data_size;
};

enum { WIRE_STATE_COMPARES = 1 };

struct wire_set_state { /* u32 topic, u32 flags, u64 expected (0 unless it compares), u64 value */
	uint32_t topic, flags;
	uint64_t expected, value;
};

struct wire_seen { /* u32 topic, u64 generation */
	uint32_t topic;
	uint64_t generation; /* of an event: that one, and all before it, are dealt with */
};

struct wire_sync { /* u32 topic, u32 timeout, u32 most laggards */
	uint32_t topic;
	uint32_t timeout_ms; /* WIRE_NO_TIMEOUT: none */
	uint32_t max_laggards; /* to be named; more than WIRE_MAX_LAGGARDS are not */
};

struct wire_state { /* u64 value, u64 version */
	uint64_t value, version;
};

struct wire_laggard { /* u32 pid, u32 uid, u64 origin, 16 bytes command, the last of them 0 */
	uint32_t pid, uid; /* uid 0xffffffff: not known */
	uint64_t origin;
	char command[WIRE_COMMAND_SIZE];
};

struct wire_synced { /* u32 subscribers, u32 caught up, u32 untracked, u32 laggards, then so many of them */
	uint32_t n_subscribers, n_caught_up, n_untracked, n_laggards;
	const void *laggards; /* when decoded: for wire_get_laggard */
};

/* The generation of events counts what this opening was told: it grows with each of them, by their count. */
struct wire_event { /* post, gap: u32 topic, u64 generation, u64 count; resync: without the count */
	uint32_t topic;
	uint64_t generation;
	uint64_t count; /* posts merged into it, or messages missed; not 0. Resync: 0 */
};

/* u32 topic, u32 key size, u64 generation, u64 origin, u64 number, u64 time, u32 pid, u32 uid, then the key and the data, to
 * the end of the frame */
struct wire_message {
	uint32_t topic;
	uint32_t pid, uid;
	uint64_t generation, origin, number;
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	const void *key, *data;
	uint32_t key_size, data_size;
};

struct wire_error { /* u32 error, then an English sentence, to the end of the frame */
	uint32_t error; /* positive Linux errno */
	const char *text;
	uint32_t text_size;
};

struct wire_pong { /* u32 clients, u32 topics, u64 uptime in ns, then the daemon's version to the end */
	uint32_t n_clients, n_topics;
	uint64_t uptime_ns;
	const char *version;
	uint32_t version_size;
};

/*
 * Encoders write a whole frame to `to`, which has WIRE_SMALL_FRAME bytes (publish, message: WIRE_MAX_FRAME), and return
 * its size. Paths, texts, keys and data must be within their limits.
 */
size_t wire_put_hello(void *to, uint32_t request, const struct wire_hello *);
size_t wire_put_open(void *to, uint32_t request, const struct wire_open *);
size_t wire_put_close(void *to, const struct wire_close *);
size_t wire_put_ping(void *to, uint32_t request);
size_t wire_put_goodbye(void *to);
size_t wire_put_post(void *to, uint32_t request, const struct wire_topic *);
size_t wire_put_publish(void *to, uint32_t request, const struct wire_publish *);
size_t wire_put_set_state(void *to, uint32_t request, const struct wire_set_state *);
size_t wire_put_get_state(void *to, uint32_t request, const struct wire_topic *);
size_t wire_put_seen(void *to, const struct wire_seen *);
size_t wire_put_sync(void *to, uint32_t request, const struct wire_sync *);
size_t wire_put_welcome(void *to, uint32_t request, const struct wire_welcome *);
size_t wire_put_opened(void *to, uint32_t request, const struct wire_opened *);
size_t wire_put_error(void *to, uint32_t request, int error, const char *text); /* error positive; text cut */
size_t wire_put_pong(void *to, uint32_t request, const struct wire_pong *);
size_t wire_put_done(void *to, uint32_t request);
size_t wire_put_state(void *to, uint32_t request, const struct wire_state *);
/* `laggards`: n_laggards of them. */
size_t wire_put_synced(void *to, uint32_t request, const struct wire_synced *, const struct wire_laggard *laggards);
size_t wire_put_event(void *to, enum wire_type type, const struct wire_event *); /* post, gap, resync */
size_t wire_put_message(void *to, const struct wire_message *);

/*
 * Reads a header. Returns 1: a whole frame of ret->size bytes is there; 0: more bytes are needed;
 * -EMSGSIZE: the frame is larger than WIRE_MAX_FRAME; -EBADMSG: smaller than its header, or reserved bits set.
 */
int wire_get_header(const void *from, size_t size, struct wire_header *ret);

/* Decoders take the whole frame, as wire_get_header accepted it. 0, or -EBADMSG: wrong size, a number out of
 * range, reserved bits set, a path that is relative, empty, too long or holds NUL. Pointers in *ret point into the frame. */
int wire_get_hello(const void *frame, size_t size, struct wire_hello *ret);
int wire_get_open(const void *frame, size_t size, struct wire_open *ret);
int wire_get_close(const void *frame, size_t size, struct wire_close *ret);
int wire_get_topic(const void *frame, size_t size, struct wire_topic *ret); /* post, get_state */
int wire_get_empty(const void *frame, size_t size); /* ping, goodbye, done */
int wire_get_publish(const void *frame, size_t size, struct wire_publish *ret);
int wire_get_set_state(const void *frame, size_t size, struct wire_set_state *ret);
int wire_get_seen(const void *frame, size_t size, struct wire_seen *ret);
int wire_get_sync(const void *frame, size_t size, struct wire_sync *ret);
int wire_get_welcome(const void *frame, size_t size, struct wire_welcome *ret);
int wire_get_opened(const void *frame, size_t size, struct wire_opened *ret);
int wire_get_error(const void *frame, size_t size, struct wire_error *ret);
int wire_get_pong(const void *frame, size_t size, struct wire_pong *ret);
int wire_get_state(const void *frame, size_t size, struct wire_state *ret);
int wire_get_synced(const void *frame, size_t size, struct wire_synced *ret);
void wire_get_laggard(const struct wire_synced *, uint32_t at, struct wire_laggard *ret); /* at < n_laggards */
int wire_get_event(const void *frame, size_t size, enum wire_type type, struct wire_event *ret); /* post, gap, resync */
int wire_get_message(const void *frame, size_t size, struct wire_message *ret);

#endif
