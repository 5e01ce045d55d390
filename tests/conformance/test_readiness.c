/* SPDX-License-Identifier: MIT */
/* test_readiness.c - the one descriptor: readable while anything is undelivered, in every kind of loop. */
#include "conformance/transports.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#define N_TOPICS 200

static void open_many(pathbus *bus, pathbus_topic **ret, int n)
{
	char name[32];

	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(name), "data%d", i);
		ret[i] = transport_open(bus, name, 0);
		pathbus_set_userdata(ret[i], &ret[i]);
	}
}

START_TEST(readable_until_next_says_0)
{
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	transport_open(listener, "data", 0);
	from = transport_open(poster, "data", 0);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(pathbus_post(from), 0);
		await_readable(listener);
		ck_assert(is_readable(pathbus_fd(listener))); /* looking consumes nothing */
		take_soon(listener, &event);
		ck_assert(is_readable(pathbus_fd(listener))); /* 0 has not been returned yet */
		if (i % 2 && transport_is_immediate()) { /* another one before it is */
			ck_assert_int_eq(pathbus_post(from), 0);
			ck_assert(is_readable(pathbus_fd(listener)));
			ck_assert_int_eq(take(listener, &event), 1);
			ck_assert(is_readable(pathbus_fd(listener)));
		}
		expect_quiet(listener);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* A program that takes one event each time it is woken, and a poster who posts in between. */
START_TEST(one_event_per_wake_up)
{
	pathbus *poster, *listener;
	pathbus_topic *from[N_TOPICS], *to[N_TOPICS];
	uint64_t due[N_TOPICS] = { 0 }, n_posts = 0, n_taken = 0;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	open_many(poster, from, N_TOPICS);
	open_many(listener, to, N_TOPICS);
	for (int i = 0; i < N_TOPICS; i++) {
		ck_assert_int_eq(pathbus_post(from[i]), 0);
		due[i]++;
		n_posts++;
	}
	for (int k = 0; n_taken < n_posts; k++) {
		ptrdiff_t i;

		await_readable(listener);
		if (!take(listener, &event))
			continue;
		i = (pathbus_topic **)event.userdata - to;
		ck_assert_ptr_eq(event.topic, to[i]);
		ck_assert_uint_le(event.count, due[i]);
		due[i] -= event.count;
		n_taken += event.count;
		if (k < 1000 && k % 3 == 0) { /* sometimes to one that has been served, sometimes not */
			int other = k * 7 % N_TOPICS;

			ck_assert_int_eq(pathbus_post(from[other]), 0);
			due[other]++;
			n_posts++;
		}
	}
	ck_assert_uint_gt(n_posts, N_TOPICS + 50);
	expect_quiet(listener);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* Takes everything, until 0, after each edge. */
START_TEST(in_an_edge_triggered_loop)
{
	pathbus *poster, *listener;
	pathbus_topic *from[10], *to[10];
	struct epoll_event edge;
	int loop;

	transport_begin(_i);
	loop = epoll_create1(EPOLL_CLOEXEC);
	poster = transport_new();
	listener = transport_new();
	open_many(poster, from, 10);
	open_many(listener, to, 10);
	edge.events = EPOLLIN | EPOLLET;
	ck_assert_int_eq(epoll_ctl(loop, EPOLL_CTL_ADD, pathbus_fd(listener), &edge), 0);
	for (int round = 0; round < 300; round++) {
		uint64_t due = 0, taken = 0;

		for (int i = 0; i < 1 + round % 10; i++, due++)
			ck_assert_int_eq(pathbus_post(from[(round + i) % 10]), 0);
		while (taken < due) {
			ck_assert_int_eq(epoll_wait(loop, &edge, 1, (int)harness_limit_ms), 1);
			taken += take_posts(listener);
		}
		ck_assert_uint_eq(taken, due);
	}
	close(loop);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

struct asker {
	pathbus_topic *topic;
	_Atomic bool stop;
};

static void *ask(void *arg)
{
	struct asker *asker = arg;
	struct pathbus_transport transport = { .size = sizeof(transport) };
	uint64_t seen = 0;

	while (!atomic_load(&asker->stop)) {
		(void)pathbus_transport(asker->topic, &transport);
		(void)pathbus_check(asker->topic, &seen);
	}
	return NULL;
}

/* The calls that other threads may make take nothing away from an edge-triggered loop. */
START_TEST(edges_survive_other_threads)
{
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct asker asker = { 0 };
	struct epoll_event edge = { .events = EPOLLIN | EPOLLET };
	pthread_t thread;
	int loop;

	transport_begin(_i);
	loop = epoll_create1(EPOLL_CLOEXEC);
	poster = transport_new();
	listener = transport_new();
	from = transport_open(poster, "data", 0);
	asker.topic = transport_open(listener, "data", 0);
	ck_assert_int_eq(epoll_ctl(loop, EPOLL_CTL_ADD, pathbus_fd(listener), &edge), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, ask, &asker), 0);
	for (int i = 0; i < 3000; i++) {
		ck_assert_int_eq(pathbus_post(from), 0);
		for (uint64_t taken = 0; taken == 0; taken = take_posts(listener))
			ck_assert_msg(epoll_wait(loop, &edge, 1, (int)harness_limit_ms) == 1, "lost in round %d", i);
	}
	atomic_store(&asker.stop, true);
	pthread_join(thread, NULL);
	close(loop);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(a_busy_topic_leaves_room_for_a_quiet_one)
{
	pathbus *poster, *listener;
	pathbus_topic *busy, *quiet, *heard;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	busy = transport_open(poster, "busy", 0);
	quiet = transport_open(poster, "quiet", 0);
	transport_open(listener, "busy", 0);
	heard = transport_open(listener, "quiet", 0);
	for (int round = 0; round < 10; round++) {
		int n = 0;

		ck_assert_int_eq(pathbus_post(busy), 0);
		take_soon(listener, &event);
		ck_assert_int_eq(pathbus_post(quiet), 0);
		do { /* there is always something new in the busy one */
			ck_assert_int_eq(pathbus_post(busy), 0);
			take_soon(listener, &event);
			ck_assert_int_lt(n++, 100);
		} while (event.topic != heard);
		take_posts(listener);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(no_events_follow_a_close)
{
	pathbus *poster, *listener;
	pathbus_topic *from[4], *to[4];
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	open_many(poster, from, 4);
	open_many(listener, to, 4);
	/* Never collected; collected and one event out; the last one that was served. */
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pathbus_post(from[i]), 0);
	pathbus_close(to[0]);
	take_soon(listener, &event);
	ck_assert_ptr_ne(event.topic, to[0]);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pathbus_post(from[i]), 0);
	pathbus_close(event.topic);
	for (int i = 1; i < 4; i++)
		if (to[i] == event.topic)
			to[i] = NULL;
	while (take(listener, &event)) {
		bool known = false;

		for (int i = 1; i < 4; i++)
			known |= to[i] == event.topic;
		ck_assert(known);
	}
	expect_quiet(listener);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pathbus_post(from[i]), 0);
	for (int i = 1; i < 4; i++)
		pathbus_close(to[i]);
	expect_quiet(listener);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* Closing, and opening, while events are being taken. */
START_TEST(close_and_open_inside_a_loop)
{
	pathbus *poster, *listener;
	pathbus_topic *from[20], *to[20];
	struct pathbus_event event;
	int n_left = 20;
	char name[32];

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	open_many(poster, from, 20);
	open_many(listener, to, 20);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(pathbus_post(from[i]), 0);
	while (n_left > 0) {
		ptrdiff_t i, next;

		await_readable(listener);
		if (!take(listener, &event))
			continue;
		i = (pathbus_topic **)event.userdata - to;
		ck_assert_ptr_nonnull(to[i]);
		to[i] = pathbus_close(event.topic);
		n_left--;
		next = (i + 5) % 20; /* and one whose event is still to come, half of the time */
		if (i % 2 && to[next]) {
			to[next] = pathbus_close(to[next]);
			n_left--;
		}
		snprintf(name, sizeof(name), "data%d", (int)i);
		pathbus_close(transport_open(listener, name, 0));
	}
	expect_quiet(listener);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(readable_until_next_says_0, N_TRANSPORTS),
	HARNESS_CASE_EACH(one_event_per_wake_up, N_TRANSPORTS),
	HARNESS_CASE_EACH(in_an_edge_triggered_loop, N_TRANSPORTS),
	HARNESS_CASE_EACH(edges_survive_other_threads, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_busy_topic_leaves_room_for_a_quiet_one, N_TRANSPORTS),
	HARNESS_CASE_EACH(no_events_follow_a_close, N_TRANSPORTS),
	HARNESS_CASE_EACH(close_and_open_inside_a_loop, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "readiness", .cases = cases, .teardown = transport_end });
}
