/* SPDX-License-Identifier: MIT */
/*
 * ring_layout.h - what is in the ring's words, for ring.c (who writes) and ring_read.c (who reads).
 *
 * A slot's words:
 *   0  skips before its ticket (32 bits) | data size (20) << 32 | key size (8) << 52
 *   1  pid | uid << 32
 *   2  origin   3  number   4  before   5  time
 *   6  key and data, if they fit; else they are in the chunk
 */
#ifndef PATHBUS_COMMON_RING_LAYOUT_H
#define PATHBUS_COMMON_RING_LAYOUT_H

#include "ring.h"

#if defined(__SANITIZE_THREAD__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wtsan" /* it ignores fences; what they order here are atomics, which cannot race */
#endif

#define STATE_MASK UINT64_C(0xf)
#define OWNER_SHIFT 4
#define TICKET_MASK (~(RING_TICKET - 1))
#define SKIP_BITS 32 /* enough for a reader that is stopped for minutes while a ring of 8 slots is at full speed */
#define SKIP_MASK UINT64_C(0xffffffff)
#define DATA_SHIFT 32
#define KEY_SHIFT 52

enum { W_SIZES, W_WHO, W_ORIGIN, W_NUMBER, W_BEFORE, W_TIME, W_INLINE };

_Static_assert(sizeof(struct ring_slot) == RING_SLOT_SIZE, "two cache lines");
_Static_assert((RING_SLOT_SIZE / 8 - 1 - W_INLINE) * 8 == RING_INLINE, "layout");
_Static_assert(LANE_MAX_MESSAGE < 1u << 20 && RING_MAX_KEY < 1u << 8, "fit the sizes' word");
_Static_assert(PAGE_SLOTS < RING_NO_OWNER, "an owner has eight bits");

static inline enum ring_state state_of(uint64_t tag)
{
	return (enum ring_state)(tag & STATE_MASK);
}

static inline uint64_t make_tag(uint64_t ticket, unsigned owner, enum ring_state state)
{
	return ticket | (uint64_t)owner << OWNER_SHIFT | (uint64_t)state;
}

static inline uint64_t with_state(uint64_t tag, enum ring_state state)
{
	return (tag & ~STATE_MASK) | (uint64_t)state;
}

static inline unsigned owner_of(uint64_t tag)
{
	return (unsigned)(tag >> OWNER_SHIFT) & 0xff;
}

static inline bool is_held(enum ring_state state)
{
	return state == RING_CLAIMED || state == RING_VOID_BUSY || state == RING_SKIPPED_BUSY;
}

static inline bool is_skipped(enum ring_state state)
{
	return state == RING_SKIPPED || state == RING_SKIPPED_BUSY;
}

/* How many tickets `a` is ahead of `b`. */
static inline int64_t tickets_between(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) / (int64_t)RING_TICKET;
}

static inline struct ring_slot *slot_of(const struct ring *ring, uint64_t ticket, uint32_t *ret_index)
{
	*ret_index = (uint32_t)(ticket / RING_TICKET) & (ring->n_slots - 1);
	return &ring->slots[*ret_index];
}

/* Where key and data of so many bytes are. */
static inline _Atomic uint64_t *bytes_of(const struct ring *ring, uint32_t index, uint32_t total)
{
	if (total <= RING_INLINE)
		return &ring->slots[index].words[W_INLINE];
	return ring->chunks + (size_t)index * (ring->chunk / 8);
}

/* --- skipped tickets ------------------------------------------------------------------------------------------ */

/* page->skips: 32 bits of the last skipped ticket, 32 bits of how many there were. Both wrap. */
static inline uint32_t skips_of(uint64_t word)
{
	return (uint32_t)(word & SKIP_MASK);
}

/* The ticket at the head is skipped: recorded once, by whoever comes first, before the head moves on. */
static inline void record_skip(struct page *page, uint64_t ticket)
{
	uint64_t word = atomic_load(&page->skips), recorded = ticket / RING_TICKET << SKIP_BITS;

	for (;;) {
		if ((word & ~SKIP_MASK) == recorded)
			return;
		/* After the word was loaded: the head moves on only once it has been changed, and then the exchange fails. */
		if (atomic_load(&page->head) != ticket)
			return;
		if (atomic_compare_exchange_weak(&page->skips, &word, recorded | ((word + 1) & SKIP_MASK)))
			return;
	}
}

static inline void move_head(struct page *page, uint64_t ticket)
{
	atomic_compare_exchange_strong(&page->head, &ticket, ticket + RING_TICKET);
}

#endif
