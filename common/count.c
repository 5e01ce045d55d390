/* SPDX-License-Identifier: MIT */
/* count.c - counting by several threads. */
#include "count.h"

bool count_begin(_Atomic uint64_t *word, uint64_t tag)
{
	uint64_t now = atomic_load_explicit(word, memory_order_relaxed), next;

	do {
		if ((now & COUNT_TAG) != tag || count_flying(now) == COUNT_MOST_FLYING)
			return false;
		next = (now & ~COUNT_POSTS) + COUNT_FLYING + ((now + 1) & COUNT_POSTS);
	} while (!atomic_compare_exchange_weak(word, &now, next));
	return true;
}

void count_end(_Atomic uint64_t *word, uint64_t tag)
{
	uint64_t now = atomic_load_explicit(word, memory_order_relaxed);

	do
		if ((now & COUNT_TAG) != tag || count_flying(now) == 0)
			return;
	while (!atomic_compare_exchange_weak(word, &now, now - COUNT_FLYING));
}
