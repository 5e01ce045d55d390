/* SPDX-License-Identifier: MIT */
/*
 * state.h - a 64-bit value kept with a lane, with a version.
 *
 * One word of the page says the version and in which member's slot the value lies. A member writes values only to the
 * two cells of its own slot, to the one that the word does not name, and then moves the word by compare-and-swap: a
 * writer that dies on the way leaves the old value, and a reader that finds the word unchanged after it has read the cell
 * has read the word's value. A cell outlives its member; who gets the slot next takes it over.
 */
#ifndef PATHBUS_COMMON_STATE_H
#define PATHBUS_COMMON_STATE_H

#include <stdbool.h>

#include "page.h"

#define STATE_LAST_VERSION (UINT64_MAX >> 16)

struct state {
	uint64_t value;
	uint64_t version; /* 0: never set, and then the value is 0. Grows by one with each change; 48 bits */
	uint64_t word;    /* for state_set: which one it was, whoever has put the same version of the same value since */
};

/* Any thread; no system call; never blocks. */
struct state state_get(const struct page *page);

/*
 * Sets it, if `expected` (of state_get) is NULL or still the current one. `owner`: the caller's slot, which no other
 * thread uses meanwhile. Returns 0; -EAGAIN: it was another; -EUSERS: the caller has no slot. *ret (or NULL) receives
 * what it is now: with 0 the new one, with -EAGAIN the one it was.
 */
int state_set(struct page *page, unsigned owner, const struct state *expected, uint64_t value, struct state *ret);

/* For the daemon, which carries between lanes whose members it does not trust: none of these tries for long. */
static inline bool state_is_still(const struct page *page, const struct state *known)
{
	return atomic_load(&page->state) == known->word;
}
/* False: others change it all the time. */
bool state_look(const struct page *page, struct state *ret);
/* Puts this version of this value there; *put is then what it is now. False: it is not, or not any more, `over` (NULL: whatever
 * is there). */
bool state_put(struct page *page, unsigned owner, const struct state *over, struct state *put);

/* Takes over what another lane had, if it is newer than what is here. 1: it was, and this call has put it; 0, -EUSERS. */
int state_offer(struct page *page, unsigned owner, const struct state *offered);

#endif
