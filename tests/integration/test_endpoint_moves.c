/* SPDX-License-Identifier: MIT */
/*
 * test_endpoint_moves.c - the daemon comes and goes: while somebody listens, while somebody waits, while connections are under
 * way, while they are there.
 */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/meeting.h"
#include "conformance/sidecars.h"

static struct harness_daemon daemon_here;
static struct pathbus_options options;

/* The daemon if it is there. */
static pathbus *new_auto(void)
{
	pathbus *bus;

	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	return bus;
}

static pathbus_topic *open_auto(pathbus *bus)
{
	pathbus_topic *topic;

	ck_assert_int_eq(pathbus_open(bus, harness_path("files/file"), 0, &topic), 0);
	return topic;
}

static void begin(void)
{
	transport_begin(ON_PEER);
	if (geteuid() == 0)
		(void)transport_try_own_mounts();
	daemon_here = (struct harness_daemon){ .address = harness_path("socket") };
	options = (struct pathbus_options){ .size = sizeof(options), .address = daemon_here.address, .timeout_ms = HARNESS_LIMIT_MS };
}

static bool is_on(pathbus *bus, pathbus_topic *topic, enum pathbus_transport_kind kind)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	struct pathbus_event event;

	while (take(bus, &event))
		ck_assert_msg(event.kind == PATHBUS_EVENT_RESYNC || event.kind == PATHBUS_EVENT_POST, "event %d", (int)event.kind);
	ck_assert_int_eq(pathbus_transport(topic, &transport), 0);
	return transport.kind == kind;
}

/* --- listening ------------------------------------------------------------------------------------------ */

/* Who listens is reached again wherever the daemon is, and what was connected stays so. */
START_TEST(listening)
{
	struct server server = { .path = harness_path("files/file"), .new_bus = new_auto };
	struct pathbus_connection connections[6];
	pathbus *bus;
	pathbus_topic *topic;

	begin();
	harness_daemon_start(&daemon_here, NULL);
	server_start(&server);
	bus = new_auto();
	topic = open_auto(bus);
	for (int i = 0; i < 6; i++) {
		connections[i] = dial_soon(topic, "service");
		for (int j = 0; j <= i; j++)
			expect_echo(connections[j].fd);
		ck_assert_int_eq(connections[i].pid, server.process.pid);
		if (i % 2 == 0) {
			harness_daemon_kill(&daemon_here);
			harness_await(is_on(bus, topic, PATHBUS_PEER));
		} else {
			harness_daemon_start(&daemon_here, NULL);
			harness_await(is_on(bus, topic, PATHBUS_BUS));
		}
	}
	for (int i = 0; i < 6; i++)
		close(connections[i].fd);
	server_end(&server);
	pathbus_free(bus);
	harness_daemon_stop(&daemon_here);
}
END_TEST

/* Connections that the listener has not looked at when the daemon comes or goes. */
START_TEST(connections_under_way)
{
	enum { N = 5 };
	struct pathbus_connection connections[2 * N];
	pathbus *one, *other;
	pathbus_topic *served, *used;
	pathbus_endpoint *endpoint;

	begin();
	if (_i)
		harness_daemon_start(&daemon_here, NULL);
	one = new_auto();
	other = new_auto();
	served = open_auto(one);
	used = open_auto(other);
	endpoint = listen_at(served, "service", 0);
	for (int i = 0; i < N; i++)
		connections[i] = dial(used, "service");
	if (_i)
		harness_daemon_kill(&daemon_here);
	else
		harness_daemon_start(&daemon_here, NULL);
	if (_i == 2)
		ck_assert_int_eq(pathbus_post(served), 0); /* by which it learns of the daemon's death before it reads */
	for (int i = 0; i < N; i++) {
		int fd = accept_one(one, endpoint);

		expect_joined(connections[i].fd, fd);
		close(fd);
		close(connections[i].fd);
	}
	harness_await(is_on(one, served, _i ? PATHBUS_PEER : PATHBUS_BUS));
	harness_await(is_on(other, used, _i ? PATHBUS_PEER : PATHBUS_BUS));
	/* And where it is now. */
	for (int i = 0; i < N; i++) {
		int fd, r;

		do {
			connections[i] = connection_of();
			r = pathbus_connect(used, "service", 0, &connections[i]);
			ck_assert_msg(r == 0 || r == -ECONNREFUSED, "%s", strerror(-r));
			if (r < 0)
				drain(one);
		} while (r < 0);
		fd = accept_one(one, endpoint);
		expect_joined(connections[i].fd, fd);
		close(fd);
		close(connections[i].fd);
	}
	pathbus_free(one);
	pathbus_free(other);
	if (!_i)
		harness_daemon_stop(&daemon_here);
}
END_TEST

