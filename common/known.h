/* SPDX-License-Identifier: MIT */
/*
 * known.h - which messages have been told already: for each origin the number of its last one. For those who change from
 * one lane to another, or read both: a message may be in both, and one writer's come in order.
 */
#ifndef PATHBUS_COMMON_KNOWN_H
#define PATHBUS_COMMON_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

struct known {
	struct known_entry {
		uint64_t origin, number; /* origin 0: free */
	} *entries;
	uint32_t size, used; /* a power of two, or 0 */
};

/* Notes it. False: it, or a later one of its origin, is known already. No memory: true, and it may be told twice. */
bool known_add(struct known *known, uint64_t origin, uint64_t number);
/* Is it, or a later one? Notes nothing of origins that are not known at all. */
bool known_has(struct known *known, uint64_t origin, uint64_t number);
void known_deinit(struct known *known); /* empty afterwards */

#endif
