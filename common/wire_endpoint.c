/* SPDX-License-Identifier: MIT */
/* wire_endpoint.c - the codec of the frames of endpoints. */
#include "wire_endpoint.h"

#include <errno.h>
#include <string.h>

#include "wire_codec.h"

/* Fixed parts of bodies. */
#define NAMED_SIZE 8u
#define ENTRY_SIZE 36u
#define ENDPOINTS_SIZE 12u

#define LISTEN_FLAGS                                                                                                   \
	((unsigned)WIRE_ENDPOINT_SEQPACKET | WIRE_ENDPOINT_TAKE_OVER | WIRE_ENDPOINT_READERS | WIRE_ENDPOINT_WRITERS)
#define ENTRY_FLAGS (LISTEN_FLAGS & ~(unsigned)WIRE_ENDPOINT_TAKE_OVER)

_Static_assert(WIRE_HEADER_SIZE + ENDPOINTS_SIZE + WIRE_MAX_ENDPOINTS * (ENTRY_SIZE + WIRE_MAX_ENDPOINT_NAME) <= WIRE_SMALL_FRAME,
               "it is no large one");
_Static_assert(WIRE_HEADER_SIZE + NAMED_SIZE + WIRE_MAX_ENDPOINT_NAME <= WIRE_MIN_FRAME, "room for any frame without a path");

/* --- encoding -------------------------------------------------------------------------------------- */

/* Two numbers and a name. */
static size_t put_named(void *to, enum wire_type type, uint32_t request, uint32_t first, uint32_t second, const char *name,
                        uint32_t name_size)
{
	unsigned char *at = begin(to, type, request, NAMED_SIZE + (size_t)name_size);

	put32(at, first);
	put32(at + 4, second);
	memcpy(at + NAMED_SIZE, name, name_size);
	return WIRE_HEADER_SIZE + NAMED_SIZE + name_size;
}

/* So many numbers. */
static size_t put_numbers(void *to, enum wire_type type, uint32_t request, const uint32_t *numbers, size_t n)
{
	unsigned char *at = begin(to, type, request, 4 * n);

	for (size_t i = 0; i < n; i++)
		put32(at + 4 * i, numbers[i]);
	return WIRE_HEADER_SIZE + 4 * n;
}

size_t wire_put_listen(void *to, uint32_t request, const struct wire_listen *listen)
{
	return put_named(to, WIRE_LISTEN, request, listen->topic, listen->flags, listen->name, listen->name_size);
}

size_t wire_put_unlisten(void *to, uint32_t request, const struct wire_endpoint *unlisten)
{
	return put_numbers(to, WIRE_UNLISTEN, request, &unlisten->endpoint, 1);
}

size_t wire_put_taken(void *to, const struct wire_taken *taken)
{
	return put_numbers(to, WIRE_TAKEN, 0, (const uint32_t[]){ taken->endpoint, taken->count }, 2);
}

size_t wire_put_connect(void *to, uint32_t request, const struct wire_connect *connect)
{
	return put_named(to, WIRE_CONNECT, request, connect->topic, connect->timeout_ms, connect->name, connect->name_size);
}

size_t wire_put_cancel(void *to, const struct wire_cancel *cancel)
{
	return put_numbers(to, WIRE_CANCEL, 0, &cancel->request, 1);
}

size_t wire_put_token(void *to, uint32_t request, const struct wire_connect *token)
{
	return put_named(to, WIRE_TOKEN, request, token->topic, 0, token->name, token->name_size);
}

size_t wire_put_redeem(void *to, uint32_t request, const struct wire_redeem *redeem)
{
	unsigned char *at = begin(to, WIRE_REDEEM, request, 4 + WIRE_TOKEN_BYTES);

	put32(at, redeem->timeout_ms);
	memcpy(at + 4, redeem->token, WIRE_TOKEN_BYTES);
	return WIRE_HEADER_SIZE + 4 + WIRE_TOKEN_BYTES;
}

size_t wire_put_endpoint_list(void *to, uint32_t request, const struct wire_endpoint_list *list)
{
	unsigned char *at = begin(to, WIRE_ENDPOINT_LIST, request, 16);

	put32(at, list->topic);
	put32(at + 4, 0);
	put64(at + 8, list->before);
	return WIRE_HEADER_SIZE + 16;
}

size_t wire_put_listening(void *to, uint32_t request, const struct wire_endpoint *listening)
{
	return put_numbers(to, WIRE_LISTENING, request, &listening->endpoint, 1);
}

