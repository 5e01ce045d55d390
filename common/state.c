/* SPDX-License-Identifier: MIT */
/* state.c - version << 16 | slot << 1 | cell, and the cells it names. */
#include "state.h"

#include <errno.h>

#define VERSION_SHIFT 16
_Static_assert(STATE_LAST_VERSION == UINT64_MAX >> VERSION_SHIFT, "one word");
#define PLACE_MASK 0xffffu
#define FEW_TRIES 16
#define TRIES 100000 /* many times what contention can cause: then the memory is damaged */

static uint64_t load_cell(const struct page *page, uint64_t word)
{
	unsigned slot = (unsigned)(word & PLACE_MASK) >> 1;

	return atomic_load(&page->slots[slot < PAGE_SLOTS ? slot : 0].state[word & 1]);
}

/* The value as of one moment; false: not within so many tries, and then perhaps another's. */
static bool load(const struct page *page, unsigned most, struct state *ret)
{
	uint64_t word = atomic_load(&page->state);

	for (unsigned tries = 0;; tries++) {
		uint64_t value = load_cell(page, word), again = atomic_load(&page->state);

		if (again == word || tries == most) {
			ret->version = word >> VERSION_SHIFT;
			ret->value = ret->version ? value : 0;
			ret->word = word;
			return again == word;
		}
		word = again;
	}
}

struct state state_get(const struct page *page)
{
	struct state state;

	(void)load(page, TRIES, &state);
	return state;
}

bool state_look(const struct page *page, struct state *ret)
{
	return load(page, FEW_TRIES, ret);
}

/* One try to move from `word` to this version of the value, and its own word. */
static bool put(struct page *page, unsigned owner, uint64_t word, struct state *to)
{
	unsigned mine = owner << 1;

	/* Not the cell that is in force. Of the word's owner only we write the cells, so it stays what we see. */
	if ((word & PLACE_MASK) == mine)
		mine |= 1;
	atomic_store(&page->slots[owner].state[mine & 1], to->value);
	to->word = to->version << VERSION_SHIFT | mine;
	return atomic_compare_exchange_strong(&page->state, &word, to->word);
}

bool state_put(struct page *page, unsigned owner, const struct state *over, struct state *what)
{
	bool is_put = false;

	for (unsigned tries = 0; owner < PAGE_SLOTS && !is_put && tries < (over ? 1 : FEW_TRIES); tries++)
		is_put = put(page, owner, over ? over->word : atomic_load(&page->state), what);
	return is_put;
}

int state_set(struct page *page, unsigned owner, const struct state *expected, uint64_t value, struct state *ret)
{
	struct state now = { 0 }, mine = { .value = value };

	if (owner >= PAGE_SLOTS)
		return -EUSERS;
	for (unsigned tries = 0; tries < TRIES; tries++) {
		(void)load(page, TRIES, &now);
		if (expected && now.word != expected->word)
			break;
		/* Only damage gets as far as the last version. 0 would be a state that was never set. */
		mine.version = now.version < STATE_LAST_VERSION ? now.version + 1 : 1;
		if (put(page, owner, now.word, &mine)) {
			if (ret)
				*ret = mine;
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
		struct state now, mine = { .value = offered->value, .version = offered->version };

		(void)load(page, TRIES, &now);
		/* One that does not fit is no version of a lane: cut off it would be an older one. */
		if (now.version >= offered->version || offered->version > STATE_LAST_VERSION)
			return 0;
		if (put(page, owner, now.word, &mine))
			return 1;
	}
	return 0;
}
