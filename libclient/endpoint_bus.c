/* SPDX-License-Identifier: MIT */
/* endpoint_bus.c - endpoints by the daemon: it introduces, and has no part in what follows. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "endpoint.h"

static bool is_connection(const struct pathbus *bus, uint32_t serial)
{
	return serial != 0 && bus->connection.state == BUS_UP && bus->connection.serial == serial;
}

/* --- listening ---------------------------------------------------------------------------------------------- */

static size_t put_listen(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const pathbus_endpoint *endpoint = arg;
	uint32_t flags = endpoint->flags;

	/* Who comes back takes the place of nobody who has come meanwhile. */
	if (!endpoint->making)
		flags &= ~(uint32_t)WIRE_ENDPOINT_TAKE_OVER;
	return wire_put_listen(to, request, &(struct wire_listen){
		.topic = topic->bus_topic, .flags = flags, .name = endpoint->name, .name_size = endpoint->name_size });
}

static int take_listening(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	pathbus_endpoint *endpoint = call->to;
	struct wire_endpoint body;
	int r = header->type == WIRE_LISTENING ? wire_get_endpoint(frame, header->size, &body) : -EPROTO;

	(void)fds;
	if (r < 0)
		return r;
	endpoint->number = body.endpoint;
	endpoint->serial = endpoint->attachment.topic->bus->connection.serial;
	return 0;
}

int endpoint_bus_listen(pathbus_endpoint *endpoint)
{
	struct bus_call call = { .put = put_listen, .arg = endpoint, .take = take_listening, .to = endpoint };
	pathbus_topic *topic = endpoint->attachment.topic;

	return call_daemon(topic->bus, topic, &call, 0);
}

int endpoint_bus_register(pathbus_endpoint *endpoint)
{
	pathbus_topic *topic = endpoint->attachment.topic;
	unsigned char frame[WIRE_SMALL_FRAME];
	uint32_t request = bus_new_request(&topic->bus->connection);
	int r = bus_send_frame(topic->bus, frame, put_listen(frame, request, topic, endpoint));

	if (r == -ENOMEM)
		return r;
	endpoint->request = request; /* a connection that is no good is seen to be lost soon, and then it comes here again */
	return 0;
}

static void send_unlisten(struct pathbus *bus, uint32_t number)
{
	unsigned char frame[64];

	(void)bus_send_frame(bus, frame, wire_put_unlisten(frame, 0, &(struct wire_endpoint){ .endpoint = number }));
}

void endpoint_bus_leave(pathbus_endpoint *endpoint)
{
	struct pathbus *bus = endpoint->attachment.topic->bus;

	if (endpoint->number && is_connection(bus, endpoint->serial))
		send_unlisten(bus, endpoint->number);
	endpoint->number = endpoint->request = 0;
}

static size_t put_unlisten(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const pathbus_endpoint *endpoint = arg;
	const struct pathbus *bus = endpoint->attachment.topic->bus;

	(void)topic;
	/* On another connection the number is another endpoint's. There is none of number 0. */
	return wire_put_unlisten(to, request, &(struct wire_endpoint){
		.endpoint = is_connection(bus, endpoint->serial) ? endpoint->number : 0 });
}

void endpoint_bus_unlisten(pathbus_endpoint *endpoint)
{
	struct pathbus *bus = endpoint->attachment.topic->bus;

	if (endpoint->number && is_connection(bus, endpoint->serial) && !bus->connection.silent)
		(void)call_daemon(bus, NULL, &(struct bus_call){ .put = put_unlisten, .arg = endpoint }, 0);
	endpoint->number = 0;
}

void endpoint_bus_taken(const pathbus_endpoint *endpoint, const struct kept *kept)
{
	struct pathbus *bus = endpoint->attachment.topic->bus;
	unsigned char frame[64];

	if (is_connection(bus, kept->serial))
		(void)bus_send_frame(bus, frame, wire_put_taken(frame, &(struct wire_taken){ .endpoint = kept->number, .count = 1 }));
}

/* --- frames --------------------------------------------------------------------------------------------------- */

/* The endpoint for which `is_it` is true. */
static pathbus_endpoint *find(struct pathbus *bus, bool (*is_it)(const pathbus_endpoint *endpoint, uint32_t number),
                              uint32_t number)
{
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next) {
		for (struct attachment *one = topic->attachments; one; one = one->next) {
			pathbus_endpoint *endpoint = (pathbus_endpoint *)(void *)one;

			if (one->type == &endpoint_type && number != 0 && is_it(endpoint, number))
				return endpoint;
		}
	}
	return NULL;
}

static bool has_request(const pathbus_endpoint *endpoint, uint32_t request)
{
	return endpoint->request == request;
}

static bool has_number(const pathbus_endpoint *endpoint, uint32_t number)
{
	return endpoint->number == number && endpoint->serial == endpoint->attachment.topic->bus->connection.serial;
}

int endpoint_on_listening(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	const struct bus_call *call = bus->connection.call;
	pathbus_endpoint *endpoint;
	struct wire_endpoint body;
	int r;

	if (call && call->request == header->request)
		return call_on_answer(bus, frame, header, fds);
	r = wire_get_endpoint(frame, header->size, &body);
	if (r < 0)
		return r;
	endpoint = find(bus, has_request, header->request);
	if (!endpoint) {
		send_unlisten(bus, body.endpoint); /* closed meanwhile, or not waited for any more */
		return 0;
	}
	endpoint->request = 0;
	endpoint->number = body.endpoint;
	endpoint->serial = bus->connection.serial;
	return 0;
}