size_t wire_put_connected(void *to, uint32_t request, const struct wire_connected *connected)
{
	return put_numbers(to, WIRE_CONNECTED, request,
	                   (const uint32_t[]){ connected->pid, connected->uid, connected->gid, connected->flags }, 4);
}

size_t wire_put_token_made(void *to, uint32_t request, const struct wire_token_made *made)
{
	memcpy(begin(to, WIRE_TOKEN_MADE, request, WIRE_TOKEN_BYTES), made->token, WIRE_TOKEN_BYTES);
	return WIRE_HEADER_SIZE + WIRE_TOKEN_BYTES;
}

static size_t put_entry(unsigned char *at, const struct wire_endpoint_entry *entry)
{
	put32(at, entry->pid);
	put32(at + 4, entry->uid);
	put32(at + 8, entry->flags);
	put32(at + 12, entry->n_waiting);
	memcpy(at + 16, entry->command, WIRE_COMMAND_SIZE);
	put32(at + 32, entry->name_size);
	memcpy(at + ENTRY_SIZE, entry->name, entry->name_size);
	return ENTRY_SIZE + (size_t)entry->name_size;
}

size_t wire_put_endpoints(void *to, uint32_t request, const struct wire_endpoints *endpoints)
{
	unsigned char *at = begin(to, WIRE_ENDPOINTS, request, 0);
	size_t size = ENDPOINTS_SIZE;

	put64(at, endpoints->next);
	put32(at + 8, endpoints->n);
	for (uint32_t i = 0; i < endpoints->n; i++)
		size += put_entry(at + size, &endpoints->entries[i]);
	(void)begin(to, WIRE_ENDPOINTS, request, size);
	return WIRE_HEADER_SIZE + size;
}

size_t wire_put_connection(void *to, const struct wire_connection *connection)
{
	return put_numbers(to, WIRE_EVENT_CONNECTION, 0,
	                   (const uint32_t[]){ connection->endpoint, connection->pid, connection->uid, connection->gid }, 4);
}

size_t wire_put_unlistened(void *to, const struct wire_unlistened *unlistened)
{
	return put_numbers(to, WIRE_EVENT_UNLISTENED, 0, (const uint32_t[]){ unlistened->endpoint, unlistened->error }, 2);
}

/* --- decoding -------------------------------------------------------------------------------------- */

static bool is_name(const unsigned char *name, size_t size)
{
	return size >= 1 && size <= WIRE_MAX_ENDPOINT_NAME && !memchr(name, '\0', size);
}

/* Where the body of such a frame starts; NULL: it is none. */
static const unsigned char *get_named(const void *frame, size_t size, const char **ret_name, uint32_t *ret_size)
{
	const unsigned char *at = body(frame, size, NAMED_SIZE + 1, NAMED_SIZE + WIRE_MAX_ENDPOINT_NAME);
	size_t name_size;

	if (!at)
		return NULL;
	name_size = size - WIRE_HEADER_SIZE - NAMED_SIZE;
	if (!is_name(at + NAMED_SIZE, name_size))
		return NULL;
	*ret_name = (const char *)at + NAMED_SIZE;
	*ret_size = (uint32_t)name_size;
	return at;
}

int wire_get_listen(const void *frame, size_t size, struct wire_listen *ret)
{
	const char *name;
	uint32_t name_size;
	const unsigned char *at = get_named(frame, size, &name, &name_size);

	if (!at || (get32(at + 4) & ~LISTEN_FLAGS) != 0)
		return -EBADMSG;
	*ret = (struct wire_listen){ .topic = get32(at), .flags = get32(at + 4), .name = name, .name_size = name_size };
	return 0;
}

int wire_get_endpoint(const void *frame, size_t size, struct wire_endpoint *ret)
{
	const unsigned char *at = body(frame, size, 4, 4);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_endpoint){ .endpoint = get32(at) };
	return 0;
}

int wire_get_taken(const void *frame, size_t size, struct wire_taken *ret)
{
	const unsigned char *at = body(frame, size, 8, 8);

	if (!at || get32(at + 4) == 0)
		return -EBADMSG;
	*ret = (struct wire_taken){ .endpoint = get32(at), .count = get32(at + 4) };
	return 0;
}

int wire_get_connect(const void *frame, size_t size, struct wire_connect *ret)
{
	const char *name;
	uint32_t name_size;
	const unsigned char *at = get_named(frame, size, &name, &name_size);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_connect){ .topic = get32(at), .timeout_ms = get32(at + 4), .name = name, .name_size = name_size };
	return 0;
}

