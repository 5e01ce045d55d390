/* SPDX-License-Identifier: MIT */
/*
 * test_endpoints.c - listening and connecting, over every transport.
 */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/meeting.h"
#include "os/os.h"

static void check_descriptor(int fd, int type)
{
	socklen_t size = sizeof(int);
	int got;

	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_TYPE, &got, &size), 0);
	ck_assert_int_eq(got, type);
}

/* --- one process ------------------------------------------------------------------------------------- */

START_TEST(introduces)
{
	static const struct {
		unsigned flags;
		int type;
	} kinds[] = { { 0, SOCK_STREAM }, { PATHBUS_ENDPOINT_SEQPACKET, SOCK_SEQPACKET } };
	pathbus *one, *other;
	pathbus_topic *served, *used;

	transport_begin(_i);
	one = transport_new();
	other = transport_new();
	served = transport_open(one, "file", 0);
	used = transport_open(other, "file", 0);
	for (int i = 0; i < 2; i++) {
		pathbus_endpoint *endpoint = listen_at(served, "service", kinds[i].flags);
		struct pathbus_connection connection = dial(used, "service");
		struct pathbus_event event = event_of(one, endpoint, PATHBUS_EVENT_CONNECTION);

		ck_assert_ptr_eq(event.topic, served);
		ck_assert_int_eq(event.error, 0);
		ck_assert_int_eq(event.pid, getpid());
		ck_assert_uint_eq(event.uid, geteuid());
		ck_assert_uint_eq(event.gid, getegid());
		ck_assert_int_eq(connection.pid, getpid());
		ck_assert_uint_eq(connection.uid, geteuid());
		ck_assert_uint_eq(connection.gid, getegid());
		ck_assert_int_eq(connection.type, kinds[i].type);
		check_descriptor(connection.fd, kinds[i].type);
		check_descriptor(event.fd, kinds[i].type);
		expect_joined(connection.fd, event.fd);
		expect_quiet(one);
		pathbus_unlisten(endpoint);
		expect_joined(connection.fd, event.fd); /* what was introduced stays */
		close(connection.fd);
		close(event.fd);
		expect_dial(used, "service", 0, -ECONNREFUSED);
	}
	pathbus_free(one);
	pathbus_free(other);
}
END_TEST

/* Who only posts is told of connections as well. */
START_TEST(introduces_who_only_posts)
{
	pathbus *bus;
	pathbus_topic *topic;
	pathbus_endpoint *endpoint;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "file", PATHBUS_POST);
	endpoint = listen_at(topic, "service", 0);
	for (int i = 0; i < 3; i++) {
		struct pathbus_connection connection = dial(topic, "service"); /* to itself */
		int fd = accept_one(bus, endpoint);

		expect_joined(connection.fd, fd);
		close(connection.fd);
		close(fd);
		expect_quiet(bus);
	}
	pathbus_free(bus);
}
END_TEST

START_TEST(names_are_told_apart)
{
	static const char *const names[] = { "a", "b", "A", " ", "../x", "a/b", "\xff\xfe", "a\nb" };
	enum { N = sizeof(names) / sizeof(names[0]) };
	pathbus_endpoint *endpoints[N + 1];
	char longest[257];
	pathbus *bus;
	pathbus_topic *topic, *elsewhere;

	transport_begin(_i);
	memset(longest, 'x', 256);
	longest[256] = '\0';
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
	elsewhere = transport_open(bus, "other", 0);
	for (int i = 0; i < N; i++)
		endpoints[i] = listen_at(topic, names[i], 0);
	expect_listen(topic, longest, 0, -ENAMETOOLONG);
	expect_dial(topic, longest, 0, -ENAMETOOLONG);
	longest[255] = '\0';
	endpoints[N] = listen_at(topic, longest, 0);
	expect_listen(topic, "", 0, -EINVAL);
	expect_listen(topic, NULL, 0, -EINVAL);
	expect_listen(topic, "x", 16, -EINVAL);
	for (int i = 0; i <= N; i++) {
		const char *name = i < N ? names[i] : longest;
		struct pathbus_connection connection = dial(topic, name);
		int fd = accept_one(bus, endpoints[i]);

		expect_joined(connection.fd, fd);
		close(connection.fd);
		close(fd);
		expect_dial(elsewhere, name, 0, -ECONNREFUSED);
	}
	expect_dial(topic, "c", 0, -ECONNREFUSED);
	pathbus_free(bus);
}
END_TEST

