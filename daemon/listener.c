/* SPDX-License-Identifier: MIT */
/*
 * listener.c - accepts connections.
 *
 * A descriptor is kept in reserve: where the table is full it is given up for a moment, so that whoever waits
 * is told why instead of hanging. Where even that does not help the listener rests, so that it does not spin.
 */
#include "listener.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "drop.h"
#include "limit.h"
#include "log.h"

struct listener {
	int socket;
	int reserve; /* -1: used up */
	struct clients *clients;
	struct loop_event *readable, *rest;
};

static int accept_one(const struct listener *listener)
{
	int fd;

	do
		fd = accept4(listener->socket, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	return fd < 0 ? -errno : fd;
}

static void take_reserve(struct listener *listener)
{
	if (listener->reserve < 0)
		listener->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

/* Returns whether one could be told. */
static bool refuse_one(struct listener *listener)
{
	int fd;

	if (listener->reserve < 0)
		return false;
	close(listener->reserve);
	listener->reserve = -1;
	fd = accept_one(listener);
	if (fd >= 0) {
		drop_note(DROP_NO_DESCRIPTORS, 0, NULL);
		client_refuse(fd, drop_error(DROP_NO_DESCRIPTORS), drop_text(DROP_NO_DESCRIPTORS));
	}
	take_reserve(listener);
	return fd >= 0;
}

static void readable(void *arg)
{
	struct listener *listener = arg;

	for (unsigned i = 0; i < LIMIT_ACCEPTS_IN_A_ROW; i++) {
		int fd = accept_one(listener);

		if (fd >= 0) {
			clients_add(listener->clients, fd);
			continue;
		}
		if (fd == -EAGAIN)
			return;
		if ((fd == -EMFILE || fd == -ENFILE) && refuse_one(listener))
			continue;
		log_event(REASON_ACCEPT_FAILED, "a connection cannot be accepted: %s", strerror(-fd));
		loop_disable(listener->readable);
		loop_set(listener->rest, LIMIT_ACCEPT_REST_MS);
		return;
	}
}

static void rested(void *arg)
{
	struct listener *listener = arg;

	take_reserve(listener);
	loop_enable(listener->readable);
}

struct listener *listener_new(struct loop *loop, int socket, struct clients *clients)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (!listener)
		return NULL;
	*listener = (struct listener){ .socket = socket, .reserve = -1, .clients = clients };
	take_reserve(listener);
	listener->readable = loop_on_readable(loop, socket, readable, listener);
	listener->rest = loop_timer(loop, rested, listener);
	if (!listener->readable || !listener->rest)
		return listener_free(listener);
	return listener;
}

struct listener *listener_free(struct listener *listener)
{
	if (!listener)
		return NULL;
	loop_event_free(listener->readable);
	loop_event_free(listener->rest);
	if (listener->reserve >= 0)
		close(listener->reserve);
	free(listener);
	return NULL;
}