bool endpoint_on_error(struct pathbus *bus, uint32_t request, int error)
{
	pathbus_endpoint *endpoint = find(bus, has_request, request);

	if (endpoint)
		endpoint_fail(endpoint, error);
	return endpoint != NULL;
}

int endpoint_on_connection(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct wire_connection body;
	pathbus_endpoint *endpoint;
	int r = wire_get_connection(frame, header->size, &body);

	if (r < 0)
		return r;
	endpoint = find(bus, has_number, body.endpoint);
	if (!endpoint)
		return 0;
	const struct kept kept = {
		.fd = fds->cut ? -1 : fds->fds[0],
		.peer = { .pid = (pid_t)body.pid, .uid = body.uid, .gid = body.gid },
		.number = body.endpoint,
		.serial = bus->connection.serial,
	};
	if (kept.fd < 0) {
		endpoint_bus_taken(endpoint, &kept); /* there was no room for it; the next one may come */
		return 0;
	}
	fds->fds[0] = -1;
	endpoint_keep(endpoint, &kept);
	return 0;
}

int endpoint_on_unlistened(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct wire_unlistened body;
	pathbus_endpoint *endpoint;
	int r = wire_get_unlistened(frame, header->size, &body);

	(void)fds;
	if (r < 0)
		return r;
	endpoint = find(bus, has_number, body.endpoint);
	if (endpoint && topic_is_on_bus(endpoint->attachment.topic))
		endpoint_fail(endpoint, -(int)body.error);
	return 0;
}

/* --- connecting ------------------------------------------------------------------------------------------------ */

struct asked {
	const char *name;
	uint32_t name_size;
	uint64_t deadline_ns;
	const uint8_t *token;
};

static uint32_t timeout_of(uint64_t deadline_ns)
{
	uint64_t now = os_now_ns(), left_ms = deadline_ns > now ? (deadline_ns - now + 999999) / 1000000 : 0;

	return deadline_ns == UINT64_MAX ? WIRE_NO_TIMEOUT : left_ms > INT32_MAX ? (uint32_t)INT32_MAX : (uint32_t)left_ms;
}

static size_t put_connect(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const struct asked *asked = arg;

	return wire_put_connect(to, request, &(struct wire_connect){ .topic = topic->bus_topic,
	                                                              .timeout_ms = timeout_of(asked->deadline_ns),
	                                                              .name = asked->name,
	                                                              .name_size = asked->name_size });
}

static size_t put_redeem(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const struct asked *asked = arg;
	struct wire_redeem body = { .timeout_ms = timeout_of(asked->deadline_ns) };

	(void)topic;
	memcpy(body.token, asked->token, sizeof(body.token));
	return wire_put_redeem(to, request, &body);
}

static int take_connected(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct pathbus_connection *connection = call->to;
	struct wire_connected body;
	int r = header->type == WIRE_CONNECTED ? wire_get_connected(frame, header->size, &body) : -EPROTO;

	if (r < 0)
		return r;
	if (fds->cut)
		return -EMFILE;
	*connection = (struct pathbus_connection){
		.size = sizeof(*connection),
		.fd = fds->fds[0],
		.pid = (pid_t)body.pid,
		.uid = body.uid,
		.gid = body.gid,
		.type = body.flags & WIRE_ENDPOINT_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM,
	};
	fds->fds[0] = -1;
	return 0;
}

/* The daemon waits; it is waited for somewhat longer. */
static int ask(struct pathbus *bus, pathbus_topic *topic, struct bus_call *call, uint64_t deadline_ns)
{
	uint64_t now = os_now_ns(), from = deadline_ns > now ? deadline_ns : now;
	unsigned char frame[64];
	int r;

	call->patient = deadline_ns > now;
	r = call_daemon(bus, topic, call, from > UINT64_MAX - bus->timeout_ns ? UINT64_MAX : from + bus->timeout_ns);
	/* Else a listener gets somebody who is not there any more. The answer may be under way: its descriptor is closed. */
	if ((r == -EINTR || r == -ETIMEDOUT) && call->request && bus->connection.state == BUS_UP)
		(void)bus_send_frame(bus, frame, wire_put_cancel(frame, &(struct wire_cancel){ .request = call->request }));
	return r;
}

int endpoint_bus_connect(pathbus_topic *topic, const char *name, uint32_t name_size, uint64_t deadline_ns,
                         struct pathbus_connection *ret)
{
	const struct asked asked = { .name = name, .name_size = name_size, .deadline_ns = deadline_ns };
	struct bus_call call = { .put = put_connect, .arg = &asked, .take = take_connected, .to = ret };

	return ask(topic->bus, topic, &call, deadline_ns);
}

int endpoint_bus_redeem(struct pathbus *bus, const uint8_t token[WIRE_TOKEN_BYTES], uint64_t deadline_ns,
                        struct pathbus_connection *ret)
{
	const struct asked asked = { .deadline_ns = deadline_ns, .token = token };
	struct bus_call call = { .put = put_redeem, .arg = &asked, .take = take_connected, .to = ret };

	return ask(bus, NULL, &call, deadline_ns);
}
