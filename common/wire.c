/* SPDX-License-Identifier: MIT */
/* wire.c - the codec. No I/O, no allocation; used by both ends and by the fuzzer. */
#include "wire.h"

#include <errno.h>
#include <string.h>

#include "wire_codec.h"

/* Fixed parts of bodies. */
#define PUBLISH_SIZE 16u
#define MESSAGE_SIZE 48u
#define SYNCED_SIZE 16u
#define LAGGARD_SIZE 32u

_Static_assert(WIRE_HEADER_SIZE + MESSAGE_SIZE + WIRE_MAX_KEY + WIRE_MAX_DATA <= WIRE_MAX_FRAME, "every message fits");
_Static_assert(WIRE_HEADER_SIZE + SYNCED_SIZE + WIRE_MAX_LAGGARDS * LAGGARD_SIZE <= WIRE_SMALL_FRAME, "it is no large one");

/* --- encoding -------------------------------------------------------------------------------------- */

size_t wire_put_hello(void *to, uint32_t request, const struct wire_hello *hello)
{
	unsigned char *at = begin(to, WIRE_HELLO, request, 8);

	put32(at, WIRE_MAGIC);
	put16(at + 4, hello->version_min);
	put16(at + 6, hello->version_max);
	return WIRE_HEADER_SIZE + 8;
}

size_t wire_put_open(void *to, uint32_t request, const struct wire_open *open)
{
	unsigned char *at = begin(to, WIRE_OPEN, request, 24 + (size_t)open->path_size);

	put32(at, open->flags);
	put32(at + 4, open->ring_slots);
	put32(at + 8, open->max_message);
	put32(at + 12, open->last);
	put64(at + 16, open->origin);
	memcpy(at + 24, open->path, open->path_size);
	return WIRE_HEADER_SIZE + 24 + open->path_size;
}

static size_t put_topic(void *to, enum wire_type type, uint32_t request, uint32_t topic)
{
	put32(begin(to, type, request, 4), topic);
	return WIRE_HEADER_SIZE + 4;
}

size_t wire_put_close(void *to, const struct wire_close *frame)
{
	return put_topic(to, WIRE_CLOSE, 0, frame->topic);
}

static size_t put_empty(void *to, enum wire_type type, uint32_t request)
{
	begin(to, type, request, 0);
	return WIRE_HEADER_SIZE;
}

size_t wire_put_ping(void *to, uint32_t request)
{
	return put_empty(to, WIRE_PING, request);
}

size_t wire_put_goodbye(void *to)
{
	return put_empty(to, WIRE_GOODBYE, 0);
}

size_t wire_put_post(void *to, uint32_t request, const struct wire_topic *frame)
{
	return put_topic(to, WIRE_POST, request, frame->topic);
}

/* A key and data behind a fixed part. */
static void put_content(unsigned char *at, const void *key, uint32_t key_size, const void *data, uint32_t data_size)
{
	if (key_size > 0)
		memcpy(at, key, key_size);
	if (data_size > 0)
		memcpy(at + key_size, data, data_size);
}

size_t wire_put_publish(void *to, uint32_t request, const struct wire_publish *publish)
{
	size_t size = PUBLISH_SIZE + (size_t)publish->key_size + publish->data_size;
	unsigned char *at = begin(to, WIRE_PUBLISH, request, size);

	put32(at, publish->topic);
	put32(at + 4, publish->key_size);
	put64(at + 8, publish->number);
	put_content(at + PUBLISH_SIZE, publish->key, publish->key_size, publish->data, publish->data_size);
	return WIRE_HEADER_SIZE + size;
}

size_t wire_put_set_state(void *to, uint32_t request, const struct wire_set_state *set)
{
	unsigned char *at = begin(to, WIRE_SET_STATE, request, 24);

	put32(at, set->topic);
	put32(at + 4, set->flags);
	put64(at + 8, set->expected);
	put64(at + 16, set->value);
	return WIRE_HEADER_SIZE + 24;
}

