/* SPDX-License-Identifier: MIT */
/*
 * socket.c - a topic without shared memory: a lane of its own in this process, which the daemon's frames fill.
 *
 * All that reads a lane (next, check, wait) works on it as on any other. What writes goes out as a frame, and is waited
 * for: own posts and messages never are in this lane, unless the daemon echoes them as asked.
 *
 * Nothing is read from the socket while a lane's ring is more than half full of what the program has not taken: then the
 * daemon keeps it, and counts what it cannot keep.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* A request that is being waited for. One at a time with the handle's lock, and one that may take long without it. */
struct bus_call {
	uint32_t request;
	bool answered, patient;
	int error;
	struct wire_state state;
	struct pathbus_sync *sync;
};

/* --- the lane ---------------------------------------------------------------------------------------------- */

int socket_make_lane(pathbus_topic *topic, const struct wire_opened *opened, struct joined *ret)
{
	static const struct topic_key key = { .name_size = 0 };
	struct lane_shape shape;
	uint8_t id[PAGE_ID_SIZE];
	struct page *page;
	struct stat st;
	int r = lane_shape_make(opened->ring_slots, opened->max_message, &shape);

	if (r < 0)
		return -EPROTO;
	ret->page = os_memory_new("pathbus-own", lane_size(&shape));
	if (ret->page < 0)
		return ret->page;
	ret->bell = os_bell_new();
	r = ret->bell < 0 ? ret->bell : 0;
	page = r < 0 ? NULL : os_map(ret->page, PAGE_SIZE_BYTES, true, NULL);
	if (r == 0 && (!page || fstat(ret->page, &st) < 0))
		r = -errno;
	if (page) {
		os_random(id, sizeof(id));
		if (r == 0)
			page_init(page, &key, st.st_ino, id, &shape);
		munmap(page, PAGE_SIZE_BYTES);
	}
	if (r < 0) {
		if (ret->bell >= 0)
			close(ret->bell);
		close(ret->page);
		ret->page = ret->bell = -1;
		return r;
	}
	topic->remote_generation = topic->remote_seen = topic->remote_mark = 0; /* each opening counts anew */
	ret->place = PLACE_SOCKET;
	ret->slot = WIRE_NO_SLOT;
	ret->bus_topic = opened->topic;
	return 0;
}

/* What was put there is looked at by this very pathbus_next: it has collected the edges already. */
static void tell(pathbus_topic *topic, uint64_t mark)
{
	topic->remote_mark = mark;
	if (topic_listens(topic))
		handle_queue(topic);
}

static pathbus_topic *find_topic(struct pathbus *bus, uint32_t number)
{
	pathbus_topic *topic = bus->topics;

	while (topic && (topic->place != PLACE_SOCKET || topic->bus_topic != number ||
	                 topic->bus_serial != bus->connection.serial || (atomic_load(&topic->epoch) & EPOCH_LOST)))
		topic = topic->next;
	return topic;
}

static void put_event(pathbus_topic *topic, enum wire_type type, const struct wire_event *event)
{
	const struct lane lane = topic_lane(topic);

	topic->remote_generation = event->generation;
	switch (type) {
	case WIRE_EVENT_POST:
		tell(topic, lane_raise_at(&lane, event->count * GENERATION_POST, NULL, 0));
		break;
	case WIRE_EVENT_GAP:
		atomic_store(&lane.page->messages, 1);
		ring_lose(&topic->ring, event->count);
		tell(topic, lane_raise_at(&lane, event->count * GENERATION_MESSAGE, NULL, 0));
		break;
	default:
		lane_resync(&lane);
		tell(topic, lane_generation(&lane));
		break;
	}
}

