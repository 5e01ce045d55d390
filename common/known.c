/* SPDX-License-Identifier: MIT */
/* known.c - an open-addressed table; origins are random, so they are their own hash. */
#include "known.h"

#include <stdlib.h>

static struct known_entry *find(const struct known *known, uint64_t origin)
{
	uint32_t at = (uint32_t)origin & (known->size - 1);

	while (known->entries[at].origin != 0 && known->entries[at].origin != origin)
		at = (at + 1) & (known->size - 1);
	return &known->entries[at];
}

static bool grow(struct known *known)
{
	struct known larger = { .size = known->size ? 2 * known->size : 16 };

	larger.entries = calloc(larger.size, sizeof(*larger.entries));
	if (!larger.entries)
		return false;
	for (uint32_t i = 0; i < known->size; i++)
		if (known->entries[i].origin != 0)
			*find(&larger, known->entries[i].origin) = known->entries[i];
	larger.used = known->used;
	free(known->entries);
	*known = larger;
	return true;
}

bool known_add(struct known *known, uint64_t origin, uint64_t number)
{
	struct known_entry *entry;

	if (origin == 0)
		return true;
	if (2 * known->used >= known->size && !grow(known))
		return true;
	entry = find(known, origin);
	if (entry->origin == origin && number <= entry->number)
		return false;
	known->used += entry->origin == 0;
	*entry = (struct known_entry){ .origin = origin, .number = number };
	return true;
}

bool known_has(struct known *known, uint64_t origin, uint64_t number)
{
	struct known_entry *entry;

	if (known->size == 0 || origin == 0)
		return false;
	entry = find(known, origin);
	return entry->origin == origin && number <= entry->number;
}

void known_deinit(struct known *known)
{
	free(known->entries);
	*known = (struct known){ 0 };
}