/* Many, taken slowly, while it goes from one to the other: each is given once, none is lost. */
START_TEST(none_is_lost)
{
	enum { ROUNDS = 6, N = 7 };
	struct pathbus_connection connections[ROUNDS * N];
	pathbus *one, *other;
	pathbus_topic *served, *used;
	pathbus_endpoint *endpoint;
	int n = 0, given = 0;

	begin();
	one = new_auto();
	other = new_auto();
	served = open_auto(one);
	used = open_auto(other);
	endpoint = listen_at(served, "service", 0);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t seen = 0;

		for (int i = 0; i < N; i++)
			connections[n++] = dial(used, "service");
		if (round % 2)
			harness_daemon_kill(&daemon_here);
		else
			harness_daemon_start(&daemon_here, NULL);
		/* Both move without anything being taken: by waiting, not by pathbus_next. */
		for (;;) {
			struct pathbus_transport a = { .size = sizeof(a) }, b = a;
			enum pathbus_transport_kind kind = round % 2 ? PATHBUS_PEER : PATHBUS_BUS;

			(void)pathbus_wait(served, &seen, harness_now_ns() + 1000000, 0);
			(void)pathbus_wait(used, &seen, harness_now_ns() + 1000000, 0);
			ck_assert_int_eq(pathbus_transport(served, &a), 0);
			ck_assert_int_eq(pathbus_transport(used, &b), 0);
			if (a.kind == kind && b.kind == kind && pathbus_ping(one, NULL) == (round % 2 ? -ENOTCONN : 0))
				break;
		}
	}
	while (given < n) {
		int fd = accept_one(one, endpoint);
		char byte = (char)given;

		ck_assert_int_eq(write(connections[given].fd, &byte, 1), 1);
		ck_assert_int_eq(read(fd, &byte, 1), 1); /* in the order in which they came */
		ck_assert_int_eq(byte, given);
		close(fd);
		close(connections[given++].fd);
	}
	pathbus_free(one);
	pathbus_free(other);
}
END_TEST

/* --- waiting --------------------------------------------------------------------------------------------- */

static int wait_there(struct harness_process *peer, void *arg)
{
	pathbus *bus = new_auto();
	pathbus_topic *topic = open_auto(bus);
	struct pathbus_connection connection;

	(void)arg;
	harness_tell(peer, "ready");
	connection = dial_soon(topic, "service");
	expect_echo(connection.fd);
	harness_tell(peer, "through");
	(void)harness_hear(peer);
	close(connection.fd);
	pathbus_free(bus);
	return 0;
}

/* Bits of _i: there is a daemon at first; it changes before the listener comes, or while it comes. */
START_TEST(waiting)
{
	struct server server = { .path = harness_path("files/file"), .new_bus = new_auto };
	bool has_daemon = _i & 1;

	begin();
	if (has_daemon)
		harness_daemon_start(&daemon_here, NULL);
	for (int round = 0; round < 4; round++) {
		struct harness_process child;

		harness_spawn(&child, wait_there, NULL);
		harness_expect_line(&child, "ready");
		await_sleep(child.pid);
		if (_i & 2)
			server_start(&server);
		if (has_daemon)
			harness_daemon_kill(&daemon_here);
		else
			harness_daemon_start(&daemon_here, NULL);
		has_daemon = !has_daemon;
		if (!(_i & 2))
			server_start(&server);
		harness_expect_line(&child, "through");
		harness_tell(&child, "end");
		harness_expect_exit(&child, 0);
		server_end(&server);
	}
	if (has_daemon)
		harness_daemon_stop(&daemon_here);
}
END_TEST

