/* SPDX-License-Identifier: MIT */
/*
 * count.h - a member's posts, as its slot counts them for those who hide it.
 *
 * A word says how many were begun, how many of these are under way, and as what the member came to this lane: a tag.
 * A thread that was stopped between looking up its slot and counting there may find the lane exchanged under it
 * (libclient/topic.c), and then writes into a slot that is another member's by now. The word's tag tells readers that
 * it is nobody's; the slot's own member puts it right with its next post. Where a compare-and-swap counts, such a thread
 * sees the tag itself.
 */
#ifndef PATHBUS_COMMON_COUNT_H
#define PATHBUS_COMMON_COUNT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* 44 bits, as many as `generation` has for posts; 6 bits; 14 bits. */
#define COUNT_POSTS ((UINT64_C(1) << 44) - 1)
#define COUNT_FLYING (UINT64_C(1) << 44)
#define COUNT_MOST_FLYING 63u
#define COUNT_TAG_SHIFT 50
#define COUNT_TAG (UINT64_MAX << COUNT_TAG_SHIFT)

static inline unsigned count_flying(uint64_t word)
{
	return (unsigned)(word / COUNT_FLYING) & COUNT_MOST_FLYING;
}

/* The tag of a member's nth move, in its place. Never 0, and the next 16382 moves have others. */
static inline uint64_t count_tag(uint64_t origin, uint64_t n)
{
	return (1 + (origin % 16383 + n % 16383) % 16383) << COUNT_TAG_SHIFT;
}

/* One more, of a word that one thread writes, with the tag of `as`, of which the lowest 44 bits do not matter. Another's
 * tag, or too many: it begins anew. */
static inline uint64_t count_next(uint64_t word, uint64_t as)
{
	word++;
	if (__builtin_expect((word ^ as) / COUNT_FLYING == 0, 1))
		return word;
	return (as & COUNT_TAG) | ((word ^ as) & COUNT_TAG ? 1 : 0);
}

/* Of a word that several threads write. False: the word is not, or no longer, that of this tag; or too many are under
 * way. Then the post is not counted, and count_end not called. */
bool count_begin(_Atomic uint64_t *word, uint64_t tag);
void count_end(_Atomic uint64_t *word, uint64_t tag);

#endif
