/* SPDX-License-Identifier: MIT */
/*
 * bus_frames.c - what the daemon says: receiving, and what each frame does. Descriptors come with the first
 * byte of their frame, two at a time, and are kept in order until it is handled.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"

/* --- frames -------------------------------------------------------------------------------------------- */

/* The two descriptors that came with a frame; the caller owns them. -EMFILE: this process had no room. */
static int take_fds(struct bus_connection *connection, int fds[2])
{
	if (connection->n_fds < 2)
		return -EPROTO;
	memcpy(fds, connection->fds, 2 * sizeof(fds[0]));
	connection->n_fds -= 2;
	memmove(connection->fds, connection->fds + 2, connection->n_fds * sizeof(connection->fds[0]));
	if (fds[0] >= 0 && fds[1] >= 0)
		return 0;
	for (int i = 0; i < 2; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return -EMFILE;
}

static int check_size(int fd, off_t size)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	return st.st_size >= size ? 0 : -EPROTO;
}

/* Maps the death page, in place of an earlier one: topics keep its address. */
static int install_death(struct bus_connection *connection, int fd)
{
	struct death *death;
	int r = check_size(fd, DEATH_SIZE);

	if (r < 0)
		return r;
	death = os_map(fd, DEATH_SIZE, false, connection->death);
	if (!death)
		return -errno;
	connection->death = death;
	if (death->magic != DEATH_MAGIC)
		return -EPROTO;
	connection->death_unarmed = !death->armed;
	return 0;
}

static int on_welcome(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct bus_connection *connection = &bus->connection;
	struct wire_welcome welcome;
	int fds[2], r;

	r = take_fds(connection, fds);
	if (r < 0)
		return r;
	r = wire_get_welcome(frame, header->size, &welcome);
	if (r == 0 && (connection->state != BUS_GREETING || welcome.version != WIRE_VERSION))
		r = -EPROTO;
	if (r == 0)
		r = install_death(connection, fds[0]);
	close(fds[0]);
	if (r < 0) {
		close(fds[1]);
		return r;
	}
	if (connection->carrier < 0) {
		connection->carrier = fds[1];
	} else {
		(void)os_replace(fds[1], connection->carrier);
		close(fds[1]);
	}
	connection->state = BUS_UP;
	connection->deadline_ns = 0;
	connection->refusal = 0;
	control_due(bus);
	return 0;
}

static pathbus_topic *find_request(struct pathbus *bus, uint32_t request)
{
	pathbus_topic *topic = bus->topics;

	while (topic && (topic->request == 0 || topic->request != request))
		topic = topic->next;
	return topic;
}

static int rights_error(const pathbus_topic *topic, bool may_read, bool may_write)
{
	if (topic->subscribed && !may_read)
		return -EACCES;
	return (topic->flags & PATHBUS_POST) && !may_write ? -EACCES : 0;
}

static int on_opened(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct joined joined = { .place = PLACE_BUS, .why = "the daemon answers", .sidecar = SIDECAR_NONE };
	struct wire_opened opened;
	pathbus_topic *topic;
	int fds[2], r;

	r = wire_get_opened(frame, header->size, &opened);
	if (r < 0)
		return r;
	topic = find_request(bus, header->request);
	if (bus->kind == PATHBUS_SOCKET) {
		joined.page = joined.bell = -1;
		r = topic ? socket_make_lane(topic, &opened, &joined) : 0;
	} else {
		r = take_fds(&bus->connection, fds);
		if (r == -EPROTO)
			return r;
	}
	if (topic)
		topic->request = 0;
	if (r == 0) {
		if (bus->kind != PATHBUS_SOCKET) {
			joined.page = fds[0];
			joined.bell = fds[1];
			joined.slot = opened.slot;
			joined.bus_topic = opened.topic;
		}
		if (topic)
			r = rights_error(topic, opened.rights & WIRE_RIGHT_SUBSCRIBE, opened.rights & WIRE_RIGHT_POST);
		if (!topic || r < 0)
			joined_release(&joined, NULL);
		else
			r = topic_install(topic, &joined);
	}
	if (!topic || r < 0) {
		/* Closed meanwhile, or nothing we can use. */
		bus_close_topic(bus, opened.topic, bus->connection.serial);
		if (topic) {
			topic->request_error = r;
			control_due(bus);
		}
	} else {
		/* An allocation between opening and first use: rights that the first opening was given stay. */
		bool may_post = (opened.rights & WIRE_RIGHT_POST) != 0;

		if (topic->remote)
			topic->may_post_remote = may_post && (topic->flags & (PATHBUS_SUBSCRIBE | PATHBUS_POST)) != PATHBUS_SUBSCRIBE;
		else if (!(topic->flags & (PATHBUS_SUBSCRIBE | PATHBUS_POST)) || (topic->flags & PATHBUS_POST))
			topic->may_post = may_post;
	}
	return 0;
}

