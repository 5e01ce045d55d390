/* SPDX-License-Identifier: MIT */
/*
 * reading.c - what connections send: whole frames are handed to frames.c, in their user's turn, while there is room for what they
 * ask for.
 *
 * Three things hold it up: what the connection itself has not taken or is not answered yet; room, or a rate, that its user has
 * for all its connections; and that others of its user are to have their turn. Nothing is lost by that: it stays in the socket.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "connection.h"
#include "limit.h"
#include "os/os.h"

void reading_forget(struct client *client)
{
	user_release(client->user, CHARGE_QUEUE_BYTES, client->stash_size);
	free(client->stash);
	client->stash = NULL;
	client->stash_size = 0;
}

bool client_has_hung_up(const struct client *client)
{
	struct pollfd one = { .fd = client->socket };

	return poll(&one, 1, 0) == 1 && (one.revents & POLLHUP) != 0;
}

static bool has_too_much_pending(const struct client *client)
{
	return client->n_openings + client->n_restorings >= LIMIT_CLIENT_OPENINGS || client->out_bytes > LIMIT_CLIENT_QUEUE ||
	       client->n_out_fds >= LIMIT_CLIENT_DESCRIPTORS;
}

static void wait_to_read(struct client *client, enum waits for_what, uint64_t at_ns)
{
	if (client->waits_since_ns == 0)
		client->waits_since_ns = os_now_ns();
	client->waits = for_what;
	share_wait(user_share(client->user), &client->read_wait, at_ns);
}

/* Has its user no room for this? Then nothing is read from its connections until it has. */
static bool waits_for(struct client *client, enum charge charge, uint64_t amount)
{
	if (user_may_have(client->user, charge, amount))
		return false;
	if (client->waits_since_ns == 0)
		user_note_refusal(client->user, charge, -EDQUOT);
	wait_to_read(client, WAITS_FOR_ROOM, OS_NEVER);
	return true;
}

/* Looks again, now and then at the least. One that has gone is seen here, since it is not read from; and one that waits with
 * something in its hands gives that up to others after a while: they might wait for each other for ever. */
static void waited(void *arg)
{
	struct client *client = arg;
	bool for_room = client->waits == WAITS_FOR_ROOM;

	if (for_room && client_has_hung_up(client)) {
		client_finish(client, LEAVE_LOST);
		return;
	}
	if (for_room && client->stash_size > 0 &&
	    os_now_ns() - client->waits_since_ns > LIMIT_ROOM_MS * UINT64_C(1000000)) {
		client_drop(client, DROP_QUOTA, user_refusal(client->user, CHARGE_QUEUE_BYTES));
		return;
	}
	client_look_again(client);
}

/* Room for another frame, whatever it says and is answered with. */
static bool waits_for_room(struct client *client)
{
	return waits_for(client, CHARGE_QUEUE_BYTES, LIMIT_USER_QUEUE_ROOM);
}

static bool waits_for_its_turn(struct client *client, uint16_t type)
{
	uint64_t at_ns = OS_NEVER;

	switch (type) {
	case WIRE_OPEN:
	case WIRE_REGION_RESTORE:
		return waits_for(client, CHARGE_REQUESTS, 1);
	case WIRE_POST:
	case WIRE_PUBLISH:
	case WIRE_SET_STATE:
		if (user_carry(client->user, 1, os_now_ns(), &at_ns) == 1)
			return false;
		wait_to_read(client, WAITS_FOR_TIME, at_ns);
		return true;
	default:
		return false;
	}
}

/* Handles whole frames at the start, as many as it may. Returns how many bytes they were. */
static size_t take_frames(struct client *client, const unsigned char *bytes, size_t size, unsigned *budget)
{
	size_t taken = 0;

	while (!client->ending && !has_too_much_pending(client) && *budget > 0) {
		struct wire_header header;
		enum drop why;
		int r = wire_get_header(bytes + taken, size - taken, &header);

		if (r == 0 || (r > 0 && (waits_for_room(client) || waits_for_its_turn(client, header.type))))
			break;
		client->waits_since_ns = 0;
		if (r < 0)
			why = r == -EMSGSIZE ? DROP_SIZE : DROP_MALFORMED;
		else
			why = frame_handle(client, &header, bytes + taken);
		if (why != DROP_NONE)
			client_drop(client, why, NULL);
		else
			taken += header.size;
		*budget = share_is_over(user_share(client->user)) ? 0 : *budget - 1;
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
		client_finish(client, LEAVE_LOST);
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
	/* There was room, or else it would not have been read. */
	user_charge_anyway(client->user, CHARGE_QUEUE_BYTES, size);
	memcpy(client->stash, bytes, size);
	client->stash_size = size;
}

static bool may_go_on(const struct client *client, unsigned budget)
{
	return !client->ending && client->waits == WAITS_NOT && !has_too_much_pending(client) && budget > 0;
}

static void read_some(struct client *client)
{
	static unsigned char bytes[LIMIT_READ_IN_A_ROW + WIRE_MAX_FRAME]; /* shared: nothing is kept in it */
	size_t size = client->stash_size, taken;
	unsigned budget = LIMIT_FRAMES_IN_A_ROW;
	ssize_t n;

	client->deliveries = LIMIT_DELIVERIES_IN_A_ROW;
	client->waits = WAITS_NOT;
	share_leave(&client->read_wait);
	if (size > 0)
		memcpy(bytes, client->stash, size);
	reading_forget(client);
	/* What was kept may be more than one frame. */
	taken = take_frames(client, bytes, size, &budget);
	if (may_go_on(client, budget) && !waits_for_room(client)) {
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
	/* Its half of a frame may be what others wait for. */
	if (client->stash_size > 0 && may_go_on(client, budget))
		(void)waits_for_room(client);
	if (client->waits != WAITS_NOT || has_too_much_pending(client)) {
		client->paused = true;
		loop_disable(client->readable);
	} else if (budget == 0) {
		loop_call_soon(client->readable);
	}
}

static void take_turn(void *arg)
{
	struct client *client = arg;

	if (!client->paused)
		loop_enable(client->readable); /* it is not while it waits for its turn */
	read_some(client);
}

void reading_readable(void *arg)
{
	struct client *client = arg;

	if (!share_run(user_share(client->user), &client->read_turn))
		loop_disable(client->readable);
}

void client_look_again(struct client *client)
{
	if (client->ending || !client->paused || has_too_much_pending(client))
		return;
	client->paused = false;
	loop_enable(client->readable);
	loop_call_soon(client->readable); /* for what was kept */
}

void reading_init(struct client *client)
{
	client->read_turn = (struct share_place){ .fn = take_turn, .arg = client };
	client->read_wait = (struct share_place){ .fn = waited, .arg = client };
}