START_TEST(two_on_one_name)
{
	pathbus *one, *other;
	pathbus_topic *first, *second;
	pathbus_endpoint *endpoint, *heir;
	struct pathbus_connection before, after;
	struct pathbus_event event;
	int fd;

	transport_begin(_i);
	one = transport_new();
	other = transport_new();
	first = transport_open(one, "file", 0);
	second = transport_open(other, "file", 0);
	endpoint = listen_at(first, "service", 0);
	expect_listen(second, "service", 0, -EADDRINUSE);
	expect_listen(first, "service", 0, -EADDRINUSE);
	before = dial(second, "service");
	heir = listen_at(second, "service", PATHBUS_ENDPOINT_TAKE_OVER);
	after = dial(first, "service");
	/* What came before is the first one's, and then it is told. */
	fd = accept_one(one, endpoint);
	expect_joined(before.fd, fd);
	close(fd);
	event = event_of(one, endpoint, PATHBUS_EVENT_UNLISTENED);
	ck_assert_int_eq(event.error, -EADDRINUSE);
	ck_assert_int_eq(event.fd, -1);
	fd = accept_one(other, heir);
	expect_joined(after.fd, fd);
	close(fd);
	close(before.fd);
	close(after.fd);
	/* Giving the old one back takes nothing from the new one. */
	pathbus_unlisten(endpoint);
	expect_listen(first, "service", 0, -EADDRINUSE);
	after = dial(first, "service");
	close(accept_one(other, heir));
	close(after.fd);
	expect_quiet(one);
	/* And the other type. */
	endpoint = listen_at(first, "service", PATHBUS_ENDPOINT_TAKE_OVER | PATHBUS_ENDPOINT_SEQPACKET);
	(void)event_of(other, heir, PATHBUS_EVENT_UNLISTENED);
	pathbus_close(second);
	after = dial(first, "service");
	ck_assert_int_eq(after.type, SOCK_SEQPACKET);
	close(accept_one(one, endpoint));
	close(after.fd);
	pathbus_free(one);
	pathbus_free(other);
}
END_TEST

static int listen_in_turn(struct harness_process *peer, void *arg)
{
	_Atomic int *n_listening = arg;
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "file", PATHBUS_POST);

	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	for (int n = 0; n < 60;) {
		struct pathbus_connection connection;
		pathbus_endpoint *endpoint;
		struct pathbus_event event;
		int r = pathbus_listen(topic, "service", 0, &endpoint);

		ck_assert_msg(r == 0 || r == -EADDRINUSE, "%s", strerror(-r));
		if (r < 0)
			continue;
		ck_assert_int_eq(atomic_fetch_add(n_listening, 1), 0); /* nobody else */
		connection = dial(topic, "service");
		ck_assert_int_eq(connection.pid, getpid());
		event = event_of(bus, endpoint, PATHBUS_EVENT_CONNECTION);
		ck_assert_int_eq(event.pid, getpid());
		close(event.fd);
		close(connection.fd);
		atomic_fetch_sub(n_listening, 1);
		pathbus_unlisten(endpoint);
		n++;
	}
	pathbus_free(bus);
	return 0;
}

/* Of several at once one listens. */
START_TEST(one_at_a_time)
{
	enum { N = 3 };
	struct harness_process children[N];
	_Atomic int *n_listening = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	transport_begin(_i);
	ck_assert_ptr_ne(n_listening, MAP_FAILED);
	for (int i = 0; i < N; i++) {
		harness_spawn(&children[i], listen_in_turn, (void *)(uintptr_t)n_listening);
		harness_expect_line(&children[i], "ready");
	}
	for (int i = 0; i < N; i++)
		harness_tell(&children[i], "go");
	for (int i = 0; i < N; i++)
		harness_expect_exit(&children[i], 0);
	munmap((void *)(uintptr_t)n_listening, 4096);
}
END_TEST

