/* SPDX-License-Identifier: MIT */
/*
 * wire_member.h - the frames that tell who else has a topic open; docs/protocol.md describes them.
 */
#ifndef PATHBUS_COMMON_WIRE_MEMBER_H
#define PATHBUS_COMMON_WIRE_MEMBER_H

#include "wire.h"

#define WIRE_MAX_MEMBERS 16u /* that one answer names */

enum { WIRE_MEMBER_SUBSCRIBES = 1 };

struct wire_member_list { /* u32 topic, u32 0, u64 after */
	uint32_t topic;
	uint64_t after; /* 0, or `next` of the last answer */
};

/* u32 pid, u32 uid, u32 flags, u32 0, u64 origin, u64 posts, 16 bytes command (the last of them 0) */
struct wire_member {
	uint32_t pid, uid;
	uint32_t flags;   /* WIRE_MEMBER_ */
	uint64_t origin;  /* it and the posts are what the member itself says */
	uint64_t n_posts;
	char command[WIRE_COMMAND_SIZE];
};

struct wire_members { /* u64 next, u32 entries, u32 0, then so many of them */
	uint64_t next; /* 0: these were the last */
	uint32_t n;
	struct wire_member entries[WIRE_MAX_MEMBERS];
};

/* As in wire.h: encoders need WIRE_SMALL_FRAME bytes; decoders return 0 or -EBADMSG. */
size_t wire_put_member_list(void *to, uint32_t request, const struct wire_member_list *);
size_t wire_put_members(void *to, uint32_t request, const struct wire_members *);
int wire_get_member_list(const void *frame, size_t size, struct wire_member_list *ret);
int wire_get_members(const void *frame, size_t size, struct wire_members *ret);

#endif
