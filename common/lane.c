/* SPDX-License-Identifier: MIT */
/*
 * lane.c - the wake-up protocol: generation, want, rung.
 *
 * A post rings only if want >= rung: some member that went to sleep after the last ring has to be woken. rung
 * moves after the bell, so a poster that dies in between leaves a bell too many, never one too few. A burst
 * therefore costs one bell for each time a member arms, and a post that nobody waits for costs one atomic add
 * and two loads.
 */
#include "lane.h"

#include "os/os.h"

#define MOST_TRIES 10000 /* many times what contention can cause: then somebody writes there who should not */

static bool raise_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t now = atomic_load(word);

	for (unsigned tries = 0; lane_is_later(value, now); tries++)
		if (atomic_compare_exchange_weak(word, &now, value))
			break;
		else if (tries == MOST_TRIES)
			return false;
	return true;
}

static void ring_bell(const struct lane *lane, int bell)
{
	if (lane->ring)
		lane->ring(bell);
	else
		os_bell_ring(bell);
}

static void ring(const struct lane *lane)
{
	/* Offloaded: the daemon rings for us. If it is dead the poster finds out next, by the death word. The
	 * flag is loaded after the generation was raised: who joined a bell that this poster does not have did so
	 * after the flag was set, and took its baseline after that. */
	ring_bell(lane, lane->carrier >= 0 && atomic_load(&lane->page->offload) ? lane->carrier : lane->bell);
}

void lane_wake(const struct lane *lane, uint64_t generation, uint64_t want, uint64_t rung, const _Atomic uint64_t *epoch,
               uint64_t before)
{
	struct page *page = lane->page;
	bool foreign = lane_is_later(rung, generation) && lane_is_later(rung, atomic_load(&page->generation));

	if (lane_is_later(rung, want) && !foreign)
		return; /* a later poster than this one has rung already */
	ring(lane);
	atomic_fetch_add_explicit(&page_tally(page, 0)->bells, 1, memory_order_relaxed);
	/* Moved: the bell may have been the old lane's, and `rung` would be the new one's. Left low, the repetition
	 * rings, and so does everybody else. */
	if (epoch && atomic_load(epoch) != before)
		return;
	/* Once, and only from the value that was compared: if it has moved, another poster has rung, and leaving it
	 * low costs no more than a bell. */
	if (lane_is_later(generation, rung) || foreign)
		atomic_compare_exchange_strong(&page->rung, &rung, generation);
}

void lane_ring(const struct lane *lane)
{
	ring(lane);
}

void lane_ring_carrier(const struct lane *lane)
{
	if (lane->carrier >= 0)
		ring_bell(lane, lane->carrier);
}

bool lane_arm(const struct lane *lane, uint64_t generation)
{
	atomic_fetch_add_explicit(&os_counts.arms, 1, memory_order_relaxed);
	return raise_to(&lane->page->want, generation) && atomic_load(&lane->page->generation) == generation;
}

void lane_resync(const struct lane *lane)
{
	/* resync before generation: who sees the new generation sees the new resync. */
	atomic_fetch_add(&lane->page->resync, 1);
	lane_post(lane);
}

void lane_close(const struct lane *lane)
{
	atomic_store(&lane->page->closed, 1);
	lane_resync(lane);
}