size_t wire_put_get_state(void *to, uint32_t request, const struct wire_topic *frame)
{
	return put_topic(to, WIRE_GET_STATE, request, frame->topic);
}

size_t wire_put_seen(void *to, const struct wire_seen *seen)
{
	unsigned char *at = begin(to, WIRE_SEEN, 0, 12);

	put32(at, seen->topic);
	put64(at + 4, seen->generation);
	return WIRE_HEADER_SIZE + 12;
}

size_t wire_put_sync(void *to, uint32_t request, const struct wire_sync *sync)
{
	unsigned char *at = begin(to, WIRE_SYNC, request, 12);

	put32(at, sync->topic);
	put32(at + 4, sync->timeout_ms);
	put32(at + 8, sync->max_laggards);
	return WIRE_HEADER_SIZE + 12;
}

size_t wire_put_welcome(void *to, uint32_t request, const struct wire_welcome *welcome)
{
	unsigned char *at = begin(to, WIRE_WELCOME, request, 32);

	put16(at, welcome->version);
	put16(at + 2, 0);
	put32(at + 4, welcome->max_frame);
	put32(at + 8, welcome->max_path);
	put32(at + 12, welcome->pid);
	memcpy(at + 16, welcome->id, sizeof(welcome->id));
	return WIRE_HEADER_SIZE + 32;
}

size_t wire_put_opened(void *to, uint32_t request, const struct wire_opened *opened)
{
	unsigned char *at = begin(to, WIRE_OPENED, request, 32);

	put32(at, opened->topic);
	put32(at + 4, opened->rights);
	put32(at + 8, opened->slot);
	put32(at + 12, 0);
	put32(at + 16, opened->ring_slots);
	put32(at + 20, opened->max_message);
	put64(at + 24, opened->origin);
	return WIRE_HEADER_SIZE + 32;
}

size_t wire_put_error(void *to, uint32_t request, int error, const char *text)
{
	size_t size = strnlen(text, WIRE_MAX_TEXT);
	unsigned char *at = begin(to, WIRE_ERROR, request, 4 + size);

	put32(at, (uint32_t)error);
	memcpy(at + 4, text, size);
	return WIRE_HEADER_SIZE + 4 + size;
}

size_t wire_put_pong(void *to, uint32_t request, const struct wire_pong *pong)
{
	unsigned char *at = begin(to, WIRE_PONG, request, 16 + (size_t)pong->version_size);

	put32(at, pong->n_clients);
	put32(at + 4, pong->n_topics);
	put64(at + 8, pong->uptime_ns);
	memcpy(at + 16, pong->version, pong->version_size);
	return WIRE_HEADER_SIZE + 16 + pong->version_size;
}

size_t wire_put_done(void *to, uint32_t request)
{
	return put_empty(to, WIRE_DONE, request);
}

size_t wire_put_state(void *to, uint32_t request, const struct wire_state *state)
{
	unsigned char *at = begin(to, WIRE_STATE, request, 16);

	put64(at, state->value);
	put64(at + 8, state->version);
	return WIRE_HEADER_SIZE + 16;
}

size_t wire_put_synced(void *to, uint32_t request, const struct wire_synced *synced, const struct wire_laggard *laggards)
{
	size_t size = SYNCED_SIZE + (size_t)synced->n_laggards * LAGGARD_SIZE;
	unsigned char *at = begin(to, WIRE_SYNCED, request, size);

	put32(at, synced->n_subscribers);
	put32(at + 4, synced->n_caught_up);
	put32(at + 8, synced->n_untracked);
	put32(at + 12, synced->n_laggards);
	at += SYNCED_SIZE;
	for (uint32_t i = 0; i < synced->n_laggards; i++, at += LAGGARD_SIZE) {
		put32(at, laggards[i].pid);
		put32(at + 4, laggards[i].uid);
		put64(at + 8, laggards[i].origin);
		memcpy(at + 16, laggards[i].command, WIRE_COMMAND_SIZE);
	}
	return WIRE_HEADER_SIZE + size;
}

