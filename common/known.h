/* SPDX-License-Identifier: MIT */
/*
 * known.h - which messages have been told already, by origin and number: for those who change from one lane to another, or
 * whose lane is linked with another. A message may be in both; and where its writer has changed lanes, a later one of it
 * may come before an earlier one that is carried after it.
 *
 * A full table forgets the origins that it was given none of for longest: about half of them at once.
 */
#ifndef PATHBUS_COMMON_KNOWN_H
#define PATHBUS_COMMON_KNOWN_H

#include <stdbool.h>
#include <stdint.h>

struct known_table {
	struct known_entry {
		uint64_t origin;  /* 0: free */
		uint64_t number;  /* the highest one */
		uint64_t earlier; /* a bit for each of the 64 before it */
	} *entries;
	uint32_t size, used; /* a power of two, or 0 */
	uint64_t multiplier; /* odd, random */
};

struct known {
	struct known_table recent;
	struct known_table before; /* half of all at most; what is in both counts as it is in `recent` */
	uint32_t max;              /* origins, both together; 0: KNOWN_MAX. Constant */
};

#define KNOWN_MAX 16384u

/* Notes it. False: it is known already, or 64 numbers behind its origin's last. No memory: true, and it may be told twice. */
bool known_add(struct known *known, uint64_t origin, uint64_t number);
/* Is it? Notes nothing. */
bool known_has(const struct known *known, uint64_t origin, uint64_t number);
/* Is any of this origin? */
bool known_has_origin(const struct known *known, uint64_t origin);
/* Is a later one of its origin known, but not this one, as far as can be told? */
bool known_is_late(const struct known *known, uint64_t origin, uint64_t number);
void known_deinit(struct known *known); /* empty afterwards */

#endif
