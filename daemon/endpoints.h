/* SPDX-License-Identifier: MIT */
/*
 * endpoints.h - named places to connect to: who listens there, who waits for it, and introducing them to each other.
 *
 * An endpoint belongs to a topic and to a member that listens. It ends with either, at once. A connection is a socket pair
 * that is made here; both ends are sent away, and then the daemon has no part in it any more.
 */
#ifndef PATHBUS_DAEMON_ENDPOINTS_H
#define PATHBUS_DAEMON_ENDPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "queue.h"
#include "table.h"
#include "user.h"
#include "wire_endpoint.h"

struct client;
struct context;
struct endpoint;
struct endpoints;
struct member;
struct topic;

/* What a connection has of them; a part of struct client. */
struct endpoint_user {
	struct queue listening, waiting, tokens; /* endpoints, CONNECTs and REDEEMs, tokens that it has made */
	unsigned n_listening, n_waiting, n_tokens;
	unsigned n_untaken; /* connections of its endpoints that it has not taken yet */
	uint32_t last_number;
	enum charge refused; /* the limit that it reached last */
};

struct endpoints *endpoints_new(const struct context *context); /* NULL: no memory */
/* After all connections, before the topics. */
struct endpoints *endpoints_free(struct endpoints *endpoints);

void endpoint_user_init(struct endpoint_user *user);
/* The connection has ended: it is reached no more, and waits for nobody. */
void endpoints_client_ends(struct client *client);
/* It closes a topic: the same for this member. What waits is told. */
void endpoints_member_ends(struct client *client, const struct member *member);

/* The answers of these are positive errnos that go with a text (endpoint_reason), 0: done. */
int endpoint_listen(struct client *client, struct member *member, const struct wire_listen *listen, uint32_t *ret_number);
/* Once the answer is sent: who waits there is served. */
void endpoint_listening(struct client *client);
void endpoint_unlisten(struct client *client, uint32_t number); /* nothing, if it is not its any more */
/* The program has so many more of its connections: as many may come. False: it has not been given so many. */
bool endpoint_taken(struct client *client, const struct wire_taken *taken);
/* Answers now (0 too) or later. */
int endpoint_connect(struct client *client, struct member *member, uint32_t request, const struct wire_connect *connect);
void endpoint_cancel(struct client *client, uint32_t request);
int endpoint_make_token(struct client *client, const struct member *member, const struct wire_connect *of,
                        struct wire_token_made *ret);
int endpoint_redeem(struct client *client, uint32_t request, const struct wire_redeem *redeem);
/* Some of a topic's. Their names are the endpoints' own. */
void endpoint_list(struct member *member, uint64_t before, struct wire_endpoints *ret);
const char *endpoint_reason(int error);
const char *endpoint_refusal(const struct client *client); /* which limit an EDQUOT is about */

#endif
