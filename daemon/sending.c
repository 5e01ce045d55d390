/* SPDX-License-Identifier: MIT */
/*
 * sending.c - what waits to be sent to a connection.
 *
 * One queue for answers and events, counted apart: answers by their bytes, since clients may count on sending so much
 * before they read; events by the memory that they take, since with answers between them each may take a piece of its own.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "connection.h"
#include "limit.h"
#include "os/os.h"
#include "turns.h"

#define EVENTS_ROOM 4096u       /* bytes of events that are sent in one go */
#define MANY_IN_FLIGHT 64u      /* then it is looked whether it has taken them */
#define EVENTS_ROOM_BEHIND 256u /* the first ones behind an answer */

static size_t cost(const struct out *out)
{
	return sizeof(*out) + out->room;
}

/* They are sent, or never will be. */
static void forget_fds(struct client *client, struct out *out)
{
	for (unsigned i = 0; i < out->n_fds && out->owns_fds; i++) {
		close(out->fds[i]);
		client->n_out_fds--;
		user_release(client->user, CHARGE_DESCRIPTORS, 1);
	}
	out->n_fds = 0;
}

static void drop_first_out(struct client *client)
{
	struct out *out = client->out;

	forget_fds(client, out);
	client->out = out->next;
	if (!client->out)
		client->out_last = &client->out;
	if (client->events == out)
		client->events = NULL;
	if (out->n_events > 0) {
		client->event_bytes -= cost(out);
		client->event_frames -= out->n_events;
	} else {
		client->out_bytes -= out->size;
	}
	user_release(client->user, CHARGE_QUEUE_BYTES, cost(out));
	free(out);
}

void client_forget_out(struct client *client)
{
	while (client->out)
		drop_first_out(client);
}

/* The socket is writable, so it is no event to wait for. */
static void rest(struct client *client)
{
	client->resting = true;
	loop_disable(client->writable);
	loop_set(client->timer, LIMIT_IN_FLIGHT_REST_MS);
}

/* They were taken, or not sent after all. */
static void land(struct client *client, unsigned n)
{
	client->n_in_flight -= n;
	user_release(client->user, CHARGE_IN_FLIGHT, n);
}

/* One user's programs that do not take what they are sent leave other users enough of what the kernel lets be under way. */
static bool may_fly(struct client *client, unsigned n)
{
	if (client->n_in_flight >= MANY_IN_FLIGHT && os_unread(client->socket) == 0)
		land(client, client->n_in_flight);
	if (!user_may_have(client->user, CHARGE_IN_FLIGHT, n))
		clients_note_taken(client->clients, client->user);
	if (user_charge(client->user, CHARGE_IN_FLIGHT, n) < 0)
		return false;
	client->n_in_flight += n;
	return true;
}

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

	if (out->n_fds > 0 && !may_fly(client, out->n_fds)) {
		if (client->ending)
			return -EDQUOT;
		rest(client);
		return 0;
	}
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
		int error = errno;

		if (out->n_fds > 0)
			land(client, out->n_fds);
		if (error == ETOOMANYREFS && client->ending)
			return -error;
		if (error == ETOOMANYREFS && !client->resting)
			rest(client); /* others have not taken theirs */
		return error == EAGAIN || error == EINTR || error == ETOOMANYREFS ? 0 : -error;
	}
	forget_fds(client, out);
	out->sent += (size_t)n;
	if (out->member)
		out->member->told = true;
	out->member = NULL; /* from now on it may be closed while the rest of the frame waits */
	return 0;
}

static void flush(struct client *client)
{
	if (client->ended)
		return;
	while (client->out && !client->resting) {
		size_t before = client->out->sent;
		int r = send_some(client, client->out);

		if (r < 0) {
			/* It has gone, which is no fault, or is about to be seen to have gone. */
			client->unheard = true;
			client_forget_out(client);
			break;
		}
		if (client->out->sent == before)
			break;
		if (client->out->sent == client->out->size)
			drop_first_out(client);
	}
	if (client->resting)
		return;
	if (client->out)
		loop_enable(client->writable);
	else
		loop_disable(client->writable);
	if (client->ending && !client->out)
		client_finish(client, LEAVE_LOST);
	/* Whoever it was that sent: with nothing to be sent nothing else would wake one that is not read from. */
	client_look_again(client);
}

void client_flush(struct client *client)
{
	if (client->out)
		flush(client);
}

