/* SPDX-License-Identifier: MIT */
/*
 * opening.h - from a path to a member: ask a worker, check the rights, find the topic, wait for its links.
 */
#ifndef PATHBUS_DAEMON_OPENING_H
#define PATHBUS_DAEMON_OPENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "context.h"
#include "identity.h"
#include "page.h"
#include "topic.h"

/*
 * How an opening ended; it is freed afterwards. error 0: `member` is the callee's, to be given to
 * membership_end. Else a positive errno with an English sentence.
 */
typedef void opening_done_fn(void *arg, struct opening *opening, uint32_t request, int error, const char *text,
                             struct member *member);

struct opening_request {
	const char *path; /* not terminated */
	size_t path_size;
	uint32_t flags;   /* WIRE_RIGHT_*, WIRE_OPEN_* */
	uint32_t last;    /* WIRE_OPEN_SOCKET: messages of before that are wanted */
	uint64_t origin;  /* WIRE_OPEN_SOCKET: of its messages; 0: any */
	uint32_t request; /* given back */
	uint32_t ring_slots, max_message; /* of the lane if it is made; 0: as the configuration has it */
	struct user *user; /* stays the connection's */
	pid_t pid;
	struct identity *identity; /* outlives the opening */
	const void *owner;
};

/* `done` is called once, later, never from within. 0, -ENOMEM, or a limit that *ret_limit tells. */
int opening_new(const struct context *context, const struct opening_request *request, opening_done_fn *done, void *arg,
                struct opening **ret, const char **ret_limit);
/* What it was made with, except the path. */
const struct opening_request *opening_asked(const struct opening *opening);
/* The connection has ended: `done` is not called any more. */
void opening_cancel(struct opening *opening);

/*
 * Takes a member out. With the last one the topic ends, but not before it is certain that nobody who meets beside
 * the file has missed a post.
 */
void membership_end(const struct context *context, struct member *member, enum leave how);

/* For the linker: this user's openings of the topic may go on, or it may end for that one. */
void opening_settled(const struct context *context, struct topic *topic, struct user *user);

#endif
