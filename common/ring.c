/* SPDX-License-Identifier: MIT */
/*
 * ring.c - tickets, slots and counts. ring.h says how they belong together.
 *
 * A slot's words:
 *   0  skips before its ticket (32 bits) | data size (20) << 32 | key size (8) << 52
 *   1  pid | uid << 32
 *   2  origin   3  number   4  before   5  time
 *   6  key and data, if they fit; else they are in the chunk
 */
#include "ring.h"

#include <errno.h>
#include <string.h>

#include "os/os.h"

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

#define FULL_LOOKS 100 /* at a ring without a free slot, before a writer gives up */

enum { W_SIZES, W_WHO, W_ORIGIN, W_NUMBER, W_BEFORE, W_TIME, W_INLINE };

_Static_assert(sizeof(struct ring_slot) == RING_SLOT_SIZE, "two cache lines");
_Static_assert((RING_SLOT_SIZE / 8 - 1 - W_INLINE) * 8 == RING_INLINE, "layout");
_Static_assert(LANE_MAX_MESSAGE < 1u << 20 && RING_MAX_KEY < 1u << 8, "fit the sizes' word");
_Static_assert(PAGE_SLOTS < RING_NO_OWNER, "an owner has eight bits");

void (*ring_seam)(enum ring_step step);

static inline void step(enum ring_step number)
{
	if (__builtin_expect(ring_seam != NULL, 0))
		ring_seam(number);
}

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

/* --- skipped tickets ------------------------------------------------------------------------------------------ */

/* page->skips: 32 bits of the last skipped ticket, 32 bits of how many there were. Both wrap. */
static uint32_t skips_of(uint64_t word)
{
	return (uint32_t)(word & SKIP_MASK);
}

/* The ticket at the head is skipped: recorded once, by whoever comes first, before the head moves on. */
static void record_skip(struct page *page, uint64_t ticket)
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

static void move_head(struct page *page, uint64_t ticket)
{
	atomic_compare_exchange_strong(&page->head, &ticket, ticket + RING_TICKET);
}

/* --- writing --------------------------------------------------------------------------------------------------- */

struct claim {
	uint64_t ticket;
	uint64_t tag;
	uint32_t index;
	uint32_t skips;
};

/* Does every slot but this one have a writer that keeps it? Looks no further than the first that has none. */
static bool all_others_held(const struct ring *ring, uint32_t index)
{
	for (uint32_t i = 1; i < ring->n_slots; i++)
		if (!is_held(state_of(atomic_load(&ring->slots[(index + i) & (ring->n_slots - 1)].tag))))
			return false;
	return true;
}

static int claim(const struct ring *ring, unsigned owner, struct claim *ret)
{
	struct page *page = ring->page;
	unsigned full = 0;

	/* Each turn the head moves on, here or elsewhere; unless the memory is damaged. */
	for (uint64_t turns = 0; turns < (uint64_t)ring->n_slots * 64 + 4096; turns++) {
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
			if (all_others_held(ring, ret->index)) {
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
			move_head(page, head);
			step(RING_STEP_MOVED);
			return 0;
		}
	}
	return -EIO;
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

static _Atomic uint64_t *bytes_of(const struct ring *ring, uint32_t index, uint32_t total)
{
	if (total <= RING_INLINE)
		return &ring->slots[index].words[W_INLINE];
	return ring->chunks + (size_t)index * (ring->chunk / 8);
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
	if (ret_ticket)
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

/* Copies a committed message; false: it was overwritten meanwhile. Nothing read is trusted. */
static bool copy(const struct ring *ring, struct ring_slot *slot, uint32_t index, uint64_t tag, struct ring_message *ret,
                 void *buffer, uint32_t *ret_skips)
{
	uint64_t values[W_INLINE], *to = buffer;
	const _Atomic uint64_t *from;
	uint32_t total;

	for (unsigned i = 0; i < W_INLINE; i++)
		values[i] = atomic_load_explicit(&slot->words[i], memory_order_relaxed);
	*ret = (struct ring_message){
		.origin = values[W_ORIGIN],
		.number = values[W_NUMBER],
		.before = values[W_BEFORE],
		.time_ns = values[W_TIME],
		.pid = (uint32_t)values[W_WHO],
		.uid = (uint32_t)(values[W_WHO] >> 32),
		.key = buffer,
		.key_size = (uint32_t)(values[W_SIZES] >> KEY_SHIFT) & RING_MAX_KEY,
		.data_size = (uint32_t)(values[W_SIZES] >> DATA_SHIFT) & 0xfffff,
	};
	*ret_skips = skips_of(values[W_SIZES]);
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

	while (tickets_between(to, head) > 0 && tickets_between(to, head) <= ring->n_slots) {
		uint32_t index;
		uint64_t tag = atomic_load(&slot_of(ring, head, &index)->tag);

		if ((tag & TICKET_MASK) != head)
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
	for (uint64_t turns = 0; turns < (uint64_t)ring->n_slots * 4; turns++) {
		uint32_t index, skips;
		struct ring_slot *slot = slot_of(ring, cursor->at, &index);
		uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire), head;
		int64_t ahead = tickets_between(tag & TICKET_MASK, cursor->at);

		if (ahead == 0 && state_of(tag) == RING_COMMITTED) {
			__builtin_prefetch(&ring->slots[(index + 2) & (ring->n_slots - 1)]);
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

bool ring_peek_key(const struct ring *ring, uint64_t ticket, uint64_t *ret_hash, uint64_t *ret_origin)
{
	uint32_t index;
	struct ring_slot *slot = slot_of(ring, ticket, &index);
	uint64_t tag = atomic_load_explicit(&slot->tag, memory_order_acquire), sizes, key[(RING_MAX_KEY + 8) / 8];
	uint32_t key_size, data_size;
	const _Atomic uint64_t *from;

	*ret_hash = *ret_origin = 0;
	if ((tag & TICKET_MASK) != ticket || state_of(tag) == RING_CLAIMED)
		return false;
	if (state_of(tag) != RING_COMMITTED)
		return true;
	sizes = atomic_load_explicit(&slot->words[W_SIZES], memory_order_relaxed);
	*ret_origin = atomic_load_explicit(&slot->words[W_ORIGIN], memory_order_relaxed);
	key_size = (uint32_t)(sizes >> KEY_SHIFT) & RING_MAX_KEY;
	data_size = (uint32_t)(sizes >> DATA_SHIFT) & 0xfffff;
	if (key_size > 0) {
		from = bytes_of(ring, index, key_size + data_size);
		for (uint32_t at = 0; at < key_size; at += 8)
			key[at / 8] = atomic_load_explicit(from++, memory_order_relaxed);
		*ret_hash = ring_hash_key(key, key_size);
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
	*ret_origin = atomic_load_explicit(&slot->words[W_ORIGIN], memory_order_relaxed);
	*ret_number = atomic_load_explicit(&slot->words[W_NUMBER], memory_order_relaxed);
	atomic_thread_fence(memory_order_acquire);
	return atomic_load_explicit(&slot->tag, memory_order_relaxed) == tag;
}
