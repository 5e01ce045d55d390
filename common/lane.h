/* SPDX-License-Identifier: MIT */
/*
 * lane.h - one page, one bell: the wake-up protocol.
 *
 * The same code works a daemon's memfd and eventfd and a sidecar's file and FIFO; nothing above knows which.
 * Nobody reads the bell to consume it: each member has it in a set of its own, edge-triggered, so one write
 * wakes all. The protocol is model-checked in tests/model/wake.pml; the names are the same there.
 */
#ifndef PATHBUS_COMMON_LANE_H
#define PATHBUS_COMMON_LANE_H

#include <stdbool.h>
#include <stdint.h>

#include "page.h"

/* A member's view of a lane. Owns neither the mapping nor the descriptors. */
struct lane {
	struct page *page;
	int bell;    /* eventfd or FIFO, readable and writable, O_NONBLOCK */
	int carrier; /* the daemon's own bell for offloaded lanes; -1 in a sidecar */
	void (*ring)(int bell); /* how a bell is rung; NULL: os_bell_ring */
};

/* Generations wrap: `a` is later than `b` if it is less than half the range ahead. */
static inline bool lane_is_later(uint64_t a, uint64_t b)
{
	return a != b && a - b < UINT64_C(1) << 63;
}

/* What lane_post does unless nobody waits: apart, so that the rest is inlined. */
__attribute__((cold)) void lane_wake(const struct lane *lane, uint64_t generation, uint64_t want, uint64_t rung,
                                     const _Atomic uint64_t *epoch, uint64_t before);

/*
 * Raises the generation by GENERATION_POST or GENERATION_MESSAGE and rings if a member sleeps that has not seen it.
 * Any thread; never blocks; no system call when nobody sleeps. The caller then looks whether the lane is dead or
 * closed (design 7.2). Returns the new generation.
 *
 * `epoch`: NULL, or a word that was `before` when the caller took *lane, and is moved ahead of an exchange of the
 * page, the bell or the carrier under it. If it has been, what was rung may not be the bell of the page that was
 * posted to; `rung` is then left alone, so that the caller's repetition and everybody else still ring.
 */
static inline uint64_t lane_raise_at(const struct lane *lane, uint64_t by, const _Atomic uint64_t *epoch, uint64_t before)
{
	struct page *page = lane->page;
	uint64_t generation = atomic_fetch_add(&page->generation, by) + by;
	uint64_t want, rung;

	/* rung above generation: the lane was exchanged for this one under a poster in here (libclient/topic.c),
	 * which then put the old lane's number in. The numbers of two lanes never meet, so the next post, the
	 * latest its own repetition, sees that and puts it right. */
	want = atomic_load(&page->want);
	rung = atomic_load(&page->rung);
	if (__builtin_expect(!lane_is_later(rung, want) || lane_is_later(rung, generation), 0))
		lane_wake(lane, generation, want, rung, epoch, before);
	return generation;
}

static inline uint64_t lane_post(const struct lane *lane)
{
	return lane_raise_at(lane, GENERATION_POST, NULL, 0);
}

/* Writes the bell whether or not somebody waits: for leavers, kickers and tests. */
void lane_ring(const struct lane *lane);
/* Writes the daemon's bell, where there is one: who is the first to publish here. */
void lane_ring_carrier(const struct lane *lane);

static inline uint64_t lane_generation(const struct lane *lane)
{
	return atomic_load(&lane->page->generation);
}

/*
 * Goes to sleep, as far as posters are concerned: after it returns true, every later post rings.
 * `generation` is what the member has dealt with. Returns false when the generation has moved meanwhile: the
 * member must look again. Edges collected before a successful arm are dealt with; any edge collected after it
 * must be followed by another look.
 */
bool lane_arm(const struct lane *lane, uint64_t generation);

/* Has the bell been rung for a post after `armed`, the generation of this member's last successful arm? If
 * so, its set is readable until it collects. */
static inline bool lane_rung_since(const struct lane *lane, uint64_t armed)
{
	return lane_is_later(atomic_load(&lane->page->rung), armed);
}

static inline bool lane_closed(const struct lane *lane)
{
	return atomic_load(&lane->page->closed) != 0;
}

/* Sets `closed`, raises `resync` and the generation, and wakes everybody. For whoever retires a page that
 * others may still use. */
void lane_close(const struct lane *lane);

/* Tells all members "look again": somebody may have died between a change and its post. */
void lane_resync(const struct lane *lane);

#endif
