/* SPDX-License-Identifier: MIT */
/* ring.c - making a ring, and writing to it. ring.h says how tickets, slots and counts belong together. */
#include "ring.h"

#include <errno.h>
#include <string.h>

#include "os/os.h"
#include "ring_layout.h"

#define FULL_LOOKS 100 /* at a ring without a free slot, before a writer gives up */

void (*ring_seam)(enum ring_step step);

static inline void step(enum ring_step number)
{
	if (__builtin_expect(ring_seam != NULL, 0))
		ring_seam(number);
}

/* --- layout ------------------------------------------------------------------------------------------------ */

static uint32_t chunk_size(uint32_t max_message)
{
	return (max_message + RING_MAX_KEY + 63) / 64 * 64;
}

void ring_init(struct page *page, uint32_t n_slots)
{
	/* A zeroed slot looks like one of an earlier lap. */
	atomic_init(&page->head, n_slots * RING_TICKET);
}

size_t ring_slots_size(const struct lane_shape *shape)
{
	return (size_t)shape->ring_slots * RING_SLOT_SIZE;
}

size_t ring_size(const struct lane_shape *shape)
{
	return ring_slots_size(shape) + (size_t)shape->ring_slots * chunk_size(shape->max_message);
}

void ring_attach(struct ring *ret, struct page *page, void *area, const struct lane_shape *shape)
{
	*ret = (struct ring){
		.page = page,
		.slots = area,
		.chunks = (_Atomic uint64_t *)((unsigned char *)area + ring_slots_size(shape)),
		.n_slots = shape->ring_slots,
		.chunk = chunk_size(shape->max_message),
		.max_message = shape->max_message,
	};
}

/* --- writing --------------------------------------------------------------------------------------------------- */

struct claim {
	uint64_t ticket;
	uint64_t tag;
	uint32_t index;
	uint32_t skips;
};

/* Does every slot but this one have a writer that keeps it? Looks no further than the first that has none, nor than there
 * are `*steps`, which are lowered. */
static bool all_others_held(const struct ring *ring, uint32_t index, uint64_t *steps)
{
	for (uint32_t i = 1; i < ring->n_slots; i++) {
		if (!is_held(state_of(atomic_load(&ring->slots[(index + i) & (ring->n_slots - 1)].tag))))
			return false;
		if (ring->most_steps && --*steps == 1)
			return true;
	}
	return true;
}

/* The slot that is written so many messages later; its lines are on a reader's core, from the lap before. */
enum { SOON = 8 };

static inline void fetch_for_writing(const struct ring_slot *slot)
{
#ifdef __x86_64__ /* the compiler's own asks for it only where all processors of the kind are sure to have it */
	__asm__ volatile("prefetchw %0" : : "m"(slot->tag));
	__asm__ volatile("prefetchw %0" : : "m"(slot->words[RING_SLOT_SIZE / 16]));
#else
	__builtin_prefetch(&slot->tag, 1);
	__builtin_prefetch(&slot->words[RING_SLOT_SIZE / 16], 1);
#endif
}

static int claim(const struct ring *ring, unsigned owner, struct claim *ret)
{
	uint64_t steps = ring->most_steps ? ring->most_steps : (uint64_t)ring->n_slots * 64 + 4096;
	struct page *page = ring->page;
	unsigned full = 0;

	/* Each turn the head moves on, here or elsewhere; unless the memory is damaged. */
	for (; steps > 0; steps--) {
		uint64_t head = atomic_load(&page->head) & TICKET_MASK, skips = atomic_load(&page->skips), tag;
		struct ring_slot *slot = slot_of(ring, head, &ret->index);
		int64_t ahead;

		tag = atomic_load(&slot->tag);
		ahead = tickets_between(head, tag & TICKET_MASK);
		step(RING_STEP_LOADED);
		if (ahead < 0)
			continue; /* the head is a later one by now */
		if (ahead == 0) {
			/* Somebody has it, and has not moved the head yet. */
			if (is_skipped(state_of(tag)))
				record_skip(page, head);
			move_head(page, head);
			continue;
		}
		if (is_held(state_of(tag))) {
			/* Before it is marked: who tries again and again must not use up tickets that no reader hears
			 * of. A few looks, since they may be writers that do go on. */
			if (all_others_held(ring, ret->index, &steps)) {
				if (++full == FULL_LOOKS)
					return -ENOBUFS;
				continue;
			}
			if (atomic_compare_exchange_strong(&slot->tag, &tag, make_tag(head, owner_of(tag), RING_SKIPPED_BUSY))) {
				step(RING_STEP_MARKED);
				record_skip(page, head);
				step(RING_STEP_RECORDED);
				move_head(page, head);
			}
			continue;
		}
		ret->ticket = head;
		ret->tag = make_tag(head, owner, RING_CLAIMED);
		ret->skips = skips_of(skips);
		if (atomic_compare_exchange_strong(&slot->tag, &tag, ret->tag)) {
			step(RING_STEP_CLAIMED);
			fetch_for_writing(&ring->slots[(ret->index + SOON) & (ring->n_slots - 1)]);
			move_head(page, head);
			step(RING_STEP_MOVED);
			return 0;
		}
	}
	return full > 0 ? -ENOBUFS : -EIO;
}

