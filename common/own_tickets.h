/* SPDX-License-Identifier: MIT */
/*
 * own_tickets.h - which of the tickets that a reader has missed are its own: what it publishes is no news to itself.
 *
 * The last ones will do, as many as the ring has slots: a reader never looks further back than that.
 */
#ifndef PATHBUS_COMMON_OWN_TICKETS_H
#define PATHBUS_COMMON_OWN_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

/* Zeroed at first. */
struct own_tickets {
	uint64_t *tickets; /* ascending; a ring of `size`, a power of two */
	uint32_t size, used, first;
	uint64_t total;    /* of the lane, those that are not kept any more as well */
};

/* Of a ring with n_slots. No memory: some pass for others'. */
void own_tickets_add(struct own_tickets *own, uint32_t n_slots, uint64_t ticket);
/* The reader has passed this one: earlier ones are not asked for any more. */
void own_tickets_pass(struct own_tickets *own, uint64_t ticket);
/* The reader goes on to this one, and *counted own messages were counted up to where it was: how many come to that in
 * between? Adds them to it. */
uint64_t own_tickets_missed(const struct own_tickets *own, uint64_t ticket, uint64_t *counted);
/* Is this one, which the reader has not passed, its own? No memory: not as far as is known. */
bool own_tickets_has(const struct own_tickets *own, uint64_t ticket);
/* Another lane; the memory stays. */
void own_tickets_reset(struct own_tickets *own);
void own_tickets_deinit(struct own_tickets *own);

#endif
