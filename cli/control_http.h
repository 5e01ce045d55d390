/* SPDX-License-Identifier: MIT */
/*
 * control_http.h - one HTTP request at a time over a Unix socket. What the answers mean is control.c's.
 */
#ifndef PATHBUS_CLI_CONTROL_HTTP_H
#define PATHBUS_CLI_CONTROL_HTTP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct http;

struct http_call {
	const char *socket;
	const char *target; /* path and query */
	const char *body;   /* JSON, or NULL */
	bool is_post;
	bool is_stream;      /* once it is accepted it may be silent for as long as it likes */
	unsigned timeout_ms; /* without a byte */
	int wake;            /* a descriptor, or -1; and how often at least, 0: only with it */
	unsigned interval_ms;
	uint64_t until_ns;   /* then it is given up; 0: never */
	int output;          /* a descriptor, or -1: when nobody reads there any more, it is given up */
	/* Each gets `userdata`. */
	int (*look)(int fd, void *userdata);                           /* at a new connection, before anything is said; 0, -errno */
	bool (*ready)(void *userdata);                                 /* false: give up */
	bool (*data)(const char *bytes, size_t size, void *userdata);  /* of the answer's body; false: enough */
	void (*status)(long status, void *userdata);                   /* once, before data */
	void *userdata;
};

struct http *http_new(void); /* NULL: out of memory */
struct http *http_free(struct http *);

/*
 * 0: the whole answer has come, or `data` had enough. -ECANCELED: given up. -ETIMEDOUT: nothing came for so long.
 * -EPIPE: it ended before the answer did. -EPROTO: what answers does not speak HTTP. -EAGAIN: its queue of connections is full.
 * Else as connect(2) or `look` has it, or -ENOMEM.
 */
int http_call(struct http *, const struct http_call *);

#endif
