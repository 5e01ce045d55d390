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

#include "page.h"

struct state {
	uint64_t value;
	uint64_t version; /* 0: never set, and then the value is 0. Grows by one with each change; 48 bits */
};

/* Any thread; no system call; never blocks. */
struct state state_get(const struct page *page);

/*
 * Sets it, if `expected` is NULL or its version is still the current one. `owner`: the caller's slot, which no other
 * thread uses meanwhile. Returns 0; -EAGAIN: it was another; -EUSERS: the caller has no slot. *ret (or NULL) receives
 * what it is now: with 0 the new one, with -EAGAIN the one it was.
 */
int state_set(struct page *page, unsigned owner, const struct state *expected, uint64_t value, struct state *ret);

/* Takes over what another lane had, if it is newer than what is here. 1: it was, and this call has put it; 0, -EUSERS. */
int state_offer(struct page *page, unsigned owner, const struct state *offered);

#endif
