/* SPDX-License-Identifier: MIT */
/* test_endpoint_crash.c - kill -9 of everybody who has part in a connection, at every step of it. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conformance/meeting.h"
#include "conformance/sidecars.h"
#include "libclient/endpoint_files.h"

static pathbus *bus;
static pathbus_topic *topic;

static void begin(int id)
{
	transport_begin(id);
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
}

/* --- the listener ---------------------------------------------------------------------------------------- */

/* At once: nobody listens there any more, and the next one may. */
START_TEST(a_listener_dies)
{
	struct server server = { .flags = 0 };

	begin(_i);
	for (int i = 0; i < 5; i++) {
		struct pathbus_connection connection;

		server_start(&server);
		connection = dial(topic, "service");
		expect_echo(connection.fd);
		server_kill(&server);
		expect_dial(topic, "service", 0, -ECONNREFUSED);
		expect_end(connection.fd);
		close(connection.fd);
		expect_dial(topic, "service", harness_now_ns() + 5000000, -ETIMEDOUT);
	}
	pathbus_free(bus);
}
END_TEST

START_TEST(a_listener_dies_that_has_not_taken)
{
	struct server server = { .flags = 0 };
	struct pathbus_connection connections[3];

	begin(_i);
	server_start(&server);
	harness_tell(&server.process, "stop taking");
	harness_expect_line(&server.process, "obeyed");
	for (int i = 0; i < 3; i++)
		connections[i] = dial(topic, "service");
	server_kill(&server);
	for (int i = 0; i < 3; i++) {
		expect_end(connections[i].fd);
		close(connections[i].fd);
	}
	pathbus_unlisten(listen_at(topic, "service", 0));
	pathbus_free(bus);
}
END_TEST

static int dialer(struct harness_process *peer, void *arg)
{
	pathbus *mine = transport_new();
	pathbus_topic *used = transport_open(mine, "file", 0);
	struct pathbus_connection connection;

	(void)arg;
	harness_tell(peer, "ready");
	connection = dial_soon(used, "service");
	expect_echo(connection.fd);
	harness_tell(peer, "through");
	(void)harness_hear(peer);
	close(connection.fd);
	pathbus_free(mine);
	return 0;
}

/* Who waits for its successor, or for room, goes on waiting. */
START_TEST(a_listener_dies_and_another_comes)
{
	struct server server = { .flags = 0 }, next = { .flags = PATHBUS_ENDPOINT_SEQPACKET };
	struct pathbus_connection connections[20];
	struct harness_process child;
	int n = 0;

	begin(_i);
	server_start(&server);
	harness_tell(&server.process, "stop taking");
	harness_expect_line(&server.process, "obeyed");
	while (n < 20 && (connections[n] = connection_of(), pathbus_connect(topic, "service", 0, &connections[n]) == 0))
		n++;
	ck_assert_int_lt(n, 20); /* full */
	harness_spawn(&child, dialer, NULL);
	harness_expect_line(&child, "ready");
	await_sleep(child.pid);
	server_kill(&server);
	server_start(&next);
	harness_expect_line(&child, "through");
	harness_tell(&child, "end");
	harness_expect_exit(&child, 0);
	while (n > 0)
		close(connections[--n].fd);
	server_end(&next);
	pathbus_free(bus);
}
END_TEST

static void allow_descriptors(int n, struct rlimit *ret_before)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC); /* the lowest that is free */
	struct rlimit few;

	close(fd);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, ret_before), 0);
	few = *ret_before;
	few.rlim_cur = (rlim_t)(fd + n);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
}

