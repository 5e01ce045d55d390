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
#include <sys/stat.h>
#include <unistd.h>

#include "endpoint.h"
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

bool control_may_pass(int error)
{
	return error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -ETIMEDOUT || error == -ENOTCONN ||
	       error == -EIO || error == -EAGAIN || error == -EDQUOT;
}

/* So may a refusal for want of rights, once the file is another: for a topic that is nowhere else meanwhile. */
static bool may_be_lifted(const pathbus_topic *topic)
{
	return control_may_pass(topic->request_error) ||
	       (topic->page && topic->request_error == -EACCES && (atomic_load(&topic->epoch) & EPOCH_LOST));
}

static bool was_refused_for_now(const pathbus_topic *topic)
{
	const struct bus_connection *connection = &topic->bus->connection;

	return connection->state == BUS_UP && topic->request == 0 && topic->asked == connection->serial &&
	       !topic_is_on_bus(topic) && may_be_lifted(topic);
}

/* Is there a topic that cannot get on by itself? */
static bool is_stuck(const struct pathbus *bus)
{
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if (topic->page && (((atomic_load(&topic->epoch) & EPOCH_LOST) && topic->fail_told) || was_refused_for_now(topic) ||
		                    attachments_are_stuck(topic)))
			return true;
	return false;
}

/* What was refused for a passing reason may be asked again. */
static void forget_refusals(struct pathbus *bus)
{
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if (topic->request == 0 && may_be_lifted(topic))
			topic->asked = 0;
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		attachments_retry(topic);
}

static bool wants_bus(const struct pathbus *bus)
{
	if (bus->kind == PATHBUS_PEER || bus->connection.state != BUS_DOWN)
		return false;
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if ((!topic_is_on_bus(topic) && topic->place != PLACE_APART) || (atomic_load(&topic->epoch) & EPOCH_LOST))
			return true;
	return false;
}

void control_set_timer(struct pathbus *bus)
{
	uint64_t now = os_now_ns(), at = OS_NEVER;
	bool look = must_look(bus);

	if (bus->connection.deadline_ns && !bus->connection.silent)
		at = bus->connection.deadline_ns;
	if (((bus->watch_failed || bus->connection.refusal) && wants_bus(bus)) || is_stuck(bus)) {
		if (bus->retry_ns == 0) {
			bus->retry_pause_ns = bus->retry_pause_ns ? bus->retry_pause_ns * 2 : RETRY_FIRST_MS * UINT64_C(1000000);
			if (bus->retry_pause_ns > RETRY_LAST_MS * UINT64_C(1000000))
				bus->retry_pause_ns = RETRY_LAST_MS * UINT64_C(1000000);
			bus->retry_ns = now + bus->retry_pause_ns;
		}
		if (bus->retry_ns < at)
			at = bus->retry_ns;
	} else {
		bus->retry_ns = 0;
		if (bus->connection.deadline_ns == 0) /* what is being tried may fail again */
			bus->retry_pause_ns = 0;
	}
	if (bus->lease_ns && bus->lease_ns < at)
		at = bus->lease_ns;
	if (bus->accept_ns && bus->accept_ns < at)
		at = bus->accept_ns;
	if (look && now + LOOK_INTERVAL_MS * UINT64_C(1000000) < at)
		at = now + LOOK_INTERVAL_MS * UINT64_C(1000000);
	if (at == bus->timer_ns)
		return;
	bus->timer_ns = at;
	os_timer_set(bus->timer, at == OS_NEVER ? 0 : at > now ? at - now : 1, 0);
}

static void on_timer(struct pathbus *bus)
{
	os_timer_clear(bus->timer);
	bus->timer_ns = OS_NEVER;
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
		forget_refusals(bus);
		control_due(bus);
		if (bus->kind != PATHBUS_PEER)
			(void)bus_try(bus);
	}
	if (bus->lease_ns && now >= bus->lease_ns) {
		bus->lease_ns = 0;
		for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
			if (topic->stalled || topic->hiding)
				handle_queue(topic);
	}
	if (bus->accept_ns && now >= bus->accept_ns) {
		bus->accept_ns = 0;
		endpoints_accept(bus);
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

static bool is_watched_for(const struct pathbus *bus, int id);

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

static bool is_same_folder(int a, int b)
{
	struct stat one, other;

	return a >= 0 && b >= 0 && fstat(a, &one) == 0 && fstat(b, &other) == 0 && one.st_dev == other.st_dev &&
	       one.st_ino == other.st_ino;
}

/* A deeper folder may be made between the choice and the watch: chosen again afterwards. */
static void watch_socket_folder(struct pathbus *bus, int i)
{
	int dir = open_nearest(bus->connection.addresses[i]);

	for (bool again = true; again && dir >= 0;) {
		int id = os_watch_add(bus->watch, dir), now;

		if (id <= 0) {
			bus->watch_failed = true;
			break;
		}
		now = open_nearest(bus->connection.addresses[i]);
		again = now >= 0 && !is_same_folder(dir, now);
		if (again && !is_watched_for(bus, id))
			os_watch_remove(bus->watch, id);
		if (!again)
			bus->socket_watch[i] = id;
		close(dir);
		dir = now;
	}
	if (dir >= 0)
		close(dir);
}

void control_watch_sockets(struct pathbus *bus)
{
	if (bus->kind == PATHBUS_PEER || bus->connection.state != BUS_DOWN || !have_watch(bus))
		return;
	for (int i = 0; i < bus->connection.n_addresses; i++)
		if (bus->socket_watch[i] <= 0)
			watch_socket_folder(bus, i);
}

int control_watch_folder(struct pathbus *bus, int dir)
{
	return have_watch(bus) ? os_watch_add(bus->watch, dir) : -EMFILE;
}

int control_watch_sidecar(struct pathbus *bus, int dir)
{
	return have_watch(bus) ? os_watch_add_removals(bus->watch, dir) : -EMFILE;
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
			on_timer(bus);
		else
			endpoint_peer_accept((pathbus_endpoint *)(uintptr_t)tags[i]);
	}
	if (n > 0)
		call_nudge(bus); /* who sleeps on the same descriptors, on another thread, may have to look */
	on_time(bus);
	/* A death word is ahead of the end of its socket. */
	if (bus->connection.state == BUS_UP && death_has_come(bus->connection.death))
		bus_lost(bus);
	control_settle(bus);
}
