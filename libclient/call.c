/* SPDX-License-Identifier: MIT */
/*
 * call.c - questions to the daemon that are waited for. One at a time holds the handle's lock; one that may take long gives it
 * back meanwhile.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "internal.h"

void call_nudge(struct pathbus *bus)
{
	if ((bus->connection.patient || bus->sleeps) && bus->connection.nudge >= 0)
		os_bell_ring(bus->connection.nudge);
}

/* -errno: there is none. */
static int need_nudge(struct pathbus *bus)
{
	int r = bus->connection.nudge;

	if (r < 0)
		r = bus->connection.nudge = os_bell_new();
	if (r < 0)
		bus->connection.nudge = -1;
	return r < 0 ? r : 0;
}

int call_sleep(struct pathbus *bus, uint64_t deadline_ns)
{
	struct pollfd fds[] = { { .fd = bus->control, .events = POLLIN }, { .events = POLLIN } };
	uint64_t now = os_now_ns(), left_ms = deadline_ns > now ? (deadline_ns - now + 999999) / 1000000 : 0;
	bool interrupted;
	int r = need_nudge(bus);

	if (r < 0)
		return r;
	fds[1].fd = bus->connection.nudge;
	control_finish(bus);
	os_bell_drain(bus->connection.nudge); /* of before the caller's last look, which had the lock */
	bus->sleeps = true;
	handle_unlock(bus);
	interrupted = poll(fds, 2, left_ms > 60000 ? 60000 : (int)left_ms) < 0 && errno == EINTR;
	pthread_mutex_lock(&bus->lock);
	bus->sleeps = false;
	control_process(bus);
	return interrupted ? -EINTR : 0;
}

static struct bus_call *find(struct pathbus *bus, uint32_t request)
{
	struct bus_call *calls[] = { bus->connection.call, bus->connection.patient };

	for (int i = 0; i < 2; i++)
		if (calls[i] && calls[i]->request == request)
			return calls[i];
	return NULL;
}

static void answer(struct pathbus *bus, struct bus_call *call, int error)
{
	call->answered = true;
	call->error = error;
	if (call->patient)
		call_nudge(bus);
}

int call_on_answer(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct bus_call *call = find(bus, header->request);
	int r;

	if (!call || call->answered)
		return 0;
	if (call->take)
		r = call->take(call, frame, header, fds);
	else
		r = header->type == WIRE_DONE ? wire_get_empty(frame, header->size) : -EPROTO;
	if (r == -EPROTO || r == -EBADMSG)
		return r; /* that is no answer to it */
	answer(bus, call, r);
	return 0;
}

bool call_on_error(struct pathbus *bus, uint32_t request, int error)
{
	struct bus_call *call = find(bus, request);

	if (!call)
		return false;
	if (!call->answered)
		answer(bus, call, error);
	return true;
}

/* Sleeps without the lock, since other threads post meanwhile: they may take what comes, hang up, and connect anew. The
 * socket may be another's number by the time it is polled: then the nudge has been given. */
static bool await_patiently(struct pathbus *bus, uint64_t deadline_ns)
{
	struct bus_connection *connection = &bus->connection;
	struct pollfd fds[] = { { .fd = connection->socket, .events = POLLIN }, { .fd = connection->nudge, .events = POLLIN } };
	uint64_t now = os_now_ns(), left_ms = deadline_ns > now ? (deadline_ns - now + 999999) / 1000000 : 0;
	bool interrupted;

	if (connection->nudge < 0)
		return bus_await(bus, deadline_ns);
	if (connection->out_used > 0)
		fds[0].events |= POLLOUT;
	control_finish(bus);
	handle_unlock(bus);
	interrupted = poll(fds, 2, left_ms > 60000 ? 60000 : (int)left_ms) < 0 && errno == EINTR;
	pthread_mutex_lock(&bus->lock);
	os_bell_drain(connection->nudge);
	bus_advance(bus);
	return interrupted;
}

/* Once: 0 answered, -EAGAIN the connection has ended, -ETIMEDOUT, -EINTR, -errno. */
static int ask_once(struct pathbus *bus, pathbus_topic *topic, struct bus_call *call, void *frame, uint64_t deadline_ns)
{
	struct bus_connection *connection = &bus->connection;
	struct bus_call **at = call->patient ? &connection->patient : &connection->call;
	uint32_t serial = connection->serial;
	int r;

	call->request = bus_new_request(connection);
	call->answered = false;
	call->error = 0;
	r = bus_send_frame(bus, frame, call->put(frame, call->request, topic, call->arg));
	if (r == -ENOMEM)
		return r;
	*at = call;
	while (r == 0 && !call->answered && connection->state == BUS_UP && connection->serial == serial &&
	       !death_has_come(connection->death)) {
		if (os_now_ns() >= deadline_ns)
			r = -ETIMEDOUT;
		else if (!call->patient)
			(void)bus_await(bus, deadline_ns);
		else if (await_patiently(bus, deadline_ns) && !call->answered)
			r = -EINTR;
	}
	*at = NULL;
	if (call->answered)
		return 0;
	if (r == -EINTR || r == -ETIMEDOUT)
		return r;
	if (connection->serial == serial) /* else another thread has seen to that */
		bus_lost(bus);
	return -EAGAIN;
}

/* Gets the topic, or the connection, to where it can be asked. */
static int settle(struct pathbus *bus, pathbus_topic *topic, uint64_t deadline_ns)
{
	uint64_t soon = os_now_ns() + bus->timeout_ns; /* with the lock, so not for as long as the answer may take */
	int r;

	if (soon > deadline_ns)
		soon = deadline_ns;
	if (topic) {
		r = topic_settle(topic, soon);
		return r == 0 && !topic_is_on_bus(topic) ? -ENOTCONN : r;
	}
	if (bus->kind == PATHBUS_PEER)
		return -ENOTCONN;
	if (bus->connection.state == BUS_UP && death_has_come(bus->connection.death))
		bus_lost(bus);
	r = bus_up(bus, soon);
	return r == -ETIME ? -ENOTCONN : r;
}

int call_daemon(struct pathbus *bus, pathbus_topic *topic, struct bus_call *call, uint64_t deadline_ns)
{
	void *frame = malloc(WIRE_MAX_FRAME);
	int r;

	if (!frame)
		return -ENOMEM;
	if (deadline_ns == 0)
		deadline_ns = os_now_ns() + bus->timeout_ns;
	if (call->patient)
		(void)need_nudge(bus); /* without one the lock is held */
	for (;;) {
		r = settle(bus, topic, deadline_ns);
		if (r < 0)
			break;
		r = ask_once(bus, topic, call, frame, deadline_ns);
		if (r == 0)
			r = call->error;
		else if (r == -EAGAIN && os_now_ns() < deadline_ns)
			continue;
		else if (r == -EAGAIN)
			r = -ETIMEDOUT;
		break;
	}
	free(frame);
	return r;
}
