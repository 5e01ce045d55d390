/* SPDX-License-Identifier: MIT */
/* meeting.c - listening and connecting, for the cases about endpoints. */
#include "conformance/meeting.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conformance/transports.h"

struct pathbus_connection connection_of(void)
{
	return (struct pathbus_connection){ .size = sizeof(struct pathbus_connection), .fd = -1 };
}

struct pathbus_connection dial_until(pathbus_topic *topic, const char *name, uint64_t deadline)
{
	struct pathbus_connection connection = connection_of();
	int r = pathbus_connect(topic, name, deadline, &connection);

	ck_assert_msg(r == 0, "connecting to %s: %s", name, strerror(-r));
	return connection;
}

struct pathbus_connection dial(pathbus_topic *topic, const char *name)
{
	return dial_until(topic, name, 0);
}

struct pathbus_connection dial_soon(pathbus_topic *topic, const char *name)
{
	return dial_until(topic, name, harness_deadline(harness_limit_ms));
}

void expect_dial(pathbus_topic *topic, const char *name, uint64_t deadline, int error)
{
	struct pathbus_connection connection = connection_of();

	ck_assert_int_eq(pathbus_connect(topic, name, deadline, &connection), error);
	ck_assert_int_eq(connection.fd, -1);
}

pathbus_endpoint *listen_at(pathbus_topic *topic, const char *name, unsigned flags)
{
	pathbus_endpoint *endpoint = NULL;
	int r = pathbus_listen(topic, name, flags, &endpoint);

	ck_assert_msg(r == 0, "listening at %s: %s", name, strerror(-r));
	return endpoint;
}

void expect_listen(pathbus_topic *topic, const char *name, unsigned flags, int error)
{
	pathbus_endpoint *endpoint = NULL;

	ck_assert_int_eq(pathbus_listen(topic, name, flags, &endpoint), error);
	ck_assert_ptr_null(endpoint);
}

struct pathbus_event event_of(pathbus *bus, pathbus_endpoint *endpoint, enum pathbus_event_kind kind)
{
	struct pathbus_event event;

	do
		take_soon(bus, &event);
	while (event.kind == PATHBUS_EVENT_POST || event.kind == PATHBUS_EVENT_RESYNC);
	ck_assert_msg(event.kind == kind, "event %d, error %d", (int)event.kind, event.error);
	ck_assert_ptr_eq(event.endpoint, endpoint);
	return event;
}

int accept_one(pathbus *bus, pathbus_endpoint *endpoint)
{
	struct pathbus_event event = event_of(bus, endpoint, PATHBUS_EVENT_CONNECTION);

	ck_assert_int_ge(event.fd, 0);
	return event.fd;
}

void expect_joined(int one, int other)
{
	char byte = 0;

	ck_assert_int_eq(write(one, "a", 1), 1);
	ck_assert_int_eq(read(other, &byte, 1), 1);
	ck_assert_int_eq(byte, 'a');
	ck_assert_int_eq(write(other, "b", 1), 1);
	ck_assert_int_eq(read(one, &byte, 1), 1);
	ck_assert_int_eq(byte, 'b');
}

void expect_end(int fd)
{
	char byte;

	ck_assert_int_eq(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, (int)harness_limit_ms), 1);
	ck_assert_int_le(read(fd, &byte, 1), 0);
}

/* --- a server ------------------------------------------------------------------------------------------ */

enum { SERVES = 64 };

struct serving {
	struct harness_process *peer;
	struct pollfd fds[2 + SERVES];
	nfds_t n;
	bool is_ended, takes;
};

static void serve_events(struct serving *serving, pathbus *bus)
{
	struct pathbus_event event;

	while (take(bus, &event)) {
		ck_assert_msg(event.kind != PATHBUS_EVENT_ERROR, "error event: %s", strerror(-event.error));
		if (event.kind == PATHBUS_EVENT_UNLISTENED)
			harness_tell(serving->peer, "unlistened %d", event.error);
		if (event.kind != PATHBUS_EVENT_CONNECTION)
			continue;
		ck_assert_int_lt((int)serving->n, 2 + SERVES);
		serving->fds[serving->n++] = (struct pollfd){ .fd = event.fd, .events = POLLIN };
	}
}

