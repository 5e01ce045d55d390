/* SPDX-License-Identifier: MIT */
/*
 * bus.c - the connection to the daemon: a state machine that takes what has come and never waits by itself.
 *
 * DOWN -> GREETING (connected, hello sent) -> UP (welcome came) -> DOWN. A daemon that accepts but does not
 * answer in time is `silent`: nobody waits for it again, but the connection stays, so that its answer, when
 * the daemon is continued, brings the topics to the bus without any timer.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "internal.h"

void bus_init(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;

	connection->socket = connection->carrier = connection->nudge = -1;
}

int bus_set_addresses(struct pathbus *bus, const char *address)
{
	struct bus_connection *connection = &bus->connection;
	struct sockaddr_un fit;
	int r;

	if (!address)
		address = address_from_environment();
	if (address) {
		if (address_fill(address, &fit) < 0)
			return -EINVAL;
		snprintf(connection->addresses[0], ADDRESS_SIZE, "%s", address);
		connection->n_addresses = 1;
		return 0;
	}
	snprintf(connection->addresses[0], ADDRESS_SIZE, "%s", ADDRESS_SYSTEM);
	connection->n_addresses = 1;
	r = address_of_user(geteuid(), connection->addresses[1]);
	if (r == 0)
		connection->n_addresses = 2;
	return 0;
}

/* --- the end of a connection --------------------------------------------------------------------------- */

void bus_close_fds(struct bus_connection *connection)
{
	for (unsigned i = 0; i < connection->n_fds; i++)
		frame_close_fds(&connection->fds[i]);
	connection->n_fds = 0;
}

static void hang_up(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;

	if (connection->socket >= 0) {
		os_set_remove(bus->control, connection->socket);
		close(connection->socket);
	}
	connection->socket = -1;
	connection->state = BUS_DOWN;
	atomic_store(&connection->is_there, false);
	connection->silent = false;
	connection->deadline_ns = 0;
	connection->in_used = connection->out_used = 0;
	bus_close_fds(connection);
	call_nudge(bus);
}

void bus_lost(struct pathbus *bus)
{
	if (bus->connection.state == BUS_UP && death_has_come(bus->connection.death))
		bus_take_rest(bus);
	/* Lost first, then anything else: a thread in the middle of a post must not take a new death page, which
	 * says "alive", for the one of its lane. */
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next) {
		topic->request = 0;
		if (topic_is_on_bus(topic))
			topic_lose(topic);
	}
	hang_up(bus);
	control_due(bus);
}

bool bus_is_dead(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;

	if (connection->state != BUS_UP || death_has_come(connection->death))
		return true;
	if (connection->death_unarmed)
		bus_advance(bus);
	return connection->state != BUS_UP;
}

bool bus_may_have(const pathbus_topic *topic)
{
	const struct bus_connection *connection = &topic->bus->connection;

	if (connection->state == BUS_DOWN || (connection->state == BUS_UP && death_has_come(connection->death)))
		return false;
	/* Unless it has refused the topic, and not just for now. */
	return connection->state != BUS_UP || topic->request != 0 || topic->asked != connection->serial ||
	       topic->request_error >= 0 || control_may_pass(topic->request_error);
}

void bus_deinit(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;

	if (connection->socket >= 0)
		close(connection->socket);
	bus_close_fds(connection);
	if (connection->carrier >= 0)
		close(connection->carrier);
	if (connection->nudge >= 0)
		close(connection->nudge);
	if (connection->death)
		munmap(connection->death, DEATH_SIZE);
	free(connection->out);
	free(connection->in);
}

/* --- sending ------------------------------------------------------------------------------------------- */

static void watch_socket(struct pathbus *bus)
{
	unsigned flags = OS_READ | (bus->connection.out_used > 0 ? OS_WRITE : 0u);

	(void)os_set_change(bus->control, bus->connection.socket, flags, TAG_SOCKET);
}

