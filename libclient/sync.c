/* SPDX-License-Identifier: MIT */
/*
 * sync.c - have the others caught up?
 *
 * Each member says in its slot up to which generation it has dealt with everything. Who waits for one that has not
 * sleeps on a word of that slot, having said so (`watchers`) before it looked; who moves `seen` looks at `watchers`
 * afterwards, both sequentially consistent. So nobody else is woken, and a member that nobody watches pays one load.
 *
 * That a member has died is told by the daemon, which clears its slot. Peer to peer, and where a daemon is slow, who
 * waits looks every 20 ms whether those it waits for still live.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>

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
	bool waits; /* had not caught up when the waiting began, or joined before: is counted */
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

/* Is the process in this slot gone? */
static bool is_dead(pathbus_topic *topic, unsigned index, uint32_t pid)
{
	int r;

	if (topic->place == PLACE_PEER) {
		/* Whoever holds the slot holds its lock. */
		if (index == (unsigned)topic->sidecar.slot)
			return false;
		r = os_lock_is_held(topic->sidecar.file, LOCK_SLOT + (off_t)index, 1);
		return r == 0;
	}
	return pid != 0 && kill((pid_t)pid, 0) < 0 && errno == ESRCH;
}

static void fill_laggard(struct pathbus_laggard *laggard, const struct page_slot *slot)
{
	*laggard = (struct pathbus_laggard){
		.pid = (pid_t)atomic_load(&slot->pid),
		.uid = (uid_t)-1,
		.origin = atomic_load(&slot->origin),
	};
	(void)os_process_name(laggard->pid, &laggard->uid, laggard->command, sizeof(laggard->command));
}

/* --- waiting ---------------------------------------------------------------------------------------------------------- */

struct sync {
	uint64_t goal;
	struct target targets[PAGE_SLOTS];
	struct pathbus_sync *result;
	int lagging; /* a slot to wait for; -1: none */
	bool look_for_dead;
};

/* Those who are there now are waited for; who comes later is not. */
static void begin(pathbus_topic *topic, struct sync *sync)
{
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &topic->page->slots[i];

		if (is_subscriber(slot, topic->origin))
			sync->targets[i] = (struct target){ .pid = atomic_load(&slot->pid),
				                            .origin = atomic_load(&slot->origin), .waits = true };
	}
}

static void look(pathbus_topic *topic, struct sync *sync)
{
	struct pathbus_sync *result = sync->result;

	result->n_subscribers = result->n_caught_up = result->n_untracked = result->n_laggards = 0;
	sync->lagging = -1;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &topic->page->slots[i];
		struct target *target = &sync->targets[i];

		/* Who is behind a link is not known here. */
		if (atomic_load(&slot->pid) != 0 && (atomic_load(&slot->flags) & SLOT_LINK) &&
		    !(topic->place == PLACE_PEER && is_dead(topic, i, 0)))
			result->n_untracked++;
		if (!target->waits)
			continue;
		if (!is_subscriber(slot, topic->origin) || atomic_load(&slot->origin) != target->origin ||
		    (!has_caught_up(slot, sync->goal) && sync->look_for_dead && is_dead(topic, i, target->pid))) {
			target->waits = false; /* closed or died: it leaves the count */
			continue;
		}
		result->n_subscribers++;
		if (has_caught_up(slot, sync->goal)) {
			result->n_caught_up++;
			continue;
		}
		sync->lagging = (int)i;
		if (result->n_laggards < result->max_laggards)
			fill_laggard(&result->laggards[result->n_laggards++], slot);
	}
}

/* Sleeps until the slot has moved, for a while. */
static int await(pathbus_topic *topic, struct sync *sync, uint64_t deadline_ns)
{
	struct page_slot *slot = &topic->page->slots[sync->lagging];
	uint64_t until = os_now_ns() + SYNC_LOOK_MS * UINT64_C(1000000);
	uint32_t moved;
	int r = 0;

	atomic_store(&slot->watchers, 1);
	moved = atomic_load(&slot->moved);
	if (!has_caught_up(slot, sync->goal) && atomic_load(&slot->pid) == sync->targets[sync->lagging].pid)
		r = os_futex_wait(&slot->moved, moved, deadline_ns < until ? deadline_ns : until);
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
	if (r == 0) {
		sync.goal = lane_generation(&(struct lane){ .page = topic->page });
		begin(topic, &sync);
	}
	for (;;) {
		uint64_t epoch = atomic_load(&topic->epoch);

		if (r < 0)
			break;
		look(topic, &sync);
		r = sync.lagging < 0 ? 0 : -ETIMEDOUT;
		if (r == 0 || os_now_ns() >= deadline_ns)
			break;
		/* Not under the lock: posts on other threads may have to join anew. The page stays mapped. */
		pthread_mutex_unlock(&bus->lock);
		r = await(topic, &sync, deadline_ns);
		pthread_mutex_lock(&bus->lock);
		if (r == 0 && !topic_is_well(topic))
			r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r == 0 && atomic_load(&topic->epoch) != epoch) {
			/* Another lane: its members are told RESYNC, and have dealt with everything once they have come back. */
			sync.goal = lane_generation(&(struct lane){ .page = topic->page });
			memset(sync.targets, 0, sizeof(sync.targets));
			begin(topic, &sync);
		}
	}
	control_finish(bus);
	handle_unlock(bus);
	if (r == 0 || r == -ETIMEDOUT)
		*ret = result;
	return r;
}
