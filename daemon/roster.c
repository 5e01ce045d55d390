/* SPDX-License-Identifier: MIT */
/* roster.c - see roster.h. */
#include "roster.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_ROOM = 16 };

/* The first entry, hole or not, with this number or a larger one. */
static size_t place_of(const struct roster *roster, uint64_t number)
{
	size_t low = 0, high = roster->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (roster->entries[middle].number < number)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

int roster_add(struct roster *roster, void *item, uint64_t *ret_number)
{
	if (roster->n == roster->room) {
		size_t room = roster->room > 0 ? 2 * roster->room : FIRST_ROOM;
		struct roster_entry *entries = realloc(roster->entries, room * sizeof(*entries));

		if (!entries)
			return -ENOMEM;
		roster->entries = entries;
		roster->room = room;
	}
	roster->entries[roster->n++] = (struct roster_entry){ .number = ++roster->last, .item = item };
	*ret_number = roster->last;
	return 0;
}

static void pack(struct roster *roster)
{
	size_t n = 0;

	for (size_t i = 0; i < roster->n; i++)
		if (roster->entries[i].item)
			roster->entries[n++] = roster->entries[i];
	roster->n = n;
	roster->n_holes = 0;
	if (n < roster->room / 4 && roster->room > FIRST_ROOM) {
		size_t room = n > FIRST_ROOM ? 2 * n : FIRST_ROOM;
		struct roster_entry *entries = realloc(roster->entries, room * sizeof(*entries));

		if (entries) {
			roster->entries = entries;
			roster->room = room;
		}
	}
}

void roster_remove(struct roster *roster, uint64_t number)
{
	size_t at = place_of(roster, number);

	if (at == roster->n || roster->entries[at].number != number || !roster->entries[at].item)
		return;
	roster->entries[at].item = NULL;
	roster->n_holes++;
	if (roster->n_holes > FIRST_ROOM / 2 && roster->n_holes > roster->n / 2)
		pack(roster);
}

void roster_deinit(struct roster *roster)
{
	free(roster->entries);
	*roster = (struct roster){ .last = roster->last };
}

void *roster_find(const struct roster *roster, uint64_t number)
{
	size_t at = place_of(roster, number);

	return at < roster->n && roster->entries[at].number == number ? roster->entries[at].item : NULL;
}

void *roster_after(const struct roster *roster, uint64_t number)
{
	if (number == UINT64_MAX)
		return NULL;
	for (size_t at = place_of(roster, number + 1); at < roster->n; at++)
		if (roster->entries[at].item)
			return roster->entries[at].item;
	return NULL;
}