bool client_has_room(const struct client *client)
{
	return !client->ending && client->event_bytes < LIMIT_EVENT_BYTES && client->event_frames < LIMIT_EVENT_FRAMES &&
	       user_may_have(client->user, CHARGE_QUEUE_BYTES, LIMIT_USER_QUEUE_ROOM);
}

void client_wait_for_room(struct client *client, struct share_place *place)
{
	if (queue_has(&place->place) || user_may_have(client->user, CHARGE_QUEUE_BYTES, LIMIT_USER_QUEUE_ROOM))
		return;
	user_note_refusal(client->user, CHARGE_QUEUE_BYTES, -EDQUOT);
	share_wait(user_share(client->user), place, OS_NEVER);
}

void client_writable(void *arg)
{
	struct client *client = arg;

	flush(client);
	turns_go_on(client);
}

/* NULL: no memory. */
static struct out *out_new(struct client *client, size_t room)
{
	struct out *out = malloc(sizeof(*out) + room);

	if (!out)
		return NULL;
	*out = (struct out){ .room = room };
	/* There was room for it when it was asked for; what is answered later was charged as a question. */
	user_charge_anyway(client->user, CHARGE_QUEUE_BYTES, cost(out));
	*client->out_last = out;
	client->out_last = &out->next;
	client->events = NULL;
	return out;
}

/* Behind an answer that waits there may be one event only, and then the next answer. */
static size_t events_room(const struct client *client)
{
	return client->out && !client->events ? EVENTS_ROOM_BEHIND : EVENTS_ROOM;
}

void client_send_event(struct client *client, const void *frame, size_t size)
{
	struct out *out = client->events;

	if (client->ending || client->unheard)
		return;
	if (!out || out->room - out->size < size) {
		size_t room = events_room(client);

		out = out_new(client, size > room ? size : room);
		if (!out) {
			client_drop(client, DROP_NO_MEMORY, NULL);
			return;
		}
		client->events = out;
		client->event_bytes += cost(out);
	}
	memcpy(out->bytes + out->size, frame, size);
	out->size += size;
	out->n_events++;
	client->event_frames++;
}

/* False: no memory. */
static bool add(struct client *client, const void *frame, size_t size, const int *fds, unsigned n_fds, bool owns_fds,
                struct member *member)
{
	struct out *out = out_new(client, size);

	if (!out)
		return false;
	out->n_fds = n_fds;
	out->owns_fds = owns_fds;
	out->member = member;
	out->size = size;
	if (n_fds > 0)
		memcpy(out->fds, fds, n_fds * sizeof(int));
	memcpy(out->bytes, frame, size);
	client->out_bytes += size;
	if (owns_fds) {
		client->n_out_fds += n_fds;
		user_charge_anyway(client->user, CHARGE_DESCRIPTORS, n_fds); /* LIMIT_CLIENT_DESCRIPTORS, or LIMIT_CLIENT_UNTAKEN */
	}
	return true;
}

void client_send(struct client *client, const void *frame, size_t size, const int *fds, unsigned n_fds,
                 struct member *member)
{
	bool is_first = !client->out;

	if (client->ending || client->unheard)
		return;
	if (!add(client, frame, size, fds, n_fds, false, member))
		client_drop(client, DROP_NO_MEMORY, NULL);
	else if (is_first)
		flush(client);
}

bool client_send_fd(struct client *client, const void *frame, size_t size, int fd)
{
	bool is_first = !client->out;

	if (client->ending || client->unheard) {
		close(fd);
		return false;
	}
	if (!add(client, frame, size, &fd, 1, true, NULL)) {
		close(fd);
		client_drop(client, DROP_NO_MEMORY, NULL);
		return false;
	}
	if (is_first)
		flush(client);
	return !client->ending && !client->unheard;
}

void client_send_last(struct client *client, const void *frame, size_t size)
{
	if (client->unheard || !add(client, frame, size, NULL, 0, false, NULL)) {
		client_finish(client, LEAVE_LOST);
		return;
	}
	client->resting = false;
	flush(client);
	if (!client->ended)
		loop_set(client->timer, LIMIT_LAST_WORDS_MS);
}

void client_send_error(struct client *client, uint32_t request, int error, const char *text)
{
	unsigned char frame[WIRE_SMALL_FRAME];

	client_send(client, frame, wire_put_error(frame, request, error, text), NULL, 0, NULL);
}
