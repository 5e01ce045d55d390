/* SPDX-License-Identifier: MIT */
/* side.c - carrying: reads as any reader does, and publishes with the sender, number and time kept. */
#include "side.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "os/os.h"

#define MOST_VOIDS 4096u /* what is more is not worth the time: RESYNC */
#define FIRST_OWNS 16u
#define MOST_OWNS 4096u /* more than are put between two times that all is taken; else posts may come after a message that
                         * was made after them */

/* --- own posts and messages ------------------------------------------------------------------------------- */

static struct side_own *own_at(const struct side *side, uint32_t i)
{
	return &side->owns[(side->first_own + i) & (side->owns_size - 1)];
}

static void drop_own(struct side *side)
{
	side->own_before = own_at(side, 0)->own;
	side->first_own++;
	side->n_owns--;
}

static bool grow_owns(struct side *side)
{
	uint32_t size = side->owns_size ? 2 * side->owns_size : FIRST_OWNS;
	struct side_own *owns = size <= MOST_OWNS ? malloc(size * sizeof(*owns)) : NULL;

	if (!owns)
		return false;
	for (uint32_t i = 0; i < side->n_owns; i++)
		owns[i] = *own_at(side, i);
	free(side->owns);
	side->owns = owns;
	side->owns_size = size;
	side->first_own = 0;
	return true;
}

/* So many units were made, with which the generation came to this. */
static void note_own(struct side *side, uint64_t generation)
{
	if (side->n_owns == side->owns_size && !grow_owns(side)) {
		if (side->owns_size == 0) {
			side->own_before = side->own;
			return;
		}
		drop_own(side);
	}
	side->n_owns++;
	*own_at(side, side->n_owns - 1) = (struct side_own){ .generation = generation, .own = side->own };
}

/* Up to this generation. */
static uint64_t own_until(void *arg, uint64_t generation)
{
	const struct side *side = arg;
	uint32_t low = 0, high = side->n_owns;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (lane_is_later(own_at(side, middle)->generation, generation))
			high = middle;
		else
			low = middle + 1;
	}
	return low > 0 ? own_at(side, low - 1)->own : side->own_before;
}

static uint64_t own_missed(void *arg, uint64_t from, uint64_t to)
{
	struct side *side = arg;

	(void)from; /* up to there they are in own_counted */
	return own_tickets_missed(&side->own_tickets, to, &side->own_counted);
}

static enum reader_whose whose(void *arg, const struct ring_message *message)
{
	struct side *side = arg;

	if (own_tickets_has(&side->own_tickets, side->reader.cursor.at - RING_TICKET)) {
		side->own_counted++;
		return READER_OWN;
	}
	/* Not ours, and yet known: it was carried already. But not if its writer has come to the other side and left it again,
	 * with messages that are still being carried: those are put, and are late there. */
	if (!side->known || !known_has(side->known, message->origin, message->number))
		return READER_STRANGERS;
	side->late |= known_is_late(side->known, message->origin, message->number);
	return READER_HIDDEN;
}

/* --- taking ------------------------------------------------------------------------------------------------ */

void side_take_baseline(struct side *side)
{
	struct ring_cursor cursor;

	side->seen_resync = side->resync = atomic_load(&side->lane.page->resync);
	ring_baseline(&side->ring, 0, &cursor);
	side->generation = lane_generation(&side->lane);
	reader_start(&side->reader, side->generation - side->own);
	reader_start_ring(&side->reader, &cursor);
}

void side_look(struct side *side)
{
	side->generation = lane_generation(&side->lane);
	side->resync = atomic_load(&side->lane.page->resync); /* after the generation: raised before it is */
	side->stalled_ns = 0;
}

/* Of the reader's. */
static enum side_news news_of(struct side *side, enum reader_kind kind)
{
	switch (kind) {
	case READER_AGAIN:
		return SIDE_AGAIN;
	case READER_STALLED:
		side->stalled_ns = reader_lease_ns(&side->reader);
		return SIDE_STALLED;
	case READER_POSTS:
		return SIDE_POSTS;
	case READER_GAP:
		return SIDE_GAP;
	case READER_MESSAGE:
		return SIDE_MESSAGE;
	case READER_NOTHING:
		break;
	}
	/* No message names an earlier generation any more. */
	while (side->n_owns > 0 && !lane_is_later(own_at(side, 0)->generation, side->generation))
		drop_own(side);
	return SIDE_NOTHING;
}

enum side_news side_next(struct side *side, uint64_t *ret_n)
{
	struct reader_look look = {
		.generation = side->generation,
		.own = side->own,
		.own_until = own_until,
		.whose = whose,
		.own_missed = own_missed,
		.arg = side,
	};
	enum side_news news = side->kept;