static void put_message(pathbus_topic *topic, const struct wire_message *body)
{
	const struct lane lane = topic_lane(topic);
	const struct ring_message message = {
		.origin = body->origin,
		.number = body->number,
		.before = lane_generation(&lane),
		.time_ns = body->time_ns,
		.pid = body->pid,
		.uid = body->uid,
		.key = body->key,
		.key_size = body->key_size,
		.data = body->data,
		.data_size = body->data_size,
	};

	topic->remote_generation = body->generation;
	atomic_store(&lane.page->messages, 1);
	if (ring_publish(&topic->ring, RING_NO_OWNER, &message, NULL) < 0)
		ring_lose(&topic->ring, 1); /* larger than the daemon had said: counted */
	tell(topic, lane_raise_at(&lane, GENERATION_MESSAGE, NULL, 0));
}

bool socket_has_room(const struct pathbus *bus)
{
	for (const pathbus_topic *topic = bus->topics; topic; topic = topic->next) {
		/* Who only waits and checks takes nothing out. */
		if (topic->place != PLACE_SOCKET || !topic_listens(topic))
			continue;
		if (atomic_load(&topic->page->head) - topic->reader.cursor.at > topic->ring.n_slots / 2 * RING_TICKET)
			return false;
	}
	return true;
}

/* --- frames ------------------------------------------------------------------------------------------------- */

static void take_synced(struct pathbus_sync *sync, const struct wire_synced *body)
{
	sync->n_subscribers = body->n_subscribers;
	sync->n_caught_up = body->n_caught_up;
	sync->n_untracked = body->n_untracked;
	sync->n_laggards = 0;
	for (uint32_t i = 0; i < body->n_laggards && i < sync->max_laggards; i++) {
		struct pathbus_laggard *laggard = &sync->laggards[sync->n_laggards++];
		struct wire_laggard from;

		wire_get_laggard(body, i, &from);
		*laggard = (struct pathbus_laggard){ .pid = (pid_t)from.pid, .uid = from.uid, .origin = from.origin };
		memcpy(laggard->command, from.command, sizeof(laggard->command));
		laggard->command[sizeof(laggard->command) - 1] = '\0';
	}
}

void socket_nudge(struct pathbus *bus)
{
	if (bus->connection.patient && bus->connection.nudge >= 0)
		os_bell_ring(bus->connection.nudge);
}

static struct bus_call *find_call(struct pathbus *bus, uint32_t request)
{
	struct bus_call *calls[] = { bus->connection.call, bus->connection.patient };

	for (int i = 0; i < 2; i++)
		if (calls[i] && calls[i]->request == request)
			return calls[i];
	return NULL;
}

static void answer(struct pathbus *bus, struct bus_call *call)
{
	call->answered = true;
	if (call->patient)
		socket_nudge(bus);
}

/* An answer to what is being waited for, or to what is not any more. */
static int on_answer(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct bus_call *call = find_call(bus, header->request);
	struct wire_synced synced;
	struct wire_state state = { 0 };
	int r;

	switch (header->type) {
	case WIRE_STATE:
		r = wire_get_state(frame, header->size, &state);
		break;
	case WIRE_SYNCED:
		r = wire_get_synced(frame, header->size, &synced);
		break;
	default:
		r = wire_get_empty(frame, header->size);
		break;
	}
	if (r < 0 || !call)
		return r;
	answer(bus, call);
	call->state = state;
	if (header->type == WIRE_SYNCED && call->sync)
		take_synced(call->sync, &synced);
	return 0;
}

int socket_on_frame(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct wire_message message;
	struct wire_event event;
	pathbus_topic *topic;
	int r;

	switch (header->type) {
	case WIRE_DONE:
	case WIRE_STATE:
	case WIRE_SYNCED:
		return on_answer(bus, frame, header);
	case WIRE_EVENT_MESSAGE:
		r = wire_get_message(frame, header->size, &message);
		topic = r < 0 ? NULL : find_topic(bus, message.topic);
		if (topic)
			put_message(topic, &message);
		return r;
	case WIRE_EVENT_POST:
	case WIRE_EVENT_GAP:
	case WIRE_EVENT_RESYNC:
		r = wire_get_event(frame, header->size, header->type, &event);
		topic = r < 0 ? NULL : find_topic(bus, event.topic);
		if (topic)
			put_event(topic, header->type, &event);
		return r;
	default:
		return -EPROTO;
	}
}

