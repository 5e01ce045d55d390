/* SPDX-License-Identifier: MIT */
/* state.c - version << 16 | slot << 1 | cell, and the cells it names. */
#include "state.h"

#include <errno.h>

#define VERSION_SHIFT 16
#define PLACE_MASK 0xffffu
#define VERSION_MAX (UINT64_MAX >> VERSION_SHIFT)
#define TRIES 100000 /* many times what contention can cause: then the memory is damaged */

static uint64_t load_cell(const struct page *page, uint64_t word)
{
	unsigned slot = (unsigned)(word & PLACE_MASK) >> 1;

	return atomic_load(&page->slots[slot < PAGE_SLOTS ? slot : 0].state[word & 1]);
}

/* The word and its value, as of one moment. */
static uint64_t load(const struct page *page, struct state *ret)
{
	uint64_t word = atomic_load(&page->state);

	for (unsigned tries = 0;; tries++) {
		uint64_t value = load_cell(page, word), again = atomic_load(&page->state);

		if (again == word || tries == TRIES) {
			ret->version = word >> VERSION_SHIFT;
			ret->value = ret->version ? value : 0;
			return word;
		}
		word = again;
	}
}

struct state state_get(const struct page *page)
{
	struct state state;

	(void)load(page, &state);
	return state;
}

/* One try to move from `word` to this version of the value. */
static bool put(struct page *page, unsigned owner, uint64_t word, uint64_t version, uint64_t value)
{
	unsigned mine = owner << 1;

	/* Not the cell that is in force. Of the word's owner only we write the cells, so it stays what we see. */
	if ((word & PLACE_MASK) == mine)
		mine |= 1;
	atomic_store(&page->slots[owner].state[mine & 1], value);
	return atomic_compare_exchange_strong(&page->state, &word, version << VERSION_SHIFT | mine);
}

int state_set(struct page *page, unsigned owner, const struct state *expected, uint64_t value, struct state *ret)
{
	struct state now = { 0 };
	uint64_t version;

	if (owner >= PAGE_SLOTS)
		return -EUSERS;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		uint64_t word = load(page, &now);

		if (expected && (now.version != expected->version || now.value != expected->value))
			break;
		/* Only damage gets as far as the last version. 0 would be a state that was never set. */
		version = now.version < VERSION_MAX ? now.version + 1 : 1;
		if (put(page, owner, word, version, value)) {
			if (ret)
				*ret = (struct state){ .value = value, .version = version };
			return 0;
		}
	}
	if (ret)
		*ret = now;
	return -EAGAIN;
}

int state_offer(struct page *page, unsigned owner, const struct state *offered)
{
	if (owner >= PAGE_SLOTS)
		return -EUSERS;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		struct state now;
		uint64_t word = load(page, &now);

		/* One that does not fit is no version of a lane: cut off it would be an older one. */
		if (now.version >= offered->version || offered->version > VERSION_MAX)
			return 0;
		if (put(page, owner, word, offered->version, offered->value))
			return 1;
	}
	return 0;
}