/* Who has no descriptor left for a connection is not woken for it all the time, and gets it once there is one. */
START_TEST(a_listener_without_descriptors)
{
	struct harness_process child;
	struct rlimit limit;
	pathbus_endpoint *endpoint;
	unsigned wakes = 0;
	int fd;

	begin(ON_PEER);
	endpoint = listen_at(topic, "service", 0);
	harness_spawn(&child, dialer, NULL);
	harness_expect_line(&child, "ready");
	await_readable(bus);
	allow_descriptors(0, &limit);
	for (uint64_t end = harness_now_ns() + 350000000; harness_now_ns() < end;) {
		struct pathbus_event event;

		if (poll(&(struct pollfd){ .fd = pathbus_fd(bus), .events = POLLIN }, 1, 50) <= 0)
			continue;
		ck_assert_int_eq(take(bus, &event), 0);
		wakes++;
	}
	ck_assert_uint_le(wakes, 20);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	fd = accept_one(bus, endpoint);
	ck_assert_int_eq(read(fd, &(char){ 0 }, 1), 1);
	ck_assert_int_eq(write(fd, "e", 1), 1);
	harness_expect_line(&child, "through");
	harness_tell(&child, "end");
	harness_expect_exit(&child, 0);
	close(fd);
	pathbus_free(bus);
}
END_TEST

/* However many are left: it works or says so, and loses none. */
START_TEST(few_descriptors)
{
	bool all = false;

	begin(_i);
	for (int n = 0; n < 20; n++) {
		struct pathbus_connection connection = connection_of();
		pathbus_endpoint *endpoint = NULL;
		char token[PATHBUS_TOKEN_SIZE];
		struct rlimit limit;
		int listening, connected = -1, made;

		allow_descriptors(n, &limit);
		listening = pathbus_listen(topic, "service", 0, &endpoint);
		if (listening == 0)
			connected = pathbus_connect(topic, "service", 0, &connection);
		made = pathbus_token_make(topic, "service", token);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
		ck_assert_msg(listening == 0 || listening == -EMFILE, "listening: %s", strerror(-listening));
		ck_assert_msg(listening < 0 || connected == 0 || connected == -EMFILE, "connecting: %s", strerror(-connected));
		ck_assert_msg(made == 0 || made == -EMFILE || (listening < 0 && made == -ECONNREFUSED), "a token: %s", strerror(-made));
		all = listening == 0 && connected == 0 && made == 0;
		if (connected == 0) {
			close(connection.fd);
			if (_i == ON_PEER || _i == ON_RUNTIME)
				close(accept_one(bus, endpoint));
		}
		if (made == 0) {
			connection = connection_of();
			ck_assert_int_eq(pathbus_token_redeem(bus, token, 0, &connection), 0);
			close(connection.fd);
		}
		pathbus_unlisten(endpoint);
		drain(bus);
	}
	ck_assert(all);
	pathbus_free(bus);
}
END_TEST

/* --- who connects ---------------------------------------------------------------------------------------- */

START_TEST(who_connects_dies)
{
	struct harness_process child;
	pathbus_endpoint *endpoint;

	begin(_i);
	/* While it waits. The listener gets nobody, or one that has gone: it may have been introduced in that moment. */
	for (int i = 0; i < 5; i++) {
		struct pathbus_connection connection;
		int fd;

		harness_spawn(&child, dialer, NULL);
		harness_expect_line(&child, "ready");
		if (i > 0)
			await_sleep(child.pid);
		harness_signal(&child, SIGKILL);
		harness_expect_signal(&child, SIGKILL);
		endpoint = listen_at(topic, "service", 0);
		connection = dial(topic, "service");
		do {
			struct pathbus_event event = event_of(bus, endpoint, PATHBUS_EVENT_CONNECTION);

			fd = event.fd;
			if (event.pid != getpid()) {
				expect_end(fd);
				close(fd);
				fd = -1;
			}
		} while (fd < 0);
		expect_joined(connection.fd, fd);
		close(fd);
		close(connection.fd);
		pathbus_unlisten(endpoint);
	}
	/* When it is connected. */
	endpoint = listen_at(topic, "service", 0);
	harness_spawn(&child, dialer, NULL);
	{
		int fd = accept_one(bus, endpoint);

		harness_signal(&child, SIGKILL);
		harness_expect_signal(&child, SIGKILL);
		while (read(fd, &(char){ 0 }, 1) > 0)
			;
		close(fd);
	}
	pathbus_free(bus);
}
END_TEST