static void flush(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;

	while (connection->out_used > 0) {
		ssize_t n = send(connection->socket, connection->out, connection->out_used, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return; /* full: OS_WRITE is on; broken: the receiving side will notice */
		connection->out_used -= (size_t)n;
		memmove(connection->out, connection->out + n, connection->out_used);
		if (connection->out_used == 0)
			watch_socket(bus);
	}
}

int bus_send_frame(struct pathbus *bus, const void *frame, size_t size)
{
	struct bus_connection *connection = &bus->connection;
	const unsigned char *at = frame;
	ssize_t n = 0;

	if (connection->out_used == 0) {
		do
			n = send(connection->socket, at, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		while (n < 0 && errno == EINTR);
		if (n < 0 && errno != EAGAIN && errno != ENOBUFS)
			return -errno;
		if (n < 0)
			n = 0;
	}
	at += n;
	size -= (size_t)n;
	if (size == 0)
		return 0;
	if (connection->out_used + size > connection->out_size) {
		size_t larger = 2 * (connection->out_used + size);
		unsigned char *out = realloc(connection->out, larger);

		if (!out)
			return -ENOMEM;
		connection->out = out;
		connection->out_size = larger;
	}
	memcpy(connection->out + connection->out_used, at, size);
	connection->out_used += size;
	watch_socket(bus);
	return 0;
}

uint32_t bus_new_request(struct bus_connection *connection)
{
	if (++connection->next_request == 0)
		connection->next_request = 1;
	return connection->next_request;
}

int bus_request_open(pathbus_topic *topic)
{
	struct bus_connection *connection = &topic->bus->connection;
	unsigned char frame[WIRE_SMALL_FRAME];
	struct wire_open open = {
		.ring_slots = topic->ring_slots,
		.max_message = topic->max_message,
		.path = topic->path,
		.path_size = (uint32_t)strlen(topic->path),
	};
	uint32_t request = bus_new_request(connection);
	int r;

	if (topic->flags & PATHBUS_SUBSCRIBE)
		open.flags |= WIRE_RIGHT_SUBSCRIBE;
	if (topic->flags & PATHBUS_POST)
		open.flags |= WIRE_RIGHT_POST;
	if (topic->remote) {
		open.flags |= WIRE_OPEN_SOCKET | (topic->echo ? WIRE_OPEN_ECHO : 0u);
		open.last = topic->page ? 0 : topic->last;
		open.origin = topic->origin;
	}
	r = bus_send_frame(topic->bus, frame, wire_put_open(frame, request, &open));
	if (r < 0)
		return r;
	topic->request = request;
	topic->request_error = 0;
	topic->asked = connection->serial;
	if (connection->deadline_ns == 0)
		connection->deadline_ns = os_now_ns() + topic->bus->timeout_ns;
	return 0;
}

void bus_close_topic(struct pathbus *bus, uint32_t bus_topic, uint32_t serial)
{
	unsigned char frame[64];

	/* On a later connection the same number is another topic's. */
	if (bus->connection.state != BUS_UP || bus->connection.serial != serial)
		return;
	(void)bus_send_frame(bus, frame, wire_put_close(frame, &(struct wire_close){ .topic = bus_topic }));
}

void bus_say_goodbye(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;
	unsigned char frame[WIRE_HEADER_SIZE];

	if (connection->state != BUS_UP)
		return;
	flush(bus);
	if (connection->out_used == 0)
		(void)send(connection->socket, frame, wire_put_goodbye(frame), MSG_DONTWAIT | MSG_NOSIGNAL);
	connection->state = BUS_DOWN;
}

static bool is_awaited(const struct pathbus *bus)
{
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if (topic->request != 0)
			return true;
	return bus->connection.state == BUS_GREETING;
}

void bus_advance(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;
	bool heard = false;
	int r = 0;

	if (connection->state == BUS_DOWN)
		return;
	flush(bus);
	/* What the program has not taken stays with the daemon, unless an answer is waited for behind it. */
	while (connection->state != BUS_DOWN && (connection->call || connection->patient || connection->urgent ||
	                                         is_awaited(bus) || socket_has_room(bus)) &&
	       (r = bus_receive(connection)) > 0) {
		heard = true;
		r = bus_handle_frames(bus);
		if (r < 0)
			break;
	}
	if (connection->state == BUS_DOWN)
		return;
	if (r < 0) {
		if (connection->state == BUS_GREETING && connection->refusal == 0)
			connection->refusal = r == -ECONNRESET ? -ENOTCONN : r;
		if (connection->state == BUS_GREETING)
			connection->refused_until_ns = os_now_ns() + REFUSED_MS * UINT64_C(1000000);
		bus_lost(bus);
		return;
	}
	if (heard) {
		if (connection->silent)
			control_due(bus);
		connection->silent = false;
		connection->deadline_ns = is_awaited(bus) ? os_now_ns() + bus->timeout_ns : 0;
	}
}

bool bus_await(struct pathbus *bus, uint64_t deadline_ns)
{
	struct pollfd one = { .fd = bus->connection.socket, .events = POLLIN };
	uint64_t now = os_now_ns(), left_ms = deadline_ns > now ? (deadline_ns - now + 999999) / 1000000 : 0;

	bool interrupted;

	if (bus->connection.state == BUS_DOWN)
		return false;
	if (bus->connection.out_used > 0)
		one.events |= POLLOUT;
	interrupted = poll(&one, 1, left_ms > 60000 ? 60000 : (int)left_ms) < 0 && errno == EINTR;
	bus_advance(bus);
	return interrupted;
}

/* --- connecting ---------------------------------------------------------------------------------------- */

/* Where so many wait to be accepted that there is no room: waits in line, as long as there is time. */
static int connect_in_line(int fd, const struct sockaddr_un *where, uint64_t deadline_ns)
{
	uint64_t now = os_now_ns(), left_us = deadline_ns > now ? (deadline_ns - now) / 1000 : 0;
	struct timeval left = { .tv_sec = (time_t)(left_us / 1000000), .tv_usec = (suseconds_t)(left_us % 1000000) };
	int flags = fcntl(fd, F_GETFL), r;

	if (left_us == 0 || flags < 0)
		return -EAGAIN;
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &left, sizeof(left)) < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return -EAGAIN;
	r = connect(fd, (const struct sockaddr *)where, sizeof(*where)) < 0 ? -errno : 0;
	return fcntl(fd, F_SETFL, flags) < 0 ? -errno : r == -EINTR ? -EAGAIN : r;
}

static int connect_to(const char *address, uint64_t deadline_ns)
{
	struct sockaddr_un where;
	struct os_peer peer;
	int fd, r;

	r = address_fill(address, &where);
	if (r < 0)
		return r;
	fd = os_socket_new();
	if (fd < 0)
		return fd;
	if (connect(fd, (struct sockaddr *)&where, sizeof(where)) < 0)
		r = errno == EAGAIN ? connect_in_line(fd, &where, deadline_ns) : -errno;
	if (r == 0)
		r = os_peer_credentials(fd, &peer);
	if (r == 0 && !address_may_be_served_by(address, peer.uid))
		r = -EPERM;
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

static int greet(struct pathbus *bus, int fd)
{
	struct bus_connection *connection = &bus->connection;
	unsigned char frame[64];
	int r;

	r = os_set_add(bus->control, fd, OS_READ, TAG_SOCKET);
	if (r < 0) {
		close(fd);
		return r;
	}
	connection->socket = fd;
	connection->state = BUS_GREETING;
	atomic_store(&connection->is_there, true);
	connection->serial++;
	connection->refusal = 0;
	connection->deadline_ns = os_now_ns() + bus->timeout_ns;
	r = bus_send_frame(bus, frame,
	               wire_put_hello(frame, bus_new_request(connection),
	                              &(struct wire_hello){ .version_min = WIRE_VERSION, .version_max = WIRE_VERSION }));
	if (r < 0)
		hang_up(bus);
	return r == -EPIPE || r == -ECONNRESET ? -ENOTCONN : r; /* it has gone again */
}

static int try_until(struct pathbus *bus, uint64_t deadline_ns)
{
	struct bus_connection *connection = &bus->connection;
	int refused = 0;

	if (connection->state != BUS_DOWN)
		return 0;
	if (connection->refusal && os_now_ns() < connection->refused_until_ns)
		return connection->refusal;
	for (int i = 0; i < connection->n_addresses; i++) {
		int fd = connect_to(connection->addresses[i], deadline_ns);

		if (fd >= 0) {
			snprintf(connection->address, sizeof(connection->address), "%s", connection->addresses[i]);
			return greet(bus, fd);
		}
		if (fd == -EPERM || fd == -EMFILE || fd == -ENFILE)
			refused = fd;
		if (fd == -EAGAIN) {
			/* It is there, and so many are waiting that there is no room: nothing will announce that there is. */
			connection->refusal = fd;
			connection->refused_until_ns = os_now_ns() + RETRY_FIRST_MS * UINT64_C(1000000);
		}
	}
	return refused ? refused : -ENOTCONN;
}

int bus_try(struct pathbus *bus)
{
	return try_until(bus, 0);
}

/* Accepted and says nothing: as good as absent, until it speaks. Who waits for it asynchronously goes on. */
static void fall_silent(struct pathbus *bus)
{
	bus->connection.silent = true;
	bus->connection.deadline_ns = 0;
	control_due(bus);
}

int bus_up(struct pathbus *bus, uint64_t deadline_ns)
{
	struct bus_connection *connection = &bus->connection;
	int r = try_until(bus, deadline_ns);

	if (r < 0)
		return r;
	while (connection->state == BUS_GREETING && !connection->silent && os_now_ns() < deadline_ns)
		bus_await(bus, deadline_ns);
	if (connection->state == BUS_UP)
		return 0;
	if (connection->state == BUS_DOWN)
		return connection->refusal ? connection->refusal : -ENOTCONN;
	if (deadline_ns != 0 && !connection->silent)
		fall_silent(bus);
	return -ETIME;
}

int bus_ping(struct pathbus *bus, uint64_t deadline_ns)
{
	struct bus_connection *connection = &bus->connection;
	unsigned char frame[64];
	uint64_t start;
	int r = bus_up(bus, deadline_ns);

	if (r < 0)
		return r == -ETIME ? -ETIMEDOUT : -ENOTCONN;
	start = os_now_ns();
	r = bus_send_frame(bus, frame, wire_put_ping(frame, bus_new_request(connection)));
	if (r < 0)
		return -ENOTCONN;
	while (connection->state == BUS_UP && connection->pong_ns < start) {
		if (os_now_ns() >= deadline_ns)
			return -ETIMEDOUT;
		bus_await(bus, deadline_ns);
	}
	return connection->state == BUS_UP ? 0 : -ENOTCONN;
}

/* --- the transport --------------------------------------------------------------------------------------- */

/* Waits for the answer to this topic's OPEN. */
static int await_opened(pathbus_topic *topic, uint64_t deadline_ns)
{
	struct bus_connection *connection = &topic->bus->connection;

	while (topic->request != 0 && connection->state == BUS_UP && !connection->silent) {
		if (os_now_ns() >= deadline_ns) {
			fall_silent(topic->bus);
			return -ETIME;
		}
		bus_await(topic->bus, deadline_ns);
	}
	if (connection->state != BUS_UP)
		return -EAGAIN;
	if (topic->request != 0)
		return -ETIME;
	return topic->request_error;
}

/* Who only posts looks after no timers: a post asks again whether there are rights by now, but not each. */
static bool may_ask_again(const pathbus_topic *topic, uint64_t deadline_ns)
{
	return deadline_ns != 0 && topic->page && topic->request_error == -EACCES &&
	       os_now_ns() - topic->refused_ns > REFUSED_MS * UINT64_C(1000000);
}

static int bus_settle(pathbus_topic *topic, uint64_t deadline_ns)
{
	struct pathbus *bus = topic->bus;
	struct bus_connection *connection = &bus->connection;
	int r;

	control_watch_sockets(bus);
	do {
		/* A death word may be ahead of the end of its socket. */
		if (connection->state == BUS_UP && death_has_come(connection->death))
			bus_lost(bus);
		r = bus_up(bus, deadline_ns);
		if (r == -ETIME && deadline_ns == 0 && !connection->silent)
			return -EINPROGRESS;
		if (r < 0)
			return bus->kind != PATHBUS_AUTO && r != -ETIME ? r : r == -ETIME ? -ETIME : -ENOTCONN;
		if (topic->request == 0 && topic->asked == connection->serial && topic->request_error < 0 &&
		    !may_ask_again(topic, deadline_ns))
			return topic->request_error; /* this daemon has said no */
		if (topic->request == 0) {
			r = bus_request_open(topic);
			if (r < 0) {
				bus_lost(bus);
				r = -EAGAIN; /* as if it had ended a moment earlier */
				continue;
			}
		}
		if (connection->silent)
			return -ETIME;
		if (deadline_ns == 0)
			return -EINPROGRESS;
		r = await_opened(topic, deadline_ns);
	} while (r == -EAGAIN && os_now_ns() < deadline_ns);
	return r == -EAGAIN ? -ENOTCONN : r;
}

const struct transport transport_bus = { .kind = PATHBUS_BUS, .settle = bus_settle };
