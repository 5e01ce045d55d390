/* SPDX-License-Identifier: MIT */
/*
 * test_wire.c - the codec: every frame comes back as it went, byte for byte as documented; every shorter or
 * longer one and every bad field is refused, and nothing is written to the result then.
 */
#include "harness/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire.h"

/* A frame in a block of exactly its size, so that the address sanitizer sees whoever reads past its end. */
static unsigned char *exact(const void *frame, size_t size)
{
	unsigned char *copy = malloc(size ? size : 1);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, frame, size);
	return copy;
}

/* --- one example of each frame ----------------------------------------------------------------------- */

union decoded {
	struct wire_hello hello;
	struct wire_welcome welcome;
	struct wire_open open;
	struct wire_opened opened;
	struct wire_close close;
	struct wire_error error;
	struct wire_pong pong;
	struct wire_topic topic;
	struct wire_publish publish;
	struct wire_set_state set_state;
	struct wire_seen seen;
	struct wire_sync sync;
	struct wire_state state;
	struct wire_synced synced;
	struct wire_event event;
	struct wire_message message;
};

static size_t put_hello(void *to)
{
	return wire_put_hello(to, 0x01020304,
			      &(struct wire_hello){ .version_min = 1, .version_max = 0x0203 });
}

static int get_hello(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_hello(frame, size, &ret->hello);
}

static void check_hello(const union decoded *got)
{
	ck_assert_uint_eq(got->hello.version_min, 1);
	ck_assert_uint_eq(got->hello.version_max, 0x0203);
}

static size_t put_welcome(void *to)
{
	return wire_put_welcome(to, 7,
				&(struct wire_welcome){ .version = 1,
							.max_frame = 66560,
							.max_path = 4095,
							.pid = 1234,
							.id = "0123456789abcde" });
}

static int get_welcome(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_welcome(frame, size, &ret->welcome);
}

static void check_welcome(const union decoded *got)
{
	ck_assert_uint_eq(got->welcome.version, 1);
	ck_assert_uint_eq(got->welcome.max_frame, 66560);
	ck_assert_uint_eq(got->welcome.max_path, 4095);
	ck_assert_uint_eq(got->welcome.pid, 1234);
	ck_assert_mem_eq(got->welcome.id, "0123456789abcde", 16);
}

static size_t put_open(void *to)
{
	return wire_put_open(to, 8,
			     &(struct wire_open){ .flags = WIRE_RIGHT_POST | WIRE_OPEN_SOCKET | WIRE_OPEN_ECHO,
						  .ring_slots = 256,
						  .max_message = 0x10000,
						  .last = 3,
						  .origin = 0x807060504030201,
						  .path = "/a/\xff.db",
						  .path_size = 7 });
}

static int get_open(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_open(frame, size, &ret->open);
}

static void check_open(const union decoded *got)
{
	ck_assert_uint_eq(got->open.flags, WIRE_RIGHT_POST | WIRE_OPEN_SOCKET | WIRE_OPEN_ECHO);
	ck_assert_uint_eq(got->open.ring_slots, 256);
	ck_assert_uint_eq(got->open.max_message, 0x10000);
	ck_assert_uint_eq(got->open.last, 3);
	ck_assert_uint_eq(got->open.origin, 0x807060504030201);
	ck_assert_uint_eq(got->open.path_size, 7);
	ck_assert_mem_eq(got->open.path, "/a/\xff.db", 7);
}

static size_t put_opened(void *to)
{
	return wire_put_opened(
		to, 8,
		&(struct wire_opened){ .topic = 0xfffefdfc, .rights = 3, .slot = WIRE_NO_SLOT,
				       .ring_slots = 512, .max_message = 4096, .origin = UINT64_C(0x0807060504030201) });
}

static int get_opened(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_opened(frame, size, &ret->opened);
}

static void check_opened(const union decoded *got)
{
	ck_assert_uint_eq(got->opened.topic, 0xfffefdfc);
	ck_assert_uint_eq(got->opened.rights, 3);
	ck_assert_uint_eq(got->opened.slot, WIRE_NO_SLOT);
	ck_assert_uint_eq(got->opened.ring_slots, 512);
	ck_assert_uint_eq(got->opened.max_message, 4096);
	ck_assert_uint_eq(got->opened.origin, UINT64_C(0x0807060504030201));
}

