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
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

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

int socket_on_frame(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct wire_message message;
	struct wire_event event;
	pathbus_topic *topic;
	int r;

	switch (header->type) {
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

/* --- asking --------------------------------------------------------------------------------------------------- */

/* Gives the lock back. */
static int ask_and_unlock(pathbus_topic *topic, struct bus_call *call, uint64_t deadline_ns)
{
	struct pathbus *bus = topic->bus;
	int r = call_daemon(bus, topic, call, deadline_ns);

	control_finish(bus);
	handle_unlock(bus);
	return r;
}

static int ask(pathbus_topic *topic, struct bus_call *call, uint64_t deadline_ns)
{
	pthread_mutex_lock(&topic->bus->lock);
	return ask_and_unlock(topic, call, deadline_ns);
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
	return ask(topic, &(struct bus_call){ .put = put_post }, 0);
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
	return ask_and_unlock(topic, &(struct bus_call){ .put = put_publish, .arg = message }, 0);
}

static size_t put_get_state(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	(void)arg;
	return wire_put_get_state(to, request, &(struct wire_topic){ .topic = topic->bus_topic });
}

static int take_state(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct wire_state state;
	int r = header->type == WIRE_STATE ? wire_get_state(frame, header->size, &state) : -EPROTO;

	(void)fds;
	if (r == 0)
		*(struct state *)call->to = (struct state){ .value = state.value, .version = state.version };
	return r;
}

int socket_get_state(pathbus_topic *topic, struct state *ret)
{
	return ask(topic, &(struct bus_call){ .put = put_get_state, .take = take_state, .to = ret }, 0);
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

	if (topic->remote ? !topic->may_post_remote : !atomic_load(&topic->may_post))
		return -EACCES;
	return ask(topic, &(struct bus_call){ .put = put_set_state, .arg = &body }, 0);
}

static size_t put_sync(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	struct wire_sync body = *(const struct wire_sync *)arg;

	body.topic = topic->bus_topic;
	return wire_put_sync(to, request, &body);
}

static int take_synced(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct pathbus_sync *sync = call->to;
	struct wire_synced body;
	int r = header->type == WIRE_SYNCED ? wire_get_synced(frame, header->size, &body) : -EPROTO;

	(void)fds;
	if (r < 0)
		return r;
	sync->n_subscribers = body.n_subscribers;
	sync->n_caught_up = body.n_caught_up;
	sync->n_untracked = body.n_untracked;
	sync->n_laggards = 0;
	for (uint32_t i = 0; i < body.n_laggards && i < sync->max_laggards; i++) {
		struct pathbus_laggard *laggard = &sync->laggards[sync->n_laggards++];
		struct wire_laggard from;

		wire_get_laggard(&body, i, &from);
		*laggard = (struct pathbus_laggard){ .pid = (pid_t)from.pid, .uid = from.uid, .origin = from.origin };
		memcpy(laggard->command, from.command, sizeof(laggard->command));
		laggard->command[sizeof(laggard->command) - 1] = '\0';
	}
	return 0;
}

/* The daemon waits; it is waited for somewhat longer. */
int socket_sync(pathbus_topic *topic, uint64_t deadline_ns, struct pathbus_sync *ret)
{
	uint64_t now = os_now_ns(), left_ms = deadline_ns > now ? (deadline_ns - now + 999999) / 1000000 : 0;
	struct wire_sync body = {
		.timeout_ms = deadline_ns == UINT64_MAX ? WIRE_NO_TIMEOUT : left_ms > INT32_MAX ? INT32_MAX : (uint32_t)left_ms,
		.max_laggards = ret->max_laggards,
	};
	struct bus_call call = { .put = put_sync, .arg = &body, .take = take_synced, .to = ret, .patient = true };
	uint64_t end = deadline_ns > UINT64_MAX - topic->bus->timeout_ns ?
	                       UINT64_MAX : (deadline_ns > now ? deadline_ns : now) + topic->bus->timeout_ns;
	int r;

	r = ask(topic, &call, end);
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
