/* SPDX-License-Identifier: MIT */
/*
 * roster.h - what has been given numbers that are never used again, in their order: found by its number, and walked in pieces between
 * which others come and go.
 *
 * An array. Who comes is added at the end, since numbers only grow; who goes leaves a hole, and the array is packed once the half
 * of it are holes.
 */
#ifndef PATHBUS_DAEMON_ROSTER_H
#define PATHBUS_DAEMON_ROSTER_H

#include <stddef.h>
#include <stdint.h>

struct roster_entry {
	uint64_t number;
	void *item; /* NULL: a hole */
};

/* Zeroed at first. */
struct roster {
	struct roster_entry *entries;
	size_t n, room, n_holes;
	uint64_t last; /* number that was given */
};

/* Gives the next number, from 1. -ENOMEM. */
int roster_add(struct roster *roster, void *item, uint64_t *ret_number);
/* `number` 0: nothing. */
void roster_remove(struct roster *roster, uint64_t number);
void roster_deinit(struct roster *roster);

void *roster_find(const struct roster *roster, uint64_t number); /* NULL: there is none (any more) */
/* The first with a larger number; NULL: there is none. */
void *roster_after(const struct roster *roster, uint64_t number);

#endif
