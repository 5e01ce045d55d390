/* SPDX-License-Identifier: MIT */
/*
 * post.c - a post: no lock and no system call while the lane is well and nobody waits; any thread.
 */
#include <errno.h>

#include "internal.h"

static inline uint64_t raise_at(pathbus_topic *topic, struct page *page, uint64_t epoch)
{
	return lane_raise_at(&(struct lane){
		.page = page,
		.bell = topic->bell,
		.carrier = atomic_load_explicit(&topic->carrier, memory_order_relaxed), /* epoch is checked afterwards */
	}, GENERATION_POST, &topic->epoch, epoch);
}

/* By another thread than the one that opened; or by that one, if there is nowhere to count. Apart, so that what is fast
 * needs few registers. */
__attribute__((noinline)) static void post_elsewhere(pathbus_topic *topic, uint64_t counting, uint64_t epoch, bool at_home)
{
	struct page *page = topic->page;
	_Atomic uint64_t *word = &page->slots[counting & 0xff].posts_elsewhere;
	bool counts = counting && atomic_load_explicit(&page->hides, memory_order_relaxed) &&
	              count_begin(word, counting & COUNT_TAG);
	uint64_t generation = raise_at(topic, page, epoch);

	if (at_home)
		topic_note_own(topic, generation, GENERATION_POST);
	if (counts)
		count_end(word, counting & COUNT_TAG);
}

/* Everything but the look afterwards: raises the generation, and counts the post in the member table, for people and for
 * those who hide this member. */
static inline void post_on(pathbus_topic *topic, uint64_t epoch)
{
	bool at_home = topic_count_own(topic, GENERATION_POST);
	struct page *page = topic->page;
	/* Partner: swap_lane. A new one is seen only with the page it belongs to. */
	uint64_t counting = atomic_load_explicit(&topic->counting, memory_order_acquire), posts;
	_Atomic uint64_t *word = &page->slots[counting & 0xff].posts;

	if (__builtin_expect(!at_home || !counting, 0)) {
		post_elsewhere(topic, counting, epoch, at_home);
		return;
	}
	posts = topic->home_posts = count_next(topic->home_posts, counting);
	atomic_store_explicit(word, posts + COUNT_FLYING, memory_order_relaxed); /* ordered by the add, as `own` is */
	topic_note_own(topic, raise_at(topic, page, epoch), GENERATION_POST);
	/* Unless the slot is not ours any more. */
	if (__builtin_expect(atomic_load_explicit(&topic->counting, memory_order_relaxed) == counting, 1))
		atomic_store_explicit(word, posts, memory_order_release);
}

/* A post, and the look afterwards (design 7.2): TRY_. */
static inline int post_once(pathbus_topic *topic, uint64_t epoch)
{
	if (__builtin_expect((epoch & (EPOCH_SWAP | EPOCH_LOST)) != 0, 0))
		return TRY_AGAIN;
	post_on(topic, epoch);
	return topic_is_still_well(topic, epoch);
}

static int post_again(pathbus_topic *topic, void *arg)
{
	(void)arg;
	return post_once(topic, atomic_load(&topic->epoch));
}

int pathbus_post(pathbus_topic *topic)
{
	uint64_t epoch;
	int r;

	if (!topic)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (__builtin_expect(!topic->may_post, 0))
		return topic->remote ? socket_post(topic) : -EACCES;
	epoch = atomic_load(&topic->epoch);
	r = post_once(topic, epoch);
	return __builtin_expect(r == TRY_THROUGH, 1) ? 0 : topic_repeat(topic, r, epoch, post_again, NULL);
}

/* Apart, so that what is fast needs few registers. */
__attribute__((cold, noinline)) int topic_repeat(pathbus_topic *topic, int tried, uint64_t epoch,
                                                 int (*once)(pathbus_topic *topic, void *arg), void *arg)
{
	struct pathbus *bus = topic->bus;
	int r = tried;

	pthread_mutex_lock(&bus->lock);
	for (;;) {
		/* Where the kernel marks no word, topic_is_well asks the socket. It may bring another lane, too. */
		if (r == TRY_ASK && topic_is_well(topic) && atomic_load(&topic->epoch) == epoch)
			r = TRY_THROUGH;
		if (r < 0 || r == TRY_THROUGH)
			break;
		r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r < 0)
			break;
		epoch = atomic_load(&topic->epoch);
		r = once(topic, arg);
	}
	control_finish(bus);
	handle_unlock(bus);
	return r < 0 ? r : 0;
}
