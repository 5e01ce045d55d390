/* SPDX-License-Identifier: MIT */
/* wire_member.c - the codec of the frames that tell who has a topic open. */
#include "wire_member.h"

#include <errno.h>
#include <string.h>

#include "wire_codec.h"

#define LIST_SIZE 16u
#define MEMBERS_SIZE 16u
#define ENTRY_SIZE 48u

_Static_assert(WIRE_HEADER_SIZE + MEMBERS_SIZE + WIRE_MAX_MEMBERS * ENTRY_SIZE <= WIRE_SMALL_FRAME, "it is no large one");

size_t wire_put_member_list(void *to, uint32_t request, const struct wire_member_list *list)
{
	unsigned char *at = begin(to, WIRE_MEMBER_LIST, request, LIST_SIZE);

	put32(at, list->topic);
	put32(at + 4, 0);
	put64(at + 8, list->after);
	return WIRE_HEADER_SIZE + LIST_SIZE;
}

int wire_get_member_list(const void *frame, size_t size, struct wire_member_list *ret)
{
	const unsigned char *at = body(frame, size, LIST_SIZE, LIST_SIZE);

	if (!at || get32(at + 4) != 0)
		return -EBADMSG;
	*ret = (struct wire_member_list){ .topic = get32(at), .after = get64(at + 8) };
	return 0;
}

size_t wire_put_members(void *to, uint32_t request, const struct wire_members *members)
{
	unsigned char *at = begin(to, WIRE_MEMBERS, request, MEMBERS_SIZE + members->n * (size_t)ENTRY_SIZE);

	put64(at, members->next);
	put32(at + 8, members->n);
	put32(at + 12, 0);
	at += MEMBERS_SIZE;
	for (uint32_t i = 0; i < members->n; i++, at += ENTRY_SIZE) {
		const struct wire_member *member = &members->entries[i];

		put32(at, member->pid);
		put32(at + 4, member->uid);
		put32(at + 8, member->flags);
		put32(at + 12, 0);
		put64(at + 16, member->origin);
		put64(at + 24, member->n_posts);
		memcpy(at + 32, member->command, WIRE_COMMAND_SIZE);
	}
	return WIRE_HEADER_SIZE + MEMBERS_SIZE + members->n * (size_t)ENTRY_SIZE;
}

int wire_get_members(const void *frame, size_t size, struct wire_members *ret)
{
	const unsigned char *at = body(frame, size, MEMBERS_SIZE, MEMBERS_SIZE + WIRE_MAX_MEMBERS * ENTRY_SIZE);
	struct wire_members got;

	if (!at || get32(at + 8) > WIRE_MAX_MEMBERS || get32(at + 12) != 0 ||
	    size != WIRE_HEADER_SIZE + MEMBERS_SIZE + get32(at + 8) * (size_t)ENTRY_SIZE)
		return -EBADMSG;
	got.next = get64(at);
	got.n = get32(at + 8);
	at += MEMBERS_SIZE;
	for (uint32_t i = 0; i < got.n; i++, at += ENTRY_SIZE) {
		if ((get32(at + 8) & ~(uint32_t)WIRE_MEMBER_SUBSCRIBES) != 0 || get32(at + 12) != 0 ||
		    at[32 + WIRE_COMMAND_SIZE - 1] != '\0')
			return -EBADMSG;
		got.entries[i] = (struct wire_member){
			.pid = get32(at),
			.uid = get32(at + 4),
			.flags = get32(at + 8),
			.origin = get64(at + 16),
			.n_posts = get64(at + 24),
		};
		memcpy(got.entries[i].command, at + 32, WIRE_COMMAND_SIZE);
	}
	*ret = got;
	return 0;
}
