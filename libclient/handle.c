/* SPDX-License-Identifier: MIT */
/*
 * handle.c - one pollable descriptor for all topics.
 *
 * The descriptor is a set with each topic's bell (edge-triggered), `control`, and `mark`, which is always
 * readable: changing it in the set makes the set readable, until it is collected.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

void handle_mark(struct pathbus *bus)
{
	if (bus->marked)
		return;
	bus->marked = os_set_change(bus->set, bus->mark, OS_READ | OS_EDGE, TAG_MARK) == 0;
}

void handle_unlock(struct pathbus *bus)
{
	pthread_mutex_unlock(&bus->lock);
	/* Exchanges on both sides: whoever comes second sees the other's, the unlocking included. Rung, not
	 * changed in the set: a change wakes nobody while the last one has not been collected. */
	if (atomic_exchange(&bus->missed, false))
		os_bell_ring(bus->mark);
}

/* --- new and free ------------------------------------------------------------------------------------------ */

static int make_sets(struct pathbus *bus)
{
	int r;

	bus->set = os_set_new();
	bus->control = os_set_new();
	bus->mark = os_bell_new();
	bus->timer = os_timer_new(); /* now: it is needed most when there is no descriptor left */
	if (bus->set < 0 || bus->control < 0 || bus->mark < 0 || bus->timer < 0)
		return bus->set < 0 ? bus->set : bus->control < 0 ? bus->control : bus->mark < 0 ? bus->mark : bus->timer;
	r = os_set_add(bus->control, bus->timer, OS_READ, TAG_TIMER);
	if (r == 0)
		r = os_set_add(bus->set, bus->control, OS_READ, TAG_CONTROL);
	if (r == 0)
		r = os_set_add(bus->set, bus->mark, OS_READ | OS_EDGE, TAG_MARK);
	if (r == 0)
		os_bell_ring(bus->mark);
	return r;
}

static void handle_destroy(struct pathbus *bus)
{
	bool forked = is_forked(bus->alive);
	int *const fds[] = { &bus->set, &bus->control, &bus->mark, &bus->timer, &bus->watch };

	if (!forked)
		bus_say_goodbye(bus);
	while (bus->topics)
		pathbus_close(bus->topics);
	bus_deinit(bus);
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	os_unmap_zero_on_fork(bus->alive);
	if (!forked) /* in the child it may be held by a thread that is not there */
		pthread_mutex_destroy(&bus->lock);
	free(bus);
}

static struct pathbus *handle_alloc(void)
{
	struct pathbus *bus = calloc(1, sizeof(*bus));

	if (!bus)
		return NULL;
	bus->alive = os_map_zero_on_fork();
	if (!bus->alive) {
		free(bus);
		return NULL;
	}
	atomic_store(bus->alive, 1);
	os_random(&bus->next_origin, sizeof(bus->next_origin));
	pthread_mutex_init(&bus->lock, NULL);
	bus->set = bus->control = bus->mark = bus->timer = bus->watch = -1;
	bus->timer_ns = OS_NEVER;
	bus->queue_tail = &bus->queue_head;
	bus_init(bus);
	return bus;
}

static int start(struct pathbus *bus, const struct pathbus_options *options)
{
	int r = make_sets(bus);

	if (r < 0)
		return r;
	r = bus_set_addresses(bus, options->address);
	if (r < 0 || bus->kind == PATHBUS_PEER)
		return r;
	r = bus_up(bus, os_now_ns() + bus->timeout_ns);
	if (r == -EMFILE || r == -ENFILE || r == -ENOMEM)
		return r;
	if (bus->kind != PATHBUS_AUTO)
		return r == -ETIME ? -ENOTCONN : r;
	return 0;
}

int pathbus_new(pathbus **ret, const struct pathbus_options *options)
{
	static const struct pathbus_options defaults = { .size = sizeof(defaults) };
	struct pathbus *bus;
	int r;

	if (!options)
		options = &defaults;
	if (!ret || options->size != sizeof(*options) || options->transport > PATHBUS_SOCKET)
		return -EINVAL;
	bus = handle_alloc();
	if (!bus)
		return -ENOMEM;
	bus->kind = options->transport;
	/* Messages come by frames only there. */
	bus->connection.in_size = 2 * (bus->kind == PATHBUS_SOCKET ? WIRE_MAX_FRAME : WIRE_SMALL_FRAME);
	bus->connection.in = malloc(bus->connection.in_size);
	if (!bus->connection.in) {
		handle_destroy(bus);
		return -ENOMEM;
	}
	bus->timeout_ns = (options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS) * UINT64_C(1000000);
	r = start(bus, options);
	if (r < 0) {
		handle_destroy(bus);
		return r;
	}
	*ret = bus;
	return 0;
}

pathbus *pathbus_free(pathbus *bus)
{
	if (bus)
		handle_destroy(bus);
	return NULL;
}

int handle_start_listening(struct pathbus *bus)
{
	int r = 0;

	if (atomic_load(&bus->listening))
		return 0;
	for (pathbus_topic *topic = bus->topics; topic && r == 0; topic = topic->next)
		r = topic_start_listening(topic);
	if (r < 0) {
		for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
			topic_stop_listening(topic);
		return r;
	}
	atomic_store(&bus->listening, true);
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		topic_rest(topic);
	return 0;
}

int pathbus_fd(const pathbus *bus)
{
	struct pathbus *mine = (struct pathbus *)(uintptr_t)bus; /* constant to the caller */
	int r;

	if (!bus)
		return -EINVAL;
	if (is_forked(bus->alive))
		return -ECHILD;
	if (atomic_load(&mine->listening))
		return bus->set;
	pthread_mutex_lock(&mine->lock);
	r = handle_start_listening(mine);
	handle_unlock(mine);
	return r < 0 ? r : bus->set;
}

const char *pathbus_version(void)
{
	return PATHBUS_VERSION;
}

int pathbus_ping(pathbus *bus, uint64_t *ret_ns)
{
	uint64_t start_ns = os_now_ns();
	int r;

	if (!bus)
		return -EINVAL;
	if (is_forked(bus->alive))
		return -ECHILD;
	if (bus->kind == PATHBUS_PEER)
		return -ENOTCONN;
	pthread_mutex_lock(&bus->lock);
	r = bus_ping(bus, start_ns + bus->timeout_ns);
	control_finish(bus);
	pthread_mutex_unlock(&bus->lock);
	if (r == 0 && ret_ns)
		*ret_ns = os_now_ns() - start_ns;
	return r;
}

const char *pathbus_address(pathbus *bus)
{
	const char *address = NULL;

	if (!bus || is_forked(bus->alive))
		return NULL;
	pthread_mutex_lock(&bus->lock);
	if (bus->connection.state == BUS_UP && !death_has_come(bus->connection.death))
		address = bus->connection.address;
	pthread_mutex_unlock(&bus->lock);
	return address;
}

