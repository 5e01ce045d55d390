/* SPDX-License-Identifier: MIT */
/* socket_frames.c - what the frames on topics that were opened for the socket mean, some of which others may use as well;
 * frames.c has the table. */
#include <errno.h>
#include <string.h>

#include "connection.h"
#include "log.h"
#include "ring.h"
#include "states.h"
#include "subscriber.h"
#include "syncing.h"

_Static_assert(WIRE_MAX_DATA == LANE_MAX_MESSAGE && WIRE_MAX_KEY == RING_MAX_KEY, "what a lane takes, a frame takes");

/* NULL: it has no topic of this number that was opened for the socket. */
static struct subscriber *find(const struct client *client, uint32_t topic)
{
	struct member *member = client_member(client, topic);

	return member ? member->subscriber : NULL;
}

static const char *reason(int error)
{
	switch (error) {
	case EACCES:
		return "the file may not be written";
	case EMSGSIZE:
		return "the message is larger than this topic takes";
	case ENOBUFS:
		return "the message ring is full of messages whose writers stand still";
	case EAGAIN:
		return "the state is another one";
	case EUSERS:
		return "the topic has more members than may set its state";
	case EBUSY:
		return "this connection has as many SYNCs as it may have";
	default:
		return strerror(error);
	}
}

/* Tells how it went, if that was asked for. `r`: 0 or -errno. */
static void answer(struct client *client, uint32_t request, int r)
{
	unsigned char frame[WIRE_SMALL_FRAME];

	if (request != 0 && r < 0)
		client_send_error(client, request, -r,
		                  r == -EDQUOT ? user_refusal(client->user, CHARGE_SYNCS) : reason(-r));
	else if (request != 0)
		client_send(client, frame, wire_put_done(frame, request), NULL, 0, NULL);
	else if (r < 0)
		log_event(REASON_UNASKED, "process %d has not asked how it went: %s", (int)client->pid, reason(-r));
}

enum drop frame_post(struct client *client, const struct wire_header *header, const void *frame)
{
	struct subscriber *subscriber;
	struct wire_topic body;
	int r;

	if (wire_get_topic(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	subscriber = find(client, body.topic);
	if (!subscriber)
		return DROP_NO_TOPIC;
	r = subscriber_post(subscriber);
	if (r == 0 && header->request != 0)
		subscriber_deliver(subscriber);
	answer(client, header->request, r);
	return DROP_NONE;
}

enum drop frame_publish(struct client *client, const struct wire_header *header, const void *frame)
{
	struct subscriber *subscriber;
	struct wire_publish body;
	int r;

	if (wire_get_publish(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	subscriber = find(client, body.topic);
	if (!subscriber)
		return DROP_NO_TOPIC;
	r = subscriber_publish(subscriber, &body);
	if (r == 0 && header->request != 0)
		subscriber_deliver(subscriber);
	answer(client, header->request, r);
	return DROP_NONE;
}

enum drop frame_set_state(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_set_state body;
	struct member *member;

	if (wire_get_set_state(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	answer(client, header->request, states_set(member, &body));
	return DROP_NONE;
}

enum drop frame_get_state(struct client *client, const struct wire_header *header, const void *frame)
{
	unsigned char found[WIRE_SMALL_FRAME];
	struct member *member;
	struct wire_topic body;
	struct state state;
	int r;

	if (wire_get_topic(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	r = states_get(member, &state);
	if (r < 0)
		answer(client, header->request, r);
	else
		client_send(client, found,
		            wire_put_state(found, header->request,
		                           &(struct wire_state){ .value = state.value, .version = state.version }),
		            NULL, 0, NULL);
	return DROP_NONE;
}

enum drop frame_seen(struct client *client, const struct wire_header *header, const void *frame)
{
	struct subscriber *subscriber;
	struct wire_seen body;

	if (wire_get_seen(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	subscriber = find(client, body.topic);
	if (!subscriber)
		return DROP_NO_TOPIC;
	subscriber_seen(subscriber, body.generation);
	return DROP_NONE;
}

enum drop frame_sync(struct client *client, const struct wire_header *header, const void *frame)
{
	struct member *member;
	struct wire_sync body;
	int r;

	if (wire_get_sync(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	r = syncing_new(client, member, header->request, &body);
	if (r < 0)
		answer(client, header->request, r);
	return DROP_NONE;
}