static size_t event_size(enum wire_type type)
{
	return type == WIRE_EVENT_RESYNC ? 12 : 20;
}

size_t wire_put_event(void *to, enum wire_type type, const struct wire_event *event)
{
	unsigned char *at = begin(to, type, 0, event_size(type));

	put32(at, event->topic);
	put64(at + 4, event->generation);
	if (type != WIRE_EVENT_RESYNC)
		put64(at + 12, event->count);
	return WIRE_HEADER_SIZE + event_size(type);
}

size_t wire_put_message(void *to, const struct wire_message *message)
{
	size_t size = MESSAGE_SIZE + (size_t)message->key_size + message->data_size;
	unsigned char *at = begin(to, WIRE_EVENT_MESSAGE, 0, size);

	put32(at, message->topic);
	put32(at + 4, message->key_size);
	put64(at + 8, message->generation);
	put64(at + 16, message->origin);
	put64(at + 24, message->number);
	put64(at + 32, message->time_ns);
	put32(at + 40, message->pid);
	put32(at + 44, message->uid);
	put_content(at + MESSAGE_SIZE, message->key, message->key_size, message->data, message->data_size);
	return WIRE_HEADER_SIZE + size;
}

/* --- decoding -------------------------------------------------------------------------------------- */

#define RIGHTS (uint32_t)(WIRE_RIGHT_SUBSCRIBE | WIRE_RIGHT_POST)

int wire_get_header(const void *from, size_t size, struct wire_header *ret)
{
	const unsigned char *at = from;
	struct wire_header header;

	if (size < 4)
		return 0;
	header.size = get32(at);
	if (header.size > WIRE_MAX_FRAME)
		return -EMSGSIZE;
	if (header.size < WIRE_HEADER_SIZE)
		return -EBADMSG;
	if (size < header.size)
		return 0;
	header.type = get16(at + 4);
	if (get16(at + 6) != 0)
		return -EBADMSG;
	header.request = get32(at + 8);
	*ret = header;
	return 1;
}

int wire_get_hello(const void *frame, size_t size, struct wire_hello *ret)
{
	const unsigned char *at = body(frame, size, 8, 8);

	if (!at || get32(at) != WIRE_MAGIC || get16(at + 4) > get16(at + 6))
		return -EBADMSG;
	*ret = (struct wire_hello){ .version_min = get16(at + 4), .version_max = get16(at + 6) };
	return 0;
}

int wire_get_open(const void *frame, size_t size, struct wire_open *ret)
{
	const unsigned char *at = body(frame, size, 24 + 1, 24 + WIRE_MAX_PATH);
	size_t path_size;

	if (!at)
		return -EBADMSG;
	path_size = size - WIRE_HEADER_SIZE - 24;
	if (at[24] != '/' || memchr(at + 24, '\0', path_size))
		return -EBADMSG;
	if ((get32(at) & ~(RIGHTS | WIRE_OPEN_SOCKET | WIRE_OPEN_ECHO)) != 0)
		return -EBADMSG;
	/* What a client with the lane before it decides for itself. */
	if (!(get32(at) & WIRE_OPEN_SOCKET) && ((get32(at) & WIRE_OPEN_ECHO) || get32(at + 12) != 0 || get64(at + 16) != 0))
		return -EBADMSG;
	*ret = (struct wire_open){
		.flags = get32(at),
		.ring_slots = get32(at + 4),
		.max_message = get32(at + 8),
		.last = get32(at + 12),
		.origin = get64(at + 16),
		.path = (const char *)at + 24,
		.path_size = (uint32_t)path_size,
	};
	return 0;
}

int wire_get_close(const void *frame, size_t size, struct wire_close *ret)
{
	struct wire_topic topic;
	int r = wire_get_topic(frame, size, &topic);

	if (r == 0)
		ret->topic = topic.topic;
	return r;
}