static int on_error(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct wire_error error;
	pathbus_topic *topic;
	int r = wire_get_error(frame, header->size, &error);

	if (r < 0)
		return r;
	if (bus->connection.state == BUS_GREETING || header->request == 0) {
		bus->connection.refusal = -(int)error.error;
		return -ECONNREFUSED;
	}
	if (socket_on_error(bus, header->request, -(int)error.error))
		return 0;
	topic = find_request(bus, header->request);
	if (topic) {
		topic->request = 0;
		topic->request_error = -(int)error.error;
		control_due(bus); /* if it is lost, it goes on to the sidecar */
	}
	return 0;
}

static int on_pong(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct wire_pong pong;
	int r = wire_get_pong(frame, header->size, &pong);

	if (r == 0)
		bus->connection.pong_ns = os_now_ns();
	return r;
}

static const struct {
	enum wire_type type;
	int (*handle)(struct pathbus *, const void *frame, const struct wire_header *);
} handlers[] = {
	{ WIRE_WELCOME, on_welcome },
	{ WIRE_OPENED, on_opened },
	{ WIRE_ERROR, on_error },
	{ WIRE_PONG, on_pong },
};

static int handle_frame(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].type == header->type)
			return handlers[i].handle(bus, frame, header);
	return bus->kind == PATHBUS_SOCKET ? socket_on_frame(bus, frame, header) : -EPROTO;
}

/* --- receiving ----------------------------------------------------------------------------------------- */

/* The descriptors of one frame: two, or two times -1 where there was no room for them. */
static int keep_fds(struct bus_connection *connection, struct msghdr *message)
{
	int found[2] = { -1, -1 };
	unsigned n = 0;
	bool any = (message->msg_flags & MSG_CTRUNC) != 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		int fds[8];

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		any = true;
		if (count > 8)
			count = 8;
		memcpy(fds, CMSG_DATA(c), count * sizeof(int));
		for (size_t i = 0; i < count; i++) {
			if (n < 2)
				found[n] = fds[i];
			else
				close(fds[i]);
			n++;
		}
	}
	if (!any)
		return 0;
	if (n > 2 || connection->n_fds + 2 > MAX_PENDING_FDS) {
		for (int i = 0; i < 2; i++)
			if (found[i] >= 0)
				close(found[i]);
		return -EPROTO;
	}
	connection->fds[connection->n_fds++] = found[0];
	connection->fds[connection->n_fds++] = found[1];
	return 0;
}

/* Returns bytes received, 0 nothing there, -ECONNRESET the end, -errno. */
int bus_receive(struct bus_connection *connection)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control;
	struct iovec part = { .iov_base = connection->in + connection->in_used,
		              .iov_len = connection->in_size - connection->in_used };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
		                  .msg_controllen = sizeof(control.bytes) };
	ssize_t n;
	int r;

	n = os_receive(connection->socket, &message);
	if (n < 0)
		return n == -EAGAIN ? 0 : (int)n;
	r = keep_fds(connection, &message);
	if (r < 0)
		return r;
	if (n == 0)
		return -ECONNRESET;
	connection->in_used += (size_t)n;
	return (int)n;
}

int bus_handle_frames(struct pathbus *bus)
{
	struct bus_connection *connection = &bus->connection;
	struct wire_header header;
	size_t at = 0;
	int r;

	while ((r = wire_get_header(connection->in + at, connection->in_used - at, &header)) > 0) {
		r = handle_frame(bus, connection->in + at, &header);
		if (r < 0)
			return r;
		at += header.size;
	}
	if (at == 0 && connection->in_used == connection->in_size)
		return -EPROTO; /* more than any frame that can come */
	connection->in_used -= at;
	memmove(connection->in, connection->in + at, connection->in_used);
	return r;
}