/* A handle that takes nothing but the daemon waits for the next one, too. */
static int wait_for_daemon(struct harness_process *peer, void *arg)
{
	options.transport = PATHBUS_BUS;
	return wait_there(peer, arg);
}

static int wait_for_daemon_by_socket(struct harness_process *peer, void *arg)
{
	options.transport = PATHBUS_SOCKET;
	return wait_there(peer, arg);
}

START_TEST(waiting_for_the_daemon)
{
	struct server server = { .path = harness_path("files/file"), .new_bus = new_auto };
	struct harness_process child;

	begin();
	harness_daemon_start(&daemon_here, NULL);
	harness_spawn(&child, _i ? wait_for_daemon_by_socket : wait_for_daemon, NULL);
	harness_expect_line(&child, "ready");
	await_sleep(child.pid);
	harness_daemon_kill(&daemon_here);
	server_start(&server); /* beside the file, where the other does not go */
	harness_daemon_start(&daemon_here, NULL);
	harness_expect_line(&child, "through");
	harness_tell(&child, "end");
	harness_expect_exit(&child, 0);
	server_end(&server);
	harness_daemon_stop(&daemon_here);
}
END_TEST

/* --- all at once --------------------------------------------------------------------------------------------- */

static int dial_all_the_time(struct harness_process *peer, void *arg)
{
	pathbus *bus = new_auto();
	pathbus_topic *topic = open_auto(bus);
	int n = 0;

	(void)arg;
	harness_tell(peer, "ready");
	while (poll(&(struct pollfd){ .fd = peer->in, .events = POLLIN }, 1, 0) == 0) {
		struct pathbus_connection connection = dial_soon(topic, "service");

		expect_echo(connection.fd);
		close(connection.fd);
		n++;
	}
	ck_assert_int_gt(n, 0);
	pathbus_free(bus);
	return 0;
}

/* Whoever is told to be connected is, and whoever waits gets there, whatever the daemon does. */
START_TEST(in_turmoil)
{
	enum { N = 3, ROUNDS = 6 };
	struct server server = { .path = harness_path("files/file"), .new_bus = new_auto };
	struct harness_process children[N];
	pathbus *bus;
	pathbus_topic *topic;

	begin();
	server_start(&server);
	bus = new_auto();
	topic = open_auto(bus);
	for (int i = 0; i < N; i++) {
		harness_spawn(&children[i], dial_all_the_time, NULL);
		harness_expect_line(&children[i], "ready");
	}
	for (int i = 0; i < ROUNDS; i++) {
		struct pathbus_connection connection;

		if (i % 2)
			harness_daemon_kill(&daemon_here);
		else
			harness_daemon_start(&daemon_here, NULL);
		for (int j = 0; j < 5; j++) { /* some time, wherever the others are by now */
			connection = dial_soon(topic, "service");
			expect_echo(connection.fd);
			close(connection.fd);
		}
		harness_await(is_on(bus, topic, i % 2 ? PATHBUS_PEER : PATHBUS_BUS));
	}
	for (int i = 0; i < N; i++)
		harness_tell(&children[i], "end");
	for (int i = 0; i < N; i++)
		harness_expect_exit(&children[i], 0);
	server_end(&server);
	pathbus_free(bus);
}
END_TEST

/* --- somebody else is there ----------------------------------------------------------------------------- */