static size_t put_close(void *to)
{
	return wire_put_close(to, &(struct wire_close){ .topic = 5 });
}

static int get_close(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_close(frame, size, &ret->close);
}

static void check_close(const union decoded *got)
{
	ck_assert_uint_eq(got->close.topic, 5);
}

static size_t put_error(void *to)
{
	return wire_put_error(to, 9, EACCES, "no");
}

static int get_error(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_error(frame, size, &ret->error);
}

static void check_error(const union decoded *got)
{
	ck_assert_uint_eq(got->error.error, EACCES);
	ck_assert_uint_eq(got->error.text_size, 2);
	ck_assert_mem_eq(got->error.text, "no", 2);
}

static size_t put_pong(void *to)
{
	return wire_put_pong(to, 10,
			     &(struct wire_pong){ .n_clients = 1,
						  .n_topics = 2,
						  .uptime_ns = UINT64_C(0x0807060504030201),
						  .version = "0.1",
						  .version_size = 3 });
}

static int get_pong(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_pong(frame, size, &ret->pong);
}

static void check_pong(const union decoded *got)
{
	ck_assert_uint_eq(got->pong.n_clients, 1);
	ck_assert_uint_eq(got->pong.n_topics, 2);
	ck_assert_uint_eq(got->pong.uptime_ns, UINT64_C(0x0807060504030201));
	ck_assert_uint_eq(got->pong.version_size, 3);
	ck_assert_mem_eq(got->pong.version, "0.1", 3);
}

static size_t put_ping(void *to)
{
	return wire_put_ping(to, 11);
}

static size_t put_goodbye(void *to)
{
	return wire_put_goodbye(to);
}

static int get_empty(const void *frame, size_t size, union decoded *ret)
{
	(void)ret;
	return wire_get_empty(frame, size);
}

static void check_empty(const union decoded *got)
{
	(void)got;
}

static size_t put_done(void *to)
{
	return wire_put_done(to, 12);
}

static size_t put_post(void *to)
{
	return wire_put_post(to, 0, &(struct wire_topic){ .topic = 6 });
}

static size_t put_get_state(void *to)
{
	return wire_put_get_state(to, 13, &(struct wire_topic){ .topic = 6 });
}

static int get_topic(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_topic(frame, size, &ret->topic);
}

static void check_topic(const union decoded *got)
{
	ck_assert_uint_eq(got->topic.topic, 6);
}

static size_t put_publish(void *to)
{
	return wire_put_publish(to, 14, &(struct wire_publish){ .topic = 6, .number = UINT64_C(0x0807060504030201),
								.key = "ab", .key_size = 2, .data = "\0c", .data_size = 2 });
}

static int get_publish(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_publish(frame, size, &ret->publish);
}

static void check_publish(const union decoded *got)
{
	ck_assert_uint_eq(got->publish.topic, 6);
	ck_assert_uint_eq(got->publish.number, UINT64_C(0x0807060504030201));
	ck_assert_uint_eq(got->publish.key_size, 2);
	ck_assert_mem_eq(got->publish.key, "ab", 2);
	ck_assert_uint_eq(got->publish.data_size, 2);
	ck_assert_mem_eq(got->publish.data, "\0c", 2);
}

static size_t put_set_state(void *to)
{
	return wire_put_set_state(to, 15, &(struct wire_set_state){ .topic = 6, .flags = WIRE_STATE_COMPARES,
								    .expected = 7, .value = UINT64_C(1) << 63 });
}

static int get_set_state(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_set_state(frame, size, &ret->set_state);
}

static void check_set_state(const union decoded *got)
{
	ck_assert_uint_eq(got->set_state.topic, 6);
	ck_assert_uint_eq(got->set_state.flags, WIRE_STATE_COMPARES);
	ck_assert_uint_eq(got->set_state.expected, 7);
	ck_assert_uint_eq(got->set_state.value, UINT64_C(1) << 63);
}

static size_t put_seen(void *to)
{
	return wire_put_seen(to, &(struct wire_seen){ .topic = 6, .generation = 0x0102 });
}

static int get_seen(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_seen(frame, size, &ret->seen);
}

static void check_seen(const union decoded *got)
{
	ck_assert_uint_eq(got->seen.topic, 6);
	ck_assert_uint_eq(got->seen.generation, 0x0102);
}

