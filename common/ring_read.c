/* SPDX-License-Identifier: MIT */
/* ring_read.c - reading a ring: in order, or what is to come. */
#include "ring.h"

#include "os/os.h"
#include "ring_layout.h"

/* --- reading --------------------------------------------------------------------------------------------------- */

/* Head and skips that belong together. */
static uint64_t load_head(const struct ring *ring, uint32_t *ret_skips)
{
	uint64_t head = atomic_load(&ring->page->head);

	for (unsigned tries = 0;; tries++) {
		uint32_t index;
		uint64_t skips = atomic_load(&ring->page->skips), tag = atomic_load(&slot_of(ring, head, &index)->tag),
			 again = atomic_load(&ring->page->head);

		if (again == head || tries == 1000) {
			/* The skip of the ticket at the head itself may be recorded already. The tag makes it certain:
			 * a few bits of a ticket come again. */
			bool is_next = skips >> SKIP_BITS == (head / RING_TICKET & SKIP_MASK) &&
				       (tag & TICKET_MASK) == (head & TICKET_MASK) && is_skipped(state_of(tag));

			*ret_skips = skips_of(skips) - (is_next ? 1u : 0u);
			return head & TICKET_MASK;
		}
		head = again;
	}
}

void ring_baseline(const struct ring *ring, uint32_t n, struct ring_cursor *ret)
{
	uint32_t skips = 0, index, found = 0, skipped = 0;
	uint64_t head = load_head(ring, &skips), oldest = head;

	*ret = (struct ring_cursor){ .at = head, .counted = head, .counted_skips = skips };
	if (!atomic_load(&ring->page->messages))
		return;
	/* Who is in the middle of a message now may return from publishing after the caller has returned: from there on
	 * it counts. Slots of a later lap are the oldest, and nobody writes the messages that were in them. */
	for (uint32_t i = 1; i <= ring->n_slots; i++) {
		uint64_t ticket = head - i * RING_TICKET, tag = atomic_load(&slot_of(ring, ticket, &index)->tag);

		if ((tag & TICKET_MASK) != ticket)
			continue;
		skipped += is_skipped(state_of(tag));
		if (state_of(tag) == RING_CLAIMED) {
			oldest = ticket;
			ret->counted = ticket;
			ret->counted_skips = skips - skipped;
		} else if (state_of(tag) == RING_COMMITTED && found < n) {
			found++;
			oldest = ticket;
		}
	}
	ret->at = oldest;
}

static uint64_t load(const struct ring_slot *slot, unsigned word)
{
	return atomic_load_explicit(&slot->words[word], memory_order_relaxed);
}

/* Copies a committed message; false: it was overwritten meanwhile. Nothing read is trusted. */
static bool copy(const struct ring *ring, struct ring_slot *slot, uint32_t index, uint64_t tag, struct ring_message *ret,
                 void *buffer, uint32_t *ret_skips)
{
	uint64_t *to = buffer, sizes = load(slot, W_SIZES), who = load(slot, W_WHO);
	const _Atomic uint64_t *from;
	uint32_t total;

	*ret = (struct ring_message){
		.origin = load(slot, W_ORIGIN),
		.number = load(slot, W_NUMBER),
		.before = load(slot, W_BEFORE),
		.time_ns = load(slot, W_TIME),
		.pid = (uint32_t)who,
		.uid = (uint32_t)(who >> 32),
		.key = buffer,
		.key_size = (uint32_t)(sizes >> KEY_SHIFT) & RING_MAX_KEY,
		.data_size = (uint32_t)(sizes >> DATA_SHIFT) & 0xfffff,
	};
	*ret_skips = skips_of(sizes);
	if (ret->data_size > ring->max_message)
		ret->data_size = ring->max_message;
	ret->data = (unsigned char *)buffer + ret->key_size;
	total = ret->key_size + ret->data_size;
	from = bytes_of(ring, index, total);
	for (uint32_t at = 0; at < total; at += 8)
		to[at / 8] = atomic_load_explicit(from++, memory_order_relaxed);
	/* After the loads above; partner of the fence in fill. */
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&slot->tag, memory_order_relaxed) == tag;
}