START_TEST(waits_for_a_listener)
{
	pathbus *bus;
	pathbus_topic *topic;
	uint64_t begun;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
	expect_dial(topic, "service", 0, -ECONNREFUSED);
	expect_dial(topic, "service", 1, -ETIMEDOUT);
	begun = harness_now_ns();
	expect_dial(topic, "service", begun + 30000000, -ETIMEDOUT);
	ck_assert_uint_ge(harness_now_ns(), begun + 30000000);
	pathbus_free(bus);
}
END_TEST

/* In a child: waits for a listener, says what came of it, and what it read there. */
static int connector(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "file", 0);
	struct pathbus_connection connection = connection_of();
	char text[16] = "";
	int r;

	(void)arg;
	harness_tell(peer, "ready");
	r = pathbus_connect(topic, "service", harness_deadline(harness_limit_ms), &connection);
	harness_tell(peer, "%d", r);
	if (r == 0) {
		ck_assert_int_eq(connection.pid, getppid());
		ck_assert_int_gt(read(connection.fd, text, sizeof(text) - 1), 0);
		harness_tell(peer, "%s", text);
		close(connection.fd);
	}
	pathbus_free(bus);
	return 0;
}

START_TEST(serves_those_who_wait)
{
	enum { N = 4 };
	struct harness_process children[N];
	pathbus *bus;
	pathbus_topic *topic;
	pathbus_endpoint *endpoint;

	os_seams.no_inotify = _i >= N_TRANSPORTS; /* where folders cannot be watched it looks now and then */
	transport_begin(_i % N_TRANSPORTS);
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
	for (int i = 0; i < N; i++) {
		harness_spawn(&children[i], connector, NULL);
		harness_expect_line(&children[i], "ready");
		if (!os_seams.no_inotify)
			await_sleep(children[i].pid);
	}
	endpoint = listen_at(topic, "service", 0);
	for (int i = 0; i < N; i++) {
		struct pathbus_event event = event_of(bus, endpoint, PATHBUS_EVENT_CONNECTION);
		bool is_child = false;

		for (int j = 0; j < N; j++)
			is_child |= event.pid == children[j].pid;
		ck_assert(is_child);
		ck_assert_int_eq(write(event.fd, "hello", 5), 5);
		close(event.fd);
	}
	for (int i = 0; i < N; i++) {
		harness_expect_line(&children[i], "0");
		harness_expect_line(&children[i], "hello");
		harness_expect_exit(&children[i], 0);
	}
	pathbus_free(bus);
}
END_TEST

struct other_thread {
	pthread_t thread;
	pid_t main_task;
	pathbus_topic *topic;
	int go; /* written to when it is through */
};

/* While the handle's thread waits others may do what any thread may, what needs the handle's lock included. */
static void *do_other_things(void *arg)
{
	struct other_thread *other = arg;
	struct pathbus_transport transport = { .size = sizeof(transport) };

	for (int n = 0; n < 50;) {
		if (state_of(getpid(), other->main_task) != 'S') {
			n = 0;
			continue;
		}
		ck_assert_int_eq(pathbus_post(other->topic), 0);
		ck_assert_int_eq(pathbus_transport(other->topic, &transport), 0);
		n++;
	}
	ck_assert_int_eq(write(other->go, "x", 1), 1);
	return NULL;
}

static int listen_when_told(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "file", PATHBUS_POST);
	pathbus_endpoint *endpoint;

	harness_tell(peer, "ready");
	ck_assert_int_eq(read(*(int *)arg, &(char){ 0 }, 1), 1);
	endpoint = listen_at(topic, "service", 0);
	close(accept_one(bus, endpoint));
	pathbus_free(bus);
	return 0;
}

START_TEST(other_threads_go_on_meanwhile)
{
	struct other_thread other = { .main_task = getpid() };
	struct pathbus_connection connection;
	struct harness_process child;
	int go[2];
	pathbus *bus;

	transport_begin(_i);
	ck_assert_int_eq(pipe2(go, O_CLOEXEC), 0);
	harness_spawn(&child, listen_when_told, &go[0]);
	harness_expect_line(&child, "ready");
	bus = transport_new();
	other.topic = transport_open(bus, "file", PATHBUS_POST);
	other.go = go[1];
	ck_assert_int_eq(pthread_create(&other.thread, NULL, do_other_things, &other), 0);
	connection = dial_soon(other.topic, "service");
	expect_end(connection.fd);
	close(connection.fd);
	ck_assert_int_eq(pthread_join(other.thread, NULL), 0);
	harness_expect_exit(&child, 0);
	close(go[0]);
	close(go[1]);
	pathbus_free(bus);
}
END_TEST

