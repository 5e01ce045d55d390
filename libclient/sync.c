/* SPDX-License-Identifier: MIT */
/*
 * sync.c - have the others caught up?
 *
 * Each member says in its slot up to which generation it has dealt with everything. Who waits for one that has not
 * sleeps on a word of that slot, having said so (`watchers`) before it looked; who moves `seen` looks at `watchers`
 * afterwards, both sequentially consistent. So nobody else is woken, and a member that nobody watches pays one load.
 *
 * That a member has died is told by the daemon, which clears its slot; process ids are not asked for, since those in
 * the slots are the daemon's, and may be others' or nobody's in the namespace of who waits. Peer to peer, who waits looks
 * every 20 ms whether those it waits for still hold the locks of their slots.
 *
 * A lane may be left while it is waited for members of it, or before that: they come to the new one when their programs
 * next look. Till then they have not caught up. Who does not come at all is not told apart from who has closed the
 * topic, since nobody clears the slots of a dead daemon's lane; so one is waited for until the deadline, but asked for
 * no more by calls that begin SYNC_LEFT_MS later.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "internal.h"

void topic_caught_up(pathbus_topic *topic, uint64_t generation, bool rests)
{
	uint32_t slot = atomic_load_explicit(&topic->slot, memory_order_relaxed);
	struct page_slot *mine;

	if (topic->remote)
		socket_caught_up(topic, generation);
	if (slot >= PAGE_SLOTS)
		return;
	mine = &topic->page->slots[slot];
	/* Who does not rest comes again soon: it may miss a watcher for that long. */
	atomic_store_explicit(&mine->seen, generation, rests ? memory_order_seq_cst : memory_order_relaxed);
	if (__builtin_expect(atomic_load(&mine->watchers) != 0, 0)) {
		atomic_store(&mine->watchers, 0); /* before the waking: who goes on waiting sets it again */
		os_futex_wake(&mine->moved);
	}
}

/* --- who is there ------------------------------------------------------------------------------------------------- */

struct target {
	uint32_t pid;
	uint64_t origin;
	int slot;          /* on the lane; -1: is not on it */
	uint64_t goal;     /* there */
	bool caught_up;
	bool may_be_asked; /* `slot` is -1: its process id means the same to us */
	uint64_t until_ns; /* `slot` is -1: then it is not waited for any more */
};

/* Who was on a lane that was left, and had not left it. */
struct left {
	uint64_t until_ns;
	unsigned n;
	struct target targets[];
};

static bool is_subscriber(const struct page_slot *slot, uint64_t own)
{
	return atomic_load(&slot->pid) != 0 && (atomic_load(&slot->flags) & SLOT_SUBSCRIBES) != 0 &&
	       atomic_load(&slot->origin) != own;
}

static bool has_caught_up(const struct page_slot *slot, uint64_t goal)
{
	return !lane_is_later(goal, atomic_load(&slot->seen));
}

bool slot_is_dead(const pathbus_topic *topic, unsigned index)
{
	/* Whoever holds the slot holds its lock. */
	return topic->place == PLACE_PEER && index != (unsigned)topic->sidecar.slot &&
	       os_lock_is_held(topic->sidecar.file, LOCK_SLOT + (off_t)index, 1) == 0;
}

bool topic_knows_pids(const pathbus_topic *topic)
{
	uint32_t slot = atomic_load(&topic->slot);

	return slot < PAGE_SLOTS && atomic_load(&topic->page->slots[slot].pid) == (uint32_t)getpid();
}

void sync_note_left(pathbus_topic *topic)
{
	uint64_t now = os_now_ns();
	const struct left *before = topic->left && now < topic->left->until_ns ? topic->left : NULL;
	unsigned n = before ? before->n : 0;
	bool may_be_asked = topic_knows_pids(topic);
	struct left *left;

	for (unsigned i = 0; i < PAGE_SLOTS; i++)
		n += is_subscriber(&topic->page->slots[i], topic->origin);
	left = n > 0 ? malloc(sizeof(*left) + (n + PAGE_SLOTS) * sizeof(left->targets[0])) : NULL; /* more may come */
	if (left) {
		*left = (struct left){ .until_ns = now + SYNC_LEFT_MS * UINT64_C(1000000) };
		for (unsigned i = 0; before && i < before->n; i++)
			left->targets[left->n++] = before->targets[i];
		for (unsigned i = 0; i < PAGE_SLOTS; i++) {
			const struct page_slot *slot = &topic->page->slots[i];

			if (is_subscriber(slot, topic->origin))
				left->targets[left->n++] = (struct target){
					.pid = atomic_load(&slot->pid),
					.origin = atomic_load(&slot->origin),
					.slot = -1,
					.may_be_asked = may_be_asked,
					.until_ns = UINT64_MAX,
				};
		}
	}
	free(topic->left);
	topic->left = left;
}