static size_t put_sync(void *to)
{
	return wire_put_sync(to, 16, &(struct wire_sync){ .topic = 6, .timeout_ms = WIRE_NO_TIMEOUT, .max_laggards = 5 });
}

static int get_sync(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_sync(frame, size, &ret->sync);
}

static void check_sync(const union decoded *got)
{
	ck_assert_uint_eq(got->sync.topic, 6);
	ck_assert_uint_eq(got->sync.timeout_ms, WIRE_NO_TIMEOUT);
	ck_assert_uint_eq(got->sync.max_laggards, 5);
}

static size_t put_state(void *to)
{
	return wire_put_state(to, 17, &(struct wire_state){ .value = 7, .version = 0x0102 });
}

static int get_state(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_state(frame, size, &ret->state);
}

static void check_state(const union decoded *got)
{
	ck_assert_uint_eq(got->state.value, 7);
	ck_assert_uint_eq(got->state.version, 0x0102);
}

static size_t put_synced(void *to)
{
	const struct wire_laggard laggard = { .pid = 1234, .uid = 1000, .origin = 9, .command = "sh" };

	return wire_put_synced(to, 18, &(struct wire_synced){ .n_subscribers = 3, .n_caught_up = 2, .n_untracked = 4,
							      .n_laggards = 1 }, &laggard);
}

static int get_synced(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_synced(frame, size, &ret->synced);
}

static void check_synced(const union decoded *got)
{
	struct wire_laggard laggard;

	ck_assert_uint_eq(got->synced.n_subscribers, 3);
	ck_assert_uint_eq(got->synced.n_caught_up, 2);
	ck_assert_uint_eq(got->synced.n_untracked, 4);
	ck_assert_uint_eq(got->synced.n_laggards, 1);
	wire_get_laggard(&got->synced, 0, &laggard);
	ck_assert_uint_eq(laggard.pid, 1234);
	ck_assert_uint_eq(laggard.uid, 1000);
	ck_assert_uint_eq(laggard.origin, 9);
	ck_assert_str_eq(laggard.command, "sh");
}

static size_t put_event_post(void *to)
{
	return wire_put_event(to, WIRE_EVENT_POST, &(struct wire_event){ .topic = 6, .generation = 8, .count = 2 });
}

static int get_event_post(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_event(frame, size, WIRE_EVENT_POST, &ret->event);
}

static size_t put_event_gap(void *to)
{
	return wire_put_event(to, WIRE_EVENT_GAP, &(struct wire_event){ .topic = 6, .generation = 8, .count = 2 });
}

static int get_event_gap(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_event(frame, size, WIRE_EVENT_GAP, &ret->event);
}

static void check_event(const union decoded *got)
{
	ck_assert_uint_eq(got->event.topic, 6);
	ck_assert_uint_eq(got->event.generation, 8);
	ck_assert_uint_eq(got->event.count, 2);
}

static size_t put_event_resync(void *to)
{
	return wire_put_event(to, WIRE_EVENT_RESYNC, &(struct wire_event){ .topic = 6, .generation = 8, .count = 2 });
}

static int get_event_resync(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_event(frame, size, WIRE_EVENT_RESYNC, &ret->event);
}

static void check_event_resync(const union decoded *got)
{
	ck_assert_uint_eq(got->event.topic, 6);
	ck_assert_uint_eq(got->event.generation, 8);
	ck_assert_uint_eq(got->event.count, 0);
}

static size_t put_message(void *to)
{
	return wire_put_message(to, &(struct wire_message){ .topic = 6, .pid = 2, .uid = 3, .generation = 4, .origin = 5,
							    .number = 6, .time_ns = 7, .key = "ab", .key_size = 2,
							    .data = "\0c", .data_size = 2 });
}

static int get_message(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_message(frame, size, &ret->message);
}

static void check_message(const union decoded *got)
{
	const struct wire_message *message = &got->message;

	ck_assert_uint_eq(message->topic, 6);
	ck_assert_uint_eq(message->pid, 2);
	ck_assert_uint_eq(message->uid, 3);
	ck_assert_uint_eq(message->generation, 4);
	ck_assert_uint_eq(message->origin, 5);
	ck_assert_uint_eq(message->number, 6);
	ck_assert_uint_eq(message->time_ns, 7);
	ck_assert_uint_eq(message->key_size, 2);
	ck_assert_mem_eq(message->key, "ab", 2);
	ck_assert_uint_eq(message->data_size, 2);
	ck_assert_mem_eq(message->data, "\0c", 2);
}

