/* SPDX-License-Identifier: MIT */
/*
 * test_wire_endpoint.c - the codec of the frames of endpoints, and of members: each comes back as it went, byte for byte as documented; what
 * is too short, too long or has a bad field is refused, and nothing is written to the result then.
 */
#include "harness/harness.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "wire_endpoint.h"
#include "wire_member.h"

/* In a block of exactly its size, so that the address sanitizer sees whoever reads past its end. */
static unsigned char *exact(const void *frame, size_t size)
{
	unsigned char *copy = malloc(size ? size : 1);

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, frame, size);
	return copy;
}

union decoded {
	struct wire_listen listen;
	struct wire_endpoint endpoint;
	struct wire_taken taken;
	struct wire_connect connect;
	struct wire_cancel cancel;
	struct wire_redeem redeem;
	struct wire_token_made made;
	struct wire_connected connected;
	struct wire_connection connection;
	struct wire_unlistened unlistened;
	struct wire_endpoint_list list;
	struct wire_endpoints endpoints;
	struct wire_member_list member_list;
	struct wire_members members;
};

/* Writes again what was decoded: the frame must be the same. */
#define FRAME(name, field, request_and)                                                            \
	static int get_##name(const void *frame, size_t size, union decoded *ret)                  \
	{                                                                                          \
		return GET_##name(frame, size, &ret->field);                                       \
	}                                                                                          \
	static size_t put_##name(void *to, uint32_t request, const union decoded *from)            \
	{                                                                                          \
		(void)request;                                                                     \
		return wire_put_##name(to, request_and &from->field);                              \
	}
#define REQUEST request,
#define NO_REQUEST
#define GET_listen wire_get_listen
#define GET_unlisten wire_get_endpoint
#define GET_listening wire_get_endpoint
#define GET_taken wire_get_taken
#define GET_connect wire_get_connect
#define GET_cancel wire_get_cancel
#define GET_token wire_get_token
#define GET_redeem wire_get_redeem
#define GET_token_made wire_get_token_made
#define GET_connected wire_get_connected
#define GET_connection wire_get_connection
#define GET_unlistened wire_get_unlistened
#define GET_endpoint_list wire_get_endpoint_list
#define GET_endpoints wire_get_endpoints
#define GET_member_list wire_get_member_list
#define GET_members wire_get_members
FRAME(listen, listen, REQUEST)
FRAME(unlisten, endpoint, REQUEST)
FRAME(listening, endpoint, REQUEST)
FRAME(taken, taken, NO_REQUEST)
FRAME(connect, connect, REQUEST)
FRAME(cancel, cancel, NO_REQUEST)
FRAME(token, connect, REQUEST)
FRAME(redeem, redeem, REQUEST)
FRAME(token_made, made, REQUEST)
FRAME(connected, connected, REQUEST)
FRAME(connection, connection, NO_REQUEST)
FRAME(unlistened, unlistened, NO_REQUEST)
FRAME(endpoint_list, list, REQUEST)
FRAME(endpoints, endpoints, REQUEST)
FRAME(member_list, member_list, REQUEST)
FRAME(members, members, REQUEST)

