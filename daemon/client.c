/* SPDX-License-Identifier: MIT */
/*
 * client.c - connections: reading, writing, ending.
 *
 * A connection that is to end is marked, does nothing any more, and is freed in the loop's next round, so
 * nobody has to ask after each call whether it still exists. Memory per connection is bounded: nothing is read
 * from one that has too much pending.
 */
#include "client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "limit.h"
#include "log.h"
#include "opening.h"
#include "options.h"
#include "os/os.h"
#include "topic.h"

#define MEMBERS_IN_A_ROW 256 /* that leave before others get their turn */

struct clients {
	const struct context *context;
	struct client *live, *ended;
	size_t n;
	struct loop_event *reaper;
};

static void list_add(struct client **list, struct client *client)
{
	client->next = *list;
	client->at = list;
	if (*list)
		(*list)->at = &client->next;
	*list = client;
}

static void list_remove(struct client *client)
{
	*client->at = client->next;
	if (client->next)
		client->next->at = client->at;
}

/* --- ending ---------------------------------------------------------------------------------------- */

static void mark_ended(struct client *client, bool died)
{
	if (client->ending)
		return;
	client->ending = true;
	client->died = died;
	client->readable = loop_event_free(client->readable);
	client->writable = loop_event_free(client->writable);
	client->timer = loop_event_free(client->timer);
	list_remove(client);
	list_add(&client->clients->ended, client);
	client->clients->n--;
	loop_call_soon(client->clients->reaper);
}

void client_end(struct client *client)
{
	mark_ended(client, false);
}

void client_drop(struct client *client, enum drop why, const char *text)
{
	unsigned char frame[WIRE_MAX_FRAME];

	if (client->ending)
		return;
	drop_note(why, client->pid, text);
	/* What waits to be sent comes first, and is not waited for. */
	if (!client->out) {
		size_t size = wire_put_error(frame, 0, drop_error(why), text ? text : drop_text(why));

		(void)send(client->socket, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	mark_ended(client, true);
}

void client_refuse(int socket, int error, const char *text)
{
	unsigned char frame[WIRE_MAX_FRAME];

	(void)send(socket, frame, wire_put_error(frame, 0, error, text), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(socket);
}

static void drop_first_out(struct client *client)
{
	struct out *out = client->out;

	client->out = out->next;
	if (!client->out)
		client->out_last = &client->out;
	client->out_bytes -= out->size;
	free(out);
}

/* Everything but the members, which the caller has taken out or frees with their topics. */
static void client_free(struct client *client)
{
	while (client->n_openings > 0)
		opening_cancel(client->openings[--client->n_openings]);
	list_remove(client);
	loop_event_free(client->readable);
	loop_event_free(client->writable);
	loop_event_free(client->timer);
	close(client->socket);
	while (client->out)
		drop_first_out(client);
	free(client->stash);
	free(client->openings);
	free(client->members);
	free(client);
}

/* Takes some of its members out. Returns whether none is left. */
static bool reap(struct client *client)
{
	unsigned n = 0;

	while (client->n_openings > 0)
		opening_cancel(client->openings[--client->n_openings]);
	while (client->members_size > 0 && n < MEMBERS_IN_A_ROW) {
		struct member *member = client->members[--client->members_size];

		if (!member)
			continue;
		membership_end(client->context, member, client->died);
		n++;
	}
	return client->members_size == 0;
}

static void reap_ended(void *arg)
{
	struct clients *clients = arg;
	struct client *client = clients->ended;

	if (client && reap(client))
		client_free(client);
	if (clients->ended)
		loop_call_soon(clients->reaper);
}

/* --- writing --------------------------------------------------------------------------------------- */

/* Sends what it can of a frame. Returns 0 (progress or not), -errno when the connection is no good. */
static int send_some(struct client *client, struct out *out)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(WIRE_MAX_DESCRIPTORS * sizeof(int))];
	} control = { 0 };
	struct iovec part = { .iov_base = out->bytes + out->sent, .iov_len = out->size - out->sent };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	ssize_t n;

	if (out->n_fds > 0) {
		struct cmsghdr *first;

		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(out->n_fds * sizeof(int));
		first = CMSG_FIRSTHDR(&message);
		first->cmsg_level = SOL_SOCKET;
		first->cmsg_type = SCM_RIGHTS;
		first->cmsg_len = CMSG_LEN(out->n_fds * sizeof(int));
		memcpy(CMSG_DATA(first), out->fds, out->n_fds * sizeof(int));
	}
	n = sendmsg(client->socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0) {
		if (errno == ETOOMANYREFS && !client->resting) {
			/* Others have not taken theirs. The socket is writable, so it is no event to wait for. */
			client->resting = true;
			loop_disable(client->writable);
			loop_set(client->timer, LIMIT_IN_FLIGHT_REST_MS);
		}
		return errno == EAGAIN || errno == EINTR || errno == ETOOMANYREFS ? 0 : -errno;
	}
	out->n_fds = 0;
	out->sent += (size_t)n;
	if (out->member)
		out->member->told = true;
	out->member = NULL; /* from now on it may be closed while the rest of the frame waits */
	return 0;
}

