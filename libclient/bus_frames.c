/* SPDX-License-Identifier: MIT */
/*
 * bus_frames.c - what the daemon says: receiving, and what each frame does. Descriptors come with the first
 * byte of their frame, and are kept in order until it is handled.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"
#include "region_internal.h"

/* --- frames -------------------------------------------------------------------------------------------- */

void frame_close_fds(struct frame_fds *fds)
{
	for (unsigned i = 0; i < fds->n; i++)
		if (fds->fds[i] >= 0)
			close(fds->fds[i]);
	fds->n = 0;
}

/* Those that came with a frame which has so many; the caller closes what is not taken. */
static int take_fds(struct bus_connection *connection, unsigned n, struct frame_fds *ret)
{
	*ret = (struct frame_fds){ .n = 0 };
	if (n == 0)
		return 0;
	if (connection->n_fds == 0 || (connection->fds[0].n != n && !connection->fds[0].cut))
		return -EPROTO;
	*ret = connection->fds[0];
	connection->n_fds--;
	memmove(connection->fds, connection->fds + 1, connection->n_fds * sizeof(connection->fds[0]));
	return 0;
}

/* The caller's from now on. -EMFILE: this process had no room. */
static int take_fd(struct frame_fds *fds, unsigned at)
{
	int fd = fds->cut ? -EMFILE : fds->fds[at];

	if (fd >= 0)
		fds->fds[at] = -1;
	return fd;
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

static int on_welcome(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct bus_connection *connection = &bus->connection;
	struct wire_welcome welcome;
	int r;

	r = wire_get_welcome(frame, header->size, &welcome);
	if (r == 0 && (connection->state != BUS_GREETING || welcome.version != WIRE_VERSION))
		r = -EPROTO;
	if (r == 0 && fds->cut)
		r = -EMFILE;
	if (r == 0)
		r = install_death(connection, fds->fds[0]);
	if (r < 0)
		return r;
	if (connection->carrier < 0)
		connection->carrier = take_fd(fds, 1);
	else
		(void)os_replace(fds->fds[1], connection->carrier);
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

static bool may_post(pathbus_topic *topic)
{
	return topic->remote ? topic->may_post_remote : atomic_load(&topic->may_post);
}

/* As far as that was asked for. Returns what was before. */
static bool set_may_post(pathbus_topic *topic, bool may)
{
	bool before = may_post(topic);

	if ((topic->flags & (PATHBUS_SUBSCRIBE | PATHBUS_POST)) == PATHBUS_SUBSCRIBE)
		may = false;
	if (topic->remote)
		topic->may_post_remote = may;
	else
		atomic_store(&topic->may_post, may);
	return before;
}

static int on_opened(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct joined joined = { .place = PLACE_BUS, .why = "the daemon answers", .sidecar = SIDECAR_NONE };
	struct wire_opened opened;
	pathbus_topic *topic;
	bool could_post = false;
	int r;

	r = wire_get_opened(frame, header->size, &opened);
	if (r < 0)
		return r;
	topic = find_request(bus, header->request);
	if (bus->kind == PATHBUS_SOCKET) {
		joined.page = joined.bell = -1;
		r = topic ? socket_make_lane(topic, &opened, &joined) : 0;
	} else if (fds->cut) {
		r = -EMFILE;
	}
	if (topic)
		topic->request = 0;
	if (r == 0) {
		if (bus->kind != PATHBUS_SOCKET) {
			joined.page = take_fd(fds, 0);
			joined.bell = take_fd(fds, 1);
			joined.slot = opened.slot;
			joined.bus_topic = opened.topic;
		}
		if (topic)
			r = rights_error(topic, opened.rights & WIRE_RIGHT_SUBSCRIBE, opened.rights & WIRE_RIGHT_POST);
		if (!topic || r < 0) {
			joined_release(&joined, NULL);
		} else {
			could_post = set_may_post(topic, (opened.rights & WIRE_RIGHT_POST) != 0);
			r = topic_install(topic, &joined);
			if (r < 0)
				(void)set_may_post(topic, could_post);
		}
	}
	if (!topic || r < 0) {
		/* Closed meanwhile, or nothing we can use. */
		bus_close_topic(bus, opened.topic, bus->connection.serial);
		if (topic) {
			topic->request_error = r;
			topic->refused_ns = os_now_ns();
			control_due(bus);
		}
	} else {
		/* Who asked for no right in particular goes on with what is left, but is told. */
		if (could_post && !may_post(topic)) {
			topic->error_due = -EACCES;
			handle_queue(topic);
		}
	}
	return 0;
}

static int on_error(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct wire_error error;
	pathbus_topic *topic;
	int r = wire_get_error(frame, header->size, &error);

	(void)fds;
	if (r < 0)
		return r;
	if (bus->connection.state == BUS_GREETING || header->request == 0) {
		bus->connection.refusal = -(int)error.error;
		return -ECONNREFUSED;
	}
	if (call_on_error(bus, header->request, -(int)error.error) ||
	    endpoint_on_error(bus, header->request, -(int)error.error))
		return 0;
	if (region_bus_on_error(bus, header->request, -(int)error.error))
		return 0;
	topic = find_request(bus, header->request);
	if (topic) {
		topic->request = 0;
		topic->request_error = -(int)error.error;
		topic->refused_ns = os_now_ns();
		control_due(bus); /* if it is lost, it goes on to the sidecar */
	}
	return 0;
}

static int on_pong(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct wire_pong pong;
	int r = wire_get_pong(frame, header->size, &pong);

	(void)fds;
	if (r == 0)
		bus->connection.pong_ns = os_now_ns();
	return r;
}

static int on_socket(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	(void)fds;
	return bus->kind == PATHBUS_SOCKET ? socket_on_frame(bus, frame, header) : -EPROTO;
}

static int on_region(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	int r = call_on_answer(bus, frame, header, fds);

	if (r == 0 && (fds->cut || fds->fds[0] >= 0))
		region_bus_give_back(bus, frame, header); /* too late, or no room for it */
	return r;
}

static int on_restored(struct pathbus *bus, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	(void)fds;
	return region_bus_on_restored(bus, frame, header);
}

static const struct {
	enum wire_type type;
	unsigned n_fds; /* OPENED: none over the socket */
	/* What is taken of fds is set to -1; the rest is closed. An error ends the connection. */
	int (*handle)(struct pathbus *, const void *frame, const struct wire_header *, struct frame_fds *fds);
} handlers[] = {
	{ WIRE_WELCOME, 2, on_welcome },
	{ WIRE_OPENED, 2, on_opened },
	{ WIRE_ERROR, 0, on_error },
	{ WIRE_PONG, 0, on_pong },
	{ WIRE_DONE, 0, call_on_answer },
	{ WIRE_STATE, 0, call_on_answer },
	{ WIRE_SYNCED, 0, call_on_answer },
	{ WIRE_LISTENING, 0, endpoint_on_listening },
	{ WIRE_CONNECTED, 1, call_on_answer },
	{ WIRE_TOKEN_MADE, 0, call_on_answer },
	{ WIRE_ENDPOINTS, 0, call_on_answer },
	{ WIRE_MEMBERS, 0, call_on_answer },
	{ WIRE_EVENT_CONNECTION, 1, endpoint_on_connection },
	{ WIRE_EVENT_UNLISTENED, 0, endpoint_on_unlistened },
	{ WIRE_REGION, 1, on_region },
	{ WIRE_RESTORED, 0, on_restored },
	{ WIRE_REGIONS, 0, call_on_answer },
	{ WIRE_EVENT_POST, 0, on_socket },
	{ WIRE_EVENT_MESSAGE, 0, on_socket },
	{ WIRE_EVENT_GAP, 0, on_socket },
	{ WIRE_EVENT_RESYNC, 0, on_socket },
};

static int handle_frame(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		unsigned n_fds = handlers[i].n_fds;
		struct frame_fds fds;
		int r;

		if (handlers[i].type != header->type)
			continue;
		if (header->type == WIRE_OPENED && bus->kind == PATHBUS_SOCKET)
			n_fds = 0;
		r = take_fds(&bus->connection, n_fds, &fds);
		if (r == 0 && (!bus->connection.rest || header->type == WIRE_EVENT_CONNECTION))
			r = handlers[i].handle(bus, frame, header, &fds);
		frame_close_fds(&fds);
		return r;
	}
	return -EPROTO;
}

/* --- receiving ----------------------------------------------------------------------------------------- */

/* What came with one frame: the kernel never gives those of two at once. */
static int keep_fds(struct bus_connection *connection, struct msghdr *message)
{
	struct frame_fds found = { .cut = (message->msg_flags & MSG_CTRUNC) != 0 };
	bool any = found.cut, too_many = false;

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
			if (found.n < WIRE_MAX_DESCRIPTORS && !found.cut) {
				found.fds[found.n++] = fds[i];
			} else {
				too_many = !found.cut;
				close(fds[i]);
			}
		}
	}
	if (!any)
		return 0;
	if (too_many || connection->n_fds == MAX_PENDING_FDS) {
		frame_close_fds(&found);
		return -EPROTO;
	}
	connection->fds[connection->n_fds++] = found;
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
		at += header.size; /* also one that was no good: its descriptors have been taken */
		if (r < 0)
			break;
	}
	if (at == 0 && connection->in_used == connection->in_size)
		return -EPROTO; /* more than any frame that can come */
	connection->in_used -= at;
	memmove(connection->in, connection->in + at, connection->in_used);
	return r;
}

void bus_take_rest(struct pathbus *bus)
{
	bus->connection.rest = true;
	while (bus_receive(&bus->connection) > 0 && bus_handle_frames(bus) >= 0)
		;
	bus->connection.rest = false;
}
