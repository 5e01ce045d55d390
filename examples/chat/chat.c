/* SPDX-License-Identifier: MIT */
/*
 * chat.c - two people talk, and meet by a file: chat FILE
 *
 * Who comes first listens on an endpoint of that file, who comes second connects to it. From then on each has one end of a
 * socket: nothing is between them, neither the daemon nor the library, and there is no address that could be stale.
 */
#include <errno.h>
#include <pathbus.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Until somebody connects. */
static int await_guest(pathbus *bus, struct pathbus_connection *ret)
{
	struct pathbus_event event = { .size = sizeof(event) };
	struct pollfd ready = { .fd = pathbus_fd(bus), .events = POLLIN };
	int error;

	for (;;) {
		while ((error = pathbus_next(bus, &event)) > 0) {
			if (event.kind == PATHBUS_EVENT_CONNECTION) {
				ret->fd = event.fd;
				ret->pid = event.pid;
				ret->uid = event.uid;
				return 0;
			}
			if (event.error)
				return event.error; /* the channel, or the endpoint, is lost */
		}
		if (error < 0 || (poll(&ready, 1, -1) < 0 && errno != EINTR))
			return error < 0 ? error : -errno;
	}
}

static int meet(pathbus *bus, pathbus_topic *topic, struct pathbus_connection *ret)
{
	pathbus_endpoint *endpoint;
	int error;

	for (;;) {
		error = pathbus_connect(topic, "chat", 0, ret);
		if (error != -ECONNREFUSED)
			return error; /* connected, or it failed */
		error = pathbus_listen(topic, "chat", PATHBUS_ENDPOINT_WRITERS, &endpoint);
		if (error == -EADDRINUSE)
			continue; /* somebody came at the same moment and was faster */
		if (error < 0)
			return error;
		fprintf(stderr, "waiting for somebody to talk to\n");
		error = await_guest(bus, ret);
		pathbus_unlisten(endpoint); /* one is enough */
		return error;
	}
}

/* What is there now, from one to the other. 0: the end of it. */
static int pass_on(int from, int to)
{
	char text[4096];
	ssize_t n = read(from, text, sizeof(text));

	for (ssize_t at = 0, done; at < n; at += done)
		if ((done = write(to, text + at, (size_t)(n - at))) < 0)
			return 0;
	return n > 0;
}

static void talk(int peer)
{
	struct pollfd ready[2] = {
		{ .fd = STDIN_FILENO, .events = POLLIN },
		{ .fd = peer, .events = POLLIN },
	};

	while (poll(ready, 2, -1) > 0 || errno == EINTR) {
		if (ready[0].revents && !pass_on(STDIN_FILENO, peer)) {
			shutdown(peer, SHUT_WR); /* we have said all; the other may not have */
			ready[0].fd = -1;
		}
		if (ready[1].revents & POLLIN && !pass_on(peer, STDOUT_FILENO))
			ready[1].events = 0; /* the other has said all; we may not have */
		if (!ready[1].events && (ready[0].fd < 0 || ready[1].revents & POLLHUP))
			return; /* both have, or the other is gone altogether */
	}
}

int main(int argc, char **argv)
{
	struct pathbus_connection connection = { .size = sizeof(connection) };
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int error = pathbus_new(&bus, NULL);

	signal(SIGPIPE, SIG_IGN); /* that the other side has gone is told by write */
	if (error == 0)
		error = pathbus_open(bus, argc > 1 ? argv[1] : "", 0, &topic);
	if (error == 0)
		error = meet(bus, topic, &connection);
	pathbus_free(bus); /* the connection does not need it */
	if (error < 0) {
		fprintf(stderr, "chat FILE: %s\n", strerror(-error));
		return 1;
	}
	fprintf(stderr, "talking to process %ld of user %ld\n", (long)connection.pid, (long)connection.uid);
	talk(connection.fd);
	close(connection.fd);
	return 0;
}
