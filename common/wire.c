/* SPDX-License-Identifier: MIT */
/* wire.c - the codec. No I/O, no allocation; used by both ends and by the fuzzer. */
#include "wire.h"

#include <errno.h>
#include <string.h>

/* --- numbers --------------------------------------------------------------------------------------- */

static void put16(unsigned char *to, uint16_t value)
{
	to[0] = (unsigned char)value;
	to[1] = (unsigned char)(value >> 8);
}

static void put32(unsigned char *to, uint32_t value)
{
	put16(to, (uint16_t)value);
	put16(to + 2, (uint16_t)(value >> 16));
}

static void put64(unsigned char *to, uint64_t value)
{
	put32(to, (uint32_t)value);
	put32(to + 4, (uint32_t)(value >> 32));
}

static uint16_t get16(const unsigned char *from)
{
	return (uint16_t)(from[0] | from[1] << 8);
}

static uint32_t get32(const unsigned char *from)
{
	return get16(from) | (uint32_t)get16(from + 2) << 16;
}

static uint64_t get64(const unsigned char *from)
{
	return get32(from) | (uint64_t)get32(from + 4) << 32;
}

/* --- encoding -------------------------------------------------------------------------------------- */

/* Writes the header of a frame whose body has `size` bytes; returns where the body starts. */
static unsigned char *begin(void *to, enum wire_type type, uint32_t request, size_t size)
{
	unsigned char *at = to;

	put32(at, (uint32_t)(WIRE_HEADER_SIZE + size));
	put16(at + 4, (uint16_t)type);
	put16(at + 6, 0);
	put32(at + 8, request);
	return at + WIRE_HEADER_SIZE;
}

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
	unsigned char *at = begin(to, WIRE_OPEN, request, 4 + (size_t)open->path_size);

	put32(at, open->flags);
	memcpy(at + 4, open->path, open->path_size);
	return WIRE_HEADER_SIZE + 4 + open->path_size;
}

size_t wire_put_close(void *to, const struct wire_close *frame)
{
	put32(begin(to, WIRE_CLOSE, 0, 4), frame->topic);
	return WIRE_HEADER_SIZE + 4;
}

size_t wire_put_ping(void *to, uint32_t request)
{
	begin(to, WIRE_PING, request, 0);
	return WIRE_HEADER_SIZE;
}

size_t wire_put_goodbye(void *to)
{
	begin(to, WIRE_GOODBYE, 0, 0);
	return WIRE_HEADER_SIZE;
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
	unsigned char *at = begin(to, WIRE_OPENED, request, 16);

	put32(at, opened->topic);
	put32(at + 4, opened->rights);
	put32(at + 8, opened->slot);
	put32(at + 12, 0);
	return WIRE_HEADER_SIZE + 16;
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

/* The body of a frame, if its size is within bounds. */
static const unsigned char *body(const void *frame, size_t size, size_t min, size_t max)
{
	if (size < WIRE_HEADER_SIZE + min || size > WIRE_HEADER_SIZE + max)
		return NULL;
	return (const unsigned char *)frame + WIRE_HEADER_SIZE;
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
	const unsigned char *at = body(frame, size, 4 + 1, 4 + WIRE_MAX_PATH);
	size_t path_size;

	if (!at)
		return -EBADMSG;
	path_size = size - WIRE_HEADER_SIZE - 4;
	if (at[4] != '/' || memchr(at + 4, '\0', path_size))
		return -EBADMSG;
	if ((get32(at) & ~RIGHTS) != 0)
		return -EBADMSG;
	*ret = (struct wire_open){ .flags = get32(at), .path = (const char *)at + 4, .path_size = (uint32_t)path_size };
	return 0;
}

int wire_get_close(const void *frame, size_t size, struct wire_close *ret)
{
	const unsigned char *at = body(frame, size, 4, 4);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_close){ .topic = get32(at) };
	return 0;
}

int wire_get_empty(const void *frame, size_t size)
{
	return body(frame, size, 0, 0) ? 0 : -EBADMSG;
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
	const unsigned char *at = body(frame, size, 16, 16);

	if (!at || get32(at + 12) != 0 || (get32(at + 4) & ~RIGHTS) != 0)
		return -EBADMSG;
	*ret = (struct wire_opened){ .topic = get32(at), .rights = get32(at + 4), .slot = get32(at + 8) };
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