int wire_get_topic(const void *frame, size_t size, struct wire_topic *ret)
{
	const unsigned char *at = body(frame, size, 4, 4);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_topic){ .topic = get32(at) };
	return 0;
}

int wire_get_empty(const void *frame, size_t size)
{
	return body(frame, size, 0, 0) ? 0 : -EBADMSG;
}

int wire_get_publish(const void *frame, size_t size, struct wire_publish *ret)
{
	const unsigned char *at = body(frame, size, PUBLISH_SIZE, PUBLISH_SIZE + WIRE_MAX_KEY + WIRE_MAX_DATA);
	size_t content;
	uint32_t key_size;

	if (!at)
		return -EBADMSG;
	content = size - WIRE_HEADER_SIZE - PUBLISH_SIZE;
	key_size = get32(at + 4);
	if (key_size > WIRE_MAX_KEY || key_size > content || content - key_size > WIRE_MAX_DATA)
		return -EBADMSG;
	*ret = (struct wire_publish){
		.topic = get32(at),
		.number = get64(at + 8),
		.key = at + PUBLISH_SIZE,
		.key_size = key_size,
		.data = at + PUBLISH_SIZE + key_size,
		.data_size = (uint32_t)(content - key_size),
	};
	return 0;
}

int wire_get_set_state(const void *frame, size_t size, struct wire_set_state *ret)
{
	const unsigned char *at = body(frame, size, 24, 24);

	if (!at || (get32(at + 4) & ~(uint32_t)WIRE_STATE_COMPARES) != 0 || (get32(at + 4) == 0 && get64(at + 8) != 0))
		return -EBADMSG;
	*ret = (struct wire_set_state){
		.topic = get32(at),
		.flags = get32(at + 4),
		.expected = get64(at + 8),
		.value = get64(at + 16),
	};
	return 0;
}

int wire_get_seen(const void *frame, size_t size, struct wire_seen *ret)
{
	const unsigned char *at = body(frame, size, 12, 12);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_seen){ .topic = get32(at), .generation = get64(at + 4) };
	return 0;
}

int wire_get_sync(const void *frame, size_t size, struct wire_sync *ret)
{
	const unsigned char *at = body(frame, size, 12, 12);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_sync){ .topic = get32(at), .timeout_ms = get32(at + 4), .max_laggards = get32(at + 8) };
	return 0;
}

int wire_get_welcome(const void *frame, size_t size, struct wire_welcome *ret)
{
	const unsigned char *at = body(frame, size, 32, 32);

	if (!at || get16(at) == 0 || get16(at + 2) != 0)
		return -EBADMSG;
	if (get32(at + 4) < WIRE_MIN_FRAME || get32(at + 4) > WIRE_MAX_FRAME || get32(at + 8) == 0)
		return -EBADMSG;
	*ret = (struct wire_welcome){
		.version = get16(at),
		.max_frame = get32(at + 4),
		.max_path = get32(at + 8),
		.pid = get32(at + 12),
	};
	memcpy(ret->id, at + 16, sizeof(ret->id));
	return 0;
}

int wire_get_opened(const void *frame, size_t size, struct wire_opened *ret)
{
	const unsigned char *at = body(frame, size, 32, 32);

	if (!at || get32(at + 12) != 0 || (get32(at + 4) & ~RIGHTS) != 0)
		return -EBADMSG;
	*ret = (struct wire_opened){
		.topic = get32(at),
		.rights = get32(at + 4),
		.slot = get32(at + 8),
		.ring_slots = get32(at + 16),
		.max_message = get32(at + 20),
		.origin = get64(at + 24),
	};
	return 0;
}

int wire_get_error(const void *frame, size_t size, struct wire_error *ret)
{
	const unsigned char *at = body(frame, size, 4, 4 + WIRE_MAX_TEXT);

	if (!at || get32(at) == 0 || get32(at) > 4095)
		return -EBADMSG;
	*ret = (struct wire_error){
		.error = get32(at),
		.text = (const char *)at + 4,
		.text_size = (uint32_t)(size - WIRE_HEADER_SIZE - 4),
	};
	return 0;
}