static void echo(struct serving *serving, nfds_t at)
{
	char bytes[64];
	ssize_t n = read(serving->fds[at].fd, bytes, sizeof(bytes));

	if (n > 0) {
		ck_assert_int_eq(send(serving->fds[at].fd, bytes, (size_t)n, MSG_NOSIGNAL), n);
		return;
	}
	close(serving->fds[at].fd);
	serving->fds[at] = serving->fds[--serving->n];
}

static void obey(struct serving *serving)
{
	const char *line = harness_hear(serving->peer);

	if (!line || strcmp(line, "end") == 0)
		serving->is_ended = true;
	else if (strcmp(line, "stop taking") == 0)
		serving->takes = false;
	else
		serving->takes = true;
	if (!serving->is_ended)
		harness_tell(serving->peer, "obeyed");
}

static int serve(struct harness_process *peer, void *arg)
{
	const struct server *server = arg;
	struct serving serving = { .peer = peer, .n = 2, .takes = true };
	pathbus *bus = server->new_bus();
	pathbus_endpoint *endpoint;
	pathbus_topic *topic;

	ck_assert_int_eq(pathbus_open(bus, server->path, 0, &topic), 0);
	endpoint = listen_at(topic, server->name, server->flags);
	serving.fds[0] = (struct pollfd){ .fd = pathbus_fd(bus), .events = POLLIN };
	serving.fds[1] = (struct pollfd){ .fd = peer->in, .events = POLLIN };
	harness_tell(peer, "listening");
	while (!serving.is_ended) {
		serving.fds[0].events = serving.takes ? POLLIN : 0;
		serving.fds[0].revents = 0;
		if (poll(serving.fds, serving.n, -1) < 0)
			continue;
		for (nfds_t i = serving.n; i-- > 2;)
			if (serving.fds[i].revents)
				echo(&serving, i);
		if (serving.fds[1].revents)
			obey(&serving);
		if (serving.fds[0].revents && serving.takes)
			serve_events(&serving, bus);
	}
	pathbus_unlisten(endpoint);
	pathbus_free(bus);
	while (serving.n > 2)
		close(serving.fds[--serving.n].fd);
	return 0;
}

void server_start(struct server *server)
{
	if (!server->new_bus)
		server->new_bus = transport_new;
	if (!server->name)
		server->name = "service";
	if (!server->path)
		server->path = transport_path("file");
	harness_spawn(&server->process, serve, server);
	harness_expect_line(&server->process, "listening");
}

void server_end(struct server *server)
{
	harness_tell(&server->process, "end");
	harness_expect_exit(&server->process, 0);
}

void server_kill(struct server *server)
{
	harness_signal(&server->process, SIGKILL);
	harness_expect_signal(&server->process, SIGKILL);
}

char state_of(pid_t pid, pid_t task)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)task);
	file = fopen(path, "re");
	if (file) {
		if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
			state = '?';
		fclose(file);
	}
	return state;
}

static bool is_asleep(pid_t pid)
{
	for (int i = 0; i < 20; i++)
		if (state_of(pid, pid) != 'S' || usleep(500) < 0)
			return false;
	return true;
}

void await_sleep(pid_t pid)
{
	harness_await(is_asleep(pid));
}

void expect_echo(int fd)
{
	char byte = 0;

	ck_assert_int_eq(send(fd, "e", 1, MSG_NOSIGNAL), 1);
	ck_assert_int_eq(poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, (int)harness_limit_ms), 1);
	ck_assert_int_eq(read(fd, &byte, 1), 1);
	ck_assert_int_eq(byte, 'e');
}
