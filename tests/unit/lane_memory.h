/* SPDX-License-Identifier: MIT */
/*
 * lane_memory.h - for the tests of the ring, the reader and the state: a lane's memory without a daemon or a sidecar,
 * shared with forked processes, between two pages that nobody may touch; and messages that can be checked.
 */
#ifndef PATHBUS_TESTS_LANE_MEMORY_H
#define PATHBUS_TESTS_LANE_MEMORY_H

#include "page.h"
#include "ring.h"

struct lane_memory {
	struct page *page;
	struct ring ring;
	size_t size;
	void *mapping; /* with the guards */
	size_t mapping_size;
};

/* The case's; ring.slots is NULL without one. Its end meets the guard exactly, its start as well if its size is one of
 * whole pages. */
extern struct lane_memory memory;

void lane_memory_make(uint32_t ring_slots, uint32_t max_message);
void lane_memory_unmake(void);
/* As if tickets had been given out up to `head`, and n_skips of them skipped, the last of them just now. */
void lane_memory_start_at(uint64_t head, uint32_t n_skips);
uint32_t lane_memory_skips(void);

/* Key and data of a message follow from its origin and number, and so do their sizes, at most `most` bytes of both. The
 * bytes lie in a static buffer until the next call in this thread. */
struct ring_message lane_memory_message(uint64_t origin, uint64_t number, uint32_t most);
/* Is it the one that its origin and number say? No assertion: for the inner loops. */
bool lane_memory_is_whole(const struct ring_message *message, uint32_t most);

#endif
