/* SPDX-License-Identifier: MIT */
/* endpoint_frames.c - what the frames of endpoints mean; frames.c has the table. */
#include <errno.h>
#include <string.h>

#include "connection.h"
#include "endpoints.h"

const char *endpoint_reason(int error)
{
	switch (error) {
	case EACCES:
		return "the file's rights, or the endpoint's, do not allow it";
	case EADDRINUSE:
		return "another program listens there";
	case EAGAIN:
		return "the listener has not taken the connections before";
	case EBUSY:
		return "this connection waits for as many endpoints as it may";
	case ECANCELED:
		return "the topic was closed";
	case ECONNREFUSED:
		return "nobody listens there";
	case EMFILE:
		return "this connection has as many endpoints as it may have, or the daemon no descriptors left";
	case ENFILE:
		return "the daemon has as many endpoints as it may have, or no descriptors left";
	case ENOBUFS:
		return "there are as many tokens as there may be";
	case ENOENT:
		return "the token is not, or not any more, valid";
	case EPERM:
		return "the program that listens there is another user's";
	case ETIMEDOUT:
		return "nobody has listened there in time";
	default:
		return strerror(error);
	}
}

static enum drop fail(struct client *client, uint32_t request, int error)
{
	client_send_error(client, request, error, error == EDQUOT ? endpoint_refusal(client) : endpoint_reason(error));
	return DROP_NONE;
}

enum drop frame_listen(struct client *client, const struct wire_header *header, const void *frame)
{
	unsigned char answer[64];
	struct wire_endpoint number;
	struct wire_listen body;
	struct member *member;
	int error;

	if (wire_get_listen(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	error = endpoint_listen(client, member, &body, &number.endpoint);
	if (error)
		return fail(client, header->request, error);
	client_send(client, answer, wire_put_listening(answer, header->request, &number), NULL, 0, NULL);
	endpoint_listening(client);
	return DROP_NONE;
}

enum drop frame_unlisten(struct client *client, const struct wire_header *header, const void *frame)
{
	unsigned char answer[WIRE_HEADER_SIZE];
	struct wire_endpoint body;

	if (wire_get_endpoint(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	endpoint_unlisten(client, body.endpoint);
	if (header->request)
		client_send(client, answer, wire_put_done(answer, header->request), NULL, 0, NULL);
	return DROP_NONE;
}

enum drop frame_taken(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_taken body;

	if (wire_get_taken(frame, header->size, &body) < 0 || !endpoint_taken(client, &body))
		return DROP_MALFORMED;
	return DROP_NONE;
}

enum drop frame_connect(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_connect body;
	struct member *member;
	int error;

	if (wire_get_connect(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	error = endpoint_connect(client, member, header->request, &body);
	return error ? fail(client, header->request, error) : DROP_NONE;
}

enum drop frame_cancel(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_cancel body;

	if (wire_get_cancel(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	endpoint_cancel(client, body.request);
	return DROP_NONE;
}

enum drop frame_token(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_token_made made;
	unsigned char answer[64];
	struct wire_connect body;
	struct member *member;
	int error;

	if (wire_get_token(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	error = endpoint_make_token(client, member, &body, &made);
	if (error)
		return fail(client, header->request, error);
	client_send(client, answer, wire_put_token_made(answer, header->request, &made), NULL, 0, NULL);
	return DROP_NONE;
}

enum drop frame_redeem(struct client *client, const struct wire_header *header, const void *frame)
{
	struct wire_redeem body;
	int error;

	if (wire_get_redeem(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	error = endpoint_redeem(client, header->request, &body);
	return error ? fail(client, header->request, error) : DROP_NONE;
}

enum drop frame_endpoint_list(struct client *client, const struct wire_header *header, const void *frame)
{
	unsigned char answer[WIRE_SMALL_FRAME];
	struct wire_endpoint_list body;
	struct wire_endpoints found;
	struct member *member;

	if (wire_get_endpoint_list(frame, header->size, &body) < 0)
		return DROP_MALFORMED;
	member = client_member(client, body.topic);
	if (!member)
		return DROP_NOT_OPEN;
	endpoint_list(member, body.before, &found);
	client_send(client, answer, wire_put_endpoints(answer, header->request, &found), NULL, 0, NULL);
	return DROP_NONE;
}
