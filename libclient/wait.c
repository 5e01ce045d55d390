/* SPDX-License-Identifier: MIT */
/*
 * wait.c - looking and waiting with a cursor of the caller's, apart from pathbus_next.
 *
 * pathbus_wait sleeps on a set of its own for the topic, so that it consumes nothing from the handle's: the
 * edges it collects stay uncollected there.
 */
#include <errno.h>
#include <unistd.h>

#include "internal.h"

/* The count as any thread can take it: between two equal epochs nothing was exchanged. */
static uint64_t count_now(const pathbus_topic *topic)
{
	for (unsigned tries = 0;; tries++) {
		uint64_t epoch = atomic_load(&topic->epoch), count;

		if (epoch & EPOCH_SWAP) {
			/* Some microseconds, unless the mover lost the processor, to this very thread perhaps. */
			if (tries > 1000) {
				pthread_mutex_lock(&topic->bus->lock);
				handle_unlock(topic->bus);
			}
			continue;
		}
		count = topic_count_now(topic);
		if ((atomic_load(&topic->epoch) & ~(uint64_t)EPOCH_LOST) == (epoch & ~(uint64_t)EPOCH_LOST))
			return count;
	}
}

static bool seems_lost(const pathbus_topic *topic)
{
	return (atomic_load(&topic->epoch) & EPOCH_LOST) || death_has_come(atomic_load(&topic->death)) ||
	       atomic_load(&topic->page->closed);
}

static bool has_changed(pathbus_topic *topic, uint64_t *seen)
{
	uint64_t epoch = atomic_load(&topic->epoch), generation = atomic_load(&topic->page->generation);
	uint64_t count = count_now(topic); /* of that generation or a later one */

	if (!topic_is_later(count, *seen)) {
		/* It has dealt with all of it. Who listens too says so in pathbus_next. */
		if (topic->subscribed && !topic_listens(topic) && atomic_load(&topic->epoch) == epoch) {
			if (topic->remote)
				pthread_mutex_lock(&topic->bus->lock); /* a frame may have to be sent */
			topic_caught_up(topic, generation, false);
			if (topic->remote)
				handle_unlock(topic->bus);
		}
		return false;
	}
	*seen = count;
	return true;
}

int pathbus_check(pathbus_topic *topic, uint64_t *seen)
{
	if (!topic || !seen)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic->remote && !topic->subscribed)
		return -EACCES;
	if (topic->remote)
		socket_look(topic);
	if (seems_lost(topic)) {
		struct pathbus *bus = topic->bus;

		/* Only now are there system calls, and no waiting: it is under way, or the next call finds it done. */
		pthread_mutex_lock(&bus->lock);
		control_process(bus);
		handle_unlock(bus);
	}
	return has_changed(topic, seen);
}

static int make_wait_set(pathbus_topic *topic)
{
	int set = os_set_new(), r;

	if (set < 0)
		return set;
	r = os_set_add(set, topic->bell, OS_READ | OS_EDGE, (uint64_t)(uintptr_t)topic);
	if (r < 0)
		close(set);
	else
		topic->wait_set = set;
	return r;
}

/* `control` and `mark` are in one wait set at a time, that of the topic that is waited on: the kernel limits how
 * many sets may watch one descriptor. What they would have told another is found by looking. */
static int take_turn(pathbus_topic *topic)
{
	struct pathbus *bus = topic->bus;
	int r;

	if (bus->waited == topic)
		return 0;
	if (bus->waited) {
		os_set_remove(bus->waited->wait_set, bus->control);
		os_set_remove(bus->waited->wait_set, bus->mark);
		bus->waited = NULL;
	}
	r = os_set_add(topic->wait_set, bus->control, OS_READ, TAG_CONTROL);
	if (r == 0) {
		r = os_set_add(topic->wait_set, bus->mark, OS_READ | OS_EDGE, TAG_MARK);
		if (r < 0)
			os_set_remove(topic->wait_set, bus->control);
	}
	if (r == 0)
		bus->waited = topic;
	return r;
}

/* Holding the lock: gets a lost topic onto its way, and the first time makes the set to sleep on. */
static int prepare_wait(pathbus_topic *topic, bool control)
{
	struct pathbus *bus = topic->bus;
	int r = 0;

	pthread_mutex_lock(&bus->lock);
	bus->connection.urgent = true;
	if (control)
		control_process(bus);
	bus->connection.urgent = false;
	/* What cannot be settled now is tried again when the control set says that something has changed. */
	if (!topic_is_well(topic)) {
		int settled = topic_settle(topic, 0);

		if (settled < 0 && settled != -EINPROGRESS)
			topic_fail(topic, settled);
	}
	control_finish(bus);
	if (topic->wait_set < 0)
		r = make_wait_set(topic);
	if (r == 0)
		r = take_turn(topic);
	pthread_mutex_unlock(&bus->lock);
	return r;
}

static bool spin(pathbus_topic *topic, uint64_t *seen, unsigned spin_us)
{
	uint64_t end = os_now_ns() + spin_us * UINT64_C(1000);

	do {
		for (int i = 0; i < 64; i++)
			if (has_changed(topic, seen))
				return true;
	} while (os_now_ns() < end && !seems_lost(topic));
	return false;
}

/* Looks a last time and arms. Under the lock, since `want` must not be raised in a lane that another thread
 * has just exchanged. A lane that is lost may be armed too: losing it and joining another both wake us.
 * False: look again. */
static bool arm_wait(pathbus_topic *topic, const uint64_t *seen)
{
	struct pathbus *bus = topic->bus;
	struct lane lane;
	uint64_t generation;
	bool armed;

	pthread_mutex_lock(&bus->lock);
	topic_look_for_sidecar(topic);
	lane = topic_lane(topic);
	generation = lane_generation(&lane);
	armed = !topic_is_later(topic_count(topic, generation), *seen) && lane_arm(&lane, generation);
	pthread_mutex_unlock(&bus->lock);
	return armed;
}

int pathbus_wait(pathbus_topic *topic, uint64_t *seen, uint64_t deadline_ns, unsigned spin_us)
{
	if (!topic || !seen)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic->remote && !topic->subscribed)
		return -EACCES; /* the daemon tells it nothing */
	if (topic->remote)
		socket_look(topic);
	for (;;) {
		uint64_t tags[4];
		bool control = false;
		int n = 0;

		if (has_changed(topic, seen))
			return 1;
		if (topic->wait_set < 0 || topic->bus->waited != topic || seems_lost(topic)) {
			int r = prepare_wait(topic, seems_lost(topic));

			if (r < 0)
				return r;
			if (has_changed(topic, seen))
				return 1;
		}
		if (spin_us && spin(topic, seen, spin_us))
			return 1;
		spin_us = 0;
		/* As receive in lane.h: the edges were collected by the wait below, now the look, now the arming. The
		 * page cannot change to another lane unseen: that wakes us by the mark. */
		if (!arm_wait(topic, seen))
			continue;
		n = os_set_wait(topic->wait_set, tags, 4, deadline_ns);
		if (n < 0)
			return n;
		if (n == 0)
			return has_changed(topic, seen);
		for (int i = 0; i < n; i++) {
			control |= tags[i] == TAG_CONTROL;
			if (tags[i] == (uint64_t)(uintptr_t)topic)
				topic_note_wakeup(topic);
		}
		if (control)
			(void)prepare_wait(topic, true);
	}
}