bool socket_on_error(struct pathbus *bus, uint32_t request, int error)
{
	struct bus_call *call = find_call(bus, request);

	if (!call)
		return false;
	answer(bus, call);
	call->error = error;
	return true;
}

/* --- asking --------------------------------------------------------------------------------------------------- */

/* Puts the frame together, once it is known on which connection, and as which topic and request. Returns its size. */
typedef size_t put_fn(void *to, uint32_t request, const pathbus_topic *topic, const void *arg);

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

/* Asks, and waits for the answer. Asked anew where the connection ends in between. Under the handle's lock. */
static int ask(pathbus_topic *topic, put_fn *put, const void *arg, struct bus_call *call, uint64_t deadline_ns)
{
	struct pathbus *bus = topic->bus;
	struct bus_connection *connection = &bus->connection;
	unsigned char *frame = malloc(WIRE_MAX_FRAME);
	int r;

	if (!frame)
		return -ENOMEM;
	for (;;) {
		uint64_t soon = os_now_ns() + bus->timeout_ns;
		uint32_t serial;

		/* With the lock, so not for as long as the answer may take. */
		r = topic_settle(topic, soon < deadline_ns ? soon : deadline_ns);
		if (r < 0)
			break;
		serial = connection->serial;
		call->request = bus_new_request(connection);
		call->answered = false;
		call->error = 0;
		r = bus_send_frame(bus, frame, put(frame, call->request, topic, arg));
		*(call->patient ? &connection->patient : &connection->call) = call;
		while (r == 0 && !call->answered && connection->state == BUS_UP && connection->serial == serial &&
		       !death_has_come(connection->death)) {
			if (os_now_ns() >= deadline_ns)
				r = -ETIMEDOUT;
			else if (!call->patient)
				(void)bus_await(bus, deadline_ns);
			else if (await_patiently(bus, deadline_ns) && !call->answered)
				r = -EINTR;
		}
		*(call->patient ? &connection->patient : &connection->call) = NULL;
		if (call->answered) {
			r = call->error;
			break;
		}
		if (r == -EINTR)
			break;
		if (r == -ETIMEDOUT || os_now_ns() >= deadline_ns) {
			r = -ETIMEDOUT;
			break;
		}
		if (connection->serial == serial) /* else another thread has seen to that */
			bus_lost(bus);
	}
	free(frame);
	return r;
}

/* Gives the lock back. */
static int ask_and_unlock(pathbus_topic *topic, put_fn *put, const void *arg, struct bus_call *call,
                          uint64_t deadline_ns)
{
	struct pathbus *bus = topic->bus;
	int r = ask(topic, put, arg, call, deadline_ns ? deadline_ns : os_now_ns() + bus->timeout_ns);

	control_finish(bus);
	handle_unlock(bus);
	return r;
}

static int ask_alone(pathbus_topic *topic, put_fn *put, const void *arg, struct bus_call *call, uint64_t deadline_ns)
{
	pthread_mutex_lock(&topic->bus->lock);
	return ask_and_unlock(topic, put, arg, call, deadline_ns);
}

static size_t put_post(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	(void)arg;
	return wire_put_post(to, request, &(struct wire_topic){ .topic = topic->bus_topic });
}

/* Not to be a part of pathbus_post. */
__attribute__((noinline)) int socket_post(pathbus_topic *topic)
{
	if (!topic->may_post_remote)
		return -EACCES;
	return ask_alone(topic, put_post, NULL, &(struct bus_call){ 0 }, 0);
}

static size_t put_publish(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const struct ring_message *message = arg;

	return wire_put_publish(to, request, &(struct wire_publish){
		.topic = topic->bus_topic,
		.number = message->number,
		.key = message->key,
		.key_size = message->key_size,
		.data = message->data,
		.data_size = message->data_size,
	});
}

