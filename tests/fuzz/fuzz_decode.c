/* SPDX-License-Identifier: MIT */
/*
 * fuzz_decode.c - arbitrary bytes for everything that reads what a peer or a file says: the frames, the page of
 * a lane, names that are printed.
 *
 * The first byte of an input says which of them reads the rest. What is accepted must keep what its header
 * promises, and a frame that is accepted comes back the same when it is written again. The function is
 * libFuzzer's; fuzz_main.c runs it without one.
 */
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "page.h"
#include "wire.h"
#include "wire_region.h"
#include "wire_endpoint.h"
#include "wire_member.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Says what was expected, and dies: whoever runs this keeps the input. */
#define expect(condition)                                                                          \
	do {                                                                                       \
		if (!(condition)) {                                                                \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

/* --- frames ------------------------------------------------------------------------------------------ */

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
	struct wire_region_open region_open;
	struct wire_region region;
	struct wire_region_close region_close;
	struct wire_restored restored;
	struct wire_region_list region_list;
	struct wire_region_restore region_restore;
};

/* That a text lies within its frame. */
static void expect_within(const uint8_t *frame, size_t size, const void *text, size_t text_size)
{
	const uint8_t *at = text;

	expect(at >= frame + WIRE_HEADER_SIZE && text_size <= size);
	expect((size_t)(at - frame) + text_size == size);
}

static size_t again_open(const uint8_t *frame, size_t size, void *to,
			 const struct wire_header *header)
{
	struct wire_open open;

	if (wire_get_open(frame, size, &open) != 0)
		return 0;
	expect_within(frame, size, open.path, open.path_size);
	expect(open.path_size >= 1 && open.path_size <= WIRE_MAX_PATH && open.path[0] == '/');
	expect(!memchr(open.path, '\0', open.path_size));
	return wire_put_open(to, header->request, &open);
}

static size_t again_error(const uint8_t *frame, size_t size, void *to,
			  const struct wire_header *header)
{
	struct wire_error error;
	char text[WIRE_MAX_TEXT + 1];

	if (wire_get_error(frame, size, &error) != 0)
		return 0;
	expect_within(frame, size, error.text, error.text_size);
	expect(error.error > 0 && error.error <= 4095 && error.text_size <= WIRE_MAX_TEXT);
	if (memchr(error.text, '\0', error.text_size))
		return 0; /* cannot be written so */
	memcpy(text, error.text, error.text_size);
	text[error.text_size] = '\0';
	return wire_put_error(to, header->request, (int)error.error, text);
}

static size_t again_pong(const uint8_t *frame, size_t size, void *to,
			 const struct wire_header *header)
{
	struct wire_pong pong;

	if (wire_get_pong(frame, size, &pong) != 0)
		return 0;
	expect_within(frame, size, pong.version, pong.version_size);
	expect(pong.version_size <= WIRE_MAX_TEXT);
	return wire_put_pong(to, header->request, &pong);
}

static size_t again_publish(const uint8_t *frame, size_t size, void *to,
			    const struct wire_header *header)
{
	struct wire_publish publish;

	if (wire_get_publish(frame, size, &publish) != 0)
		return 0;
	expect_within(frame, size, publish.data, publish.data_size);
	expect((const uint8_t *)publish.key + publish.key_size == publish.data);
	expect(publish.key_size <= WIRE_MAX_KEY && publish.data_size <= WIRE_MAX_DATA);
	return wire_put_publish(to, header->request, &publish);
}

static size_t again_message(const uint8_t *frame, size_t size, void *to)
{
	struct wire_message message;

	if (wire_get_message(frame, size, &message) != 0)
		return 0;
	expect_within(frame, size, message.data, message.data_size);
	expect((const uint8_t *)message.key + message.key_size == message.data);
	expect(message.key_size <= WIRE_MAX_KEY && message.data_size <= WIRE_MAX_DATA);
	return wire_put_message(to, &message);
}

static size_t again_synced(const uint8_t *frame, size_t size, void *to,
			   const struct wire_header *header)
{
	static struct wire_laggard laggards[WIRE_MAX_LAGGARDS];
	struct wire_synced synced;

	if (wire_get_synced(frame, size, &synced) != 0)
		return 0;
	expect(synced.n_laggards <= WIRE_MAX_LAGGARDS && synced.n_caught_up <= synced.n_subscribers);
	for (uint32_t i = 0; i < synced.n_laggards; i++) {
		wire_get_laggard(&synced, i, &laggards[i]);
		expect(memchr(laggards[i].command, '\0', sizeof(laggards[i].command)));
	}
	return wire_put_synced(to, header->request, &synced, laggards);
}

static size_t again_regions(const uint8_t *frame, size_t size, void *to, const struct wire_header *header)
{
	struct wire_region_holder holders[WIRE_REGION_HOLDERS];
	struct wire_regions regions;

	if (wire_get_regions(frame, size, &regions) != 0)
		return 0;
	expect(regions.n_listed <= WIRE_REGION_HOLDERS && regions.n_listed <= regions.n_holders);
	expect_within(frame, size, regions.name, regions.name_size);
	for (uint32_t i = 0; i < regions.n_listed; i++)
		wire_get_region_holder(&regions, i, &holders[i]);
	return wire_put_regions(to, header->request, &regions, holders);
}

static size_t again_region(const uint8_t *frame, size_t size, void *to, const struct wire_header *header)
{
	union decoded got;

	switch (header->type) {
	case WIRE_REGION_OPEN:
		if (wire_get_region_open(frame, size, &got.region_open) != 0)
			return 0;
		expect_within(frame, size, got.region_open.name, got.region_open.name_size);
		return wire_put_region_open(to, header->request, &got.region_open);
	case WIRE_REGION_CLOSE:
		return wire_get_region_close(frame, size, &got.region_close) == 0 ?
			       wire_put_region_close(to, &got.region_close) : 0;
	case WIRE_REGION_RESTORE:
		if (wire_get_region_restore(frame, size, &got.region_restore) != 0)
			return 0;
		expect_within(frame, size, got.region_restore.name, got.region_restore.name_size);
		return wire_put_region_restore(to, header->request, &got.region_restore);
	case WIRE_REGION_LIST:
		return wire_get_region_list(frame, size, &got.region_list) == 0 ?
			       wire_put_region_list(to, header->request, &got.region_list) : 0;
	case WIRE_REGION:
		return wire_get_region(frame, size, &got.region) == 0 ? wire_put_region(to, header->request, &got.region) : 0;
	case WIRE_RESTORED:
		return wire_get_restored(frame, size, &got.restored) == 0 ?
			       wire_put_restored(to, header->request, &got.restored) : 0;
	default:
		return again_regions(frame, size, to, header);
	}
}

/* --- frames of endpoints */

static void expect_name(const uint8_t *frame, size_t size, const char *name, uint32_t name_size)
{
	const uint8_t *at = (const uint8_t *)name;

	expect(name_size >= 1 && name_size <= WIRE_MAX_ENDPOINT_NAME && !memchr(name, '\0', name_size));
	expect(at > frame && at + name_size <= frame + size);
}

static size_t again_listen(const uint8_t *frame, size_t size, void *to, uint32_t request)
{
	struct wire_listen got;

	if (wire_get_listen(frame, size, &got) != 0)
		return 0;
	expect_name(frame, size, got.name, got.name_size);
	return wire_put_listen(to, request, &got);
}

static size_t again_connect(const uint8_t *frame, size_t size, void *to, const struct wire_header *header)
{
	bool is_token = header->type == WIRE_TOKEN;
	struct wire_connect got;

	if ((is_token ? wire_get_token(frame, size, &got) : wire_get_connect(frame, size, &got)) != 0)
		return 0;
	expect_name(frame, size, got.name, got.name_size);
	return is_token ? wire_put_token(to, header->request, &got) : wire_put_connect(to, header->request, &got);
}

static size_t again_endpoints(const uint8_t *frame, size_t size, void *to, uint32_t request)
{
	struct wire_endpoints got;

	if (wire_get_endpoints(frame, size, &got) != 0)
		return 0;
	expect(got.n <= WIRE_MAX_ENDPOINTS);
	for (uint32_t i = 0; i < got.n; i++) {
		expect_name(frame, size, got.entries[i].name, got.entries[i].name_size);
		expect(memchr(got.entries[i].command, '\0', sizeof(got.entries[i].command)));
	}
	return wire_put_endpoints(to, request, &got);
}

static size_t again_endpoint(const uint8_t *frame, size_t size, void *to, const struct wire_header *header)
{
	union {
		struct wire_endpoint endpoint;
		struct wire_taken taken;
		struct wire_cancel cancel;
		struct wire_redeem redeem;
		struct wire_token_made made;
		struct wire_connected connected;
		struct wire_connection connection;
		struct wire_unlistened unlistened;
		struct wire_endpoint_list list;
		struct wire_member_list member_list;
		struct wire_members members;
	} got;
	uint32_t request = header->request;

	switch (header->type) {
	case WIRE_LISTEN:
		return again_listen(frame, size, to, request);
	case WIRE_CONNECT:
	case WIRE_TOKEN:
		return again_connect(frame, size, to, header);
	case WIRE_ENDPOINTS:
		return again_endpoints(frame, size, to, request);
	case WIRE_UNLISTEN:
		return wire_get_endpoint(frame, size, &got.endpoint) ? 0 : wire_put_unlisten(to, request, &got.endpoint);
	case WIRE_LISTENING:
		return wire_get_endpoint(frame, size, &got.endpoint) ? 0 : wire_put_listening(to, request, &got.endpoint);
	case WIRE_TAKEN:
		return wire_get_taken(frame, size, &got.taken) ? 0 : wire_put_taken(to, &got.taken);
	case WIRE_CANCEL:
		return wire_get_cancel(frame, size, &got.cancel) ? 0 : wire_put_cancel(to, &got.cancel);
	case WIRE_REDEEM:
		return wire_get_redeem(frame, size, &got.redeem) ? 0 : wire_put_redeem(to, request, &got.redeem);
	case WIRE_TOKEN_MADE:
		return wire_get_token_made(frame, size, &got.made) ? 0 : wire_put_token_made(to, request, &got.made);
	case WIRE_CONNECTED:
		return wire_get_connected(frame, size, &got.connected) ? 0 : wire_put_connected(to, request, &got.connected);
	case WIRE_EVENT_CONNECTION:
		return wire_get_connection(frame, size, &got.connection) ? 0 : wire_put_connection(to, &got.connection);
	case WIRE_EVENT_UNLISTENED:
		return wire_get_unlistened(frame, size, &got.unlistened) ? 0 : wire_put_unlistened(to, &got.unlistened);
	case WIRE_ENDPOINT_LIST:
		return wire_get_endpoint_list(frame, size, &got.list) ? 0 : wire_put_endpoint_list(to, request, &got.list);
	case WIRE_MEMBER_LIST:
		return wire_get_member_list(frame, size, &got.member_list) ? 0 :
		       wire_put_member_list(to, request, &got.member_list);
	case WIRE_MEMBERS:
		return wire_get_members(frame, size, &got.members) ? 0 : wire_put_members(to, request, &got.members);
	default:
		return 0;
	}
}

/* Decodes a whole frame and writes it again. Returns its size, 0: it was refused. */
static size_t again(const uint8_t *frame, size_t size, void *to, const struct wire_header *header)
{
	union decoded got;

	switch (header->type) {
	case WIRE_HELLO:
		return wire_get_hello(frame, size, &got.hello) == 0
			       ? wire_put_hello(to, header->request, &got.hello)
			       : 0;
	case WIRE_OPEN:
		return again_open(frame, size, to, header);
	case WIRE_CLOSE:
		return wire_get_close(frame, size, &got.close) == 0 ? wire_put_close(to, &got.close)
								    : 0;
	case WIRE_PING:
		return wire_get_empty(frame, size) == 0 ? wire_put_ping(to, header->request) : 0;
	case WIRE_GOODBYE:
		return wire_get_empty(frame, size) == 0 ? wire_put_goodbye(to) : 0;
	case WIRE_WELCOME:
		return wire_get_welcome(frame, size, &got.welcome) == 0
			       ? wire_put_welcome(to, header->request, &got.welcome)
			       : 0;
	case WIRE_OPENED:
		return wire_get_opened(frame, size, &got.opened) == 0
			       ? wire_put_opened(to, header->request, &got.opened)
			       : 0;
	case WIRE_ERROR:
		return again_error(frame, size, to, header);
	case WIRE_PONG:
		return again_pong(frame, size, to, header);
	case WIRE_POST:
		return wire_get_topic(frame, size, &got.topic) == 0
			       ? wire_put_post(to, header->request, &got.topic)
			       : 0;
	case WIRE_GET_STATE:
		return wire_get_topic(frame, size, &got.topic) == 0
			       ? wire_put_get_state(to, header->request, &got.topic)
			       : 0;
	case WIRE_PUBLISH:
		return again_publish(frame, size, to, header);
	case WIRE_SET_STATE:
		return wire_get_set_state(frame, size, &got.set_state) == 0
			       ? wire_put_set_state(to, header->request, &got.set_state)
			       : 0;
	case WIRE_SEEN:
		return wire_get_seen(frame, size, &got.seen) == 0 ? wire_put_seen(to, &got.seen)
								  : 0;
	case WIRE_SYNC:
		return wire_get_sync(frame, size, &got.sync) == 0
			       ? wire_put_sync(to, header->request, &got.sync)
			       : 0;
	case WIRE_DONE:
		return wire_get_empty(frame, size) == 0 ? wire_put_done(to, header->request) : 0;
	case WIRE_STATE:
		return wire_get_state(frame, size, &got.state) == 0
			       ? wire_put_state(to, header->request, &got.state)
			       : 0;
	case WIRE_SYNCED:
		return again_synced(frame, size, to, header);
	case WIRE_EVENT_POST:
	case WIRE_EVENT_GAP:
	case WIRE_EVENT_RESYNC:
		return wire_get_event(frame, size, header->type, &got.event) == 0
			       ? wire_put_event(to, header->type, &got.event)
			       : 0;
	case WIRE_EVENT_MESSAGE:
		return again_message(frame, size, to);
	case WIRE_REGION_OPEN:
	case WIRE_REGION_CLOSE:
	case WIRE_REGION_RESTORE:
	case WIRE_REGION_LIST:
	case WIRE_REGION:
	case WIRE_RESTORED:
	case WIRE_REGIONS:
		return again_region(frame, size, to, header);
	default:
		return again_endpoint(frame, size, to, header);
	}
}

/* A stream of frames, as a connection takes it apart. */
static void fuzz_stream(const uint8_t *data, size_t size)
{
	static unsigned char written[WIRE_MAX_FRAME];

	while (size > 0) {
		unsigned char same[WIRE_HEADER_SIZE];
		struct wire_header header;
		size_t n;

		if (wire_get_header(data, size, &header) != 1)
			return;
		expect(header.size >= WIRE_HEADER_SIZE && header.size <= size);
		expect(header.size <= WIRE_MAX_FRAME);
		n = again(data, header.size, written, &header);
		if (n > 0) {
			expect(n == header.size);
			memcpy(same, written, sizeof(same));
			if (header.type == WIRE_CLOSE || header.type == WIRE_GOODBYE ||
			    header.type == WIRE_SEEN || header.type == WIRE_REGION_CLOSE ||
			    header.type == WIRE_TAKEN || header.type == WIRE_CANCEL ||
			    (header.type >= WIRE_EVENT_POST && header.type <= WIRE_EVENT_RESYNC) ||
			    header.type >= WIRE_EVENT_CONNECTION)
				memcpy(same + 8, data + 8,
				       4); /* which carry no request of their own */
			expect(memcmp(same, data, sizeof(same)) == 0);
			expect(memcmp(written + sizeof(same), data + sizeof(same),
				      n - sizeof(same)) == 0);
		}
		data += header.size;
		size -= header.size;
	}
}

/* The bytes as a frame for each decoder, whatever their header says. */
static void fuzz_bodies(const uint8_t *data, size_t size)
{
	static const uint16_t types[] = { WIRE_HELLO,  WIRE_OPEN,    WIRE_CLOSE,
					  WIRE_PING,   WIRE_GOODBYE, WIRE_WELCOME,
					  WIRE_OPENED, WIRE_ERROR,   WIRE_PONG,
					  WIRE_POST,   WIRE_PUBLISH, WIRE_SET_STATE,
					  WIRE_SEEN,   WIRE_SYNC,    WIRE_STATE,
					  WIRE_SYNCED, WIRE_EVENT_POST, WIRE_EVENT_RESYNC,
					  WIRE_EVENT_MESSAGE, WIRE_REGION_OPEN, WIRE_REGION_CLOSE,
					  WIRE_REGION_RESTORE, WIRE_REGION_LIST, WIRE_REGION,
					  WIRE_RESTORED, WIRE_REGIONS, WIRE_LISTEN, WIRE_UNLISTEN, WIRE_CONNECT,
					  WIRE_TOKEN, WIRE_REDEEM, WIRE_ENDPOINT_LIST, WIRE_TAKEN,
					  WIRE_CANCEL, WIRE_LISTENING, WIRE_CONNECTED, WIRE_TOKEN_MADE,
					  WIRE_ENDPOINTS, WIRE_EVENT_CONNECTION,
					  WIRE_EVENT_UNLISTENED, WIRE_MEMBER_LIST, WIRE_MEMBERS };
	static unsigned char written[WIRE_MAX_FRAME];

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		again(data, size, written, &(struct wire_header){ .type = types[i] });
}

/* --- the page of a lane ------------------------------------------------------------------------------- */

static void fuzz_page(const uint8_t *data, size_t size)
{
	static const uint8_t id[PAGE_ID_SIZE] = { 1, 2, 3, 4 };
	static const struct topic_key key = {
		.dir_dev = 1, .dir_ino = 2, .name_size = 4, .name = "file"
	};
	static const struct lane_shape shape = { .ring_slots = 256, .max_message = 4096 };
	struct lane_shape got;
	static union {
		struct page page;
		uint8_t bytes[PAGE_SIZE_BYTES];
	} shared;
	int r;

	/* A good page, over which the input is laid: two bytes of offset, then what stands there. */
	memset(&shared, 0, sizeof(shared));
	page_init(&shared.page, &key, 42, id, &shape);
	while (size >= 3) {
		size_t offset = (data[0] | (size_t)data[1] << 8) % PAGE_SIZE_BYTES;

		shared.bytes[offset] = data[2];
		data += 3;
		size -= 3;
	}
	r = page_check(&shared.page, &key, 42);
	expect(r <= 0);
	if (r == 0)
		expect(shared.page.magic == PAGE_MAGIC && shared.page.abi == PAGE_ABI &&
		       shared.page.inode == 42 && key_equal(&shared.page.key, &key) &&
		       page_shape(&shared.page, &got) == 0 &&
		       (uint64_t)got.ring_slots * got.max_message <= LANE_MAX_BYTES);
}

/* --- names ------------------------------------------------------------------------------------------- */

static size_t unescape(const char *from, size_t size, uint8_t *to)
{
	size_t used = 0;

	for (size_t i = 0; i < size; i++) {
		unsigned byte;

		if (from[i] != '\\') {
			to[used++] = (uint8_t)from[i];
		} else if (i + 1 < size && from[i + 1] == '\\') {
			to[used++] = '\\';
			i++;
		} else {
			expect(i + 3 < size && sscanf(from + i, "\\x%2x", &byte) == 1);
			to[used++] = (uint8_t)byte;
			i += 3;
		}
	}
	return used;
}

static void fuzz_escape(const uint8_t *data, size_t size)
{
	char *text = malloc(ESCAPE_SIZE(size)), *part;
	uint8_t *back = malloc(ESCAPE_SIZE(size));
	size_t n, room;

	expect(text && back);
	n = escape((const char *)data, size, text, ESCAPE_SIZE(size));
	expect(n < ESCAPE_SIZE(size) && text[n] == '\0' && strlen(text) == n);
	for (size_t i = 0; i < n; i++)
		expect((unsigned char)text[i] >= 0x20 && text[i] != 0x7f);
	expect(unescape(text, n, back) == size && memcmp(back, data, size) == 0);

	/* In less room: the beginning of the same. */
	room = size ? data[0] % (n + 1) : 0;
	part = malloc(room ? room : 1);
	expect(part);
	n = escape((const char *)data, size, part, room);
	expect(room == 0 ? n == 0 : n < room && part[n] == '\0' && memcmp(part, text, n) == 0);
	free(part);
	free(back);
	free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static void (*const readers[])(const uint8_t *data, size_t size) = { fuzz_stream,
									     fuzz_bodies, fuzz_page,
									     fuzz_escape };
	uint8_t *copy;

	if (size == 0)
		return 0;
	/* In a block of its own and of exactly its size, so that the address sanitizer sees its end. */
	copy = malloc(size - 1 ? size - 1 : 1);
	expect(copy);
	memcpy(copy, data + 1, size - 1);
	readers[data[0] % (sizeof(readers) / sizeof(readers[0]))](copy, size - 1);
	free(copy);
	return 0;
}