static void on_alarm(int number)
{
	(void)number;
}

START_TEST(waiting_is_interrupted)
{
	const struct itimerval often = { .it_interval = { .tv_usec = 3000 }, .it_value = { .tv_usec = 3000 } };
	struct sigaction action = { .sa_handler = on_alarm };
	pathbus *bus;
	pathbus_topic *topic;
	pathbus_endpoint *endpoint;
	struct pathbus_connection connection;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &often, NULL), 0); /* again and again: one may come before the waiting */
	for (int i = 0; i < 40; i++) /* more than may wait at once */
		expect_dial(topic, "service", UINT64_MAX, -EINTR);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &(struct itimerval){ .it_value = { 0 } }, NULL), 0);
	/* Nobody is left behind who waits. */
	endpoint = listen_at(topic, "service", 0);
	connection = dial(topic, "service");
	close(accept_one(bus, endpoint));
	close(connection.fd);
	expect_quiet(bus);
	pathbus_free(bus);
}
END_TEST

/* A program that does not come for its connections holds up nobody but those who want to connect. */
START_TEST(takes_no_more_than_it_gives)
{
	enum { MOST = 100 };
	struct pathbus_connection connections[MOST];
	pathbus *one, *other;
	pathbus_topic *served, *used;
	pathbus_endpoint *endpoint;
	int n = 0, taken = 0, r;

	transport_begin(_i);
	one = transport_new();
	other = transport_new();
	served = transport_open(one, "file", 0);
	used = transport_open(other, "file", 0);
	endpoint = listen_at(served, "service", 0);
	do {
		connections[n] = connection_of();
		r = pathbus_connect(used, "service", 0, &connections[n]);
		n += r == 0;
	} while (r == 0 && n < MOST);
	ck_assert_int_eq(r, -EAGAIN);
	ck_assert_int_ge(n, 16);
	ck_assert_int_le(n, 18); /* the kernel's backlog is one more than asked for */
	expect_dial(used, "service", harness_now_ns() + 30000000, -ETIMEDOUT);
	ck_assert_int_eq(pathbus_post(used), 0); /* and everything else goes on */
	/* One at a time: there is always room for another. */
	for (int i = 0; i < n; i++) {
		int fd = accept_one(one, endpoint);

		expect_joined(connections[i].fd, fd); /* in order */
		close(fd);
		close(connections[i].fd);
		taken++;
		if (i == 0) {
			connections[0] = dial_until(used, "service", harness_deadline(harness_limit_ms));
		}
	}
	close(accept_one(one, endpoint));
	close(connections[0].fd);
	ck_assert_int_eq(taken, n);
	expect_quiet(one);
	pathbus_free(one);
	pathbus_free(other);
}
END_TEST

static bool is_refused(pathbus_topic *topic)
{
	struct pathbus_connection connection = connection_of();
	int r = pathbus_connect(topic, "service", 0, &connection);

	if (r == 0)
		close(connection.fd);
	return r == -ECONNREFUSED;
}

/* What the program has not taken is closed with its endpoint. */
START_TEST(closes_what_was_not_taken)
{
	pathbus *one, *other;
	pathbus_topic *served, *used;
	pathbus_endpoint *endpoint;
	struct pathbus_connection a, b, c;
	struct pathbus_event event;

	transport_begin(_i);
	one = transport_new();
	other = transport_new();
	served = transport_open(one, "file", 0);
	used = transport_open(other, "file", 0);
	endpoint = listen_at(served, "service", 0);
	a = dial(used, "service");
	b = dial(used, "service");
	await_readable(one);
	close(accept_one(one, endpoint));
	expect_end(a.fd);
	pathbus_unlisten(endpoint);
	while (take(one, &event)) /* on the bus it may still be on its way */
		ck_assert_int_ne(event.kind, PATHBUS_EVENT_CONNECTION);
	expect_end(b.fd);
	endpoint = listen_at(served, "service", 0);
	c = dial(used, "service");
	pathbus_close(served); /* does not wait for the daemon */
	drain(one);
	expect_end(c.fd);
	close(a.fd);
	close(b.fd);
	close(c.fd);
	harness_await(is_refused(used));
	pathbus_free(one);
	pathbus_free(other);
}
END_TEST

