/* SPDX-License-Identifier: MIT */
/* tokens.c - tokens: whoever has one may connect to an endpoint, once. They live for LIMIT_TOKEN_MS, and no longer than their
 * endpoint's listener. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "endpoint.h"
#include "limit.h"
#include "loop.h"
#include "os/os.h"

struct token {
	struct table_entry by_bytes;
	struct queue by_age, of_endpoint, of_client;
	struct endpoint *endpoint;
	struct client *client; /* who made it; NULL: has ended */
	struct user *user;     /* whose it was: it is charged as long as it is there */
	struct endpoints *endpoints;
	uint64_t end_ns;
	uint8_t bytes[WIRE_TOKEN_BYTES];
};

/* They are random. */
static uint64_t hash_of(const uint8_t bytes[WIRE_TOKEN_BYTES])
{
	uint64_t hash;

	memcpy(&hash, bytes, sizeof(hash));
	return hash;
}

static struct token *find(const struct endpoints *endpoints, const uint8_t bytes[WIRE_TOKEN_BYTES])
{
	struct table_entry *entry = table_first(&endpoints->by_token, hash_of(bytes));

	for (; entry; entry = table_next(entry)) {
		struct token *token = table_container(entry, struct token, by_bytes);

		if (memcmp(token->bytes, bytes, WIRE_TOKEN_BYTES) == 0)
			return token;
	}
	return NULL;
}

static void disown(struct token *token)
{
	if (!token->client)
		return;
	token->client->endpoints.n_tokens--;
	token->client = NULL;
	queue_remove(&token->of_client);
}

static void token_free(struct token *token)
{
	disown(token);
	table_remove(&token->endpoints->by_token, &token->by_bytes);
	queue_remove(&token->by_age);
	queue_remove(&token->of_endpoint);
	user_release(token->user, CHARGE_TOKENS, 1);
	user_unref(token->user);
	free(token);
}

static struct token *oldest(struct endpoints *endpoints)
{
	struct queue *first = queue_first(&endpoints->tokens);

	return first ? queue_container(first, struct token, by_age) : NULL;
}

static void expire(void *arg)
{
	struct endpoints *endpoints = arg;
	uint64_t now = os_now_ns();
	struct token *token;

	while ((token = oldest(endpoints)) && token->end_ns <= now)
		token_free(token);
	if (token)
		loop_set(endpoints->token_timer, (unsigned)((token->end_ns - now) / 1000000u) + 1);
}

int endpoint_make_token(struct client *client, const struct member *member, const struct wire_connect *of,
                        struct wire_token_made *ret)
{
	struct endpoints *endpoints = client->context->endpoints;
	struct endpoint *endpoint = endpoint_find(endpoints, member->name->topic, of->name, of->name_size);
	struct token *token;
	int error;

	if (!endpoint || !endpoint_is_live(endpoint))
		return ECONNREFUSED;
	if (endpoint->client != client && !endpoint_allows(endpoint, client, member))
		return EACCES;
	if (client->endpoints.n_tokens >= LIMIT_CLIENT_TOKENS)
		return ENOBUFS;
	error = endpoint_charge(client, CHARGE_TOKENS);
	if (error)
		return error;
	token = calloc(1, sizeof(*token));
	if (!token) {
		user_release(client->user, CHARGE_TOKENS, 1);
		return ENOMEM;
	}
	token->user = user_ref(client->user);
	os_random(token->bytes, sizeof(token->bytes));
	token->endpoints = endpoints;
	token->endpoint = endpoint;
	token->client = client;
	token->end_ns = os_now_ns() + LIMIT_TOKEN_MS * UINT64_C(1000000);
	if (!oldest(endpoints))
		loop_set(endpoints->token_timer, LIMIT_TOKEN_MS);
	table_add(&endpoints->by_token, &token->by_bytes, hash_of(token->bytes));
	queue_move(&endpoints->tokens, &token->by_age);
	queue_move(&endpoint->tokens, &token->of_endpoint);
	queue_move(&client->endpoints.tokens, &token->of_client);
	client->endpoints.n_tokens++;
	memcpy(ret->token, token->bytes, sizeof(ret->token));
	return 0;
}

int endpoint_redeem(struct client *client, uint32_t request, const struct wire_redeem *redeem)
{
	struct token *token = find(client->context->endpoints, redeem->token);
	int error;

	if (!token || token->end_ns <= os_now_ns())
		return ENOENT;
	error = endpoint_meet(token->endpoint, client, NULL, request, redeem->timeout_ms);
	/* Who would have had to wait, or could not be served, may try again. */
	if (error == 0)
		token_free(token);
	return error;
}

void tokens_endpoint_ends(struct endpoint *endpoint)
{
	struct queue *first;

	while ((first = queue_first(&endpoint->tokens)))
		token_free(queue_container(first, struct token, of_endpoint));
}

void tokens_client_ends(struct client *client)
{
	struct queue *first;

	while ((first = queue_first(&client->endpoints.tokens)))
		disown(queue_container(first, struct token, of_client));
}

int tokens_init(struct endpoints *endpoints)
{
	queue_init(&endpoints->tokens);
	if (table_init(&endpoints->by_token) < 0)
		return -ENOMEM;
	endpoints->token_timer = loop_timer(endpoints->context->loop, expire, endpoints);
	if (endpoints->token_timer)
		return 0;
	table_deinit(&endpoints->by_token);
	return -ENOMEM;
}

void tokens_deinit(struct endpoints *endpoints)
{
	struct token *token;

	while ((token = oldest(endpoints)))
		token_free(token);
	loop_event_free(endpoints->token_timer);
	table_deinit(&endpoints->by_token);
}
