/* SPDX-License-Identifier: MIT */
/* test_sync.c - who has caught up, who has not, and who does not count any more. */
#include "conformance/transports.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "harness/process.h"

#define SOON_NS UINT64_C(50000000)

static struct pathbus_laggard laggards[8];
static struct pathbus_sync result;

static int look(pathbus_topic *topic, uint64_t wait_ns)
{
	memset(laggards, 0, sizeof(laggards));
	result = (struct pathbus_sync){ .size = sizeof(result), .laggards = laggards, .max_laggards = 8 };
	return pathbus_sync(topic, wait_ns ? harness_now_ns() + wait_ns : 0, &result);
}

#define LONG_NS ((uint64_t)harness_limit_ms * 1000000)

START_TEST(alone)
{
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	ck_assert_int_eq(pathbus_post(topic), 0);
	ck_assert_int_eq(look(topic, 0), 0);
	ck_assert_uint_eq(result.n_subscribers, 0);
	ck_assert_uint_eq(result.n_caught_up, 0);
	ck_assert_int_eq(pathbus_sync(NULL, 0, &result), -EINVAL);
	ck_assert_int_eq(pathbus_sync(topic, 0, NULL), -EINVAL);
	pathbus_free(bus);
}
END_TEST

START_TEST(who_comes_back_has_dealt_with_it)
{
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	transport_open(listener, "data", 0);
	from = transport_open(poster, "data", PATHBUS_POST); /* no subscriber itself */
	expect_quiet(listener);
	for (int round = 0; round < 4; round++) {
		ck_assert_int_eq(round % 2 ? pathbus_publish(from, "x", 1) : pathbus_post(from), 0);
		ck_assert_int_eq(look(from, 0), -ETIMEDOUT);
		ck_assert_uint_eq(result.n_subscribers, 1);
		ck_assert_uint_eq(result.n_caught_up, 0);
		ck_assert_uint_eq(result.n_laggards, 1);
		ck_assert_int_eq(laggards[0].pid, getpid());
		ck_assert_uint_eq(laggards[0].uid, geteuid());
		ck_assert_uint_gt(strlen(laggards[0].command), 0);
		await_readable(listener);
		ck_assert_int_eq(take(listener, &event), 1);
		/* Received, and perhaps being dealt with. */
		ck_assert_int_eq(look(from, SOON_NS), -ETIMEDOUT);
		ck_assert_uint_eq(result.n_caught_up, 0);
		ck_assert_int_eq(take(listener, &event), 0); /* has come back for more */
		ck_assert_int_eq(look(from, LONG_NS), 0);
		ck_assert_uint_eq(result.n_subscribers, 1);
		ck_assert_uint_eq(result.n_caught_up, 1);
		ck_assert_uint_eq(result.n_laggards, 0);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

static int listen_till_told(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	int n = 0;

	(void)arg;
	transport_open(bus, "data", PATHBUS_SUBSCRIBE);
	expect_quiet(bus);
	harness_tell(peer, "ready");
	while (n < 3) {
		struct pathbus_event event;

		await_readable(bus);
		while (take(bus, &event))
			n += (int)event.count;
	}
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(waits_for_all)
{
	enum { N = 8 };
	struct harness_process listeners[N];
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", PATHBUS_POST);
	for (int i = 0; i < N; i++)
		harness_spawn(&listeners[i], listen_till_told, NULL);
	for (int i = 0; i < N; i++)
		harness_expect_line(&listeners[i], "ready");
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(pathbus_post(topic), 0);
		ck_assert_int_eq(look(topic, LONG_NS), 0);
		ck_assert_uint_eq(result.n_subscribers, N);
		ck_assert_uint_eq(result.n_caught_up, N);
		ck_assert_uint_eq(result.n_untracked, 0);
	}
	for (int i = 0; i < N; i++) {
		harness_tell(&listeners[i], "end");
		harness_expect_exit(&listeners[i], 0);
	}
	pathbus_free(bus);
}
END_TEST

static int listen_and_sleep(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();

	(void)arg;
	transport_open(bus, "data", PATHBUS_SUBSCRIBE);
	expect_quiet(bus);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(the_dead_leave_the_count)
{
	struct harness_process listener;
	pathbus *bus, *other;
	pathbus_topic *topic;

	transport_begin(_i);
	harness_allow_sidecars();
	bus = transport_new();
	other = transport_new();
	transport_open(other, "data", 0);
	topic = transport_open(bus, "data", PATHBUS_POST);
	harness_spawn(&listener, listen_and_sleep, NULL);
	harness_expect_line(&listener, "ready");
	ck_assert_int_eq(pathbus_post(topic), 0);
	await_posts(other, 1);
	harness_await(look(topic, SOON_NS) == -ETIMEDOUT && result.n_laggards == 1);
	ck_assert_uint_eq(result.n_subscribers, 2);
	ck_assert_int_eq(laggards[0].pid, listener.pid);
	harness_signal(&listener, SIGKILL);
	harness_expect_signal(&listener, SIGKILL);
	/* Others are told RESYNC by a daemon, and have to take that too. */
	harness_await((drain(other), look(topic, SOON_NS) == 0));
	ck_assert_uint_eq(result.n_subscribers, 1);
	ck_assert_uint_eq(result.n_caught_up, 1);
	pathbus_free(other);
	pathbus_free(bus);
}
END_TEST

START_TEST(who_waits_is_a_subscriber_too)
{
	pathbus *poster, *waiter;
	pathbus_topic *from, *to;
	uint64_t seen = 0;

	transport_begin(_i);
	poster = transport_new();
	waiter = transport_new();
	to = transport_open(waiter, "data", PATHBUS_SUBSCRIBE);
	from = transport_open(poster, "data", PATHBUS_POST);
	while (pathbus_check(to, &seen) == 1)
		;
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(look(from, 0), -ETIMEDOUT);
	ck_assert_int_eq(pathbus_wait(to, &seen, UINT64_MAX, 0), 1);
	ck_assert_int_eq(look(from, 0), -ETIMEDOUT); /* received; not back yet */
	ck_assert_int_eq(pathbus_check(to, &seen), 0);
	ck_assert_int_eq(look(from, LONG_NS), 0);
	ck_assert_uint_eq(result.n_subscribers, 1);
	pathbus_free(poster);
	pathbus_free(waiter);
}
END_TEST

/* One event of two is out, or both are and the second is being dealt with: it has not caught up. _i: transport, order. */
START_TEST(who_has_half_of_it_has_not_caught_up)
{
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i / 2);
	poster = transport_new();
	listener = transport_new();
	transport_open(listener, "data", 0);
	from = transport_open(poster, "data", PATHBUS_POST);
	expect_quiet(listener);
	for (int round = 0; round < 3; round++) {
		if (_i % 2)
			ck_assert_int_eq(pathbus_post(from), 0);
		ck_assert_int_eq(pathbus_publish(from, "m", 1), 0);
		if (_i % 2 == 0)
			ck_assert_int_eq(pathbus_post(from), 0);
		for (int i = 0; i < 2; i++) {
			take_soon(listener, &event);
			ck_assert_int_eq(event.kind, i == _i % 2 ? PATHBUS_EVENT_MESSAGE : PATHBUS_EVENT_POST);
			ck_assert_int_eq(look(from, SOON_NS), -ETIMEDOUT);
			ck_assert_uint_eq(result.n_subscribers, 1);
			ck_assert_uint_eq(result.n_caught_up, 0);
		}
		expect_quiet(listener);
		ck_assert_int_eq(look(from, LONG_NS), 0);
		ck_assert_uint_eq(result.n_caught_up, 1);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* All that there was is its own post, from before it began to listen. */
START_TEST(who_has_only_itself_to_hear_has_caught_up)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	to = transport_open(listener, "data", 0);
	ck_assert_int_eq(pathbus_post(to), 0);
	expect_quiet(listener);
	from = transport_open(poster, "data", PATHBUS_POST);
	ck_assert_int_eq(look(from, LONG_NS), 0);
	ck_assert_uint_eq(result.n_subscribers, 1);
	ck_assert_uint_eq(result.n_caught_up, 1);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(who_has_half_of_it_has_not_caught_up, 2 * N_TRANSPORTS),
	HARNESS_CASE_EACH(who_has_only_itself_to_hear_has_caught_up, N_TRANSPORTS),
	HARNESS_CASE_EACH(alone, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_comes_back_has_dealt_with_it, N_TRANSPORTS),
	HARNESS_CASE_EACH(waits_for_all, N_TRANSPORTS),
	HARNESS_CASE_EACH(the_dead_leave_the_count, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_waits_is_a_subscriber_too, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "sync", .cases = cases, .teardown = transport_end });
}