/* --- tokens -------------------------------------------------------------------------------------------- */

START_TEST(tokens_are_redeemed_once)
{
	char token[PATHBUS_TOKEN_SIZE], second[PATHBUS_TOKEN_SIZE];
	struct pathbus_connection connection = connection_of();
	pathbus *one, *other, *third;
	pathbus_topic *served, *used;
	pathbus_endpoint *endpoint;
	int fd;

	transport_begin(_i);
	one = transport_new();
	other = transport_new();
	third = transport_new(); /* has no topic */
	served = transport_open(one, "file", 0);
	used = transport_open(other, "file", 0);
	ck_assert_int_eq(pathbus_token_make(used, "service", token), -ECONNREFUSED);
	endpoint = listen_at(served, "service", PATHBUS_ENDPOINT_SEQPACKET);
	ck_assert_int_eq(pathbus_token_make(used, "service", token), 0);
	ck_assert_int_eq(pathbus_token_make(served, "service", second), 0);
	ck_assert_str_ne(token, second);
	ck_assert_uint_lt(strlen(token), PATHBUS_TOKEN_SIZE);
	ck_assert_int_eq(pathbus_token_redeem(third, token, 0, &connection), 0);
	fd = accept_one(one, endpoint);
	expect_joined(connection.fd, fd);
	ck_assert_int_eq(connection.type, SOCK_SEQPACKET);
	check_descriptor(connection.fd, SOCK_SEQPACKET);
	close(fd);
	close(connection.fd);
	connection = connection_of();
	ck_assert_int_eq(pathbus_token_redeem(third, token, 0, &connection), -ENOENT);
	ck_assert_int_eq(pathbus_token_redeem(third, token, harness_deadline(harness_limit_ms), &connection), -ENOENT);
	/* No longer than the listener, and not of another that comes after it. */
	pathbus_unlisten(endpoint);
	endpoint = listen_at(served, "service", 0);
	ck_assert_int_lt(pathbus_token_redeem(third, second, 0, &connection), 0);
	ck_assert_int_eq(connection.fd, -1);
	expect_quiet(one);
	/* What is no token. */
	ck_assert_int_eq(pathbus_token_redeem(third, "", 0, &connection), -EINVAL);
	ck_assert_int_eq(pathbus_token_redeem(third, "pathbus-bus-12", 0, &connection), -EINVAL);
	token[strlen(token) - 1] = 'x';
	ck_assert_int_eq(pathbus_token_redeem(third, token, 0, &connection), -EINVAL);
	connection.size = 1;
	ck_assert_int_eq(pathbus_token_redeem(third, second, 0, &connection), -EINVAL);
	pathbus_free(one);
	pathbus_free(other);
	pathbus_free(third);
}
END_TEST

/* On to a third program, by a message of the topic itself. */
START_TEST(tokens_are_passed_on)
{
	char token[PATHBUS_TOKEN_SIZE];
	struct pathbus_connection connection = connection_of();
	struct pathbus_event event;
	pathbus *one, *other, *third;
	pathbus_topic *served, *used;
	pathbus_endpoint *endpoint;
	int fd;

	transport_begin(_i);
	one = transport_new();
	other = transport_new();
	third = transport_new();
	served = transport_open(one, "file", PATHBUS_POST);
	used = transport_open(other, "file", PATHBUS_POST);
	transport_open(third, "file", PATHBUS_SUBSCRIBE);
	endpoint = listen_at(served, "service", 0);
	ck_assert_int_eq(pathbus_token_make(used, "service", token), 0);
	ck_assert_int_eq(pathbus_publish(used, token, sizeof(token)), 0);
	take_soon(third, &event);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
	ck_assert_uint_eq(event.data_size, sizeof(token));
	ck_assert_int_eq(pathbus_token_redeem(third, event.data, 0, &connection), 0);
	fd = accept_one(one, endpoint);
	expect_joined(connection.fd, fd);
	close(fd);
	close(connection.fd);
	pathbus_free(one);
	pathbus_free(other);
	pathbus_free(third);
}
END_TEST