START_TEST(another_was_faster)
{
	struct pathbus_options beside;
	pathbus *one, *other;
	pathbus_topic *served, *faster;
	pathbus_endpoint *endpoint, *its;
	struct pathbus_event event;

	begin();
	harness_daemon_start(&daemon_here, NULL);
	one = new_auto();
	served = open_auto(one);
	endpoint = listen_at(served, "service", PATHBUS_ENDPOINT_TAKE_OVER); /* which is for the first time only */
	beside = options;
	beside.transport = PATHBUS_PEER;
	ck_assert_int_eq(pathbus_new(&other, &beside), 0);
	faster = open_auto(other);
	its = listen_at(faster, "service", 0);
	harness_daemon_kill(&daemon_here);
	event = event_of(one, endpoint, PATHBUS_EVENT_UNLISTENED);
	ck_assert_int_eq(event.error, -EADDRINUSE);
	{
		struct pathbus_connection connection = dial(served, "service");
		int fd = accept_one(other, its);

		expect_joined(connection.fd, fd);
		close(fd);
		close(connection.fd);
	}
	expect_listen(served, "service", 0, -EADDRINUSE);
	pathbus_unlisten(its);
	pathbus_unlisten(endpoint);
	pathbus_unlisten(listen_at(served, "service", 0));
	pathbus_free(one);
	pathbus_free(other);
	/* The dead daemon's link leaves it when it has carried what there was. */
	harness_await(access(harness_path("files/.file.pathbus"), F_OK) < 0);
}
END_TEST

/* The same at a daemon. */
START_TEST(another_was_faster_at_the_daemon)
{
	struct pathbus_options on_bus;
	pathbus *one, *other;
	pathbus_topic *served, *faster;
	pathbus_endpoint *endpoint;

	begin();
	one = new_auto();
	served = open_auto(one);
	endpoint = listen_at(served, "service", PATHBUS_ENDPOINT_TAKE_OVER);
	harness_daemon_start(&daemon_here, NULL);
	on_bus = options;
	on_bus.transport = PATHBUS_BUS;
	ck_assert_int_eq(pathbus_new(&other, &on_bus), 0);
	faster = open_auto(other);
	(void)listen_at(faster, "service", 0);
	ck_assert_int_eq(event_of(one, endpoint, PATHBUS_EVENT_UNLISTENED).error, -EADDRINUSE);
	pathbus_free(one);
	pathbus_free(other);
	harness_daemon_stop(&daemon_here);
}
END_TEST

/* --- the sidecar goes away ------------------------------------------------------------------------------- */

START_TEST(a_sidecar_that_is_removed)
{
	struct server server = { .path = harness_path("files/file"), .new_bus = new_auto };
	struct harness_process child;
	pathbus *bus;
	pathbus_topic *topic;

	begin();
	server_start(&server);
	bus = new_auto();
	topic = open_auto(bus);
	for (int i = 0; i < 3; i++) {
		struct pathbus_connection connection;

		remove_all(sidecar_path("file", NULL));
		if (i == 0)
			ck_assert_int_eq(pathbus_post(topic), 0); /* by which the others notice; or who connects tells them */
		connection = dial_soon(topic, "service");
		expect_echo(connection.fd);
		close(connection.fd);
	}
	server_end(&server);
	/* Under one that waits. */
	harness_spawn(&child, wait_there, NULL);
	harness_expect_line(&child, "ready");
	await_sleep(child.pid);
	ck_assert_int_eq(rename(sidecar_path("file", NULL), harness_path("files/away")), 0);
	remove_all(harness_path("files/away"));
	server_start(&server);
	harness_expect_line(&child, "through");
	harness_tell(&child, "end");
	harness_expect_exit(&child, 0);
	server_end(&server);
	pathbus_free(bus);
}
END_TEST

/* --- tokens -------------------------------------------------------------------------------------------- */

