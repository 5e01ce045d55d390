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

static bool is_noted(const struct known_entry *entry, uint64_t number)
{
	uint64_t behind = entry->number - number;

	return number <= entry->number && (behind == 0 || behind > 64 || (entry->earlier >> (behind - 1) & 1));
}

bool known_add(struct known *known, uint64_t origin, uint64_t number)
{
	struct known_entry *entry;

	if (origin == 0)
		return true;
	if (known->used == KNOWN_MAX && find(known, origin)->origin == 0)
		known_deinit(known);
	if (2 * known->used >= known->size && !grow(known))
		return true;
	entry = find(known, origin);
	if (entry->origin == 0) {
		known->used++;
		*entry = (struct known_entry){ .origin = origin, .number = number };
		return true;
	}
	if (is_noted(entry, number))
		return false;
	if (number > entry->number) {
		uint64_t ahead = number - entry->number;

		entry->earlier = ahead >= 64 ? 0 : entry->earlier << ahead;
		if (ahead <= 64)
			entry->earlier |= UINT64_C(1) << (ahead - 1);
		entry->number = number;
	} else {
		entry->earlier |= UINT64_C(1) << (entry->number - number - 1);
	}
	return true;
}

bool known_has(const struct known *known, uint64_t origin, uint64_t number)
{
	const struct known_entry *entry;

	if (known->size == 0 || origin == 0)
		return false;
	entry = find(known, origin);
	return entry->origin == origin && is_noted(entry, number);
}

bool known_is_late(const struct known *known, uint64_t origin, uint64_t number)
{
	const struct known_entry *entry;

	if (known->size == 0 || origin == 0)
		return false;
	entry = find(known, origin);
	return entry->origin == origin && number < entry->number &&
	       (entry->number - number > 64 || !is_noted(entry, number));
}

void known_deinit(struct known *known)
{
	free(known->entries);
	*known = (struct known){ 0 };
}
