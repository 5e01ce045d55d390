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
#define WIRE_MAX_FRAME 8192u   /* either way; welcome tells the client */
#define WIRE_MIN_FRAME 512u    /* the least that welcome may tell: room for any frame without a path */
#define WIRE_MAX_PATH ((unsigned)PATH_MAX - 1)
#define WIRE_MAX_DESCRIPTORS 2u
#define WIRE_MAX_TEXT 255u

enum wire_type {
	/* from the client */
	WIRE_HELLO = 1,   /* first frame; answered by welcome or error */
	WIRE_OPEN = 2,    /* answered by opened or error */
	WIRE_CLOSE = 3,   /* no answer */
	WIRE_PING = 4,    /* answered by pong */
	WIRE_GOODBYE = 5, /* no answer; the client ends the connection in good order */
	/* from the daemon */
	WIRE_WELCOME = 64, /* with 2 descriptors: the death page, the carrier's bell */
	WIRE_OPENED = 65,  /* with 2 descriptors: the lane's page, its bell */
	WIRE_ERROR = 66,   /* the request failed; request 0: the connection ends */
	WIRE_PONG = 67,
};

/* struct wire_open.flags and struct wire_opened.rights */
enum {
	WIRE_RIGHT_SUBSCRIBE = 1, /* asked: fail without it; answered: has it */
	WIRE_RIGHT_POST = 2,
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

struct wire_open { /* u32 flags, then the path: absolute, no NUL, to the end of the frame */
	uint32_t flags;
	const char *path; /* points into the frame; not terminated */
	uint32_t path_size;
};

struct wire_opened { /* u32 topic, u32 rights, u32 slot, u32 0 */
	uint32_t topic;  /* names this opening in CLOSE; unique per connection while open */
	uint32_t rights;
	uint32_t slot;   /* index in the member table, or WIRE_NO_SLOT */
};
#define WIRE_NO_SLOT UINT32_MAX

struct wire_close { /* u32 topic */
	uint32_t topic;
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
 * Encoders write a whole frame to `to`, which has WIRE_MAX_FRAME bytes, and return its size. Paths and texts
 * must be within their limits.
 */
size_t wire_put_hello(void *to, uint32_t request, const struct wire_hello *);
size_t wire_put_open(void *to, uint32_t request, const struct wire_open *);
size_t wire_put_close(void *to, const struct wire_close *);
size_t wire_put_ping(void *to, uint32_t request);
size_t wire_put_goodbye(void *to);
size_t wire_put_welcome(void *to, uint32_t request, const struct wire_welcome *);
size_t wire_put_opened(void *to, uint32_t request, const struct wire_opened *);
size_t wire_put_error(void *to, uint32_t request, int error, const char *text); /* error positive; text cut */
size_t wire_put_pong(void *to, uint32_t request, const struct wire_pong *);

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
int wire_get_empty(const void *frame, size_t size); /* ping, goodbye */
int wire_get_welcome(const void *frame, size_t size, struct wire_welcome *ret);
int wire_get_opened(const void *frame, size_t size, struct wire_opened *ret);
int wire_get_error(const void *frame, size_t size, struct wire_error *ret);
int wire_get_pong(const void *frame, size_t size, struct wire_pong *ret);

#endif