static const struct frame {
	enum wire_type type;
	uint32_t request;
	size_t (*put)(void *to);
	int (*get)(const void *frame, size_t size, union decoded *ret);
	void (*check)(const union decoded *got);
	size_t size;
	unsigned char bytes[80];
	size_t min, max; /* of the body */
} frames[] = {
	{ WIRE_HELLO, 0x01020304, put_hello, get_hello, check_hello, 20,
	  "\x14\0\0\0\1\0\0\0\4\3\2\1PBUS\1\0\3\2", 8, 8 },
	{ WIRE_WELCOME, 7, put_welcome, get_welcome, check_welcome, 44,
	  "\x2c\0\0\0\x40\0\0\0\7\0\0\0\1\0\0\0\0\4\1\0\xff\x0f\0\0\xd2\x04\0\0"
	  "0123456789abcde",
	  32, 32 },
	{ WIRE_OPEN, 8, put_open, get_open, check_open, 43,
	  "\x2b\0\0\0\2\0\0\0\x8\0\0\0\xe\0\0\0\0\1\0\0\0\0\1\0\3\0\0\0\1\2\3\4\5\6\7\x8/a/\xff.db", 25,
	  24 + WIRE_MAX_PATH },
	{ WIRE_OPENED, 8, put_opened, get_opened, check_opened, 44,
	  "\x2c\0\0\0\x41\0\0\0\x8\0\0\0\xfc\xfd\xfe\xff\3\0\0\0\xff\xff\xff\xff\0\0\0\0\0\2\0\0\0\x10\0\0"
	  "\1\2\3\4\5\6\7\x8", 32, 32 },
	{ WIRE_CLOSE, 0, put_close, get_close, check_close, 16, "\x10\0\0\0\3\0\0\0\0\0\0\0\5", 4,
	  4 },
	{ WIRE_ERROR, 9, put_error, get_error, check_error, 18,
	  "\x12\0\0\0\x42\0\0\0\x9\0\0\0\x0d\0\0\0no", 4, 4 + WIRE_MAX_TEXT },
	{ WIRE_PONG, 10, put_pong, get_pong, check_pong, 31,
	  "\x1f\0\0\0\x43\0\0\0\xa\0\0\0\1\0\0\0\2\0\0\0\1\2\3\4\5\6\7\x8"
	  "0.1",
	  16, 16 + WIRE_MAX_TEXT },
	{ WIRE_PING, 11, put_ping, get_empty, check_empty, 12, "\x0c\0\0\0\4\0\0\0\xb", 0, 0 },
	{ WIRE_GOODBYE, 0, put_goodbye, get_empty, check_empty, 12, "\x0c\0\0\0\5", 0, 0 },
	{ WIRE_POST, 0, put_post, get_topic, check_topic, 16,
	  "\20\0\0\0\6\0\0\0\0\0\0\0"
	  "\6\0\0\0", 4, 4 },
	{ WIRE_PUBLISH, 14, put_publish, get_publish, check_publish, 32,
	  "\40\0\0\0\7\0\0\0\16\0\0\0"
	  "\6\0\0\0\2\0\0\0\1\2\3\4\5\6\7\10ab\0c", 16 + 2, 16 + 2 + WIRE_MAX_DATA },
	{ WIRE_SET_STATE, 15, put_set_state, get_set_state, check_set_state, 36,
	  "\44\0\0\0\10\0\0\0\17\0\0\0"
	  "\6\0\0\0\1\0\0\0\7\0\0\0\0\0\0\0\0\0\0\0\0\0\0\200", 24, 24 },
	{ WIRE_GET_STATE, 13, put_get_state, get_topic, check_topic, 16,
	  "\20\0\0\0\11\0\0\0\15\0\0\0"
	  "\6\0\0\0", 4, 4 },
	{ WIRE_SEEN, 0, put_seen, get_seen, check_seen, 24,
	  "\30\0\0\0\12\0\0\0\0\0\0\0"
	  "\6\0\0\0\2\1\0\0\0\0\0\0", 12, 12 },
	{ WIRE_SYNC, 16, put_sync, get_sync, check_sync, 24,
	  "\30\0\0\0\13\0\0\0\20\0\0\0"
	  "\6\0\0\0\377\377\377\377\5\0\0\0", 12, 12 },
	{ WIRE_DONE, 12, put_done, get_empty, check_empty, 12,
	  "\14\0\0\0\104\0\0\0\14\0\0\0"
	  "", 0, 0 },
	{ WIRE_STATE, 17, put_state, get_state, check_state, 28,
	  "\34\0\0\0\105\0\0\0\21\0\0\0"
	  "\7\0\0\0\0\0\0\0\2\1\0\0\0\0\0\0", 16, 16 },
	{ WIRE_SYNCED, 18, put_synced, get_synced, check_synced, 60,
	  "\74\0\0\0\106\0\0\0\22\0\0\0"
	  "\3\0\0\0\2\0\0\0\4\0\0\0\1\0\0\0\322\4\0\0\350\3\0\0\11\0\0\0\0\0\0\0sh", 48, 48 },
	{ WIRE_EVENT_POST, 0, put_event_post, get_event_post, check_event, 32,
	  "\40\0\0\0\107\0\0\0\0\0\0\0"
	  "\6\0\0\0\10\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 20, 20 },
	{ WIRE_EVENT_MESSAGE, 0, put_message, get_message, check_message, 64,
	  "\100\0\0\0\110\0\0\0\0\0\0\0"
	  "\6\0\0\0\2\0\0\0\4\0\0\0\0\0\0\0\5\0\0\0\0\0\0\0\6\0\0\0\0\0\0\0\7\0\0\0\0\0\0\0\2\0\0\0\3\0\0\0ab\0c", 48 + 2, 48 + 2 + WIRE_MAX_DATA },
	{ WIRE_EVENT_GAP, 0, put_event_gap, get_event_gap, check_event, 32,
	  "\40\0\0\0\111\0\0\0\0\0\0\0"
	  "\6\0\0\0\10\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0", 20, 20 },
	{ WIRE_EVENT_RESYNC, 0, put_event_resync, get_event_resync, check_event_resync, 24,
	  "\30\0\0\0\112\0\0\0\0\0\0\0"
	  "\6\0\0\0\10\0\0\0\0\0\0\0", 12, 12 },
};
#define N_FRAMES (int)(sizeof(frames) / sizeof(frames[0]))

static bool is_untouched(const union decoded *decoded)
{
	const unsigned char *bytes = (const unsigned char *)decoded;

	for (size_t i = 0; i < sizeof(*decoded); i++)
		if (bytes[i] != 0xa5)
			return false;
	return true;
}

START_TEST(round_trip)
{
	const struct frame *frame = &frames[_i];
	unsigned char buffer[WIRE_MAX_FRAME], *copy;
	struct wire_header header;
	union decoded got;

	ck_assert_uint_eq(frame->put(buffer), frame->size);
	ck_assert_mem_eq(buffer, frame->bytes, frame->size);
	copy = exact(buffer, frame->size);
	ck_assert_int_eq(wire_get_header(copy, frame->size, &header), 1);
	ck_assert_uint_eq(header.size, frame->size);
	ck_assert_uint_eq(header.type, frame->type);
	ck_assert_uint_eq(header.request, frame->request);
	ck_assert_int_eq(frame->get(copy, frame->size, &got), 0);
	frame->check(&got);
	free(copy);
}
END_TEST

/* A frame that says any other size than its body's is refused by its decoder. */
START_TEST(every_size)
{
	const struct frame *frame = &frames[_i];
	unsigned char buffer[WIRE_MAX_FRAME];

	memset(buffer, 'x', sizeof(buffer));
	frame->put(buffer);
	for (size_t size = 0; size <= WIRE_MAX_FRAME; size++) {
		/* Large ones: what is in between is the same. */
		if (size == WIRE_SMALL_FRAME)
			size = WIRE_HEADER_SIZE + WIRE_MAX_DATA;
		bool fits = size >= WIRE_HEADER_SIZE + frame->min &&
			    size <= WIRE_HEADER_SIZE + frame->max;
		unsigned char *copy = exact(buffer, size);
		union decoded got;

		memset(&got, 0xa5, sizeof(got));
		ck_assert_msg((frame->get(copy, size, &got) == 0) == fits, "size %zu", size);
		ck_assert_msg(fits || is_untouched(&got), "size %zu", size);
		free(copy);
	}
}
END_TEST

START_TEST(header_of_a_part)
{
	const struct frame *frame = &frames[_i];
	struct wire_header header = { .type = 0xa5a5 };

	for (size_t size = 0; size < frame->size; size++) {
		unsigned char *copy = exact(frame->bytes, size);

		ck_assert_int_eq(wire_get_header(copy, size, &header), 0);
		ck_assert_uint_eq(header.type, 0xa5a5);
		free(copy);
	}
	/* And with the next frame already behind it */
	ck_assert_int_eq(wire_get_header(frame->bytes, sizeof(frame->bytes), &header), 1);
	ck_assert_uint_eq(header.size, frame->size);
}
END_TEST

START_TEST(header_limits)
{
	static const struct {
		uint32_t size;
		int result;
	} table[] = {
		{ 0, -EBADMSG },
		{ WIRE_HEADER_SIZE - 1, -EBADMSG },
		{ WIRE_HEADER_SIZE, 1 },
		{ WIRE_MAX_FRAME, 1 },
		{ WIRE_MAX_FRAME + 1, -EMSGSIZE },
		{ 0x20000, -EMSGSIZE },
		{ UINT32_MAX, -EMSGSIZE },
	};
	static unsigned char frame[WIRE_MAX_FRAME];
	struct wire_header header = { .type = 0xa5a5 };

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		for (int j = 0; j < 4; j++)
			frame[j] = (unsigned char)(table[i].size >> 8 * j);
		ck_assert_int_eq(wire_get_header(frame, sizeof(frame), &header), table[i].result);
		if (table[i].result < 0) { /* told as soon as the size is there */
			ck_assert_int_eq(wire_get_header(frame, 4, &header), table[i].result);
			ck_assert_int_eq(wire_get_header(frame, 3, &header), 0);
		}
	}
}
END_TEST

