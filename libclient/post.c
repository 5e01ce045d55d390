/* SPDX-License-Identifier: MIT */
/*
 * post.c - a post: no lock and no system call while the lane is well and nobody waits; any thread.
 */
#include <errno.h>

#include "internal.h"

/* Everything a post does to a lane, and the look afterwards (design 7.2). False: the lane is not, or no
 * longer, one that others are on. */
static inline bool post_once(pathbus_topic *topic)
{
	uint64_t epoch = atomic_load(&topic->epoch), n, generation;
	struct page *page = topic->page;
	uint32_t slot;
	bool at_home;

	if (epoch & (EPOCH_SWAP | EPOCH_LOST))
		return false;
	slot = atomic_load_explicit(&topic->slot, memory_order_relaxed);
	n = atomic_load_explicit(&topic->n_posts, memory_order_relaxed) + 1;
	if (slot < PAGE_SLOTS) {
		/* Threads may overtake each other here: a count for people, and for those who hide this member. */
		atomic_store_explicit(&topic->n_posts, n, memory_order_relaxed);
		atomic_store_explicit(&page->slots[slot].posts, n, memory_order_relaxed);
	}
	at_home = topic_count_own(topic, GENERATION_POST);
	generation = lane_raise_at(&(struct lane){
		.page = page,
		.bell = topic->bell,
		.carrier = atomic_load_explicit(&topic->carrier, memory_order_relaxed), /* epoch is checked below */
	}, GENERATION_POST, &topic->epoch, epoch);
	if (at_home)
		topic_note_own(topic, generation, GENERATION_POST);
	if (slot < PAGE_SLOTS)
		atomic_store_explicit(&page->slots[slot].done, (uint32_t)n, memory_order_release);
	return topic_is_still_well(topic, epoch);
}

static int post_again(pathbus_topic *topic, void *arg)
{
	(void)arg;
	return post_once(topic);
}

int pathbus_post(pathbus_topic *topic)
{
	if (!topic)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (!topic->may_post)
		return topic->remote ? socket_post(topic) : -EACCES;
	if (post_once(topic))
		return 0;
	return topic_repeat(topic, post_again, NULL);
}

/* Apart, so that what is fast needs few registers. */
__attribute__((cold, noinline)) int topic_repeat(pathbus_topic *topic, int (*once)(pathbus_topic *topic, void *arg),
                                                 void *arg)
{
	struct pathbus *bus = topic->bus;
	int r;

	pthread_mutex_lock(&bus->lock);
	for (;;) {
		r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r < 0)
			break;
		r = once(topic, arg);
		if (r != 0)
			break;
		/* Where the kernel marks no word, the socket is asked, by topic_is_well. */
		if (topic->place == PLACE_BUS && bus->connection.death_unarmed && topic_is_well(topic))
			break;
	}
	control_finish(bus);
	handle_unlock(bus);
	return r < 0 ? r : 0;
}
