/* SPDX-License-Identifier: MIT */
/*
 * hide.c - whose posts and messages a topic does not want to hear of, besides its own.
 *
 * A message says whose it is. A post does not, so posts are hidden by counting, as own ones are: each member counts in
 * its slot, before it raises the generation, what it posts, and what the hidden ones have counted is subtracted. So the
 * sum lags behind by a post that is under way, and never runs ahead; the post's bell brings the rest.
 *
 * A member that stops or dies in between would hold somebody else's post back with it. It also counts what is through;
 * where the two have differed for longer than the lease, what is between them counts as not made. Then its post may show.
 */
#include <errno.h>
#include <stdlib.h>

#include "internal.h"

struct hiding {
	uint64_t origins[MAX_HIDDEN];
	uint32_t pids[MAX_HIDDEN];
	unsigned n_origins, n_pids;
	uint64_t departed;  /* posts of those that were hidden and have left */
	uint64_t unsure_ns; /* since when the one that is to be given up first is in the middle of a post; 0: nobody is */
	struct hidden_member {
		uint64_t origin;    /* 0: not hidden */
		uint64_t base;      /* its posts before it was, and those that were given up */
		uint64_t unsure_at; /* how many it had begun then, */
		uint64_t unsure_ns; /* the first time it was seen in the middle of that one; 0: it was not */
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

/* Posts that are through, of those that were begun. */
static uint64_t through(const struct page_slot *slot, uint64_t begun)
{
	int32_t under_way = (int32_t)((uint32_t)begun - atomic_load(&slot->done)); /* `done` is loaded later */

	return under_way > 0 ? begun - (uint32_t)under_way : begun;
}

/* `begins`: what was posted up to now has been told, or is not owed. */
static void look_at_member(pathbus_topic *topic, unsigned index, bool begins)
{
	const struct page_slot *slot = &topic->page->slots[index];
	struct hidden_member *member = &topic->hiding->members[index];
	uint64_t origin = atomic_load(&slot->pid) != 0 ? atomic_load(&slot->origin) : 0;

	if (member->origin == origin)
		return;
	if (member->origin != 0) {
		/* Has left; its counts are there until the slot has another, and then what is missing shows. */
		if (origin == 0 && through(slot, atomic_load(&slot->posts)) > member->base)
			topic->hiding->departed += through(slot, atomic_load(&slot->posts)) - member->base;
		member->origin = 0;
	}
	if (origin != 0 && is_hidden(topic, atomic_load(&slot->pid), origin))
		*member = (struct hidden_member){ .origin = origin, .base = begins ? atomic_load(&slot->posts) : 0 };
}

void hide_begin(pathbus_topic *topic)
{
	struct hiding *hiding = topic->hiding;

	if (!hiding)
		return;
	hiding->departed = 0;
	hiding->unsure_ns = 0;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		hiding->members[i].origin = 0;
		look_at_member(topic, i, true);
	}
}

/* Is it in the middle of one and the same post for so long that it must have died there? */
static bool is_stuck(struct hiding *hiding, struct hidden_member *member, uint64_t begun, uint64_t now)
{
	if (!member->unsure_ns || member->unsure_at != begun) {
		member->unsure_at = begun;
		member->unsure_ns = now;
	}
	if (now - member->unsure_ns >= RING_LEASE_NS)
		return true;
	if (!hiding->unsure_ns || member->unsure_ns < hiding->unsure_ns)
		hiding->unsure_ns = member->unsure_ns;
	return false;
}

uint64_t hide_posts(pathbus_topic *topic)
{
	struct hiding *hiding = topic->hiding;
	uint64_t sum = 0;

	hiding->unsure_ns = 0;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &topic->page->slots[i];
		struct hidden_member *member = &hiding->members[i];
		uint64_t begun, done;

		look_at_member(topic, i, false);
		if (member->origin == 0)
			continue;
		begun = atomic_load(&slot->posts);
		done = through(slot, begun);
		if (begun == done)
			member->unsure_ns = 0;
		else if (is_stuck(hiding, member, begun, os_now_ns()))
			member->base += begun - done;
		if (begun - member->base < UINT64_C(1) << 43) /* not of a slot that has just been given to another */
			sum += begun - member->base;
	}
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
		/* Those who are hidden already stay as they are. */
		for (unsigned i = 0; i < PAGE_SLOTS; i++)
			if (hiding->members[i].origin == 0)
				look_at_member(topic, i, true);
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