START_TEST(reserved_bits_of_the_header)
{
	for (unsigned bit = 0; bit < 16; bit++) {
		unsigned char frame[12] = { 12 };
		struct wire_header header = { .type = 0xa5a5 };

		frame[6 + bit / 8] = (unsigned char)(1u << bit % 8);
		ck_assert_int_eq(wire_get_header(frame, sizeof(frame), &header), -EBADMSG);
		ck_assert_uint_eq(header.type, 0xa5a5);
	}
}
END_TEST

/* --- bad fields -------------------------------------------------------------------------------------- */

/* The body's byte `at` (of the example above) becomes this. */
static const struct {
	enum wire_type type;
	size_t at;
	unsigned char byte;
} bad[] = {
	{ WIRE_HELLO, 0, 'Q' },	   { WIRE_HELLO, 3, 0 },
	{ WIRE_HELLO, 5, 0xff }, /* lowest above highest */
	{ WIRE_WELCOME, 0, 0 },	 /* version 0 */
	{ WIRE_WELCOME, 2, 1 },	   { WIRE_WELCOME, 3, 0x80 },
	{ WIRE_WELCOME, 5, 0x5 },			   /* frames larger than any */
	{ WIRE_WELCOME, 7, 1 },
	{ WIRE_OPEN, 0, 0x10 },	   { WIRE_OPEN, 0, 0xa }, /* echo without socket */
	{ WIRE_OPEN, 0, 2 },	   /* last without socket */
	{ WIRE_OPEN, 1, 1 },	   { WIRE_OPEN, 3, 0x80 },
	{ WIRE_OPEN, 24, 'a' },	   /* relative */
	{ WIRE_OPEN, 24, '\0' },   { WIRE_OPEN, 27, '\0' },
	{ WIRE_OPEN, 30, '\0' },   { WIRE_OPENED, 4, 4 },
	{ WIRE_OPENED, 7, 1 },	   { WIRE_OPENED, 12, 1 },
	{ WIRE_OPENED, 15, 1 },	   { WIRE_ERROR, 0, 0 }, /* no error */
	{ WIRE_ERROR, 1, 0x10 },   { WIRE_ERROR, 3, 0x80 },
	{ WIRE_PUBLISH, 4, 5 },	   /* a key longer than what there is */
	{ WIRE_PUBLISH, 5, 1 },	   { WIRE_PUBLISH, 7, 0x80 },
	{ WIRE_SET_STATE, 4, 2 },  { WIRE_SET_STATE, 7, 1 },
	{ WIRE_SET_STATE, 4, 0 },  /* does not compare, but expects something */
	{ WIRE_SYNCED, 0, 1 },	   /* fewer than have caught up */
	{ WIRE_SYNCED, 0, 2 },	   /* more laggards than there can be */
	{ WIRE_SYNCED, 12, 0 },	   { WIRE_SYNCED, 12, 2 },
	{ WIRE_SYNCED, 15, 8 },	   /* so many that the size wraps */
	{ WIRE_SYNCED, 47, 1 },	   /* a command without an end */
	{ WIRE_EVENT_POST, 12, 0 }, { WIRE_EVENT_GAP, 12, 0 },
	{ WIRE_EVENT_MESSAGE, 4, 5 }, { WIRE_EVENT_MESSAGE, 5, 1 },
};
#define N_BAD (int)(sizeof(bad) / sizeof(bad[0]))

