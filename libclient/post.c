/* SPDX-License-Identifier: MIT */
/*
 * post.c - a post: no lock and no system call while the lane is well and nobody waits; any thread.
 */
#include <errno.h>

#include "internal.h"

/* Before the generation is raised. The add to that orders this store before itself, and who loads the new
 * generation sees it (topic_own). A thread that takes over the id of one that ended sees what that one stored. */
static inline uint64_t count_own(pathbus_topic *topic)
{
	uint64_t own;

	if (!pthread_equal(pthread_self(), topic->home)) {
		own = atomic_fetch_add(&topic->own_elsewhere, 1) + 1;
		return own + atomic_load_explicit(&topic->own, memory_order_relaxed);
	}
	own = atomic_load_explicit(&topic->own, memory_order_relaxed) + 1;
	atomic_store_explicit(&topic->own, own, memory_order_relaxed);
	return own + atomic_load_explicit(&topic->own_elsewhere, memory_order_relaxed);
}

/* Everything a post does to a lane, and the look afterwards (design 7.2). False: the lane is not, or no
 * longer, one that others are on. */
static inline bool post_once(pathbus_topic *topic)
{
	uint64_t epoch = atomic_load(&topic->epoch);
	const struct death *death;
	struct page *page = topic->page;
	uint64_t own;
	uint32_t slot;

	if (epoch & (EPOCH_SWAP | EPOCH_LOST))
		return false;
	own = count_own(topic);
	lane_post_at(&(struct lane){
		.page = page,
		.bell = topic->bell,
		.carrier = atomic_load_explicit(&topic->carrier, memory_order_relaxed), /* epoch is checked below */
	}, &topic->epoch, epoch);
	slot = atomic_load_explicit(&topic->slot, memory_order_relaxed);
	if (slot < PAGE_SLOTS)
		atomic_store_explicit(&page->slots[slot].posts, own, memory_order_relaxed);
	/* After the generation was raised, never before. The epoch last: it is moved before a death page or a lane
	 * is exchanged, so a word read from a new one does not pass for the old one's. */
	death = atomic_load(&topic->death);
	return !death_has_come(death) && !atomic_load(&page->closed) && death->armed &&
	       atomic_load(&topic->epoch) == epoch;
}

/* Apart, so that what is fast needs few registers. */
__attribute__((cold, noinline)) static int post_slowly(pathbus_topic *topic)
{
	struct pathbus *bus = topic->bus;
	int r;

	pthread_mutex_lock(&bus->lock);
	for (;;) {
		r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r < 0)
			break;
		/* Where the kernel marks no word, the socket is asked, by topic_is_well. */
		if (post_once(topic) || (topic->place == PLACE_BUS && bus->connection.death_unarmed && topic_is_well(topic)))
			break;
	}
	control_finish(bus);
	handle_unlock(bus);
	return r;
}

int pathbus_post(pathbus_topic *topic)
{
	if (!topic)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (!topic->may_post)
		return -EACCES;
	if (post_once(topic))
		return 0;
	return post_slowly(topic);
}
