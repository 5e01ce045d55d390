/* SPDX-License-Identifier: MIT */
/*
 * hide.c - whose posts and messages a topic does not want to hear of, besides its own.
 *
 * A message says whose it is. A post does not, so posts are hidden by counting, as own ones are: each member counts in
 * its slot, before it raises the generation, what it posts, and what the hidden ones have counted is subtracted. So the
 * sum lags behind by a post that is under way, and never runs ahead; the post's bell brings the rest.
 *
 * A member that stops or dies in between would hold somebody else's post back with it. It also counts how many are under
 * way; where a count has stood still with some for longer than the lease, these count as not made. Then its post may
 * show. What is not certain to be the member's count (count.h) is left alone until it is again, and then is given up:
 * posts of the hidden may show, but none of a stranger's is swallowed.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct hiding {
	uint64_t origins[MAX_HIDDEN];
	uint32_t pids[MAX_HIDDEN];
	unsigned n_origins, n_pids;
	uint64_t departed;  /* posts of those that were hidden and have left */
	uint64_t unsure_ns; /* since when a count has stood still with posts under way; 0: none has */
	struct hidden_member {
		uint64_t origin; /* 0: not hidden */
		uint64_t tag;    /* of its counts */
		struct hidden_count {
			uint64_t posts;      /* when it was looked at last */
			uint64_t sum;        /* hidden so far */
			bool strange;        /* it was somebody else's, or was not looked at yet */
			uint64_t still;      /* the word, while posts are under way; 0: none are */
			uint64_t still_ns;   /* since when; 0: those that are under way are given up */
		} counts[2];             /* of its own thread, of its others */
	} members[PAGE_SLOTS];
};

static bool is_hidden(const pathbus_topic *topic, uint32_t pid, uint64_t origin)
{
	const struct hiding *hiding = topic->hiding;

	if (origin == topic->origin || origin == 0)
		return false;
	for (unsigned i = 0; i < hiding->n_pids; i++)
		if (hiding->pids[i] == pid)
			return true;
	for (unsigned i = 0; i < hiding->n_origins; i++)
		if (hiding->origins[i] == origin)
			return true;
	return false;
}

bool hide_origin(const pathbus_topic *topic, uint32_t pid, uint64_t origin)
{
	return topic->hiding && is_hidden(topic, pid, origin);
}

static void look_at_count(struct hidden_count *count, uint64_t tag, uint64_t word, uint64_t now)
{
	uint64_t grown = (word - count->posts) & COUNT_POSTS;

	if ((word & COUNT_TAG) != tag) {
		count->strange = true;
		return;
	}
	if (count->strange || grown > COUNT_POSTS / 2)
		grown = 0; /* given up, or nonsense */
	count->strange = false;
	count->sum += grown;
	count->posts = word & COUNT_POSTS;
	if (count_flying(word) == 0) {
		count->still = 0;
	} else if (word != count->still) {
		count->still = word;
		count->still_ns = now;
	} else if (count->still_ns && now - count->still_ns >= RING_LEASE_NS) {
		count->sum -= count_flying(word) < count->sum ? count_flying(word) : count->sum;
		count->still_ns = 0;
	}
}

static void look_at_counts(const struct page_slot *slot, struct hidden_member *member, uint64_t now)
{
	look_at_count(&member->counts[0], member->tag, atomic_load(&slot->posts), now);
	look_at_count(&member->counts[1], member->tag, atomic_load(&slot->posts_elsewhere), now);
}

/* Has left. What it was in the middle of is not made any more. */
static uint64_t made(const struct hidden_member *member)
{
	uint64_t sum = 0;

	for (int i = 0; i < 2; i++) {
		const struct hidden_count *count = &member->counts[i];
		uint64_t flying = count->still && count->still_ns ? count_flying(count->still) : 0;

		sum += count->sum - (flying < count->sum ? flying : count->sum);
	}
	return sum;
}

