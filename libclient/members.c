/* SPDX-License-Identifier: MIT */
/*
 * members.c - who has the topic open, from the lane's table of members.
 *
 * Every member may write all of the table, so what it says is worth as much as the least of them: each word is loaded
 * once, and only ever printed. What a process is called, and whose it is, the system says.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct members {
	unsigned n;
	bool knows_pids; /* the process ids mean the same to us; peer to peer that is assumed */
	bool on_bus;
	struct pathbus_member list[PAGE_SLOTS];
};

/* A word of posts (count.h) that has another's tag was written by a thread that took the slot for its own. */
static uint64_t posts_in(uint64_t word, uint64_t tag)
{
	return (word ^ tag) & COUNT_TAG ? 0 : word & COUNT_POSTS;
}

/* False: nobody is there, or nobody yet. */
static bool look_at(const pathbus_topic *topic, unsigned index, struct pathbus_member *ret)
{
	const struct page_slot *slot = &topic->page->slots[index];
	uint32_t pid = atomic_load(&slot->pid);
	uint64_t origin = atomic_load(&slot->origin);
	uint16_t flags = atomic_load(&slot->flags);
	uint64_t elsewhere = atomic_load(&slot->posts_elsewhere), posts = atomic_load(&slot->posts);

	/* Who has its slot but has not said who it is comes, or goes, this very moment. */
	if (pid == 0 || pid > INT32_MAX || (origin == 0 && !(flags & SLOT_LINK)))
		return false;
	/* Has the slot gone to somebody else meanwhile? That one has only just come. */
	if (atomic_load(&slot->origin) != origin || atomic_load(&slot->pid) != pid)
		return false;
	*ret = (struct pathbus_member){
		.pid = (pid_t)pid,
		.uid = (uid_t)-1,
		.origin = origin,
		.subscribes = (flags & SLOT_SUBSCRIBES) != 0,
		.n_posts = posts_in(posts, elsewhere) + (elsewhere & COUNT_POSTS),
		.is_self = index == atomic_load(&topic->slot) && origin == topic->origin,
		.is_link = (flags & SLOT_LINK) != 0,
	};
	return true;
}

static void look(const pathbus_topic *topic, struct members *members)
{
	members->on_bus = topic_is_on_bus(topic);
	members->knows_pids = !members->on_bus || topic_knows_pids(topic);
	members->n = 0;
	for (unsigned i = 0; i < PAGE_SLOTS; i++)
		if (look_at(topic, i, &members->list[members->n]) && !slot_is_dead(topic, i))
			members->n++;
}

/* False: it has ended, and the daemon has not cleared its slot yet. */
static bool name(const struct members *members, struct pathbus_member *member)
{
	uid_t uid;
	int r;

	if (!members->knows_pids)
		return true;
	r = os_process_name(member->pid, &uid, member->command, sizeof(member->command));
	if (r < 0) {
		memset(member->command, 0, sizeof(member->command));
		return r != -ENOENT || !members->on_bus;
	}
	member->uid = uid;
	return true;
}

int pathbus_member_list(pathbus_topic *topic, pathbus_member_fn *fn, void *arg)
{
	struct members *members;
	struct pathbus *bus;
	int r;

	if (!topic || !fn)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic->remote || topic_is_apart(topic))
		return -EOPNOTSUPP;
	members = malloc(sizeof(*members));
	if (!members)
		return -ENOMEM;
	bus = topic->bus;
	pthread_mutex_lock(&bus->lock);
	r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
	if (r == 0)
		look(topic, members);
	control_finish(bus);
	handle_unlock(bus);
	/* Without the lock: the function is the program's, and may call us. */
	for (unsigned i = 0; r == 0 && i < members->n; i++)
		if (name(members, &members->list[i]))
			r = fn(&members->list[i], arg);
	free(members);
	return r;
}
