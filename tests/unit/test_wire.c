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
							.max_frame = 8192,
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
	ck_assert_uint_eq(got->welcome.max_frame, 8192);
	ck_assert_uint_eq(got->welcome.max_path, 4095);
	ck_assert_uint_eq(got->welcome.pid, 1234);
	ck_assert_mem_eq(got->welcome.id, "0123456789abcde", 16);
}

static size_t put_open(void *to)
{
	return wire_put_open(to, 8,
			     &(struct wire_open){ .flags = WIRE_RIGHT_POST,
						  .path = "/a/\xff.db",
						  .path_size = 7 });
}

static int get_open(const void *frame, size_t size, union decoded *ret)
{
	return wire_get_open(frame, size, &ret->open);
}

static void check_open(const union decoded *got)
{
	ck_assert_uint_eq(got->open.flags, WIRE_RIGHT_POST);
	ck_assert_uint_eq(got->open.path_size, 7);
	ck_assert_mem_eq(got->open.path, "/a/\xff.db", 7);
}

static size_t put_opened(void *to)
{
	return wire_put_opened(
		to, 8,
		&(struct wire_opened){ .topic = 0xfffefdfc, .rights = 3, .slot = WIRE_NO_SLOT });
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

static const struct frame {
	enum wire_type type;
	uint32_t request;
	size_t (*put)(void *to);
	int (*get)(const void *frame, size_t size, union decoded *ret);
	void (*check)(const union decoded *got);
	size_t size;
	unsigned char bytes[64];
	size_t min, max; /* of the body */
} frames[] = {
	{ WIRE_HELLO, 0x01020304, put_hello, get_hello, check_hello, 20,
	  "\x14\0\0\0\1\0\0\0\4\3\2\1PBUS\1\0\3\2", 8, 8 },
	{ WIRE_WELCOME, 7, put_welcome, get_welcome, check_welcome, 44,
	  "\x2c\0\0\0\x40\0\0\0\7\0\0\0\1\0\0\0\0\x20\0\0\xff\x0f\0\0\xd2\x04\0\0"
	  "0123456789abcde",
	  32, 32 },
	{ WIRE_OPEN, 8, put_open, get_open, check_open, 23,
	  "\x17\0\0\0\2\0\0\0\x8\0\0\0\2\0\0\0/a/\xff.db", 5, 4 + WIRE_MAX_PATH },
	{ WIRE_OPENED, 8, put_opened, get_opened, check_opened, 28,
	  "\x1c\0\0\0\x41\0\0\0\x8\0\0\0\xfc\xfd\xfe\xff\3\0\0\0\xff\xff\xff\xff", 16, 16 },
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
		{ 0x10000, -EMSGSIZE },
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
	{ WIRE_WELCOME, 5, 0x21 },			   /* frames larger than any */
	{ WIRE_WELCOME, 7, 1 },	   { WIRE_WELCOME, 5, 1 }, /* or too small */
	{ WIRE_OPEN, 0, 4 },	   { WIRE_OPEN, 1, 1 },
	{ WIRE_OPEN, 3, 0x80 },	   { WIRE_OPEN, 4, 'a' }, /* relative */
	{ WIRE_OPEN, 4, '\0' },	   { WIRE_OPEN, 7, '\0' },
	{ WIRE_OPEN, 10, '\0' },   { WIRE_OPENED, 4, 4 },
	{ WIRE_OPENED, 7, 1 },	   { WIRE_OPENED, 12, 1 },
	{ WIRE_OPENED, 15, 1 },	   { WIRE_ERROR, 0, 0 }, /* no error */
	{ WIRE_ERROR, 1, 0x10 },   { WIRE_ERROR, 3, 0x80 },
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
	ck_assert_ptr_eq(got.path, copy + WIRE_HEADER_SIZE + 4);
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
	HARNESS_CASE(welcome_without_paths),	       HARNESS_CASE(longest_path),
	HARNESS_CASE(long_error_text_is_cut),	       { 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "wire", .cases = cases });
}
