/* SPDX-License-Identifier: MIT */
/*
 * member_frames.c - who has a topic open, but for the asker's own lane, which its library reads itself.
 *
 * An answer names some, in the order of lanes and slots; `next` says where the next goes on: after that lane and slot.
 */
#include <string.h>

#include "connection.h"
#include "count.h"
#include "os/os.h"
#include "topic_lane.h"
#include "user.h"
#include "wire_member.h"

static uint64_t place_of(const struct topic_lane *lane, uint32_t slot)
{
	return lane->number << 8 | (slot + 1);
}

/* The lane with the lowest number from `number` on; NULL: none. */
static struct topic_lane *lane_from(const struct topic *topic, const struct topic_lane *own, uint64_t number)
{
	struct topic_lane *best = NULL;

	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (lane != own && lane->number >= number && (!best || lane->number < best->number))
			best = lane;
	return best;
}

static void put_member(const struct member *member, const struct page *page, struct wire_member *ret)
{
	const struct page_slot *slot = &page->slots[member->slot];
	uint64_t elsewhere = atomic_load(&slot->posts_elsewhere), posts = atomic_load(&slot->posts);
	uid_t uid;

	*ret = (struct wire_member){
		.pid = (uint32_t)member->pid,
		.uid = (uint32_t)user_uid(member->lane->user),
		.flags = atomic_load(&slot->flags) & SLOT_SUBSCRIBES ? (uint32_t)WIRE_MEMBER_SUBSCRIBES : 0,
		.origin = atomic_load(&slot->origin),
		.n_posts = ((posts ^ elsewhere) & COUNT_TAG ? 0 : posts & COUNT_POSTS) + (elsewhere & COUNT_POSTS),
	};
	(void)os_process_name(member->pid, &uid, ret->command, sizeof(ret->command));
	ret->command[sizeof(ret->command) - 1] = '\0';
}

/* Those of one lane whose place is behind `after`, as long as there is room. */
static void put_lane(struct topic_lane *lane, uint64_t after, struct wire_members *to)
{
	const struct member *members[PAGE_SLOTS] = { 0 };
	struct page *page = topic_lane_borrow(lane);

	for (const struct member *member = page ? lane->topic->members : NULL; member; member = member->next)
		if (member->lane == lane && member->slot < PAGE_SLOTS && member->told)
			members[member->slot] = member;
	for (uint32_t slot = 0; slot < PAGE_SLOTS && to->n < WIRE_MAX_MEMBERS; slot++) {
		if (!members[slot] || place_of(lane, slot) <= after)
			continue;
		put_member(members[slot], page, &to->entries[to->n++]);
		to->next = place_of(lane, slot);
	}
	topic_lane_return(lane, page);
}

enum drop frame_member_list(struct client *client, const struct wire_header *header, const void *frame)
{
	unsigned char answer[WIRE_SMALL_FRAME];
	struct wire_members found = { .n = 0 };
	const struct topic_lane *own = NULL;
	struct wire_member_list body;
	struct topic_lane *lane;
	struct member *member;

	if (wire_get_member_list(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	if (!member->subscriber)
		own = member->lane;
	for (uint64_t number = body.after >> 8; found.n < WIRE_MAX_MEMBERS; number = lane->number + 1) {
		lane = lane_from(member->name->topic, own, number);
		if (!lane)
			break;
		put_lane(lane, body.after, &found);
	}
	if (found.n < WIRE_MAX_MEMBERS)
		found.next = 0;
	client_send(client, answer, wire_put_members(answer, header->request, &found), NULL, 0, NULL);
	return DROP_NONE;
}