START_TEST(bad_fields)
{
	for (int i = 0; i < N_FRAMES; i++) {
		unsigned char *copy;
		union decoded got;

		if (frames[i].type != bad[_i].type)
			continue;
		memset(&got, 0xa5, sizeof(got));
		copy = exact(frames[i].bytes, frames[i].size);
		copy[WIRE_HEADER_SIZE + bad[_i].at] = bad[_i].byte;
		ck_assert_int_eq(frames[i].get(copy, frames[i].size, &got), -EBADMSG);
		ck_assert(is_untouched(&got));
		free(copy);
		return;
	}
	ck_abort_msg("no such frame");
}
END_TEST

START_TEST(welcome_without_paths)
{
	unsigned char frame[WIRE_MAX_FRAME];
	struct wire_welcome got;
	size_t size = wire_put_welcome(
		frame, 1, &(struct wire_welcome){ .version = 1, .max_frame = WIRE_MIN_FRAME });

	ck_assert_int_eq(wire_get_welcome(frame, size, &got), -EBADMSG);
	size = wire_put_welcome(
		frame, 1, &(struct wire_welcome){ .version = 1, .max_frame = WIRE_MIN_FRAME - 1, .max_path = 1 });
	ck_assert_int_eq(wire_get_welcome(frame, size, &got), -EBADMSG);
}
END_TEST

