/* SPDX-License-Identifier: MIT */
/*
 * wire_endpoint.h - the frames by which programs find each other: endpoints, connections, tokens. As in wire.h: layout and
 * codec, no I/O. A name has 1 to WIRE_MAX_ENDPOINT_NAME bytes, any but NUL, to the end of the frame.
 */
#ifndef PATHBUS_COMMON_WIRE_ENDPOINT_H
#define PATHBUS_COMMON_WIRE_ENDPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define WIRE_MAX_ENDPOINT_NAME 255u
#define WIRE_TOKEN_BYTES 16u
#define WIRE_MAX_ENDPOINTS 8u /* that ENDPOINTS names */

/* struct wire_listen.flags, and of what is answered. The library's have the same values. */
enum {
	WIRE_ENDPOINT_SEQPACKET = 1,
	WIRE_ENDPOINT_TAKE_OVER = 2, /* only asked */
	WIRE_ENDPOINT_READERS = 4,
	WIRE_ENDPOINT_WRITERS = 8,
};

struct wire_listen { /* u32 topic, u32 flags, then the name */
	uint32_t topic, flags;
	const char *name; /* points into the frame; not terminated */
	uint32_t name_size;
};

struct wire_endpoint { /* listening, unlisten: u32 endpoint */
	uint32_t endpoint; /* never the same twice on a connection */
};

struct wire_taken { /* u32 endpoint, u32 count */
	uint32_t endpoint, count; /* connections that the program has: so many more may come */
};

struct wire_connect { /* connect: u32 topic, u32 timeout, then the name; token: the timeout is 0 */
	uint32_t topic, timeout_ms; /* WIRE_NO_TIMEOUT: none; 0: now or not at all */
	const char *name;
	uint32_t name_size;
};

struct wire_cancel { /* u32 request */
	uint32_t request; /* of a CONNECT or REDEEM: it is not waited for any more */
};

struct wire_redeem { /* u32 timeout, 16 bytes token */
	uint32_t timeout_ms;
	uint8_t token[WIRE_TOKEN_BYTES];
};

struct wire_token_made { /* 16 bytes token */
	uint8_t token[WIRE_TOKEN_BYTES];
};

struct wire_connected { /* u32 pid, u32 uid, u32 gid, u32 flags */
	uint32_t pid, uid, gid; /* the listener's */
	uint32_t flags;         /* WIRE_ENDPOINT_SEQPACKET or 0 */
};

struct wire_connection { /* u32 endpoint, u32 pid, u32 uid, u32 gid */
	uint32_t endpoint;
	uint32_t pid, uid, gid; /* of who has connected */
};

struct wire_unlistened { /* u32 endpoint, u32 error */
	uint32_t endpoint;
	uint32_t error; /* positive Linux errno */
};

struct wire_endpoint_list { /* u32 topic, u32 0, u64 before */
	uint32_t topic;
	uint64_t before; /* 0, or `next` of the last answer */
};

/* u32 pid, u32 uid, u32 flags, u32 waiting, 16 bytes command (the last of them 0), u32 size of the name, the name */
struct wire_endpoint_entry {
	uint32_t pid, uid; /* uid 0xffffffff: not known */
	uint32_t flags, n_waiting;
	char command[WIRE_COMMAND_SIZE];
	const char *name;
	uint32_t name_size;
};

struct wire_endpoints { /* u64 next, u32 entries, then so many of them */
	uint64_t next; /* 0: these were the last */
	uint32_t n;
	struct wire_endpoint_entry entries[WIRE_MAX_ENDPOINTS];
};

/* As in wire.h: encoders need WIRE_SMALL_FRAME bytes; decoders return 0 or -EBADMSG. */
size_t wire_put_listen(void *to, uint32_t request, const struct wire_listen *);
size_t wire_put_unlisten(void *to, uint32_t request, const struct wire_endpoint *);
size_t wire_put_taken(void *to, const struct wire_taken *);
size_t wire_put_connect(void *to, uint32_t request, const struct wire_connect *);
size_t wire_put_cancel(void *to, const struct wire_cancel *);
size_t wire_put_token(void *to, uint32_t request, const struct wire_connect *);
size_t wire_put_redeem(void *to, uint32_t request, const struct wire_redeem *);
size_t wire_put_endpoint_list(void *to, uint32_t request, const struct wire_endpoint_list *);
size_t wire_put_listening(void *to, uint32_t request, const struct wire_endpoint *);
size_t wire_put_connected(void *to, uint32_t request, const struct wire_connected *);
size_t wire_put_token_made(void *to, uint32_t request, const struct wire_token_made *);
size_t wire_put_endpoints(void *to, uint32_t request, const struct wire_endpoints *);
size_t wire_put_connection(void *to, const struct wire_connection *);
size_t wire_put_unlistened(void *to, const struct wire_unlistened *);

int wire_get_listen(const void *frame, size_t size, struct wire_listen *ret);
int wire_get_endpoint(const void *frame, size_t size, struct wire_endpoint *ret); /* unlisten, listening */
int wire_get_taken(const void *frame, size_t size, struct wire_taken *ret);
int wire_get_connect(const void *frame, size_t size, struct wire_connect *ret);
int wire_get_cancel(const void *frame, size_t size, struct wire_cancel *ret);
int wire_get_token(const void *frame, size_t size, struct wire_connect *ret);
int wire_get_redeem(const void *frame, size_t size, struct wire_redeem *ret);
int wire_get_endpoint_list(const void *frame, size_t size, struct wire_endpoint_list *ret);
int wire_get_connected(const void *frame, size_t size, struct wire_connected *ret);
int wire_get_token_made(const void *frame, size_t size, struct wire_token_made *ret);
int wire_get_endpoints(const void *frame, size_t size, struct wire_endpoints *ret);
int wire_get_connection(const void *frame, size_t size, struct wire_connection *ret);
int wire_get_unlistened(const void *frame, size_t size, struct wire_unlistened *ret);

#endif
