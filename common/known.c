/* SPDX-License-Identifier: MIT */
/* known.c - open-addressed tables. Origins are random, but anybody may choose them: so each table hashes in its own way. */
#include "known.h"

#include <stdlib.h>

#include "os/os.h"

/* --- one table ------------------------------------------------------------------------------------------------------ */

/* Its place, or the one where it would be; there is always a free one. */
static struct known_entry *place_of(const struct known_table *table, uint64_t origin)
{
	uint32_t at = (uint32_t)(origin * table->multiplier >> 32) & (table->size - 1);

	while (table->entries[at].origin != 0 && table->entries[at].origin != origin)
		at = (at + 1) & (table->size - 1);
	return &table->entries[at];
}

static struct known_entry *find(const struct known_table *table, uint64_t origin)
{
	struct known_entry *entry = table->size > 0 && origin != 0 ? place_of(table, origin) : NULL;

	return entry && entry->origin == origin ? entry : NULL;
}

static bool grow(struct known_table *table)
{
	struct known_table larger = { .size = table->size ? 2 * table->size : 16, .used = table->used };

	larger.entries = calloc(larger.size, sizeof(*larger.entries));
	if (!larger.entries)
		return false;
	os_random(&larger.multiplier, sizeof(larger.multiplier));
	larger.multiplier |= 1;
	for (uint32_t i = 0; i < table->size; i++)
		if (table->entries[i].origin != 0)
			*place_of(&larger, table->entries[i].origin) = table->entries[i];
	free(table->entries);
	*table = larger;
	return true;
}

/* --- both ----------------------------------------------------------------------------------------------------------- */

static const struct known_entry *look_up(const struct known *known, uint64_t origin)
{
	const struct known_entry *entry = find(&known->recent, origin);

	return entry ? entry : find(&known->before, origin);
}

/* Its entry among the recent ones, new perhaps and then with this number. NULL: no memory. */
static struct known_entry *make_recent(struct known *known, uint64_t origin, uint64_t number)
{
	struct known_entry entry = { .origin = origin, .number = number }, *found = find(&known->recent, origin);

	if (found)
		return found;
	found = find(&known->before, origin);
	if (found)
		entry = *found;
	if (known->recent.used >= (known->max ? known->max : KNOWN_MAX) / 2) {
		free(known->before.entries);
		known->before = known->recent;
		known->recent = (struct known_table){ 0 };
	}
	if (2 * known->recent.used >= known->recent.size && !grow(&known->recent))
		return NULL;
	known->recent.used++;
	found = place_of(&known->recent, origin);
	*found = entry;
	return found;
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
	if (known_has(known, origin, number))
		return false;
	entry = make_recent(known, origin, number);
	if (!entry || entry->number == number)
		return true;
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
	const struct known_entry *entry = look_up(known, origin);

	return entry && is_noted(entry, number);
}

bool known_has_origin(const struct known *known, uint64_t origin)
{
	return look_up(known, origin) != NULL;
}

bool known_is_late(const struct known *known, uint64_t origin, uint64_t number)
{
	const struct known_entry *entry = look_up(known, origin);

	return entry && number < entry->number && (entry->number - number > 64 || !is_noted(entry, number));
}

void known_deinit(struct known *known)
{
	free(known->recent.entries);
	free(known->before.entries);
	known->recent = known->before = (struct known_table){ 0 };
}