static void flush(struct client *client)
{
	while (client->out && !client->ending && !client->resting) {
		size_t before = client->out->sent;
		int r = send_some(client, client->out);

		if (r < 0) {
			mark_ended(client, true); /* it has gone; its end is no fault */
			return;
		}
		if (client->out->sent == before)
			break;
		if (client->out->sent == client->out->size)
			drop_first_out(client);
	}
	if (client->ending || client->resting)
		return;
	if (client->out)
		loop_enable(client->writable);
	else
		loop_disable(client->writable);
}

static void writable(void *arg)
{
	struct client *client = arg;

	flush(client);
	client_look_again(client);
}

void client_send(struct client *client, const void *frame, size_t size, const int *fds, unsigned n_fds,
                 struct member *member)
{
	struct out *out;

	if (client->ending)
		return;
	out = malloc(sizeof(*out) + size);
	if (!out) {
		client_drop(client, DROP_NO_MEMORY, NULL);
		return;
	}
	*out = (struct out){ .n_fds = n_fds, .member = member, .size = size };
	if (n_fds > 0)
		memcpy(out->fds, fds, n_fds * sizeof(int));
	memcpy(out->bytes, frame, size);
	*client->out_last = out;
	client->out_last = &out->next;
	client->out_bytes += size;
	if (client->out == out)
		flush(client);
}

void client_send_error(struct client *client, uint32_t request, int error, const char *text)
{
	unsigned char frame[WIRE_MAX_FRAME];

	client_send(client, frame, wire_put_error(frame, request, error, text), NULL, 0, NULL);
}

/* --- reading --------------------------------------------------------------------------------------- */

static bool has_too_much_pending(const struct client *client)
{
	return client->n_openings >= LIMIT_CLIENT_OPENINGS || client->out_bytes > LIMIT_CLIENT_QUEUE;
}

/* Handles the whole frames at the start. Returns how many bytes they were. */
static size_t take_frames(struct client *client, const unsigned char *bytes, size_t size)
{
	size_t taken = 0;

	while (!client->ending && !has_too_much_pending(client)) {
		struct wire_header header;
		enum drop why;
		int r = wire_get_header(bytes + taken, size - taken, &header);

		if (r == 0)
			break;
		if (r < 0)
			why = r == -EMSGSIZE ? DROP_SIZE : DROP_MALFORMED;
		else
			why = frame_handle(client, &header, bytes + taken);
		if (why != DROP_NONE)
			client_drop(client, why, NULL);
		else
			taken += header.size;
	}
	return taken;
}

/* Returns the number of bytes, 0 (nothing now), or -1: the connection has ended. */
static ssize_t receive(struct client *client, unsigned char *to, size_t size)
{
	struct iovec part = { .iov_base = to, .iov_len = size };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };
	/* Without room for descriptors the kernel drops them, and says so. */
	ssize_t n = recvmsg(client->socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		mark_ended(client, true);
		return -1;
	}
	if (message.msg_flags & MSG_CTRUNC) {
		client_drop(client, DROP_DESCRIPTORS, NULL);
		return -1;
	}
	return n;
}

static void keep(struct client *client, const unsigned char *bytes, size_t size)
{
	if (client->ending || size == 0)
		return;
	client->stash = malloc(size);
	if (!client->stash) {
		client_drop(client, DROP_NO_MEMORY, NULL);
		return;
	}
	memcpy(client->stash, bytes, size);
	client->stash_size = size;
}