int wire_get_pong(const void *frame, size_t size, struct wire_pong *ret)
{
	const unsigned char *at = body(frame, size, 16, 16 + WIRE_MAX_TEXT);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_pong){
		.n_clients = get32(at),
		.n_topics = get32(at + 4),
		.uptime_ns = get64(at + 8),
		.version = (const char *)at + 16,
		.version_size = (uint32_t)(size - WIRE_HEADER_SIZE - 16),
	};
	return 0;
}

int wire_get_state(const void *frame, size_t size, struct wire_state *ret)
{
	const unsigned char *at = body(frame, size, 16, 16);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_state){ .value = get64(at), .version = get64(at + 8) };
	return 0;
}

int wire_get_synced(const void *frame, size_t size, struct wire_synced *ret)
{
	const unsigned char *at = body(frame, size, SYNCED_SIZE, SYNCED_SIZE + WIRE_MAX_LAGGARDS * LAGGARD_SIZE);
	uint32_t n;

	if (!at)
		return -EBADMSG;
	n = get32(at + 12);
	if (n > WIRE_MAX_LAGGARDS || size != WIRE_HEADER_SIZE + SYNCED_SIZE + (size_t)n * LAGGARD_SIZE ||
	    get32(at + 4) > get32(at) || n > get32(at) - get32(at + 4))
		return -EBADMSG;
	for (uint32_t i = 0; i < n; i++)
		if (at[SYNCED_SIZE + (i + 1) * LAGGARD_SIZE - 1] != '\0')
			return -EBADMSG;
	*ret = (struct wire_synced){
		.n_subscribers = get32(at),
		.n_caught_up = get32(at + 4),
		.n_untracked = get32(at + 8),
		.n_laggards = n,
		.laggards = at + SYNCED_SIZE,
	};
	return 0;
}

void wire_get_laggard(const struct wire_synced *synced, uint32_t at, struct wire_laggard *ret)
{
	const unsigned char *from = (const unsigned char *)synced->laggards + (size_t)at * LAGGARD_SIZE;

	*ret = (struct wire_laggard){ .pid = get32(from), .uid = get32(from + 4), .origin = get64(from + 8) };
	memcpy(ret->command, from + 16, sizeof(ret->command));
}

int wire_get_event(const void *frame, size_t size, enum wire_type type, struct wire_event *ret)
{
	const unsigned char *at = body(frame, size, event_size(type), event_size(type));
	uint64_t count;

	if (!at)
		return -EBADMSG;
	count = type == WIRE_EVENT_RESYNC ? 0 : get64(at + 12);
	if (type != WIRE_EVENT_RESYNC && count == 0)
		return -EBADMSG;
	*ret = (struct wire_event){ .topic = get32(at), .generation = get64(at + 4), .count = count };
	return 0;
}

int wire_get_message(const void *frame, size_t size, struct wire_message *ret)
{
	const unsigned char *at = body(frame, size, MESSAGE_SIZE, MESSAGE_SIZE + WIRE_MAX_KEY + WIRE_MAX_DATA);
	size_t content;
	uint32_t key_size;

	if (!at)
		return -EBADMSG;
	content = size - WIRE_HEADER_SIZE - MESSAGE_SIZE;
	key_size = get32(at + 4);
	if (key_size > WIRE_MAX_KEY || key_size > content || content - key_size > WIRE_MAX_DATA)
		return -EBADMSG;
	*ret = (struct wire_message){
		.topic = get32(at),
		.generation = get64(at + 8),
		.origin = get64(at + 16),
		.number = get64(at + 24),
		.time_ns = get64(at + 32),
		.pid = get32(at + 40),
		.uid = get32(at + 44),
		.key = at + MESSAGE_SIZE,
		.key_size = key_size,
		.data = at + MESSAGE_SIZE + key_size,
		.data_size = (uint32_t)(content - key_size),
	};
	return 0;
}