static const struct frame {
	enum wire_type type;
	int (*get)(const void *frame, size_t size, union decoded *ret);
	size_t (*put)(void *to, uint32_t request, const union decoded *from);
	uint32_t request;
	size_t size;
	unsigned char body[120];
	size_t min, max; /* of the body */
} frames[] = {
	{ WIRE_LISTEN, get_listen, put_listen, 5, 22, "\1\0\0\0\17\0\0\0" "ab", 9, 8 + 255 },
	{ WIRE_UNLISTEN, get_unlisten, put_unlisten, 0, 16, "\7\0\0\0", 4, 4 },
	{ WIRE_UNLISTEN, get_unlisten, put_unlisten, 9, 16, "\7\0\0\0", 4, 4 },
	{ WIRE_TAKEN, get_taken, put_taken, 0, 20, "\7\0\0\0\3\0\0\0", 8, 8 },
	{ WIRE_CONNECT, get_connect, put_connect, 6, 21, "\1\0\0\0\377\377\377\377x", 9, 8 + 255 },
	{ WIRE_CANCEL, get_cancel, put_cancel, 0, 16, "\6\0\0\0", 4, 4 },
	{ WIRE_TOKEN, get_token, put_token, 7, 21, "\1\0\0\0\0\0\0\0x", 9, 8 + 255 },
	{ WIRE_REDEEM, get_redeem, put_redeem, 8, 32, "\0\1\0\0" "0123456789abcdef", 20, 20 },
	{ WIRE_ENDPOINT_LIST, get_endpoint_list, put_endpoint_list, 9, 28, "\1\0\0\0\0\0\0\0\1\2\3\4\5\6\7\10", 16, 16 },
	{ WIRE_LISTENING, get_listening, put_listening, 5, 16, "\7\0\0\0", 4, 4 },
	{ WIRE_CONNECTED, get_connected, put_connected, 6, 28, "\322\4\0\0\350\3\0\0\351\3\0\0\1\0\0\0", 16, 16 },
	{ WIRE_TOKEN_MADE, get_token_made, put_token_made, 7, 28, "0123456789abcdef", 16, 16 },
	{ WIRE_ENDPOINTS, get_endpoints, put_endpoints, 9, 100,
	  "\5\0\0\0\0\0\0\0\2\0\0\0"
	  "\322\4\0\0\350\3\0\0\15\0\0\0\2\0\0\0server\0\0\0\0\0\0\0\0\0\0\3\0\0\0one"
	  "\323\4\0\0\350\3\0\0\0\0\0\0\0\0\0\0sh\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\0\0x", 88, 88 },
	{ WIRE_EVENT_CONNECTION, get_connection, put_connection, 0, 28, "\7\0\0\0\322\4\0\0\350\3\0\0\351\3\0\0", 16, 16 },
	{ WIRE_EVENT_UNLISTENED, get_unlistened, put_unlistened, 0, 20, "\7\0\0\0\142\0\0\0", 8, 8 },
	{ WIRE_MEMBER_LIST, get_member_list, put_member_list, 9, 28, "\1\0\0\0\0\0\0\0\1\2\3\4\5\6\7\10", 16, 16 },
	{ WIRE_MEMBERS, get_members, put_members, 9, 76,
	  "\5\1\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
	  "\322\4\0\0\350\3\0\0\1\0\0\0\0\0\0\0\1\2\3\4\5\6\7\10\11\0\0\0\0\0\0\0server\0\0\0\0\0\0\0\0\0", 64, 64 },
};
#define N_FRAMES (int)(sizeof(frames) / sizeof(frames[0]))

/* The whole frame, by hand. */
static void lay(const struct frame *frame, unsigned char *to)
{
	const uint32_t size = (uint32_t)frame->size;

	memset(to, 'x', WIRE_SMALL_FRAME);
	for (int i = 0; i < 4; i++) {
		to[i] = (unsigned char)(size >> 8 * i);
		to[8 + i] = (unsigned char)(frame->request >> 8 * i);
	}
	to[4] = (unsigned char)frame->type;
	to[5] = to[6] = to[7] = 0;
	memcpy(to + WIRE_HEADER_SIZE, frame->body, frame->size - WIRE_HEADER_SIZE);
}

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
	unsigned char bytes[WIRE_SMALL_FRAME], again[WIRE_SMALL_FRAME], *copy;
	union decoded got;

	lay(frame, bytes);
	copy = exact(bytes, frame->size);
	ck_assert_int_eq(frame->get(copy, frame->size, &got), 0);
	ck_assert_uint_eq(frame->put(again, frame->request, &got), frame->size);
	ck_assert_mem_eq(again, bytes, frame->size);
	free(copy);
}
END_TEST

START_TEST(every_size)
{
	const struct frame *frame = &frames[_i];
	unsigned char bytes[WIRE_SMALL_FRAME];

	lay(frame, bytes);
	for (size_t size = 0; size <= WIRE_SMALL_FRAME; size++) {
		bool fits = size >= WIRE_HEADER_SIZE + frame->min && size <= WIRE_HEADER_SIZE + frame->max;
		unsigned char *copy = exact(bytes, size);
		union decoded got;

		memset(&got, 0xa5, sizeof(got));
		ck_assert_msg((frame->get(copy, size, &got) == 0) == fits, "size %zu", size);
		ck_assert_msg(fits || is_untouched(&got), "size %zu", size);
		free(copy);
	}
}
END_TEST

/* Whatever one bit is changed to: it is refused, or comes back as it then is. */
START_TEST(every_bit)
{
	const struct frame *frame = &frames[_i];
	unsigned char bytes[WIRE_SMALL_FRAME], again[WIRE_SMALL_FRAME];

	lay(frame, bytes);
	for (size_t bit = 8 * WIRE_HEADER_SIZE; bit < 8 * frame->size; bit++) {
		unsigned char *copy = exact(bytes, frame->size);
		union decoded got;

		copy[bit / 8] ^= (unsigned char)(1u << bit % 8);
		memset(&got, 0xa5, sizeof(got));
		if (frame->get(copy, frame->size, &got) == 0) {
			ck_assert_uint_eq(frame->put(again, frame->request, &got), frame->size);
			ck_assert_mem_eq(again, copy, frame->size);
		} else {
			ck_assert(is_untouched(&got));
		}
		free(copy);
	}
}
END_TEST

