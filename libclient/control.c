/* SPDX-License-Identifier: MIT */
/*
 * control.c - what happens besides posts: the daemon's socket, the timer, folders that are watched.
 *
 * Its set lies within the handle's set and within those of pathbus_wait, level-triggered: whichever the
 * program sleeps on becomes readable when something is to be done here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

/* --- the timer ------------------------------------------------------------------------------------------ */

static bool must_look(const struct pathbus *bus)
{
	if (os_bell_fifo_reliable())
		return false;
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if (topic->place == PLACE_PEER)
			return true;
	return false;
}

void control_due(struct pathbus *bus)
{
	bus->settle_due = true;
	handle_mark(bus);
}

void control_finish(struct pathbus *bus)
{
	if (bus->settle_due)
		control_settle(bus);
	else
		control_set_timer(bus);
}

static bool wants_bus(const struct pathbus *bus)
{
	if (bus->kind == PATHBUS_PEER || bus->connection.state != BUS_DOWN)
		return false;
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if (topic->place != PLACE_BUS || (atomic_load(&topic->epoch) & EPOCH_LOST))
			return true;
	return false;
}

void control_set_timer(struct pathbus *bus)
{
	uint64_t now = os_now_ns(), at = OS_NEVER;
	bool look = must_look(bus);

	if (bus->connection.deadline_ns && !bus->connection.silent)
		at = bus->connection.deadline_ns;
	if ((bus->watch_failed || bus->connection.refusal) && wants_bus(bus)) {
		if (bus->retry_ns == 0) {
			bus->retry_pause_ns = bus->retry_pause_ns ? bus->retry_pause_ns * 2 : RETRY_FIRST_MS * UINT64_C(1000000);
			if (bus->retry_pause_ns > RETRY_LAST_MS * UINT64_C(1000000))
				bus->retry_pause_ns = RETRY_LAST_MS * UINT64_C(1000000);
			bus->retry_ns = now + bus->retry_pause_ns;
		}
		if (bus->retry_ns < at)
			at = bus->retry_ns;
	}
	if (look && now + LOOK_INTERVAL_MS * UINT64_C(1000000) < at)
		at = now + LOOK_INTERVAL_MS * UINT64_C(1000000);
	if (at == OS_NEVER && bus->timer < 0)
		return;
	if (bus->timer < 0) {
		int timer = os_timer_new();

		if (timer < 0)
			return; /* no descriptor left: the next call looks at the clock */
		if (os_set_add(bus->control, timer, OS_READ, TAG_TIMER) < 0) {
			close(timer);
			return;
		}
		bus->timer = timer;
	}
	os_timer_set(bus->timer, at == OS_NEVER ? 0 : at > now ? at - now : 1, 0);
}

static void on_time(struct pathbus *bus)
{
	uint64_t now = os_now_ns();

	if (bus->connection.deadline_ns && now >= bus->connection.deadline_ns) {
		/* Accepted and says nothing: as good as absent, until it speaks. */
		bus->connection.silent = true;
		bus->connection.deadline_ns = 0;
		control_due(bus);
	}
	if (bus->retry_ns && now >= bus->retry_ns) {
		bus->retry_ns = 0;
		control_due(bus);
		if (bus->kind != PATHBUS_PEER)
			(void)bus_try(bus);
	}
	if (must_look(bus)) {
		for (pathbus_topic *topic = bus->topics; topic; topic = topic->next) {
			if (topic->place != PLACE_PEER || !topic->page)
				continue;
			if (topic->subscribed && atomic_load(&topic->page->generation) != topic->armed)
				handle_queue(topic);
			if (topic->wait_set >= 0)
				(void)os_set_change(topic->wait_set, bus->mark, OS_READ | OS_EDGE, TAG_MARK);
		}
	}
}

/* --- folders -------------------------------------------------------------------------------------------- */

static bool have_watch(struct pathbus *bus)
{
	int watch;

	if (bus->watch >= 0)
		return true;
	if (bus->watch_failed)
		return false;
	watch = os_watch_new();
	if (watch >= 0 && os_set_add(bus->control, watch, OS_READ, TAG_WATCH) < 0) {
		close(watch);
		watch = -1;
	}
	if (watch < 0)
		bus->watch_failed = true; /* few are allowed per user; growing pauses instead */
	else
		bus->watch = watch;
	return watch >= 0;
}

/* The folder of a socket, or the nearest one above that exists. */
static int open_nearest(const char *address)
{
	char path[ADDRESS_SIZE];
	int dir = -ENOENT;

	snprintf(path, sizeof(path), "%s", address);
	while (dir < 0) {
		char *slash = strrchr(path, '/');

		if (!slash)
			return os_open_path(AT_FDCWD, ".", true);
		if (slash == path)
			return os_open_path(AT_FDCWD, "/", true);
		*slash = '\0';
		dir = os_open_path(AT_FDCWD, path, true);
	}
	return dir;
}

