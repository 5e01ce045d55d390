/* SPDX-License-Identifier: MIT */
/* state.c - the topic's value: read without a lock or a system call, changed as a post is made (design 7.2). */
#include <errno.h>

#include "internal.h"

int pathbus_get_state(pathbus_topic *topic, uint64_t *ret_value, uint64_t *ret_version)
{
	struct state state;
	uint64_t epoch;

	if (!topic || !ret_value)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic->remote) {
		int r = socket_get_state(topic, &state);

		if (r < 0)
			return r;
	}
	while (!topic->remote) {
		epoch = atomic_load(&topic->epoch);
		if (epoch & EPOCH_SWAP) {
			/* For as long as an exchange takes. */
			pthread_mutex_lock(&topic->ring_lock);
			pthread_mutex_unlock(&topic->ring_lock);
			continue;
		}
		state = state_get(topic->page);
		if ((atomic_load(&topic->epoch) & ~(uint64_t)EPOCH_LOST) == (epoch & ~(uint64_t)EPOCH_LOST))
			break;
	}
	*ret_value = state.value;
	if (ret_version)
		*ret_version = state.version;
	return 0;
}

#define MOST_TRIES 100000
#define DIVIDED (-EREMOTE) /* the topic has several lanes: the daemon is to be asked. Not an error that anybody is told */

struct change {
	bool compares;
	uint64_t expected, value;
	struct state done;   /* by an earlier try, on a lane that was lost; version 0: none */
	uint64_t done_epoch; /* on the lane of this epoch */
	uint64_t epoch;      /* of the last try */
	bool asked, doubtful; /* the handle's lock is held; a daemon is there that has not said whether it has the topic */
	unsigned tries;
};

/* The try before this one may have been carried over to the new lane: then it is through. Certain only if we have
 * carried it ourselves, at each move since: others may have made the same change here, to the same version, and were told
 * that it is theirs. Whose cell it is in does not tell: who has the slot now may not be who had it then. Who compares
 * is then told to try again, and may find it made. */
static bool was_carried(const pathbus_topic *topic, const struct change *change, const struct state *now)
{
	return change->done.version > 0 && now->version == change->done.version && now->value == change->done.value &&
	       (!change->compares || !lane_is_later(topic->carried_since, change->done_epoch));
}

static bool is_linked_sidecar(pathbus_topic *topic)
{
	if (topic->ring_file < 0 || !atomic_load(&topic->page->linked))
		return false;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &topic->page->slots[i];

		if (atomic_load(&slot->pid) != 0 && (atomic_load(&slot->flags) & SLOT_LINK) &&
		    os_lock_is_held(topic->ring_file, LOCK_SLOT + (off_t)i, 1) != 0)
			return true;
	}
	return false;
}

static int change_locked(pathbus_topic *topic, struct change *change)
{
	uint64_t epoch = atomic_load(&topic->epoch);
	uint32_t slot = atomic_load(&topic->slot);
	struct state now, result;
	bool compared = false;
	int r;

	change->epoch = epoch;
	if (epoch & (EPOCH_SWAP | EPOCH_LOST))
		return TRY_AGAIN;
	/* A daemon that stands still, or is about to answer, may have others on the topic: they exchange there. */
	if (change->compares && topic->ring_file >= 0) {
		if (!change->asked && atomic_load(&topic->bus->connection.is_there))
			return TRY_AGAIN; /* under the handle's lock */
		if (change->doubtful)
			return -EOPNOTSUPP;
	}
	/* Of two changes at once, one on each side of a link, the daemon's lane keeps its own. */
	if (change->compares && is_linked_sidecar(topic))
		return -EOPNOTSUPP;
	do {
		now = state_get(topic->page);
		/* After it was read: from then on what is set by comparing with that fails, and others exchange by the daemon. */
		if (topic->ring_file < 0 && atomic_load(&topic->page->divided))
			return DIVIDED;
		if (was_carried(topic, change, &now)) {
			r = 0;
			break;
		}
		/* Another, or the same one so often that the memory must be damaged. */
		if ((change->compares && now.value != change->expected) || change->tries++ > MOST_TRIES)
			return change->compares ? -EAGAIN : -EIO;
		/* Over what was looked at, also where nobody compares: what is set behind the daemon's back while the lane is being
		 * divided would be told as done before the other lanes have it. */
		r = state_set(topic->page, slot, &now, change->value, &result);
		if (r == 0) {
			change->done = result;
			change->done_epoch = epoch & ~(uint64_t)(EPOCH_SWAP | EPOCH_LOST);
			compared = change->compares;
		}
	} while (r == -EAGAIN);
	if (r < 0)
		return r;
	/* Without a post: only a link is to take it over. */
	if (atomic_load(&topic->page->linked)) {
		const struct lane lane = topic_lane(topic);

		lane_ring(&lane);
	}
	/* A link that has come meanwhile may not have taken it over, and somebody else may have been told that the same change
	 * in the daemon's lane is his. */
	if (compared && is_linked_sidecar(topic))
		return -EAGAIN;
	return topic_is_still_well(topic, epoch);
}

static int change_once(pathbus_topic *topic, void *arg)
{
	int r;

	pthread_mutex_lock(&topic->ring_lock);
	r = change_locked(topic, arg);
	pthread_mutex_unlock(&topic->ring_lock);
	return r;
}

/* Under the handle's lock. */
static int change_again(pathbus_topic *topic, void *arg)
{
	struct change *change = arg;

	change->asked = true;
	if (change->compares && topic->place == PLACE_PEER && topic->bus->connection.state != BUS_DOWN)
		bus_advance(topic->bus); /* what it has to say, or its end; may move the topic */
	change->doubtful = bus_may_have(topic);
	return change_once(topic, change);
}

static int change_state(pathbus_topic *topic, struct change *change)
{
	int r;

	if (!topic)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic->remote) {
		r = socket_change_state(topic, change->compares ? &change->expected : NULL, change->value);
	} else {
		if (!topic->may_post)
			return -EACCES;
		do {
			r = change_once(topic, change);
			if (r == TRY_AGAIN || r == TRY_ASK)
				r = topic_repeat(topic, r, change->epoch, change_again, change);
			if (r == DIVIDED)
				r = socket_change_state(topic, change->compares ? &change->expected : NULL, change->value);
		} while (r == -ENOTCONN); /* it is not on the bus any more */
	}
	if (r < 0)
		return r;
	return topic->flags & PATHBUS_STATE_POSTS ? pathbus_post(topic) : 0;
}

int pathbus_set_state(pathbus_topic *topic, uint64_t value)
{
	return change_state(topic, &(struct change){ .value = value });
}

int pathbus_exchange_state(pathbus_topic *topic, uint64_t expected, uint64_t value)
{
	return change_state(topic, &(struct change){ .compares = true, .expected = expected, .value = value });
}