/* The largest message and the longest key, together; and one byte more of either. */
START_TEST(longest_message)
{
	static unsigned char frame[WIRE_MAX_FRAME + 2], content[WIRE_MAX_KEY + 1 + WIRE_MAX_DATA + 1];
	struct wire_message message = { .topic = 1, .key = content, .key_size = WIRE_MAX_KEY, .data = content,
					.data_size = WIRE_MAX_DATA }, got_message;
	struct wire_publish publish = { .topic = 1, .key = content, .key_size = WIRE_MAX_KEY, .data = content,
					.data_size = WIRE_MAX_DATA }, got_publish;
	struct wire_header header;
	unsigned char *copy;
	size_t size;

	memset(content, 'c', sizeof(content));
	size = wire_put_message(frame, &message);
	ck_assert_uint_le(size, WIRE_MAX_FRAME);
	copy = exact(frame, size);
	ck_assert_int_eq(wire_get_header(copy, size, &header), 1);
	ck_assert_int_eq(wire_get_message(copy, size, &got_message), 0);
	ck_assert_uint_eq(got_message.key_size, WIRE_MAX_KEY);
	ck_assert_uint_eq(got_message.data_size, WIRE_MAX_DATA);
	free(copy);
	size = wire_put_publish(frame, 1, &publish);
	copy = exact(frame, size);
	ck_assert_int_eq(wire_get_publish(copy, size, &got_publish), 0);
	ck_assert_uint_eq(got_publish.data_size, WIRE_MAX_DATA);
	ck_assert_ptr_eq(got_publish.data, copy + WIRE_HEADER_SIZE + 16 + WIRE_MAX_KEY);
	free(copy);
	publish.data_size++;
	publish.key_size--;
	ck_assert_int_eq(wire_get_publish(frame, wire_put_publish(frame, 1, &publish), &got_publish), -EBADMSG);
	publish.data_size = 0;
	publish.key_size = WIRE_MAX_KEY + 1;
	ck_assert_int_eq(wire_get_publish(frame, wire_put_publish(frame, 1, &publish), &got_publish), -EBADMSG);
	message.key_size = WIRE_MAX_KEY + 1;
	message.data_size = 0;
	ck_assert_int_eq(wire_get_message(frame, wire_put_message(frame, &message), &got_message), -EBADMSG);
}
END_TEST

