/* SPDX-License-Identifier: MIT */
/* own_tickets.c - see own_tickets.h. */
#include "own_tickets.h"

#include <stdlib.h>

#include "lane.h"

static uint64_t ticket_at(const struct own_tickets *own, uint32_t index)
{
	return own->tickets[(own->first + index) & (own->size - 1)];
}

/* As it is, if there is no memory. */
static void grow(struct own_tickets *own)
{
	uint32_t size = own->size ? 2 * own->size : 16;
	uint64_t *tickets = malloc(size * sizeof(*tickets));

	if (!tickets)
		return;
	for (uint32_t i = 0; i < own->used; i++)
		tickets[i] = ticket_at(own, i);
	free(own->tickets);
	own->tickets = tickets;
	own->size = size;
	own->first = 0;
}

void own_tickets_add(struct own_tickets *own, uint32_t n_slots, uint64_t ticket)
{
	if (own->used == own->size && own->size < n_slots)
		grow(own);
	if (own->size == 0)
		return;
	own->total++;
	if (own->used == own->size)
		own->first++;
	else
		own->used++;
	own->tickets[(own->first + own->used - 1) & (own->size - 1)] = ticket;
}

void own_tickets_pass(struct own_tickets *own, uint64_t ticket)
{
	for (; own->used > 0 && lane_is_later(ticket, ticket_at(own, 0)); own->used--)
		own->first++;
}

/* How many of those that are kept are before this one. */
static uint32_t find(const struct own_tickets *own, uint64_t ticket)
{
	uint32_t low = 0, high = own->used;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (lane_is_later(ticket, ticket_at(own, middle)))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

uint64_t own_tickets_missed(const struct own_tickets *own, uint64_t ticket, uint64_t *counted)
{
	uint64_t before = own->total - own->used + find(own, ticket), missed;

	if (before <= *counted) /* there was no memory to keep them all */
		return 0;
	missed = before - *counted;
	*counted = before;
	return missed;
}

bool own_tickets_has(const struct own_tickets *own, uint64_t ticket)
{
	uint32_t at = find(own, ticket);

	return at < own->used && ticket_at(own, at) == ticket;
}

void own_tickets_reset(struct own_tickets *own)
{
	own->used = own->first = 0;
	own->total = 0;
}

void own_tickets_deinit(struct own_tickets *own)
{
	free(own->tickets);
	*own = (struct own_tickets){ 0 };
}