static void fill_laggard(struct pathbus_laggard *laggard, const struct target *target)
{
	*laggard = (struct pathbus_laggard){ .pid = (pid_t)target->pid, .uid = (uid_t)-1, .origin = target->origin };
	(void)os_process_name(laggard->pid, &laggard->uid, laggard->command, sizeof(laggard->command));
}

/* --- waiting ---------------------------------------------------------------------------------------------------------- */

struct sync {
	struct target *targets; /* those that are waited for, or have caught up */
	unsigned n, size;
	struct pathbus_sync *result;
	struct target *lagging; /* one to wait for; NULL: none */
	enum topic_place place; /* of the lane that the targets' slots are on */
	bool look_for_dead;
};

static bool add(struct sync *sync, const struct target *target)
{
	if (sync->n == sync->size) {
		unsigned size = sync->size ? 2 * sync->size : 16;
		struct target *targets = realloc(sync->targets, size * sizeof(*targets));

		if (!targets)
			return false;
		sync->targets = targets;
		sync->size = size;
	}
	sync->targets[sync->n++] = *target;
	return true;
}

static bool is_in(const struct page *page, unsigned i, const struct target *target)
{
	const struct page_slot *slot = &page->slots[i];

	return atomic_load(&slot->origin) == target->origin && atomic_load(&slot->pid) != 0 &&
	       (atomic_load(&slot->flags) & SLOT_SUBSCRIBES) != 0;
}

/* Those who are there now are waited for, and those who were on a lane before; who comes later is not. */
static int begin(pathbus_topic *topic, struct sync *sync)
{
	uint64_t goal = lane_generation(&(struct lane){ .page = topic->page });

	sync->place = topic->place;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &topic->page->slots[i];
		struct target target = { .pid = atomic_load(&slot->pid), .origin = atomic_load(&slot->origin),
			                 .slot = (int)i, .goal = goal };

		if (is_subscriber(slot, topic->origin) && !add(sync, &target))
			return -ENOMEM;
	}
	if (topic->left && os_now_ns() >= topic->left->until_ns) {
		free(topic->left);
		topic->left = NULL;
	}
	for (unsigned i = 0, kept = 0; topic->left && i < topic->left->n; i++) {
		const struct target *target = &topic->left->targets[i];
		bool is_here = false;

		for (unsigned k = 0; k < sync->n; k++)
			is_here |= sync->targets[k].origin == target->origin;
		if (!is_here) {
			if (!add(sync, target))
				return -ENOMEM;
			topic->left->targets[kept++] = *target;
		}
		if (i + 1 == topic->left->n) {
			topic->left->n = kept;
			break;
		}
	}
	return 0;
}

/* The lane is another: where are they now? */
static void follow(pathbus_topic *topic, struct sync *sync)
{
	uint64_t now = os_now_ns();

	for (unsigned k = 0; k < sync->n; k++) {
		struct target *target = &sync->targets[k];

		if (target->slot < 0)
			continue;
		target->slot = -1;
		target->until_ns = UINT64_MAX;
		target->may_be_asked = false;
		for (unsigned i = 0; topic->left && i < topic->left->n; i++)
			if (topic->left->targets[i].origin == target->origin)
				target->may_be_asked = topic->left->targets[i].may_be_asked;
		/* Who stays in a sidecar is behind a link. */
		if (sync->place == PLACE_PEER)
			target->until_ns = now + SYNC_LEFT_MS * UINT64_C(1000000);
	}
	sync->place = topic->place;
}

/* False: it has closed the topic, or died, and leaves the count. */
static bool is_waited_for(pathbus_topic *topic, const struct sync *sync, struct target *target)
{
	struct page *page = topic->page;

	for (unsigned i = 0; target->slot < 0 && i < PAGE_SLOTS; i++)
		if (is_in(page, i, target)) {
			/* It is told RESYNC there, and has dealt with everything once it has come back. */
			target->slot = (int)i;
			target->goal = lane_generation(&(struct lane){ .page = page });
		}
	if (target->slot < 0) {
		if (sync->look_for_dead && target->may_be_asked && kill((pid_t)target->pid, 0) < 0 && errno == ESRCH)
			return false;
		return target->until_ns == UINT64_MAX || os_now_ns() < target->until_ns;
	}
	if (!is_in(page, (unsigned)target->slot, target))
		return false;
	target->caught_up = has_caught_up(&page->slots[target->slot], target->goal);
	return target->caught_up || !sync->look_for_dead || !slot_is_dead(topic, (unsigned)target->slot);
}