/* The slot was taken from its owner, whose it is until it gives it back. Only it, or ring_recover, does. */
static void give_back(struct ring_slot *slot, unsigned owner)
{
	uint64_t tag = atomic_load(&slot->tag);
	bool given = false;

	/* Another owner: somebody else has recovered it since. */
	while (!given && is_held(state_of(tag)) && owner_of(tag) == owner)
		given = atomic_compare_exchange_weak(
			&slot->tag, &tag,
			with_state(tag, state_of(tag) == RING_SKIPPED_BUSY ? RING_SKIPPED : RING_VOID));
}

static void put_bytes(_Atomic uint64_t *to, const struct ring_message *message)
{
	uint64_t word = 0;
	uint32_t at = 0, total = message->key_size + message->data_size;
	const unsigned char *key = message->key, *data = message->data;

	/* The common case: no key, and whole words. */
	if (message->key_size == 0) {
		for (; at + 8 <= total; at += 8) {
			memcpy(&word, data + at, 8);
			atomic_store_explicit(to++, word, memory_order_relaxed);
		}
		if (at < total) {
			word = 0;
			memcpy(&word, data + at, total - at);
			atomic_store_explicit(to, word, memory_order_relaxed);
		}
		return;
	}
	while (at < total) {
		unsigned char bytes[8] = { 0 };

		for (unsigned i = 0; i < 8 && at < total; i++, at++)
			bytes[i] = at < message->key_size ? key[at] : data[at - message->key_size];
		memcpy(&word, bytes, 8);
		atomic_store_explicit(to++, word, memory_order_relaxed);
	}
}

static void fill(const struct ring *ring, const struct claim *claim, const struct ring_message *message)
{
	_Atomic uint64_t *words = ring->slots[claim->index].words;
	const uint64_t values[] = {
		[W_SIZES] = claim->skips | (uint64_t)message->data_size << DATA_SHIFT |
		            (uint64_t)message->key_size << KEY_SHIFT,
		[W_WHO] = message->pid | (uint64_t)message->uid << 32,
		[W_ORIGIN] = message->origin,
		[W_NUMBER] = message->number,
		[W_BEFORE] = message->before,
		[W_TIME] = message->time_ns,
	};

	/* Before the stores below: who sees one of them sees the claim at its second look. */
	atomic_thread_fence(memory_order_release);
	for (unsigned i = 0; i < W_INLINE; i++)
		atomic_store_explicit(&words[i], values[i], memory_order_relaxed);
	put_bytes(bytes_of(ring, claim->index, message->key_size + message->data_size), message);
}

int ring_publish(const struct ring *ring, unsigned owner, const struct ring_message *message, uint64_t *ret_ticket)
{
	struct claim mine;
	struct ring_slot *slot;
	uint64_t tag;
	int r;

	if (message->data_size > ring->max_message || message->key_size > RING_MAX_KEY)
		return -EMSGSIZE;
	r = claim(ring, owner, &mine);
	if (r < 0)
		return r;
	fill(ring, &mine, message);
	step(RING_STEP_FILLED);
	slot = &ring->slots[mine.index];
	tag = mine.tag;
	if (!atomic_compare_exchange_strong(&slot->tag, &tag, with_state(mine.tag, RING_COMMITTED)))
		give_back(slot, owner);
	step(RING_STEP_COMMITTED);
	atomic_fetch_add_explicit(&page_tally(ring->page, owner)->message_bytes, message->data_size, memory_order_relaxed);
	if (ret_ticket)
		*ret_ticket = mine.ticket;
	return 0;
}

int ring_void(const struct ring *ring, unsigned owner, uint64_t *ret_ticket)
{
	struct claim mine;
	uint64_t tag;
	int r = claim(ring, owner, &mine);

	if (r < 0)
		return r;
	tag = mine.tag;
	if (!atomic_compare_exchange_strong(&ring->slots[mine.index].tag, &tag, with_state(mine.tag, RING_VOID)))
		give_back(&ring->slots[mine.index], owner);
	*ret_ticket = mine.ticket;
	return 0;
}

bool ring_recover(const struct ring *ring, unsigned owner)
{
	bool any = false;

	if (owner == RING_NO_OWNER || !atomic_load(&ring->page->messages))
		return false;
	for (uint32_t i = 0; i < ring->n_slots; i++) {
		uint64_t tag = atomic_load(&ring->slots[i].tag);

		if (owner_of(tag) == owner && is_held(state_of(tag))) {
			give_back(&ring->slots[i], owner);
			any = true;
		}
	}
	return any;
}

void ring_lose(const struct ring *ring, uint64_t n)
{
	atomic_fetch_add(&ring->page->head, n * RING_TICKET);
}
