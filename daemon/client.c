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
#include "departure.h"
#include "limit.h"
#include "log.h"
#include "opening.h"
#include "options.h"
#include "os/os.h"
#include "subscriber.h"
#include "syncing.h"
#include "topic.h"

#define MEMBERS_IN_A_ROW 256 /* that leave before others get their turn */
#define EVENTS_ROOM 4096u    /* bytes of events that are sent in one go */

struct clients {
	const struct context *context;
	struct client *live, *ended, *departing;
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

static void mark_ended(struct client *client, enum leave how)
{
	if (client->ending)
		return;
	client->ending = true;
	client->how = how;
	client->pump = loop_event_free(client->pump);
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
	mark_ended(client, LEAVE_CLOSED);
}

void client_drop(struct client *client, enum drop why, const char *text)
{
	unsigned char frame[WIRE_SMALL_FRAME];

	if (client->ending)
		return;
	drop_note(why, client->pid, text);
	/* What waits to be sent comes first, and is not waited for. */
	if (!client->out) {
		size_t size = wire_put_error(frame, 0, drop_error(why), text ? text : drop_text(why));

		(void)send(client->socket, frame, size, MSG_NOSIGNAL | MSG_DONTWAIT);
	}
	mark_ended(client, LEAVE_LOST);
}

void client_refuse(int socket, int error, const char *text)
{
	unsigned char frame[WIRE_SMALL_FRAME];

	(void)send(socket, frame, wire_put_error(frame, 0, error, text), MSG_NOSIGNAL | MSG_DONTWAIT);
	close(socket);
}

static void drop_first_out(struct client *client)
{
	struct out *out = client->out;

	client->out = out->next;
	if (!client->out)
		client->out_last = &client->out;
	if (client->events == out)
		client->events = NULL;
	if (out->n_events > 0) {
		client->event_bytes -= out->size;
		client->event_frames -= out->n_events;
	} else {
		client->out_bytes -= out->size;
	}
	free(out);
}

/* Everything but the members, which the caller has taken out or frees with their topics. */
static void client_free(struct client *client)
{
	while (client->n_openings > 0)
		opening_cancel(client->openings[--client->n_openings]);
	while (client->syncs)
		syncing_free(client->syncs);
	for (uint32_t i = 0; i < client->members_size; i++)
		if (client->members[i])
			subscriber_free(client->members[i]);
	list_remove(client);
	departure_free(client->departure);
	loop_event_free(client->pump);
	loop_event_free(client->readable);
	loop_event_free(client->writable);
	loop_event_free(client->timer);
	if (client->socket >= 0)
		close(client->socket);
	while (client->out)
		drop_first_out(client);
	free(client->stash);
	free(client->openings);
	free(client->members);
	free(client);
}

static bool has_lanes(const struct client *client)
{
	for (uint32_t i = 0; i < client->members_size; i++)
		if (client->members[i] && !client->members[i]->subscriber)
			return true;
	return false;
}

static void departed(void *arg, bool is_gone)
{
	struct client *client = arg;

	client->departure = departure_free(client->departure);
	client->how = is_gone ? LEAVE_DIED : LEAVE_LOST;
	list_remove(client);
	list_add(&client->clients->ended, client);
	loop_call_soon(client->clients->reaper);
}

/* One that may have lanes mapped leaves them once its process has ended, if that is soon. */
static bool departs(struct client *client)
{
	struct clients *clients = client->clients;

	if (client->how != LEAVE_LOST || client->departure_is_over || !has_lanes(client))
		return false;
	client->departure_is_over = true;
	client->departure = departure_new(client->context->loop, client->pid, departed, client);
	if (!client->departure)
		return false;
	list_remove(client);
	list_add(&clients->departing, client);
	return true;
}

/* Takes some of its members out. Returns whether none is left. */
static bool reap(struct client *client)
{
	unsigned n = 0;

	while (client->members_size > 0 && n < MEMBERS_IN_A_ROW) {
		struct member *member = client->members[--client->members_size];

		if (!member)
			continue;
		membership_end(client->context, member, client->how);
		n++;
	}
	return client->members_size == 0;
}

static void reap_ended(void *arg)
{
	struct clients *clients = arg;
	struct client *client = clients->ended;

	if (client && client->socket >= 0) {
		close(client->socket);
		client->socket = -1;
		while (client->n_openings > 0)
			opening_cancel(client->openings[--client->n_openings]);
		while (client->syncs)
			syncing_free(client->syncs);
	}
	if (client && !departs(client) && reap(client))
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
			/* It has gone, which is no fault, or is about to be seen to have gone. */
			client->unheard = true;
			while (client->out)
				drop_first_out(client);
			break;
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

void client_flush(struct client *client)
{
	if (client->out)
		flush(client);
}

bool client_has_room(const struct client *client)
{
	return !client->ending && client->event_bytes < LIMIT_EVENT_BYTES && client->event_frames < LIMIT_EVENT_FRAMES;
}

static void writable(void *arg)
{
	struct client *client = arg;

	flush(client);
	client_look_again(client);
	subscribers_go_on(client);
}

static struct out *out_new(struct client *client, size_t room)
{
	struct out *out = malloc(sizeof(*out) + room);

	if (!out) {
		client_drop(client, DROP_NO_MEMORY, NULL);
		return NULL;
	}
	*out = (struct out){ .room = room };
	*client->out_last = out;
	client->out_last = &out->next;
	client->events = NULL;
	return out;
}

void client_send_event(struct client *client, const void *frame, size_t size)
{
	struct out *out = client->events;

	if (client->ending || client->unheard)
		return;
	if (!out || out->room - out->size < size) {
		out = out_new(client, size > EVENTS_ROOM ? size : EVENTS_ROOM);
		if (!out)
			return;
		client->events = out;
	}
	memcpy(out->bytes + out->size, frame, size);
	out->size += size;
	out->n_events++;
	client->event_bytes += size;
	client->event_frames++;
}

void client_send(struct client *client, const void *frame, size_t size, const int *fds, unsigned n_fds,
                 struct member *member)
{
	struct out *out;

	if (client->ending || client->unheard)
		return;
	out = out_new(client, size);
	if (!out)
		return;
	out->n_fds = n_fds;
	out->member = member;
	out->size = size;
	if (n_fds > 0)
		memcpy(out->fds, fds, n_fds * sizeof(int));
	memcpy(out->bytes, frame, size);
	client->out_bytes += size;
	if (client->out == out)
		flush(client);
}

void client_send_error(struct client *client, uint32_t request, int error, const char *text)
{
	unsigned char frame[WIRE_SMALL_FRAME];

	client_send(client, frame, wire_put_error(frame, request, error, text), NULL, 0, NULL);
}

/* --- reading --------------------------------------------------------------------------------------- */

static bool has_too_much_pending(const struct client *client)
{
	return client->n_openings >= LIMIT_CLIENT_OPENINGS || client->out_bytes > LIMIT_CLIENT_QUEUE;
}

/* Handles whole frames at the start, as many as it may. Returns how many bytes they were. */
static size_t take_frames(struct client *client, const unsigned char *bytes, size_t size, unsigned *budget)
{
	size_t taken = 0;

	while (!client->ending && !has_too_much_pending(client) && *budget > 0) {
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
		--*budget;
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
		mark_ended(client, LEAVE_LOST);
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
	unsigned budget = LIMIT_FRAMES_IN_A_ROW;
	ssize_t n;

	if (size > 0)
		memcpy(bytes, client->stash, size);
	free(client->stash);
	client->stash = NULL;
	client->stash_size = 0;
	/* What was kept may be more than one frame. */
	taken = take_frames(client, bytes, size, &budget);
	if (!client->ending && !has_too_much_pending(client) && budget > 0) {
		size -= taken; /* less than a frame */
		memmove(bytes, bytes + taken, size);
		n = receive(client, bytes + size, LIMIT_READ_IN_A_ROW);
		if (n < 0)
			return;
		size += (size_t)n;
		taken = take_frames(client, bytes, size, &budget);
	}
	keep(client, bytes + taken, size - taken);
	if (client->ending)
		return;
	if (has_too_much_pending(client)) {
		client->paused = true;
		loop_disable(client->readable);
	} else if (budget == 0) {
		loop_call_soon(client->readable);
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
	client->due_last = &client->due;
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
	while (clients->departing)
		client_free(clients->departing);
	loop_event_free(clients->reaper);
	free(clients);
	return NULL;
}

size_t clients_count(const struct clients *clients)
{
	return clients->n;
}