static void look(pathbus_topic *topic, struct sync *sync)
{
	struct pathbus_sync *result = sync->result;
	unsigned kept = 0;

	result->n_subscribers = result->n_caught_up = result->n_untracked = result->n_laggards = 0;
	sync->lagging = NULL;
	/* Who is behind a link is not known here. */
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &topic->page->slots[i];

		if (atomic_load(&slot->pid) != 0 && (atomic_load(&slot->flags) & SLOT_LINK) && !slot_is_dead(topic, i))
			result->n_untracked++;
	}
	for (unsigned k = 0; k < sync->n; k++) {
		struct target *target = &sync->targets[kept];

		*target = sync->targets[k];
		if (!is_waited_for(topic, sync, target))
			continue;
		kept++;
		result->n_subscribers++;
		if (target->caught_up) {
			result->n_caught_up++;
			continue;
		}
		if (!sync->lagging || target->slot >= 0)
			sync->lagging = target;
		if (result->n_laggards < result->max_laggards)
			fill_laggard(&result->laggards[result->n_laggards++], target);
	}
	sync->n = kept;
}

/* Sleeps until the slot has moved, for a while. */
static int await(pathbus_topic *topic, struct sync *sync, uint64_t deadline_ns)
{
	const struct target *target = sync->lagging;
	uint64_t until = os_now_ns() + SYNC_LOOK_MS * UINT64_C(1000000);
	_Atomic uint32_t nowhere = 0; /* who is on no lane of ours tells nobody when it comes */
	int r = 0;

	if (deadline_ns < until)
		until = deadline_ns;
	if (target->slot < 0) {
		r = os_futex_wait(&nowhere, 0, until);
	} else {
		struct page_slot *slot = &topic->page->slots[target->slot];
		uint32_t moved;

		atomic_store(&slot->watchers, 1);
		moved = atomic_load(&slot->moved);
		if (!has_caught_up(slot, target->goal) && atomic_load(&slot->pid) != 0)
			r = os_futex_wait(&slot->moved, moved, until);
	}
	sync->look_for_dead = r == -ETIMEDOUT;
	return r == -ETIMEDOUT ? 0 : r;
}

int pathbus_sync(pathbus_topic *topic, uint64_t deadline_ns, struct pathbus_sync *ret)
{
	struct pathbus_sync result;
	struct sync sync = { .result = &result, .look_for_dead = true };
	struct pathbus *bus;
	int r;

	if (!topic || !ret || ret->size != sizeof(*ret) || (ret->max_laggards > 0 && !ret->laggards))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic->remote)
		return socket_sync(topic, deadline_ns, ret);
	bus = topic->bus;
	result = *ret;
	pthread_mutex_lock(&bus->lock);
	r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
	if (r == 0)
		r = begin(topic, &sync);
	for (;;) {
		uint64_t epoch = atomic_load(&topic->epoch);

		if (r < 0)
			break;
		if (topic->place == PLACE_BUS && atomic_load(&topic->page->divided)) {
			/* Others are on lanes that only the daemon knows. */
			control_finish(bus);
			handle_unlock(bus);
			free(sync.targets);
			r = socket_sync(topic, deadline_ns, ret);
			return r == -ENOTCONN ? pathbus_sync(topic, deadline_ns, ret) : r; /* it has left the bus */
		}
		look(topic, &sync);
		r = !sync.lagging ? 0 : -ETIMEDOUT;
		if (r == 0 || os_now_ns() >= deadline_ns)
			break;
		/* Not under the lock: posts on other threads may have to join anew. The page stays mapped. */
		pthread_mutex_unlock(&bus->lock);
		r = await(topic, &sync, deadline_ns);
		pthread_mutex_lock(&bus->lock);
		if (r == 0 && !topic_is_well(topic))
			r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r == 0 && atomic_load(&topic->epoch) != epoch)
			follow(topic, &sync);
	}
	control_finish(bus);
	handle_unlock(bus);
	free(sync.targets);
	if (r == 0 || r == -ETIMEDOUT)
		*ret = result;
	return r;
}