/* One byte of the body of a frame, which then is none. */
static const struct {
	enum wire_type type;
	size_t at;
	unsigned char value;
} bad[] = {
	{ WIRE_LISTEN, 4, 16 },      { WIRE_LISTEN, 7, 0x80 },   { WIRE_LISTEN, 8, 0 },         { WIRE_LISTEN, 9, 0 },
	{ WIRE_TAKEN, 4, 0 },        { WIRE_CONNECT, 8, 0 },     { WIRE_CANCEL, 0, 0 },         { WIRE_TOKEN, 4, 1 },
	{ WIRE_TOKEN, 8, 0 },        { WIRE_ENDPOINT_LIST, 4, 1 }, { WIRE_CONNECTED, 12, 2 },   { WIRE_CONNECTED, 13, 1 },
	{ WIRE_ENDPOINTS, 8, 1 },    { WIRE_ENDPOINTS, 8, 3 },   { WIRE_ENDPOINTS, 8, 0 },      { WIRE_ENDPOINTS, 11, 1 },
	{ WIRE_ENDPOINTS, 20, 2 },   { WIRE_ENDPOINTS, 20, 16 }, { WIRE_ENDPOINTS, 43, 'x' },   { WIRE_ENDPOINTS, 44, 0 },
	{ WIRE_ENDPOINTS, 44, 4 },   { WIRE_ENDPOINTS, 45, 1 },  { WIRE_ENDPOINTS, 47, 0xff },  { WIRE_ENDPOINTS, 49, 0 },
	{ WIRE_EVENT_UNLISTENED, 4, 0 }, { WIRE_EVENT_UNLISTENED, 5, 0x10 },
};
#define N_BAD (int)(sizeof(bad) / sizeof(bad[0]))

START_TEST(bad_fields)
{
	unsigned char bytes[WIRE_SMALL_FRAME], *copy;
	const struct frame *frame = frames;
	union decoded got;

	while (frame->type != bad[_i].type)
		frame++;
	lay(frame, bytes);
	bytes[WIRE_HEADER_SIZE + bad[_i].at] = bad[_i].value;
	copy = exact(bytes, frame->size);
	memset(&got, 0xa5, sizeof(got));
	ck_assert_int_eq(frame->get(copy, frame->size, &got), -EBADMSG);
	ck_assert(is_untouched(&got));
	free(copy);
}
END_TEST

START_TEST(largest_list)
{
	static char name[WIRE_MAX_ENDPOINT_NAME];
	unsigned char frame[WIRE_SMALL_FRAME], *copy;
	struct wire_endpoints list = { .n = WIRE_MAX_ENDPOINTS, .next = UINT64_MAX }, got;
	size_t size;

	memset(name, 'n', sizeof(name));
	for (uint32_t i = 0; i < WIRE_MAX_ENDPOINTS; i++)
		list.entries[i] = (struct wire_endpoint_entry){ .pid = i, .name = name, .name_size = sizeof(name) };
	size = wire_put_endpoints(frame, 1, &list);
	ck_assert_uint_le(size, WIRE_SMALL_FRAME);
	copy = exact(frame, size);
	ck_assert_int_eq(wire_get_endpoints(copy, size, &got), 0);
	ck_assert_uint_eq(got.n, WIRE_MAX_ENDPOINTS);
	ck_assert_uint_eq(got.entries[WIRE_MAX_ENDPOINTS - 1].pid, WIRE_MAX_ENDPOINTS - 1);
	ck_assert_mem_eq(got.entries[WIRE_MAX_ENDPOINTS - 1].name, name, sizeof(name));
	copy[WIRE_HEADER_SIZE + 8]++; /* one more than it may name */
	ck_assert_int_eq(wire_get_endpoints(copy, size, &got), -EBADMSG);
	free(copy);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(round_trip, N_FRAMES), HARNESS_CASE_EACH(every_size, N_FRAMES),
	HARNESS_CASE_EACH(every_bit, N_FRAMES),	 HARNESS_CASE_EACH(bad_fields, N_BAD),
	HARNESS_CASE(largest_list),		 { 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "wire_endpoint", .cases = cases });
}