	if (side->resync != side->seen_resync) {
		side->seen_resync = side->resync;
		reader_absorb_posts(&side->reader, side->generation - side->own); /* it stands for them */
		return SIDE_RESYNC;
	}
	if (news != SIDE_NOTHING) {
		*ret_n = side->n_kept;
		side->kept = SIDE_NOTHING;
		return news;
	}
	if (atomic_load(&side->lane.page->messages)) {
		look.ring = &side->ring;
		look.buffer = side->buffer;
	}
	news = news_of(side, reader_next(&side->reader, &look, ret_n));
	/* A RESYNC that was raised before this message was published is told before it. */
	if (news == SIDE_MESSAGE && atomic_load(&side->lane.page->resync) != side->seen_resync) {
		reader_hold(&side->reader);
		side->resync = atomic_load(&side->lane.page->resync);
		return SIDE_AGAIN;
	}
	if (side->late) {
		side->late = false;
		side->kept = news;
		side->n_kept = *ret_n;
		return SIDE_RESYNC;
	}
	return news;
}

/* --- putting ----------------------------------------------------------------------------------------------- */

static void raise_by(struct side *side, uint64_t units)
{
	side->own += units;
	note_own(side, lane_raise_at(&side->lane, units, NULL, 0));
}

void side_post(struct side *side, uint64_t n)
{
	raise_by(side, n * GENERATION_POST);
}

void side_resync(struct side *side)
{
	/* Its own is no news to itself. As lane_resync. */
	atomic_fetch_add(&side->lane.page->resync, 1);
	side->seen_resync++;
	side->resync++;
	raise_by(side, GENERATION_POST);
}

/* In a sidecar the ring has to be allocated before it is written; see libclient/publish.c. */
static int allocate(struct side *side, uint32_t bytes)
{
	struct lane_shape shape = { .ring_slots = side->ring.n_slots, .max_message = side->ring.max_message };
	size_t size = bytes > RING_INLINE ? lane_size(&shape) : PAGE_SIZE_BYTES + ring_slots_size(&shape);
	int r;

	if (side->file < 0 || side->allocated >= size)
		return 0;
	r = os_allocate(side->file, size);
	if (r == 0)
		side->allocated = size;
	return r;
}

/* Readers look at the ring from now on. */
static void begin_messages(struct side *side)
{
	if (atomic_exchange(&side->lane.page->messages, 1) == 0)
		lane_ring_carrier(&side->lane);
}

static void keep_own(struct side *side, uint64_t ticket)
{
	own_tickets_pass(&side->own_tickets, side->reader.cursor.counted);
	own_tickets_add(&side->own_tickets, side->ring.n_slots, ticket);
}

static unsigned owner_of_side(const struct side *side)
{
	return side->slot < PAGE_SLOTS ? side->slot : RING_NO_OWNER;
}

int side_put_message(struct side *side, struct ring_message *message)
{
	uint64_t ticket;
	int r = message->data_size > side->ring.max_message ? -EMSGSIZE : allocate(side, message->key_size + message->data_size);

	if (r < 0)
		return r;
	begin_messages(side);
	message->before = lane_generation(&side->lane);
	r = ring_publish(&side->ring, owner_of_side(side), message, &ticket);
	if (r < 0)
		return r;
	keep_own(side, ticket);
	raise_by(side, GENERATION_MESSAGE);
	return 0;
}

void side_put_gap(struct side *side, uint64_t n)
{
	uint64_t ticket, put = 0;
	int r = n > MOST_VOIDS || n > side->ring.n_slots ? -ENOBUFS : allocate(side, 0);

	if (r == 0)
		begin_messages(side);
	while (r == 0 && put < n) {
		r = ring_void(&side->ring, owner_of_side(side), &ticket);
		if (r == 0) {
			keep_own(side, ticket);
			put++;
		}
	}
	if (put > 0)
		raise_by(side, put * GENERATION_MESSAGE);
	if (r < 0)
		side_resync(side);
}

/* --- life -------------------------------------------------------------------------------------------------- */

int side_open(struct side *side, void *map, size_t size, const struct lane_shape *shape)
{
	side->lane.page = side->map = map;
	side->size = size;
	ring_attach(&side->ring, map, (unsigned char *)map + PAGE_SIZE_BYTES, shape);
	side->buffer = malloc(RING_BUFFER_SIZE(shape->max_message));
	return side->buffer ? 0 : -ENOMEM;
}

void side_close(struct side *side)
{
	if (side->map)
		munmap(side->map, side->size);
	free(side->buffer);
	free(side->owns);
	own_tickets_deinit(&side->own_tickets);
	side->lane.page = side->map = side->buffer = NULL;
	side->owns = NULL;
}