static int redeemer(struct harness_process *peer, void *arg)
{
	struct pathbus_connection connection = connection_of();
	pathbus *bus = transport_new();
	int r;

	harness_tell(peer, "ready");
	ck_assert_str_eq(harness_hear(peer), "go");
	r = pathbus_token_redeem(bus, arg, harness_deadline(harness_limit_ms), &connection);
	harness_tell(peer, "%d", r);
	if (r == 0) {
		ck_assert_int_eq(write(connection.fd, "x", 1), 1);
		close(connection.fd);
	}
	pathbus_free(bus);
	return 0;
}

/* Several want the same token: one gets it, and the listener learns who. */
START_TEST(tokens_are_raced_for)
{
	enum { N = 3, ROUNDS = 5 };
	char token[PATHBUS_TOKEN_SIZE];
	pathbus *bus;
	pathbus_topic *topic;
	pathbus_endpoint *endpoint;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
	endpoint = listen_at(topic, "service", 0);
	for (int round = 0; round < ROUNDS; round++) {
		struct harness_process children[N];
		struct pathbus_event event;
		int winner = -1;
		char byte;

		ck_assert_int_eq(pathbus_token_make(topic, "service", token), 0);
		for (int i = 0; i < N; i++) {
			harness_spawn(&children[i], redeemer, token);
			harness_expect_line(&children[i], "ready");
		}
		for (int i = 0; i < N; i++)
			harness_tell(&children[i], "go");
		event = event_of(bus, endpoint, PATHBUS_EVENT_CONNECTION);
		ck_assert_int_eq(read(event.fd, &byte, 1), 1);
		close(event.fd);
		for (int i = 0; i < N; i++) {
			const char *line = harness_hear(&children[i]);

			ck_assert_ptr_nonnull(line);
			if (strcmp(line, "0") == 0) {
				ck_assert_int_eq(winner, -1);
				winner = i;
				ck_assert_int_eq(event.pid, children[i].pid);
			} else {
				ck_assert_int_eq(atoi(line), -ENOENT);
			}
			harness_expect_exit(&children[i], 0);
		}
		ck_assert_int_ge(winner, 0);
		expect_quiet(bus);
	}
	pathbus_free(bus);
}
END_TEST

/* --- lists --------------------------------------------------------------------------------------------------- */

struct seen {
	unsigned n, flags;
	unsigned long names; /* a bit each */
	pathbus_topic *topic;
};

static int see(const struct pathbus_endpoint_entry *entry, void *arg)
{
	struct seen *seen = arg;

	seen->n++;
	seen->names |= 1ul << atoi(entry->name + 1);
	ck_assert_int_eq(entry->name[0], 'e');
	ck_assert_int_eq(entry->pid, getpid());
	ck_assert_uint_eq(entry->uid, geteuid());
	ck_assert_uint_gt(strlen(entry->command), 0);
	ck_assert_uint_eq(entry->flags, seen->flags);
	ck_assert_int_eq(pathbus_post(seen->topic), 0); /* it may call the library */
	return seen->n == 25 ? 77 : 0;
}

START_TEST(lists)
{
	enum { N = 21 }; /* more than one answer of the daemon has room for */
	struct seen seen = { .n = 0 };
	pathbus_endpoint *endpoints[N];
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
	seen.topic = topic;
	seen.flags = PATHBUS_ENDPOINT_READERS;
	ck_assert_int_eq(pathbus_endpoint_list(topic, see, &seen), 0);
	ck_assert_uint_eq(seen.n, 0);
	for (int i = 0; i < N; i++) {
		char name[16];

		snprintf(name, sizeof(name), "e%d", i);
		endpoints[i] = listen_at(topic, name, PATHBUS_ENDPOINT_READERS | PATHBUS_ENDPOINT_TAKE_OVER);
	}
	ck_assert_int_eq(pathbus_endpoint_list(topic, see, &seen), 0);
	ck_assert_uint_eq(seen.n, N);
	ck_assert_uint_eq(seen.names, (1ul << N) - 1);
	seen.names = 0;
	ck_assert_int_eq(pathbus_endpoint_list(topic, see, &seen), 77); /* it stops */
	pathbus_unlisten(endpoints[3]);
	seen.n = 0;
	seen.names = 0;
	ck_assert_int_eq(pathbus_endpoint_list(topic, see, &seen), 0);
	ck_assert_uint_eq(seen.names, ((1ul << N) - 1) & ~(1ul << 3));
	pathbus_free(bus);
}
END_TEST