static void prefetch(const struct ring_slot *slot)
{
	__builtin_prefetch(&slot->tag);
	__builtin_prefetch(&slot->words[RING_SLOT_SIZE / 16]); /* its other cache line */
}

/* Messages between what is counted and ticket `at`, before which there were `skips` skips. */
static uint64_t count_missed(struct ring_cursor *cursor, uint64_t at, uint32_t skips)
{
	int64_t tickets = tickets_between(at, cursor->counted);
	uint64_t skipped = (uint32_t)(skips - cursor->counted_skips);

	if (tickets < 0)
		return 0; /* from before the baseline */
	cursor->counted = at;
	cursor->counted_skips = skips;
	return (uint64_t)tickets > skipped ? (uint64_t)tickets - skipped : 0;
}

/* True: the writer we wait for has had its time. */
static bool lease_is_over(struct ring_cursor *cursor, uint64_t tag)
{
	uint64_t now = os_now_ns();

	if (cursor->stalled != tag) {
		cursor->stalled = tag;
		cursor->stalled_ns = now;
	}
	return now - cursor->stalled_ns >= RING_LEASE_NS;
}

/* A writer that died, or stands still, may have left the head behind what is read already. */
static void help_head(const struct ring *ring, uint64_t to)
{
	uint64_t head = atomic_load(&ring->page->head) & TICKET_MASK;
	uint32_t steps = 0;

	while (tickets_between(to, head) > 0 && tickets_between(to, head) <= ring->n_slots) {
		uint32_t index;
		uint64_t tag = atomic_load(&slot_of(ring, head, &index)->tag);

		if ((tag & TICKET_MASK) != head || steps++ == PAGE_SLOTS + LANE_MIN_SLOTS)
			return;
		if (is_skipped(state_of(tag)))
			record_skip(ring->page, head);
		move_head(ring->page, head);
		head += RING_TICKET;
	}
}

static enum ring_read at_the_end(const struct ring *ring, struct ring_cursor *cursor, uint64_t *ret_missed)
{
	uint32_t skips;
	uint64_t head;

	help_head(ring, cursor->at);
	head = load_head(ring, &skips);
	if (tickets_between(cursor->at, head) > 0) {
		/* The head is never behind now, unless it is damaged: anew, or nothing is heard for a long time. */
		cursor->at = cursor->counted = head;
		cursor->counted_skips = skips;
	}
	if (cursor->at != head)
		return RING_EMPTY; /* more has come: there is another look before anybody sleeps */
	*ret_missed = count_missed(cursor, head, skips);
	return *ret_missed > 0 ? RING_GAP : RING_EMPTY;
}