void control_watch_sockets(struct pathbus *bus)
{
	if (bus->kind == PATHBUS_PEER || bus->connection.state != BUS_DOWN || !have_watch(bus))
		return;
	for (int i = 0; i < bus->connection.n_addresses; i++) {
		int dir, id;

		if (bus->socket_watch[i] > 0)
			continue;
		dir = open_nearest(bus->connection.addresses[i]);
		if (dir < 0)
			continue;
		id = os_watch_add(bus->watch, dir);
		if (id > 0)
			bus->socket_watch[i] = id;
		else if (i == bus->connection.n_addresses - 1)
			bus->watch_failed = true;
		close(dir);
	}
}

int control_watch_folder(struct pathbus *bus, int dir)
{
	return have_watch(bus) ? os_watch_add(bus->watch, dir) : -EMFILE;
}

static bool is_watched_for(const struct pathbus *bus, int id)
{
	for (int i = 0; i < N_ADDRESSES; i++)
		if (bus->socket_watch[i] == id)
			return true;
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if (topic->folder_watch == id)
			return true;
	return false;
}

void control_unwatch_folder(struct pathbus *bus, int id)
{
	int n = 0;

	/* The same folder has the same id: it goes with its last user. */
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		n += topic->folder_watch == id;
	for (int i = 0; i < N_ADDRESSES; i++)
		n += bus->socket_watch[i] == id;
	if (n <= 1 && bus->watch >= 0)
		os_watch_remove(bus->watch, id);
}

/* While the daemon is connected nobody needs to watch for its socket. */
static void unwatch_sockets(struct pathbus *bus)
{
	for (int i = 0; i < N_ADDRESSES; i++) {
		int id = bus->socket_watch[i];

		if (id <= 0)
			continue;
		bus->socket_watch[i] = 0;
		if (!is_watched_for(bus, id))
			os_watch_remove(bus->watch, id);
	}
}

static void on_folders(struct pathbus *bus)
{
	struct os_watch_event event;
	bool sockets = false;

	while (os_watch_next(bus->watch, &bus->watch_buffer, &event) == 1) {
		for (int i = 0; i < N_ADDRESSES; i++) {
			if (event.id != 0 && event.id != bus->socket_watch[i])
				continue;
			sockets = true;
			if (event.gone)
				bus->socket_watch[i] = 0;
		}
		for (pathbus_topic *topic = bus->topics; topic; topic = topic->next) {
			if (topic->folder_watch <= 0 || (event.id != 0 && event.id != topic->folder_watch))
				continue;
			if (event.gone)
				topic->folder_watch = 0;
			if (peer_wants_to_move(topic))
				topic_lose(topic);
		}
	}
	if (sockets && bus->connection.state == BUS_DOWN) {
		/* A part of the socket's path may have come: watch one deeper. First the watch, then the look. */
		unwatch_sockets(bus);
		control_watch_sockets(bus);
		bus->connection.refused_until_ns = 0;
		if (bus_try(bus) == 0)
			control_due(bus);
	}
}

/* --- topics on their way --------------------------------------------------------------------------------- */

static void settle_topic(pathbus_topic *topic)
{
	struct pathbus *bus = topic->bus;
	int r;

	if (!topic->page)
		return; /* being opened */
	if (!topic_is_well(topic)) {
		r = topic_settle(topic, 0);
		if (r < 0 && r != -EINPROGRESS)
			topic_fail(topic, r);
	} else if (topic->place == PLACE_PEER && bus->kind == PATHBUS_AUTO && bus->connection.state == BUS_UP &&
	           topic->request == 0 && topic->asked != bus->connection.serial) {
		(void)bus_request_open(topic); /* back to the daemon; its answer moves the topic */
	}
}

void control_settle(struct pathbus *bus)
{
	for (int i = 0; bus->settle_due && i < 8; i++) {
		bus->settle_due = false;
		for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
			settle_topic(topic);
	}
	if (wants_bus(bus)) {
		control_watch_sockets(bus);
	} else if (bus->connection.state == BUS_UP) {
		unwatch_sockets(bus);
		bus->retry_ns = bus->retry_pause_ns = 0;
	}
	control_set_timer(bus);
}

void control_process(struct pathbus *bus)
{
	uint64_t tags[8];
	int n = os_set_wait(bus->control, tags, 8, 0);

	for (int i = 0; i < n; i++) {
		if (tags[i] == TAG_SOCKET)
			bus_advance(bus);
		else if (tags[i] == TAG_WATCH)
			on_folders(bus);
		else if (tags[i] == TAG_TIMER)
			os_timer_clear(bus->timer);
	}
	on_time(bus);
	/* A death word is ahead of the end of its socket. */
	if (bus->connection.state == BUS_UP && death_has_come(bus->connection.death))
		bus_lost(bus);
	control_settle(bus);
}