/* --- rights and forks ------------------------------------------------------------------------------------------ */

START_TEST(who_may_only_read_does_not_listen)
{
	pathbus *bus;
	pathbus_topic *topic;

	if (geteuid() == 0)
		transport_become_nobody();
	transport_begin(_i);
	harness_write_file(transport_edit("file"), "");
	ck_assert_int_eq(chmod(transport_edit("file"), 0400), 0);
	bus = transport_new();
	topic = transport_open(bus, "file", PATHBUS_SUBSCRIBE);
	expect_listen(topic, "service", 0, -EACCES);
	ck_assert_int_eq(chmod(transport_edit("file"), 0600), 0);
	pathbus_close(topic);
	topic = transport_open(bus, "file", PATHBUS_SUBSCRIBE);
	pathbus_unlisten(listen_at(topic, "service", 0));
	pathbus_free(bus);
}
END_TEST

static int freed_in_child(struct harness_process *peer, void *arg)
{
	struct pathbus_connection connection = connection_of();
	pathbus_endpoint *endpoint = *(pathbus_endpoint **)arg;
	pathbus_topic *topic = ((pathbus_topic **)arg)[1];
	char token[PATHBUS_TOKEN_SIZE];
	pathbus *bus = ((pathbus **)arg)[2];

	(void)peer;
	ck_assert_int_eq(pathbus_listen(topic, "other", 0, &endpoint), -ECHILD);
	ck_assert_int_eq(pathbus_connect(topic, "service", 0, &connection), -ECHILD);
	ck_assert_int_eq(pathbus_token_make(topic, "service", token), -ECHILD);
	ck_assert_int_eq(pathbus_token_redeem(bus, "x", 0, &connection), -ECHILD);
	ck_assert_int_eq(pathbus_endpoint_list(topic, see, NULL), -ECHILD);
	pathbus_unlisten(endpoint);
	pathbus_free(bus);
	return 0;
}

START_TEST(freeing_in_a_child_takes_nothing_away)
{
	struct pathbus_connection connection;
	struct harness_process child;
	void *arg[3];
	pathbus *bus;
	pathbus_topic *topic;
	pathbus_endpoint *endpoint;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "file", 0);
	endpoint = listen_at(topic, "service", 0);
	connection = dial(topic, "service");
	arg[0] = endpoint, arg[1] = topic, arg[2] = bus;
	harness_spawn(&child, freed_in_child, arg);
	harness_expect_exit(&child, 0);
	close(accept_one(bus, endpoint));
	close(connection.fd);
	connection = dial(topic, "service");
	close(accept_one(bus, endpoint));
	close(connection.fd);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(introduces, N_TRANSPORTS),
	HARNESS_CASE_EACH(introduces_who_only_posts, N_TRANSPORTS),
	HARNESS_CASE_EACH(names_are_told_apart, N_TRANSPORTS),
	HARNESS_CASE_EACH(two_on_one_name, N_TRANSPORTS),
	HARNESS_CASE_EACH(one_at_a_time, N_TRANSPORTS),
	HARNESS_CASE_EACH(waits_for_a_listener, N_TRANSPORTS),
	HARNESS_CASE_EACH(serves_those_who_wait, 2 * N_TRANSPORTS),
	HARNESS_CASE_EACH(other_threads_go_on_meanwhile, N_TRANSPORTS),
	HARNESS_CASE_EACH(waiting_is_interrupted, N_TRANSPORTS),
	HARNESS_CASE_EACH(takes_no_more_than_it_gives, N_TRANSPORTS),
	HARNESS_CASE_EACH(closes_what_was_not_taken, N_TRANSPORTS),
	HARNESS_CASE_EACH(tokens_are_redeemed_once, N_TRANSPORTS),
	HARNESS_CASE_EACH(tokens_are_passed_on, N_TRANSPORTS),
	HARNESS_CASE_EACH(tokens_are_raced_for, N_TRANSPORTS),
	HARNESS_CASE_EACH(lists, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_may_only_read_does_not_listen, N_TRANSPORTS),
	HARNESS_CASE_EACH(freeing_in_a_child_takes_nothing_away, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "endpoints", .cases = cases, .teardown = transport_end });
}