enum ring_read ring_read(const struct ring *ring, struct ring_cursor *cursor, struct ring_message *ret,
                         void *buffer, uint64_t *ret_missed)
{
	uint64_t most = ring->most_steps ? ring->most_steps : (uint64_t)ring->n_slots * 4;

	for (uint64_t turns = 0; turns < most; turns++) {
		uint32_t index, skips;
		struct ring_slot *slot = slot_of(ring, cursor->at, &index);
		uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire), head;
		int64_t ahead = tickets_between(tag & TICKET_MASK, cursor->at);

		if (ahead == 0 && state_of(tag) == RING_COMMITTED) {
			prefetch(&ring->slots[(index + 4) & (ring->n_slots - 1)]);
			if (!copy(ring, slot, index, tag, ret, buffer, &skips))
				continue;
			if (cursor->at != cursor->counted) {
				*ret_missed = count_missed(cursor, cursor->at, skips);
				if (*ret_missed > 0)
					return RING_GAP; /* and the message is still there, or will be missed */
			}
			cursor->stalled = 0;
			cursor->at += RING_TICKET;
			if (tickets_between(cursor->at, cursor->counted) > 0) {
				cursor->counted = cursor->at;
				cursor->counted_skips = skips;
			}
			return RING_MESSAGE;
		}
		if (ahead == 0 && state_of(tag) == RING_CLAIMED) {
			if (!lease_is_over(cursor, tag))
				return RING_STALLED;
			atomic_compare_exchange_strong(&slot->tag, &tag, with_state(tag, RING_VOID_BUSY));
			continue;
		}
		if (ahead == 0) {
			cursor->at += RING_TICKET; /* there is none; the numbers will tell whether there should have been */
			continue;
		}
		head = atomic_load(&ring->page->head) & TICKET_MASK;
		if (tickets_between(head, cursor->at) <= 0)
			return at_the_end(ring, cursor, ret_missed);
		if (ahead > 0) {
			/* Overrun. Some way ahead of the writers, else it happens again at once. */
			uint64_t to = head - (ring->n_slots - ring->n_slots / 8) * RING_TICKET;

			cursor->at = tickets_between(to, cursor->at) > 0 ? to : cursor->at + RING_TICKET;
			continue;
		}
		/* The head has passed it, so its tag was set before; or ring_lose, or damage. */
		tag = atomic_load(&slot->tag);
		if (tickets_between(tag & TICKET_MASK, cursor->at) < 0) {
			if (tickets_between(head, cursor->at) > ring->n_slots)
				cursor->at = head - ring->n_slots * RING_TICKET;
			else
				cursor->at += RING_TICKET;
		}
	}
	return RING_BUSY;
}

/* --- looking ahead ----------------------------------------------------------------------------------------------- */

uint64_t ring_hash_key(const void *key, uint32_t size)
{
	const unsigned char *bytes = key;
	uint64_t hash = UINT64_C(0xcbf29ce484222325) ^ size; /* FNV-1a, and a mixer for its low bits */

	for (uint32_t i = 0; i < size; i++)
		hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
	hash ^= hash >> 32;
	hash *= UINT64_C(0x9e3779b97f4a7c15);
	hash ^= hash >> 29;
	return hash ? hash : 1;
}

bool ring_peek(const struct ring *ring, uint64_t ticket, struct ring_peek *ret)
{
	uint32_t index;
	struct ring_slot *slot = slot_of(ring, ticket, &index);
	uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire), sizes, key[(RING_MAX_KEY + 8) / 8];
	uint32_t key_size, data_size;
	const _Atomic uint64_t *from;

	*ret = (struct ring_peek){ 0 };
	if ((tag & TICKET_MASK) != ticket || state_of(tag) == RING_CLAIMED)
		return false;
	if (state_of(tag) != RING_COMMITTED)
		return true;
	sizes = load(slot, W_SIZES);
	ret->origin = load(slot, W_ORIGIN);
	ret->number = load(slot, W_NUMBER);
	ret->pid = (uint32_t)load(slot, W_WHO);
	key_size = (uint32_t)(sizes >> KEY_SHIFT) & RING_MAX_KEY;
	data_size = (uint32_t)(sizes >> DATA_SHIFT) & 0xfffff;
	if (key_size > 0) {
		from = bytes_of(ring, index, key_size + data_size);
		for (uint32_t at = 0; at < key_size; at += 8)
			key[at / 8] = atomic_load_explicit(from++, memory_order_relaxed);
		ret->key = ring_hash_key(key, key_size);
	}
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&slot->tag, memory_order_relaxed) == tag;
}

bool ring_latest(const struct ring *ring, uint32_t index, uint64_t *ret_origin, uint64_t *ret_number)
{
	struct ring_slot *slot = &ring->slots[index];
	uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire);

	if (state_of(tag) != RING_COMMITTED)
		return false;
	*ret_origin = load(slot, W_ORIGIN);
	*ret_number = load(slot, W_NUMBER);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&slot->tag, memory_order_relaxed) == tag;
}