START_TEST(most_laggards)
{
	struct wire_laggard laggards[WIRE_MAX_LAGGARDS + 1], one;
	static unsigned char frame[WIRE_MAX_FRAME];
	struct wire_synced synced = { .n_subscribers = 1000, .n_laggards = WIRE_MAX_LAGGARDS }, got;
	size_t size;

	memset(laggards, 0, sizeof(laggards));
	for (unsigned i = 0; i <= WIRE_MAX_LAGGARDS; i++)
		laggards[i].pid = i;
	size = wire_put_synced(frame, 1, &synced, laggards);
	ck_assert_uint_le(size, WIRE_SMALL_FRAME);
	ck_assert_int_eq(wire_get_synced(frame, size, &got), 0);
	wire_get_laggard(&got, WIRE_MAX_LAGGARDS - 1, &one);
	ck_assert_uint_eq(one.pid, WIRE_MAX_LAGGARDS - 1);
	synced.n_laggards++;
	ck_assert_int_eq(wire_get_synced(frame, wire_put_synced(frame, 1, &synced, laggards), &got), -EBADMSG);
}
END_TEST

/* Whatever one bit of a frame is changed to: it is refused, or comes back as it then is. */
START_TEST(every_bit)
{
	const struct frame *frame = &frames[_i];

	for (size_t bit = 0; bit < 8 * frame->size; bit++) {
		unsigned char *copy = exact(frame->bytes, frame->size);
		struct wire_header header;
		union decoded got;

		copy[bit / 8] ^= (unsigned char)(1u << bit % 8);
		memset(&got, 0xa5, sizeof(got));
		if (wire_get_header(copy, frame->size, &header) == 1 && header.size == frame->size)
			ck_assert(frame->get(copy, frame->size, &got) == 0 || is_untouched(&got));
		free(copy);
	}
}
END_TEST

START_TEST(longest_path)
{
	static char path[WIRE_MAX_PATH + 1];
	unsigned char frame[WIRE_MAX_FRAME], *copy;
	struct wire_open open = { .flags = 3, .path = path, .path_size = WIRE_MAX_PATH }, got;
	size_t size;

	memset(path, '/', sizeof(path));
	size = wire_put_open(frame, 1, &open);
	copy = exact(frame, size);
	ck_assert_int_eq(wire_get_open(copy, size, &got), 0);
	ck_assert_uint_eq(got.path_size, WIRE_MAX_PATH);
	ck_assert_ptr_eq(got.path, copy + WIRE_HEADER_SIZE + 24);
	free(copy);
	open.path_size++;
	size = wire_put_open(frame, 1, &open);
	ck_assert_int_eq(wire_get_open(frame, size, &got), -EBADMSG);
}
END_TEST

START_TEST(long_error_text_is_cut)
{
	char text[400];
	unsigned char frame[WIRE_MAX_FRAME];
	struct wire_error got;
	size_t size;

	memset(text, 'e', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	size = wire_put_error(frame, 1, 4095, text);
	ck_assert_uint_le(size, WIRE_MIN_FRAME);
	ck_assert_int_eq(wire_get_error(frame, size, &got), 0);
	ck_assert_uint_eq(got.error, 4095);
	ck_assert_uint_eq(got.text_size, WIRE_MAX_TEXT);
	size = wire_put_error(frame, 0, 1, "");
	ck_assert_int_eq(wire_get_error(frame, size, &got), 0);
	ck_assert_uint_eq(got.text_size, 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(round_trip, N_FRAMES),       HARNESS_CASE_EACH(every_size, N_FRAMES),
	HARNESS_CASE_EACH(header_of_a_part, N_FRAMES), HARNESS_CASE(header_limits),
	HARNESS_CASE(reserved_bits_of_the_header),     HARNESS_CASE_EACH(bad_fields, N_BAD),
	HARNESS_CASE_EACH(every_bit, N_FRAMES),	       HARNESS_CASE(longest_message),
	HARNESS_CASE(most_laggards),
	HARNESS_CASE(welcome_without_paths),	       HARNESS_CASE(longest_path),
	HARNESS_CASE(long_error_text_is_cut),	       { 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "wire", .cases = cases });
}
