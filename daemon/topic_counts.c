/* SPDX-License-Identifier: MIT */
/* topic_counts.c - see topic_counts.h. */
#include "topic_counts.h"

#include "count.h"
#include "lane.h"
#include "page.h"
#include "ring.h"
#include "topic.h"

#define SKIPS UINT64_C(0xffffffff) /* of page->skips: how many */

struct lane_counts lane_counts_of(const struct page *page)
{
	uint64_t generation = atomic_load(&page->generation) - page->first, head = atomic_load(&page->head) / RING_TICKET,
		 skips = atomic_load(&page->skips) & SKIPS, slots = page->shape.ring_slots;
	struct lane_counts counts = { 0 };

	if (atomic_load(&page->messages) != 0 && head >= slots && head - slots >= skips)
		counts.messages = head - slots - skips;
	/* Those whose writers have died, or are in the middle of it, are in the ring and not here. */
	if (generation < UINT64_C(1) << 63)
		counts.posts = (generation + GENERATION_POST / 2 - counts.messages) / GENERATION_POST;
	if (counts.posts > COUNT_POSTS)
		counts.posts = 0;
	return counts;
}

struct member_counts member_counts_of(const struct member *member, const struct page *page)
{
	const struct page_slot *slot = member->slot < PAGE_SLOTS ? &page->slots[member->slot] : NULL;
	struct member_counts counts = { 0 };
	uint64_t posts, elsewhere, seen, generation;

	if (!slot)
		return counts;
	posts = atomic_load(&slot->posts);
	elsewhere = atomic_load(&slot->posts_elsewhere);
	counts.posts = ((posts ^ elsewhere) & COUNT_TAG ? 0 : posts & COUNT_POSTS) + (elsewhere & COUNT_POSTS);
	counts.messages = atomic_load(&slot->messages);
	if (!(atomic_load(&slot->flags) & SLOT_SUBSCRIBES))
		return counts;
	counts.knows_behind = true;
	generation = atomic_load(&page->generation);
	seen = atomic_load(&slot->seen);
	if (lane_is_later(generation, seen)) {
		counts.behind_posts = (generation - seen) / GENERATION_POST;
		counts.behind_messages = (generation - seen) % GENERATION_POST;
	}
	return counts;
}
