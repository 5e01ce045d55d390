/* SPDX-License-Identifier: MIT */
/*
 * publish.c - messages out. The ring needs no lock; ring_lock is there because the mapping may be exchanged, and because a
 * member claims one slot at a time. It is held for as long as a message takes to be written.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* --- the ring's space ------------------------------------------------------------------------------------------ */

/* In a sidecar it is allocated when it is needed first: the slots, and the rest of it with the first large message. */
static int allocate(pathbus_topic *topic, const struct ring_message *message)
{
	const struct ring *ring = &topic->ring;
	struct lane_shape shape = { .ring_slots = ring->n_slots, .max_message = ring->max_message };
	size_t size = PAGE_SIZE_BYTES + ring_slots_size(&shape);
	int r;

	if (topic->ring_file < 0)
		return 0;
	if (message->key_size + message->data_size > RING_INLINE)
		size = lane_size(&shape);
	if (topic->ring_allocated >= size)
		return 0;
	r = os_allocate(topic->ring_file, size);
	if (r < 0)
		return r;
	topic->ring_allocated = size;
	return 0;
}

/* Readers look at the ring, and the daemon counts members differently, only once somebody has published. */
static void announce(pathbus_topic *topic)
{
	int carrier = atomic_load(&topic->carrier);

	if (atomic_exchange(&topic->page->messages, 1) == 0 && carrier >= 0)
		os_bell_ring(carrier);
}

/* --- publishing ------------------------------------------------------------------------------------------------ */

struct publishing {
	struct ring_message message;
	bool numbered;
	uint64_t epoch; /* of the last try */
};

/* Under ring_lock. TRY_, or -errno. */
static int publish_locked(pathbus_topic *topic, struct publishing *publishing)
{
	uint64_t epoch = atomic_load(&topic->epoch), generation, ticket;
	struct page *page = topic->page;
	struct ring_message *message = &publishing->message;
	uint32_t slot = atomic_load_explicit(&topic->slot, memory_order_relaxed);
	bool at_home;
	int r;

	publishing->epoch = epoch;
	if (epoch & (EPOCH_SWAP | EPOCH_LOST))
		return TRY_AGAIN;
	if (message->data_size > topic->ring.max_message)
		return -EMSGSIZE;
	r = allocate(topic, message);
	if (r < 0)
		return r;
	if (!atomic_load_explicit(&page->messages, memory_order_relaxed))
		announce(topic);
	/* Once, also if it has to be published again elsewhere: so it is known there. */
	if (!publishing->numbered) {
		message->number = ++topic->number;
		publishing->numbered = true;
	}
	message->before = atomic_load(&page->generation);
	at_home = topic_count_own(topic, GENERATION_MESSAGE);
	r = ring_publish(&topic->ring, slot < PAGE_SLOTS ? slot : RING_NO_OWNER, message, &ticket);
	if (r == 0) {
		if (topic->subscribed && !topic->echo)
			own_tickets_add(&topic->own_tickets, topic->ring.n_slots, ticket);
		if (slot < PAGE_SLOTS)
			/* Under ring_lock nobody else writes it. */
			atomic_store_explicit(&page->slots[slot].messages,
			                      atomic_load_explicit(&page->slots[slot].messages, memory_order_relaxed) + 1,
			                      memory_order_relaxed);
	}
	/* After a failure too: it is counted as an own one. */
	generation = lane_raise_at(&(struct lane){
		.page = page,
		.bell = topic->bell,
		.carrier = atomic_load_explicit(&topic->carrier, memory_order_relaxed),
	}, GENERATION_MESSAGE, &topic->epoch, epoch);
	if (at_home)
		topic_note_own(topic, generation, GENERATION_MESSAGE);
	if (r < 0)
		return r;
	topic->published = generation;
	return topic_is_still_well(topic, epoch);
}

static int publish_once(pathbus_topic *topic, void *arg)
{
	int r;

	pthread_mutex_lock(&topic->ring_lock);
	r = publish_locked(topic, arg);
	pthread_mutex_unlock(&topic->ring_lock);
	return r;
}

int pathbus_publish_keyed(pathbus_topic *topic, const void *key, size_t key_size, const void *data, size_t size)
{
	struct publishing publishing = { .message = { .key = key, .data = data } };
	int r;

	if (!topic || (!key && key_size > 0) || (!data && size > 0))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (!topic->may_post && !topic->remote)
		return -EACCES;
	if (size > LANE_MAX_MESSAGE || key_size > RING_MAX_KEY)
		return -EMSGSIZE;
	publishing.message.key_size = (uint32_t)key_size;
	publishing.message.data_size = (uint32_t)size;
	publishing.message.origin = topic->origin;
	publishing.message.pid = topic->pid;
	publishing.message.uid = topic->uid;
	if (topic->remote)
		return socket_publish(topic, &publishing.message);
	publishing.message.time_ns = os_now_ns();
	r = publish_once(topic, &publishing);
	if (r == TRY_AGAIN || r == TRY_ASK)
		return topic_repeat(topic, r, publishing.epoch, publish_once, &publishing);
	return r < 0 ? r : 0;
}

int pathbus_publish(pathbus_topic *topic, const void *data, size_t size)
{
	return pathbus_publish_keyed(topic, NULL, 0, data, size);
}

uint64_t pathbus_origin(const pathbus_topic *topic)
{
	return topic ? topic->origin : 0;
}

int pathbus_get_limits(const pathbus_topic *topic, struct pathbus_limits *ret)
{
	pathbus_topic *mine = (pathbus_topic *)(uintptr_t)topic; /* constant to the caller */

	if (!topic || !ret || ret->size != sizeof(*ret))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	pthread_mutex_lock(&mine->ring_lock);
	ret->ring_slots = topic->ring.n_slots;
	ret->max_message = topic->ring.max_message;
	pthread_mutex_unlock(&mine->ring_lock);
	return 0;
}