/* --- the daemon ------------------------------------------------------------------------------------------ */

START_TEST(the_daemon_dies_and_connections_live)
{
	struct pathbus_connection connection, untaken;
	pathbus_endpoint *endpoint;
	pathbus *other;
	pathbus_topic *used;
	int fd;

	begin(_i ? ON_SOCKET : ON_BUS);
	other = transport_new();
	used = transport_open(other, "file", 0);
	endpoint = listen_at(topic, "service", 0);
	connection = dial(used, "service");
	fd = accept_one(bus, endpoint);
	untaken = dial(used, "service");
	harness_daemon_kill(transport_daemon());
	expect_joined(connection.fd, fd);
	close(fd);
	close(connection.fd);
	/* And what the listener had not even looked at. */
	do {
		struct pathbus_event event;

		await_readable(bus);
		fd = take(bus, &event) && event.kind == PATHBUS_EVENT_CONNECTION ? event.fd : -1;
	} while (fd < 0);
	expect_joined(untaken.fd, fd);
	close(fd);
	close(untaken.fd);
	/* A daemon that comes again has it again, without being asked. */
	harness_daemon_start(transport_daemon(), NULL);
	for (;;) {
		struct pathbus_connection again = connection_of();
		int r = pathbus_connect(used, "service", 0, &again);

		if (r == 0) {
			fd = accept_one(bus, endpoint);
			expect_joined(again.fd, fd);
			close(fd);
			close(again.fd);
			break;
		}
		ck_assert_msg(r == -ECONNREFUSED || r == -ENOTCONN, "connecting: %s", strerror(-r));
		drain(bus);
	}
	pathbus_free(other);
	pathbus_free(bus);
}
END_TEST

/* --- what is left beside the file --------------------------------------------------------------------------- */

static void put_file(const char *file)
{
	harness_write_file(sidecar_path("file", file), "left");
	ck_assert_int_eq(chmod(sidecar_path("file", file), 0600), 0);
}

static void put_socket(const char *file)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), dir;

	dir = open(sidecar_path("file", NULL), O_PATH | O_CLOEXEC);
	snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d/%s", dir, file);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	close(fd);
	close(dir);
}

/* Whoever dies in the middle of listening has left some of these. */
START_TEST(half_made)
{
	struct endpoint_names names;

	endpoint_names_make("service", 7, &names);
	for (unsigned step = 0; step < 16; step++) {
		struct pathbus_connection connection;
		pathbus_endpoint *endpoint;
		int fd;

		if (step == 0)
			transport_begin(ON_PEER);
		bus = transport_new();
		topic = transport_open(bus, "file", 0);
		if (step & 1)
			put_file(names.new_record);
		if (step & 2)
			put_socket(names.new_socket);
		if (step & 4)
			put_file(names.record);
		if (step & 8)
			put_socket(names.socket);
		expect_dial(topic, "service", 0, -ECONNREFUSED);
		endpoint = listen_at(topic, "service", 0);
		connection = dial(topic, "service");
		fd = accept_one(bus, endpoint);
		expect_joined(connection.fd, fd);
		close(fd);
		close(connection.fd);
		expect_listen(topic, "service", 0, -EADDRINUSE);
		pathbus_unlisten(endpoint);
		ck_assert_int_eq(count_entries(sidecar_path("file", NULL), "endpoint-"), 0);
		if (step & 1)
			put_file(names.new_record);
		if (step & 8)
			put_socket(names.socket);
		pathbus_free(bus);
		ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	}
}
END_TEST

/* What is not an endpoint's is nobody's to remove: the folder stays, with it. */
START_TEST(what_is_not_ours_stays)
{
	static const char *const strange[] = { "endpoint-", "endpoint-0123", "endpoint-0123456789abcdef0123456789abcdef.x",
		                               "endpoint-0123456789abcdef0123456789abcdeg", "endpoints" };

	harness_allow_sidecars();
	begin(ON_PEER);
	for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++)
		put_file(strange[i]);
	pathbus_free(bus);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 1);
}
END_TEST