int socket_publish(pathbus_topic *topic, struct ring_message *message)
{
	if (!topic->may_post_remote)
		return -EACCES;
	/* Numbered in the order in which they go out, whichever thread they are of: one that is behind would be late. */
	pthread_mutex_lock(&topic->bus->lock);
	message->number = ++topic->number;
	return ask_and_unlock(topic, put_publish, message, &(struct bus_call){ 0 }, 0);
}

static size_t put_get_state(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	(void)arg;
	return wire_put_get_state(to, request, &(struct wire_topic){ .topic = topic->bus_topic });
}

int socket_get_state(pathbus_topic *topic, struct state *ret)
{
	struct bus_call call = { 0 };
	int r = ask_alone(topic, put_get_state, NULL, &call, 0);

	if (r == 0)
		*ret = (struct state){ .value = call.state.value, .version = call.state.version };
	return r;
}

static size_t put_set_state(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	struct wire_set_state body = *(const struct wire_set_state *)arg;

	body.topic = topic->bus_topic;
	return wire_put_set_state(to, request, &body);
}

int socket_change_state(pathbus_topic *topic, const uint64_t *expected, uint64_t value)
{
	const struct wire_set_state body = {
		.flags = expected ? WIRE_STATE_COMPARES : 0, .expected = expected ? *expected : 0, .value = value
	};

	if (!topic->may_post_remote)
		return -EACCES;
	return ask_alone(topic, put_set_state, &body, &(struct bus_call){ 0 }, 0);
}

static size_t put_sync(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	struct wire_sync body = *(const struct wire_sync *)arg;

	body.topic = topic->bus_topic;
	return wire_put_sync(to, request, &body);
}

/* The daemon waits; it is waited for somewhat longer. */
int socket_sync(pathbus_topic *topic, uint64_t deadline_ns, struct pathbus_sync *ret)
{
	uint64_t now = os_now_ns(), left_ms = deadline_ns > now ? (deadline_ns - now + 999999) / 1000000 : 0;
	struct wire_sync body = {
		.timeout_ms = deadline_ns == UINT64_MAX ? WIRE_NO_TIMEOUT : left_ms > INT32_MAX ? INT32_MAX : (uint32_t)left_ms,
		.max_laggards = ret->max_laggards,
	};
	struct bus_call call = { .sync = ret, .patient = true };
	uint64_t end = deadline_ns > UINT64_MAX - topic->bus->timeout_ns ?
	                       UINT64_MAX : (deadline_ns > now ? deadline_ns : now) + topic->bus->timeout_ns;
	int r;

	pthread_mutex_lock(&topic->bus->lock);
	if (topic->bus->connection.nudge < 0) {
		r = os_bell_new(); /* without one the lock is held */
		topic->bus->connection.nudge = r < 0 ? -1 : r;
	}
	handle_unlock(topic->bus);
	r = ask_alone(topic, put_sync, &body, &call, end);

	if (r < 0)
		return r;
	return ret->n_caught_up < ret->n_subscribers ? -ETIMEDOUT : 0;
}

/* --- what else -------------------------------------------------------------------------------------------------- */

/* Under the handle's lock. */
void socket_say_seen(pathbus_topic *topic, uint64_t remote_generation)
{
	unsigned char frame[64];

	if (topic->place != PLACE_SOCKET || !lane_is_later(remote_generation, topic->remote_seen) ||
	    topic->bus->connection.state != BUS_UP || topic->bus_serial != topic->bus->connection.serial)
		return;
	topic->remote_seen = remote_generation;
	(void)bus_send_frame(topic->bus, frame, wire_put_seen(frame, &(struct wire_seen){
		.topic = topic->bus_topic, .generation = remote_generation }));
}

void socket_caught_up(pathbus_topic *topic, uint64_t generation)
{
	if (!lane_is_later(topic->remote_mark, generation))
		socket_say_seen(topic, topic->remote_generation);
}

void socket_look(pathbus_topic *topic)
{
	struct pathbus *bus = topic->bus;

	pthread_mutex_lock(&bus->lock);
	bus->connection.urgent = true;
	bus_advance(bus);
	bus->connection.urgent = false;
	control_finish(bus);
	handle_unlock(bus);
}
