/* SPDX-License-Identifier: MIT */
/* told.c - see told.h. */
#include "told.h"

#include "lane.h"

void told_note_ring(struct told *told, const struct ring *ring, uint64_t at)
{
	/* From the oldest on: it is those that a full table forgets first. */
	for (uint32_t i = 0; i < ring->n_slots; i++) {
		uint32_t index = (uint32_t)(at / RING_TICKET + i) & (ring->n_slots - 1);
		uint64_t tag = atomic_load(&ring->slots[index].tag), origin, number;

		/* Nothing that came later: that is not told yet. */
		if (lane_is_later(at, tag & ~(RING_TICKET - 1)) && ring_latest(ring, index, &origin, &number) &&
		    atomic_load(&ring->slots[index].tag) == tag)
			(void)known_add(&told->known, origin, number);
	}
}

enum told_before told_take(struct told *told, const struct ring *ring, uint64_t ticket,
                           const struct ring_message *message)
{
	bool is_late;

	/* After the message was read: a link says that it is there before it carries the first. */
	if (!told->is_linked && atomic_load_explicit(&ring->page->linked, memory_order_relaxed)) {
		told->is_linked = true;
		told_note_ring(told, ring, ticket);
	}
	if (!told->is_linked)
		return known_has(&told->known, message->origin, message->number) ? TOLD_ONCE : TOLD_NEVER;
	is_late = known_is_late(&told->known, message->origin, message->number);
	if (!known_add(&told->known, message->origin, message->number) && !is_late)
		return TOLD_ONCE;
	return is_late ? TOLD_LATER : TOLD_NEVER;
}