static int listen_and_leave(struct harness_process *peer, void *arg)
{
	pathbus *mine = transport_new();
	pathbus_topic *served = transport_open(mine, "file", 0);

	(void)arg;
	harness_tell(peer, "ready");
	for (unsigned i = 0; getppid() != 1; i++)
		pathbus_unlisten(listen_at(served, "service", i % 2 ? 0 : PATHBUS_ENDPOINT_TAKE_OVER));
	return 1;
}

/* Killed wherever it happens to be. */
START_TEST(killed_anywhere)
{
	enum { ROUNDS = 40 };

	begin(_i);
	for (int i = 0; i < ROUNDS; i++) {
		struct pathbus_connection connection;
		struct harness_process child;
		pathbus_endpoint *endpoint;
		int fd;

		harness_spawn(&child, listen_and_leave, NULL);
		harness_expect_line(&child, "ready");
		for (unsigned n = 0; n < (unsigned)i * 3; n++) { /* some time, of which each round takes more */
			struct pathbus_connection any = connection_of();

			if (pathbus_connect(topic, "service", 0, &any) == 0)
				close(any.fd);
		}
		harness_signal(&child, SIGKILL);
		harness_expect_signal(&child, SIGKILL);
		endpoint = listen_at(topic, "service", 0);
		connection = dial(topic, "service");
		fd = accept_one(bus, endpoint);
		expect_joined(connection.fd, fd);
		close(fd);
		close(connection.fd);
		pathbus_unlisten(endpoint);
	}
	pathbus_free(bus);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

/* All die, and their sockets do not keep the folder. */
START_TEST(everybody_dies)
{
	struct server server = { .flags = 0 };

	transport_begin(ON_PEER);
	for (int i = 0; i < 3; i++) {
		server_start(&server);
		server_kill(&server);
		ck_assert_int_eq(count_entries(sidecar_path("file", NULL), "endpoint-"), 2);
		bus = transport_new();
		topic = transport_open(bus, "file", 0);
		ck_assert_int_eq(count_entries(sidecar_path("file", NULL), "endpoint-"), 0);
		expect_dial(topic, "service", 0, -ECONNREFUSED);
		pathbus_free(bus);
		ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	}
}
END_TEST

/* Who takes over does not need the help of the one who listens, which may stand still. */
START_TEST(a_listener_that_stands_still_is_replaced)
{
	struct server server = { .flags = 0 }, next = { .flags = PATHBUS_ENDPOINT_TAKE_OVER };
	struct pathbus_connection before, after;

	begin(_i);
	server_start(&server);
	before = dial(topic, "service");
	expect_echo(before.fd);
	harness_signal(&server.process, SIGSTOP);
	server_start(&next);
	after = dial(topic, "service");
	ck_assert_int_eq(after.pid, next.process.pid);
	expect_echo(after.fd);
	harness_signal(&server.process, SIGCONT);
	{
		char line[32];

		snprintf(line, sizeof(line), "unlistened %d", -EADDRINUSE);
		harness_expect_line(&server.process, line);
	}
	expect_echo(before.fd);
	server_end(&server);
	close(after.fd);
	after = dial(topic, "service");
	expect_echo(after.fd);
	close(after.fd);
	close(before.fd);
	server_end(&next);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_listener_dies, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_listener_dies_that_has_not_taken, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_listener_dies_and_another_comes, N_TRANSPORTS),
	HARNESS_CASE(a_listener_without_descriptors),
	HARNESS_CASE_EACH(few_descriptors, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_connects_dies, N_TRANSPORTS),
	HARNESS_CASE_EACH(the_daemon_dies_and_connections_live, 2),
	HARNESS_CASE(half_made),
	HARNESS_CASE(what_is_not_ours_stays),
	HARNESS_CASE_EACH(killed_anywhere, N_TRANSPORTS),
	HARNESS_CASE(everybody_dies),
	HARNESS_CASE_EACH(a_listener_that_stands_still_is_replaced, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "endpoint_crash", .cases = cases, .teardown = transport_end });
}
