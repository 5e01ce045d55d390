/* SPDX-License-Identifier: MIT */
/* frames.c - what each frame of a client means: one table, one function each. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carrier.h"
#include "connection.h"
#include "counts.h"
#include "death_page.h"
#include "keeping.h"
#include "limit.h"
#include "log.h"
#include "opening.h"
#include "options.h"
#include "os/os.h"
#include "region_frames.h"
#include "subscriber.h"
#include "syncing.h"
#include "topic.h"
#include "version.h"

/* --- greeting -------------------------------------------------------------------------------------- */

static enum drop on_hello(struct client *client, const struct wire_header *header, const void *frame)
{
	const struct context *context = client->context;
	struct wire_welcome welcome = {
		.version = WIRE_VERSION,
		.max_frame = WIRE_MAX_FRAME,
		.max_path = WIRE_MAX_PATH,
		.pid = (uint32_t)getpid(),
	};
	unsigned char answer[WIRE_SMALL_FRAME];
	struct wire_hello hello;

	if (client->greeted)
		return DROP_ORDER;
	if (wire_get_hello(frame, header->size, &hello) < 0)
		return DROP_MALFORMED;
	if (hello.version_min > WIRE_VERSION || hello.version_max < WIRE_VERSION) {
		char text[WIRE_MAX_TEXT];

		snprintf(text, sizeof(text), "pathbusd speaks version %u of the protocol, the client %u to %u",
		         WIRE_VERSION, hello.version_min, hello.version_max);
		client_drop(client, DROP_VERSION, text);
		return DROP_NONE;
	}
	client->greeted = true;
	loop_disable(client->timer);
	memcpy(welcome.id, context->id, sizeof(welcome.id));
	client_send(client, answer, wire_put_welcome(answer, header->request, &welcome),
	            (const int[]){ context->death->fd, carrier_bell(user_carrier(client->user)) }, 2, NULL);
	return DROP_NONE;
}

/* --- topics ---------------------------------------------------------------------------------------- */

/* Gives the member a number of this connection. 0, -ENOMEM. */
static int member_add(struct client *client, struct member *member)
{
	uint32_t at = client->free_hint;

	while (at < client->members_size && client->members[at])
		at++;
	if (at == client->members_size) {
		uint32_t size = client->members_size ? 2 * client->members_size : 8;
		struct member **members = realloc(client->members, size * sizeof(struct member *));

		if (!members)
			return -ENOMEM;
		memset(members + client->members_size, 0, (size - client->members_size) * sizeof(struct member *));
		client->members = members;
		client->members_size = size;
	}
	client->members[at] = member;
	client->n_members++;
	client->free_hint = at + 1;
	member->id = at + 1;
	member->client = client->number;
	return 0;
}

static void forget_opening(struct client *client, const struct opening *opening)
{
	for (unsigned i = 0; i < client->n_openings; i++) {
		if (client->openings[i] == opening) {
			client->openings[i] = client->openings[--client->n_openings];
			return;
		}
	}
}

static void answer_opened(struct client *client, uint32_t request, struct member *member)
{
	const struct topic_lane *lane = member->lane;
	const struct wire_opened body = {
		.topic = member->id,
		.rights = member->rights,
		.slot = member->slot,
		.ring_slots = lane->shape.ring_slots,
		.max_message = lane->shape.max_message,
		.origin = member->subscriber ? subscriber_origin(member->subscriber) : 0,
	};
	unsigned char answer[WIRE_SMALL_FRAME];
	size_t size = wire_put_opened(answer, request, &body);

	if (member->subscriber)
		client_send(client, answer, size, NULL, 0, member);
	else
		client_send(client, answer, size, (const int[]){ lane->page_fd, member_bell(member) }, 2, member);
}

static void opened(void *arg, struct opening *opening, uint32_t request, int error, const char *text,
                   struct member *member)
{
	struct client *client = arg;

	forget_opening(client, opening);
	if (error == 0) {
		const struct opening_request *asked = opening_asked(opening);
		int r = client->ending ? -ECANCELED : 0;

		if (r == 0 && (asked->flags & WIRE_OPEN_SOCKET))
			r = subscriber_new(client, member, asked->flags, asked->last, asked->origin);
		if (r == 0)
			r = member_add(client, member);
		if (r < 0) {
			membership_end(client->context, member, LEAVE_CLOSED);
			error = -r;
			text = r == -ENOMEM ? drop_text(DROP_NO_MEMORY) : strerror(-r);
		}
	}
	if (error)
		client_send_error(client, request, error, text);
	else
		answer_opened(client, request, member);
	client_look_again(client);
}

static enum drop on_open(struct client *client, const struct wire_header *header, const void *frame)
{
	struct opening_request request = { .request = header->request, .user = client->user, .pid = client->pid,
	                                   .identity = client->identity, .owner = client };
	struct opening *opening;
	struct wire_open body;
	const char *limit;
	int r;