int wire_get_cancel(const void *frame, size_t size, struct wire_cancel *ret)
{
	const unsigned char *at = body(frame, size, 4, 4);

	if (!at || get32(at) == 0)
		return -EBADMSG;
	*ret = (struct wire_cancel){ .request = get32(at) };
	return 0;
}

int wire_get_token(const void *frame, size_t size, struct wire_connect *ret)
{
	struct wire_connect got;

	if (wire_get_connect(frame, size, &got) < 0 || got.timeout_ms != 0)
		return -EBADMSG;
	*ret = got;
	return 0;
}

int wire_get_redeem(const void *frame, size_t size, struct wire_redeem *ret)
{
	const unsigned char *at = body(frame, size, 4 + WIRE_TOKEN_BYTES, 4 + WIRE_TOKEN_BYTES);

	if (!at)
		return -EBADMSG;
	ret->timeout_ms = get32(at);
	memcpy(ret->token, at + 4, WIRE_TOKEN_BYTES);
	return 0;
}

int wire_get_endpoint_list(const void *frame, size_t size, struct wire_endpoint_list *ret)
{
	const unsigned char *at = body(frame, size, 16, 16);

	if (!at || get32(at + 4) != 0)
		return -EBADMSG;
	*ret = (struct wire_endpoint_list){ .topic = get32(at), .before = get64(at + 8) };
	return 0;
}

int wire_get_connected(const void *frame, size_t size, struct wire_connected *ret)
{
	const unsigned char *at = body(frame, size, 16, 16);

	if (!at || (get32(at + 12) & ~(uint32_t)WIRE_ENDPOINT_SEQPACKET) != 0)
		return -EBADMSG;
	*ret = (struct wire_connected){ get32(at), get32(at + 4), get32(at + 8), get32(at + 12) };
	return 0;
}

int wire_get_token_made(const void *frame, size_t size, struct wire_token_made *ret)
{
	const unsigned char *at = body(frame, size, WIRE_TOKEN_BYTES, WIRE_TOKEN_BYTES);

	if (!at)
		return -EBADMSG;
	memcpy(ret->token, at, WIRE_TOKEN_BYTES);
	return 0;
}

/* Returns its size; 0: it is none. */
static size_t get_entry(const unsigned char *at, size_t size, struct wire_endpoint_entry *ret)
{
	uint32_t name_size;

	if (size < ENTRY_SIZE)
		return 0;
	name_size = get32(at + 32);
	if (name_size > size - ENTRY_SIZE || !is_name(at + ENTRY_SIZE, name_size) || (get32(at + 8) & ~ENTRY_FLAGS) != 0 ||
	    at[16 + WIRE_COMMAND_SIZE - 1] != '\0')
		return 0;
	*ret = (struct wire_endpoint_entry){
		.pid = get32(at),
		.uid = get32(at + 4),
		.flags = get32(at + 8),
		.n_waiting = get32(at + 12),
		.name = (const char *)at + ENTRY_SIZE,
		.name_size = name_size,
	};
	memcpy(ret->command, at + 16, WIRE_COMMAND_SIZE);
	return ENTRY_SIZE + name_size;
}

int wire_get_endpoints(const void *frame, size_t size, struct wire_endpoints *ret)
{
	const unsigned char *at = body(frame, size, ENDPOINTS_SIZE, WIRE_SMALL_FRAME - WIRE_HEADER_SIZE);
	struct wire_endpoints got;
	size_t used = ENDPOINTS_SIZE;

	if (!at || get32(at + 8) > WIRE_MAX_ENDPOINTS)
		return -EBADMSG;
	got.next = get64(at);
	got.n = get32(at + 8);
	size -= WIRE_HEADER_SIZE;
	for (uint32_t i = 0; i < got.n; i++) {
		size_t n = get_entry(at + used, size - used, &got.entries[i]);

		if (n == 0)
			return -EBADMSG;
		used += n;
	}
	if (used != size)
		return -EBADMSG;
	*ret = got;
	return 0;
}

int wire_get_connection(const void *frame, size_t size, struct wire_connection *ret)
{
	const unsigned char *at = body(frame, size, 16, 16);

	if (!at)
		return -EBADMSG;
	*ret = (struct wire_connection){ get32(at), get32(at + 4), get32(at + 8), get32(at + 12) };
	return 0;
}

int wire_get_unlistened(const void *frame, size_t size, struct wire_unlistened *ret)
{
	const unsigned char *at = body(frame, size, 8, 8);

	if (!at || get32(at + 4) == 0 || get32(at + 4) > 4095)
		return -EBADMSG;
	*ret = (struct wire_unlistened){ .endpoint = get32(at), .error = get32(at + 4) };
	return 0;
}