static void readable(void *arg)
{
	static unsigned char bytes[LIMIT_READ_IN_A_ROW + WIRE_MAX_FRAME]; /* shared: nothing is kept in it */
	struct client *client = arg;
	size_t size = client->stash_size, taken;
	ssize_t n;

	if (size > 0)
		memcpy(bytes, client->stash, size);
	free(client->stash);
	client->stash = NULL;
	client->stash_size = 0;
	/* What was kept may be more than one frame if the connection was paused. */
	taken = take_frames(client, bytes, size);
	if (!client->ending && !has_too_much_pending(client)) {
		size -= taken; /* less than a frame */
		memmove(bytes, bytes + taken, size);
		n = receive(client, bytes + size, sizeof(bytes) - size);
		if (n < 0)
			return;
		size += (size_t)n;
		taken = take_frames(client, bytes, size);
	}
	keep(client, bytes + taken, size - taken);
	if (!client->ending && has_too_much_pending(client)) {
		client->paused = true;
		loop_disable(client->readable);
	}
}

void client_look_again(struct client *client)
{
	if (client->ending || !client->paused || has_too_much_pending(client))
		return;
	client->paused = false;
	loop_enable(client->readable);
	loop_call_soon(client->readable); /* for what was kept */
}

/* --- coming ---------------------------------------------------------------------------------------- */

/* No greeting came, or the pause after ETOOMANYREFS is over: never both. */
static void timer(void *arg)
{
	struct client *client = arg;

	if (!client->greeted) {
		client_drop(client, DROP_SILENT, NULL);
		return;
	}
	client->resting = false;
	writable(client);
}

static struct client *client_new(struct clients *clients, int socket, uid_t uid, pid_t pid)
{
	struct loop *loop = clients->context->loop;
	struct client *client = calloc(1, sizeof(*client));

	if (!client)
		return NULL;
	*client = (struct client){ .clients = clients, .context = clients->context, .socket = socket, .uid = uid, .pid = pid };
	client->out_last = &client->out;
	list_add(&clients->live, client);
	client->openings = calloc(LIMIT_CLIENT_OPENINGS, sizeof(struct opening *));
	client->readable = loop_on_readable(loop, socket, readable, client);
	client->writable = loop_on_writable(loop, socket, writable, client);
	client->timer = loop_timer(loop, timer, client);
	if (client->openings && client->readable && client->writable && client->timer)
		return client;
	client->socket = -1; /* stays the caller's */
	client_free(client);
	return NULL;
}

static void refuse(int socket, enum drop why, pid_t pid, const char *text)
{
	drop_note(why, pid, text);
	client_refuse(socket, drop_error(why), text ? text : drop_text(why));
}

void clients_add(struct clients *clients, int socket)
{
	int send_buffer = LIMIT_CLIENT_SEND_BUFFER;
	char text[WIRE_MAX_TEXT];
	struct client *client;
	uid_t uid;
	pid_t pid;

	os_refuse_descriptors(socket);
	if (os_peer(socket, &uid, &pid) < 0) {
		refuse(socket, DROP_BROKEN, 0, NULL);
		return;
	}
	if (uid != geteuid()) {
		snprintf(text, sizeof(text), "this pathbusd serves user %u only, not user %u", (unsigned)geteuid(),
		         (unsigned)uid);
		refuse(socket, DROP_USER, pid, text);
		return;
	}
	if (clients->n >= LIMIT_CLIENTS) {
		refuse(socket, DROP_TOO_MANY, pid, NULL);
		return;
	}
	(void)setsockopt(socket, SOL_SOCKET, SO_SNDBUF, &send_buffer, sizeof(send_buffer));
	client = client_new(clients, socket, uid, pid);
	if (!client) {
		refuse(socket, DROP_NO_MEMORY, pid, NULL);
		return;
	}
	clients->n++;
	loop_set(client->timer, clients->context->options->hello_ms);
}

struct clients *clients_new(const struct context *context)
{
	struct clients *clients = calloc(1, sizeof(*clients));

	if (!clients)
		return NULL;
	clients->context = context;
	clients->reaper = loop_timer(context->loop, reap_ended, clients);
	if (!clients->reaper) {
		free(clients);
		return NULL;
	}
	return clients;
}

struct clients *clients_free(struct clients *clients)
{
	if (!clients)
		return NULL;
	while (clients->live)
		client_free(clients->live);
	while (clients->ended)
		client_free(clients->ended);
	loop_event_free(clients->reaper);
	free(clients);
	return NULL;
}

size_t clients_count(const struct clients *clients)
{
	return clients->n;
}