	if (wire_get_open(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	if (client->n_members + client->n_openings >= LIMIT_CLIENT_TOPICS) {
		client_send_error(client, header->request, EMFILE, "this connection has as many topics as it may have");
		return DROP_NONE;
	}
	request.path = body.path;
	request.path_size = body.path_size;
	request.flags = body.flags;
	request.ring_slots = body.ring_slots;
	request.max_message = body.max_message;
	request.last = body.last;
	request.origin = body.origin;
	r = opening_new(client->context, &request, opened, client, &opening, &limit);
	if (r == 0)
		client->openings[client->n_openings++] = opening;
	else
		client_send_error(client, header->request, -r, limit ? limit : drop_text(DROP_NO_MEMORY));
	return DROP_NONE;
}

struct member *client_member(const struct client *client, uint32_t topic)
{
	struct member *member = topic > 0 && topic <= client->members_size ? client->members[topic - 1] : NULL;

	/* Until then its descriptors are in use. */
	return member && member->told ? member : NULL;
}

static enum drop on_close(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_close body;
	struct member *member;

	if (wire_get_close(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_TOPIC;
	syncing_cancel(client, member);
	endpoints_member_ends(client, member);
	restoring_cancel(client, member);
	client->members[body.topic - 1] = NULL;
	client->n_members--;
	if (client->free_hint > body.topic - 1)
		client->free_hint = body.topic - 1;
	membership_end(client->context, member, LEAVE_CLOSED);
	return DROP_NONE;
}

/* --- the rest -------------------------------------------------------------------------------------- */

static enum drop on_ping(struct client *client, const struct wire_header *header, const void *frame)
{
	const struct context *context = client->context;
	const struct wire_pong pong = {
		.n_clients = (uint32_t)clients_count(client->clients),
		.n_topics = (uint32_t)(topics_count(context->topics) - topics_n_kept(context->topics)),
		.uptime_ns = os_now_ns() - context->started_ns,
		.version = PATHBUS_VERSION,
		.version_size = sizeof(PATHBUS_VERSION) - 1,
	};
	unsigned char answer[WIRE_SMALL_FRAME];

	if (wire_get_empty(frame, header->size) < 0)
		return DROP_MALFORMED;
	client_send(client, answer, wire_put_pong(answer, header->request, &pong), NULL, 0, NULL);
	return DROP_NONE;
}

static enum drop on_goodbye(struct client *client, const struct wire_header *header, const void *frame)
{
	if (wire_get_empty(frame, header->size) < 0)
		return DROP_MALFORMED;
	client_finish(client, LEAVE_CLOSED);
	return DROP_NONE;
}

static const struct handler {
	enum wire_type type;
	enum { ASKS, ASKS_NOT, MAY_ASK } asks; /* has a request's number, or 0 */
	enum drop (*handle)(struct client *client, const struct wire_header *header, const void *frame);
} handlers[] = {
	{ WIRE_HELLO, ASKS, on_hello },
	{ WIRE_OPEN, ASKS, on_open },
	{ WIRE_CLOSE, ASKS_NOT, on_close },
	{ WIRE_PING, ASKS, on_ping },
	{ WIRE_GOODBYE, ASKS_NOT, on_goodbye },
	{ WIRE_POST, MAY_ASK, frame_post },
	{ WIRE_PUBLISH, MAY_ASK, frame_publish },
	{ WIRE_SET_STATE, MAY_ASK, frame_set_state },
	{ WIRE_GET_STATE, ASKS, frame_get_state },
	{ WIRE_SEEN, ASKS_NOT, frame_seen },
	{ WIRE_SYNC, ASKS, frame_sync },
	{ WIRE_LISTEN, ASKS, frame_listen },
	{ WIRE_UNLISTEN, MAY_ASK, frame_unlisten },
	{ WIRE_TAKEN, ASKS_NOT, frame_taken },
	{ WIRE_CONNECT, ASKS, frame_connect },
	{ WIRE_CANCEL, ASKS_NOT, frame_cancel },
	{ WIRE_TOKEN, ASKS, frame_token },
	{ WIRE_REDEEM, ASKS, frame_redeem },
	{ WIRE_ENDPOINT_LIST, ASKS, frame_endpoint_list },
	{ WIRE_MEMBER_LIST, ASKS, frame_member_list },
	{ WIRE_REGION_OPEN, ASKS, frame_region_open },
	{ WIRE_REGION_CLOSE, ASKS_NOT, frame_region_close },
	{ WIRE_REGION_RESTORE, ASKS, frame_region_restore },
	{ WIRE_REGION_LIST, ASKS, frame_region_list },
};

enum drop frame_handle(struct client *client, const struct wire_header *header, const void *frame)
{
	client->n_requests++;
	counts.requests++;
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		const struct handler *handler = &handlers[i];

		if (handler->type != header->type)
			continue;
		if (!client->greeted && handler->type != WIRE_HELLO)
			return DROP_ORDER;
		if (handler->asks != MAY_ASK && (handler->asks == ASKS) != (header->request != 0))
			return DROP_MALFORMED;
		return handler->handle(client, header, frame);
	}
	return client->greeted ? DROP_TYPE : DROP_ORDER;
}