/* `begins`: what was posted up to now has been told, or is not owed. */
static void look_at_member(pathbus_topic *topic, unsigned index, bool begins, uint64_t now)
{
	const struct page_slot *slot = &topic->page->slots[index];
	struct hidden_member *member = &topic->hiding->members[index];
	uint64_t origin = atomic_load(&slot->pid) != 0 ? atomic_load(&slot->origin) : 0;
	uint64_t tag = atomic_load(&slot->posts_elsewhere) & COUNT_TAG;

	if (member->origin == origin && (origin == 0 || member->tag == tag))
		return;
	if (member->origin != 0) {
		/* Its counts are there until the slot has another; what has not been looked at by then shows. */
		look_at_counts(slot, member, now);
		topic->hiding->departed += made(member);
		member->origin = 0;
	}
	if (origin == 0 || atomic_load(&slot->origin) != origin || !is_hidden(topic, atomic_load(&slot->pid), origin))
		return;
	*member = (struct hidden_member){ .origin = origin, .tag = tag };
	if (!begins)
		return;
	for (int i = 0; i < 2; i++)
		member->counts[i].strange = true; /* so that what is there is not counted */
	look_at_counts(slot, member, now);
	for (int i = 0; i < 2; i++)
		member->counts[i].still_ns = 0;
}

/* From here on members count all of their posts. */
static void start(pathbus_topic *topic)
{
	atomic_store(&topic->page->hides, 1);
}

void hide_begin(pathbus_topic *topic)
{
	struct hiding *hiding = topic->hiding;

	if (!hiding)
		return;
	start(topic);
	hiding->departed = 0;
	hiding->unsure_ns = 0;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		hiding->members[i].origin = 0;
		look_at_member(topic, i, true, 0);
	}
}

uint64_t hide_posts(pathbus_topic *topic)
{
	struct hiding *hiding = topic->hiding;
	uint64_t sum = 0, now = os_now_ns(), since = 0;

	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		struct hidden_member *member = &hiding->members[i];

		look_at_member(topic, i, false, now);
		if (member->origin == 0)
			continue;
		look_at_counts(&topic->page->slots[i], member, now);
		for (int k = 0; k < 2; k++) {
			const struct hidden_count *count = &member->counts[k];

			sum += count->sum;
			if (count->still && count->still_ns && (since == 0 || count->still_ns < since))
				since = count->still_ns;
		}
	}
	hiding->unsure_ns = since;
	return sum + hiding->departed;
}

uint64_t hide_lease_ns(const pathbus_topic *topic)
{
	return topic->hiding && topic->hiding->unsure_ns ? topic->hiding->unsure_ns + RING_LEASE_NS : 0;
}

/* --- what the program asks for --------------------------------------------------------------------------------- */

static struct hiding *have_hiding(pathbus_topic *topic)
{
	if (!topic->hiding)
		topic->hiding = calloc(1, sizeof(*topic->hiding));
	return topic->hiding;
}

bool hide_own_process(pathbus_topic *topic)
{
	struct hiding *hiding = have_hiding(topic);

	if (hiding)
		hiding->pids[hiding->n_pids++] = topic->pid;
	return hiding != NULL;
}

/* One more is hidden from now on. */
static int hide(pathbus_topic *topic, uint64_t origin, uint32_t pid)
{
	struct hiding *hiding;
	int r = 0;

	if (!topic || (origin == 0 && pid == 0))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	pthread_mutex_lock(&topic->bus->lock);
	hiding = have_hiding(topic);
	if (!hiding) {
		r = -ENOMEM;
	} else if ((origin ? hiding->n_origins : hiding->n_pids) == MAX_HIDDEN) {
		r = -ENOBUFS;
	} else {
		if (origin)
			hiding->origins[hiding->n_origins++] = origin;
		else
			hiding->pids[hiding->n_pids++] = pid;
		start(topic);
		/* Those who are hidden already stay as they are. */
		for (unsigned i = 0; i < PAGE_SLOTS; i++)
			if (hiding->members[i].origin == 0)
				look_at_member(topic, i, true, 0);
	}
	handle_unlock(topic->bus);
	return r;
}

int pathbus_hide(pathbus_topic *topic, uint64_t origin)
{
	return hide(topic, origin, 0);
}

int pathbus_hide_process(pathbus_topic *topic, pid_t pid)
{
	return hide(topic, 0, (uint32_t)pid);
}
