/* SPDX-License-Identifier: MIT */
/* endpoint.h - one endpoint, as endpoints.c and tokens.c share it. */
#ifndef PATHBUS_DAEMON_ENDPOINT_H
#define PATHBUS_DAEMON_ENDPOINT_H

#include "endpoints.h"
#include "user.h"

struct loop_event;

struct endpoints {
	const struct context *context;
	struct table by_name;  /* of endpoints, by topic and name */
	struct table by_token;
	struct queue tokens;   /* the oldest first: all live equally long */
	struct loop_event *token_timer;
	uint64_t last_id;
};

/* A name that somebody listens at or waits for. */
struct endpoint {
	struct endpoints *endpoints;
	struct user *user; /* whom it is charged to: the listener's, else that of one who waits */
	struct topic *topic; /* lives as long as its members, one of which is here */
	struct table_entry by_name;
	struct endpoint *next, **at; /* of the topic; the newest first */
	uint64_t id;

	/* Who listens; client NULL: nobody. */
	struct client *client;
	struct member *member;
	struct queue of_client;
	uint32_t number, flags;
	unsigned n_untaken;
	struct queue tokens;

	struct queue waiting; /* in the order in which they came */
	unsigned n_waiting;
	uint32_t name_size;
	char name[];
};

/* A CONNECT or REDEEM that is not answered yet. */
struct endpoint_waiter {
	struct endpoint *endpoint;
	struct queue place, of_client;
	struct client *client;
	const struct member *member; /* NULL: it has redeemed a token */
	uint32_t request;
	struct loop_event *timer;    /* NULL: waits for ever */
	uint64_t deadline_ns;
};

/* Answers now, or waits for `timeout_ms`. 0, or an errno. `member` NULL: with a token. */
int endpoint_meet(struct endpoint *endpoint, struct client *client, const struct member *member, uint32_t request,
                  uint32_t timeout_ms);
/* NULL: nobody listens or waits there. */
struct endpoint *endpoint_find(const struct endpoints *endpoints, const struct topic *topic, const char *name,
                               uint32_t name_size);
/* Does somebody listen there who can be reached? */
bool endpoint_is_live(const struct endpoint *endpoint);
/* Charges the connection's user for one: 0, or an errno that is told with endpoint_refusal if it is EDQUOT. */
int endpoint_charge(struct client *client, enum charge charge);
/* May this member connect there? */
bool endpoint_allows(const struct endpoint *endpoint, const struct client *client, const struct member *member);

/* tokens.c */
int tokens_init(struct endpoints *endpoints); /* 0, -ENOMEM */
void tokens_deinit(struct endpoints *endpoints);
void tokens_endpoint_ends(struct endpoint *endpoint); /* nobody listens there any more */
void tokens_client_ends(struct client *client); /* they stay, but are nobody's */

#endif