/* The clock is CLOCK_MONOTONIC, and stands at byte 8 of the file. */
static void expire(const char *token)
{
	char path[256];
	uint64_t past = 1;
	int fd;

	snprintf(path, sizeof(path), "%s/token-%s", transport_runtime_folder(), strrchr(token, '-') + 1);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	ck_assert_msg(fd >= 0, "%s: %s", path, strerror(errno));
	ck_assert_int_eq(pwrite(fd, &past, sizeof(past), 8), sizeof(past));
	close(fd);
}

START_TEST(tokens_that_nobody_redeems)
{
	char tokens[3][PATHBUS_TOKEN_SIZE];
	struct pathbus_connection connection = connection_of();
	pathbus_endpoint *endpoint;
	pathbus *bus;
	pathbus_topic *topic;

	transport_own_mounts();
	begin();
	bus = new_auto();
	topic = open_auto(bus);
	endpoint = listen_at(topic, "service", 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pathbus_token_make(topic, "service", tokens[i]), 0);
	ck_assert_int_eq(count_entries(transport_runtime_folder(), "token-"), 3);
	/* Too late; and not a stranger's file. */
	expire(tokens[0]);
	ck_assert_int_eq(pathbus_token_redeem(bus, tokens[0], 0, &connection), -ENOENT);
	ck_assert_int_eq(count_entries(transport_runtime_folder(), "token-"), 2);
	expire(tokens[1]);
	ck_assert_int_eq(pathbus_token_make(topic, "service", tokens[0]), 0); /* takes it away */
	ck_assert_int_eq(count_entries(transport_runtime_folder(), "token-"), 2);
	ck_assert_int_eq(pathbus_token_redeem(bus, tokens[1], 0, &connection), -ENOENT);
	ck_assert_int_eq(pathbus_token_redeem(bus, tokens[2], 0, &connection), 0);
	close(accept_one(bus, endpoint));
	close(connection.fd);
	/* Of a listener that has gone to a daemon. */
	connection = connection_of();
	harness_daemon_start(&daemon_here, NULL);
	harness_await(is_on(bus, topic, PATHBUS_BUS));
	ck_assert_int_eq(pathbus_token_redeem(bus, tokens[0], 0, &connection), -ECONNREFUSED);
	ck_assert_int_eq(count_entries(transport_runtime_folder(), "token-"), 0);
	pathbus_free(bus);
	harness_daemon_stop(&daemon_here);
}
END_TEST

/* A path of any length: the socket has one of at most 108 bytes. */
START_TEST(a_long_way_down)
{
	char path[1024];
	pathbus *bus;
	pathbus_topic *topic;
	pathbus_endpoint *endpoint;
	struct pathbus_connection connection;
	int fd;

	begin();
	snprintf(path, sizeof(path), "%s", harness_path("files"));
	while (strlen(path) < 700) {
		strcat(path, "/a-folder-with-a-name-of-some-length");
		ck_assert_int_eq(mkdir(path, 0700), 0);
	}
	strcat(path, "/file");
	bus = new_auto();
	ck_assert_int_eq(pathbus_open(bus, path, 0, &topic), 0);
	endpoint = listen_at(topic, "service", 0);
	connection = dial(topic, "service");
	fd = accept_one(bus, endpoint);
	expect_joined(connection.fd, fd);
	close(fd);
	close(connection.fd);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(listening),
	HARNESS_CASE_EACH(connections_under_way, 3),
	HARNESS_CASE(none_is_lost),
	HARNESS_CASE_EACH(waiting, 4),
	HARNESS_CASE_EACH(waiting_for_the_daemon, 2),
	HARNESS_CASE(in_turmoil),
	HARNESS_CASE(another_was_faster),
	HARNESS_CASE(another_was_faster_at_the_daemon),
	HARNESS_CASE(a_sidecar_that_is_removed),
	HARNESS_CASE(tokens_that_nobody_redeems),
	HARNESS_CASE(a_long_way_down),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "endpoint_moves", .cases = cases, .teardown = transport_end });
}
