/* SPDX-License-Identifier: MIT */
/* test_threads.c - the calls that any thread may make, while the handle's own thread takes events. */
#include "conformance/transports.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "harness/process.h"

#define N_THREADS 4
#define N_POSTS 5000

static _Atomic bool stop;
static _Atomic unsigned n_failed;

static void *post_many(void *arg)
{
	for (int i = 0; i < N_POSTS; i++)
		if (pathbus_post(arg) < 0)
			atomic_fetch_add(&n_failed, 1);
	return NULL;
}

static void *post_until_stopped(void *arg)
{
	while (!atomic_load(&stop))
		if (pathbus_post(arg) < 0)
			atomic_fetch_add(&n_failed, 1);
	return NULL;
}

static void *look_around(void *arg)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	uint64_t seen = 0, before = 0;

	while (!atomic_load(&stop)) {
		if (pathbus_check(arg, &seen) < 0 || pathbus_transport(arg, &transport) < 0 || seen < before)
			atomic_fetch_add(&n_failed, 1);
		before = seen;
	}
	return NULL;
}

static void start(pthread_t *threads, int n, void *(*function)(void *arg), void *arg)
{
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, function, arg), 0);
}

static void join(pthread_t *threads, int n)
{
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
}

/* Several threads post on one topic; its owner polls and must see strangers' posts alone. */
START_TEST(posts_from_many_threads)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;
	pthread_t posters[N_THREADS], strangers[1], lookers[2];
	uint64_t at_a = 0, at_b = 0;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	of_b = transport_open(b, "data", 0);
	start(posters, N_THREADS, post_many, of_a);
	start(strangers, 1, post_many, of_b);
	start(lookers, 2, look_around, of_a);
	/* a sees its own thread's posts in the middle of being made, but never counts one. */
	while (at_a < N_POSTS || at_b < N_POSTS * N_THREADS) {
		if (at_a < N_POSTS)
			await_readable(a);
		at_a += take_posts(a);
		at_b += take_posts(b);
	}
	join(posters, N_THREADS);
	join(strangers, 1);
	atomic_store(&stop, true);
	join(lookers, 2);
	at_a += take_posts(a);
	at_b += take_posts(b);
	ck_assert_uint_eq(at_a, N_POSTS);
	ck_assert_uint_eq(at_b, N_POSTS * N_THREADS);
	ck_assert_uint_eq(atomic_load(&n_failed), 0);
	expect_quiet(a);
	expect_quiet(b);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

struct own {
	struct pathbus_options options;
	const char *path;
	pthread_barrier_t *barrier;
	uint64_t heard;
	int error;
};

/* A handle per thread, all on one file. */
static void *own_handle(void *arg)
{
	struct own *own = arg;
	pathbus *bus = NULL;
	pathbus_topic *topic = NULL;

	own->error = pathbus_new(&bus, &own->options);
	if (own->error == 0)
		own->error = pathbus_open(bus, own->path, 0, &topic);
	pthread_barrier_wait(own->barrier);
	for (int i = 0; i < 100 && own->error == 0; i++)
		own->error = pathbus_post(topic);
	if (own->error == 0)
		await_posts(bus, 100 * (N_THREADS - 1));
	pthread_barrier_wait(own->barrier);
	if (own->error == 0)
		own->heard = 100 * (N_THREADS - 1) + take_posts(bus);
	pathbus_free(bus);
	return NULL;
}

START_TEST(each_thread_with_a_handle_of_its_own)
{
	struct own own[N_THREADS] = { 0 };
	pthread_t threads[N_THREADS];
	pthread_barrier_t barrier;

	transport_begin(_i);
	pthread_barrier_init(&barrier, NULL, N_THREADS);
	for (int i = 0; i < N_THREADS; i++) {
		own[i] = (struct own){ .options = transport_options(), .path = transport_path("data"), .barrier = &barrier };
		start(&threads[i], 1, own_handle, &own[i]);
	}
	join(threads, N_THREADS);
	pthread_barrier_destroy(&barrier);
	for (int i = 0; i < N_THREADS; i++) {
		ck_assert_int_eq(own[i].error, 0);
		ck_assert_uint_eq(own[i].heard, 100 * (N_THREADS - 1));
	}
}
END_TEST

static _Atomic int answers[2]; /* of the first check; of the wait that said something else than 1 */

static void *wait_for_it(void *arg)
{
	uint64_t seen = 0;
	int r = 1;

	atomic_store(&answers[0], pathbus_check(arg, &seen));
	for (int i = 0; i < 500 && r == 1; i++)
		r = pathbus_wait(arg, &seen, harness_deadline(harness_limit_ms), 0);
	atomic_store(&answers[1], r);
	atomic_store(&stop, true);
	return NULL;
}

/* The owner sleeps in pathbus_wait while others post on the very same topic: their posts do not wake it for
 * good, a stranger's does. */
START_TEST(own_threads_do_not_disturb_a_wait)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;
	pthread_t posters[2], owner[1];

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	of_b = transport_open(b, "data", 0);
	start(posters, 2, post_many, of_a);
	start(owner, 1, wait_for_it, of_a);
	while (!atomic_load(&stop))
		ck_assert_int_eq(pathbus_post(of_b), 0);
	join(owner, 1);
	join(posters, 2);
	ck_assert_int_eq(atomic_load(&answers[0]), 1);
	ck_assert_int_eq(atomic_load(&answers[1]), 1);
	ck_assert_uint_eq(atomic_load(&n_failed), 0);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

/* The other side of a game in which each post is answered by taking it, and each taking by the next post, after
 * pauses of all lengths: so that posts come at every moment of falling asleep. */
static _Atomic int n_answered;

static void dawdle(int n)
{
	for (volatile int i = n; i > 0; i--)
		;
}

static void *answer_with_posts(void *arg)
{
	for (int i = 1; !atomic_load(&stop); i++) {
		for (int spins = 0; atomic_load(&n_answered) < i - 1 && !atomic_load(&stop); spins++)
			if (spins > 1000)
				sched_yield();
		dawdle(i % 499);
		if (pathbus_post(arg) < 0)
			atomic_fetch_add(&n_failed, 1);
	}
	return NULL;
}

static int n_rounds(void)
{
	return harness_full() ? 200000 : 8000;
}

START_TEST(a_post_at_any_moment)
{
	int id = _i / 2;
	bool wait = _i % 2;
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;
	pthread_t poster[1];
	uint64_t seen = 0, taken;

	transport_begin(id);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", PATHBUS_POST);
	of_b = transport_open(b, "data", 0);
	ck_assert_int_eq(pathbus_check(of_b, &seen), 1);
	expect_quiet(b);
	start(poster, 1, answer_with_posts, of_a);
	for (int i = 1; i <= n_rounds(); i++) {
		if (wait) {
			/* Without a deadline, at which it would look again: a lost one is the case's time limit. */
			if (pathbus_wait(of_b, &seen, UINT64_MAX, 0) != 1)
				ck_abort_msg("lost in round %d", i);
			atomic_fetch_add(&n_answered, 1);
			dawdle(i % 331);
		} else {
			struct pollfd pollfd = { .fd = pathbus_fd(b), .events = POLLIN };
			struct pathbus_event event = { .size = sizeof(event) };

			for (taken = 0; taken == 0;) {
				if (poll(&pollfd, 1, (int)harness_limit_ms) != 1)
					ck_abort_msg("lost in round %d", i);
				while (pathbus_next(b, &event) == 1) {
					taken += event.count;
					atomic_fetch_add(&n_answered, (int)event.count);
					dawdle(i % 331);
				}
			}
		}
	}
	atomic_store(&stop, true);
	join(poster, 1);
	ck_assert_uint_eq(atomic_load(&n_failed), 0);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

/* A cursor counts a stranger's posts and no own ones, however many of those are being made meanwhile. */
START_TEST(own_threads_do_not_disturb_a_cursor)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;
	pthread_t posters[2];
	uint64_t seen = 0;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	of_b = transport_open(b, "data", 0);
	ck_assert_int_eq(pathbus_check(of_a, &seen), 1);
	start(posters, 2, post_until_stopped, of_a);
	for (int i = 0; i < 500000; i++) {
		uint64_t fresh = 0;

		if (pathbus_check(of_a, &fresh) != 1) /* whatever is under way */
			ck_abort_msg("a new cursor is not behind, in round %d", i);
	}
	for (int i = 0; i < 5000; i++) {
		ck_assert_int_eq(pathbus_check(of_a, &seen), 0);
		ck_assert_int_eq(pathbus_post(of_b), 0);
		harness_await(pathbus_check(of_a, &seen) == 1);
	}
	atomic_store(&stop, true);
	join(posters, 2);
	ck_assert_int_eq(pathbus_check(of_a, &seen), 0);
	ck_assert_uint_eq(take_posts(a), 5000);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

enum { SLOTS = 8, N_LETTERS = 30000 };

static pathbus_topic *open_small(pathbus *bus, unsigned flags)
{
	struct pathbus_topic_options options = { .size = sizeof(options), .ring_slots = SLOTS };
	pathbus_topic *topic = NULL;

	ck_assert_int_eq(pathbus_open_with(bus, transport_path("data"), flags, &options, &topic), 0);
	transport_expect(topic);
	return topic;
}

static void *publish_until_stopped(void *arg)
{
	while (!atomic_load(&stop))
		if (pathbus_publish(arg, "own", 3) < 0)
			atomic_fetch_add(&n_failed, 1);
	return NULL;
}

static int publish_letters(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = open_small(bus, PATHBUS_POST);

	(void)arg;
	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	for (int i = 0; i < N_LETTERS; i++)
		ck_assert_int_eq(pathbus_publish(topic, "x", 1), 0);
	harness_tell(peer, "done");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

/* A stranger's messages are delivered or missed, and own ones neither, although they go round the ring meanwhile. */
START_TEST(own_threads_do_not_disturb_the_count)
{
	struct harness_process stranger;
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t sum = 0;
	pathbus *bus;
	pathbus_topic *topic;
	pthread_t publisher;

	transport_begin(_i);
	bus = transport_new();
	topic = open_small(bus, 0);
	expect_quiet(bus);
	harness_spawn(&stranger, publish_letters, NULL);
	harness_expect_line(&stranger, "ready");
	start(&publisher, 1, publish_until_stopped, topic);
	harness_tell(&stranger, "go");
	for (uint64_t end = harness_deadline(harness_limit_ms); sum < N_LETTERS;) {
		while (pathbus_next(bus, &event) == 1) {
			ck_assert(event.kind == PATHBUS_EVENT_MESSAGE || event.kind == PATHBUS_EVENT_GAP);
			sum += event.count;
		}
		ck_assert_uint_lt(harness_now_ns(), end);
	}
	harness_expect_line(&stranger, "done");
	atomic_store(&stop, true);
	join(&publisher, 1);
	expect_quiet(bus);
	ck_assert_uint_eq(sum, N_LETTERS);
	ck_assert_uint_eq(atomic_load(&n_failed), 0);
	harness_tell(&stranger, "end");
	harness_expect_exit(&stranger, 0);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(own_threads_do_not_disturb_the_count, ON_SOCKET),
	HARNESS_CASE_EACH(posts_from_many_threads, N_TRANSPORTS),
	HARNESS_CASE_EACH(each_thread_with_a_handle_of_its_own, N_TRANSPORTS),
	HARNESS_CASE_EACH(own_threads_do_not_disturb_a_wait, N_TRANSPORTS),
	HARNESS_CASE_EACH(own_threads_do_not_disturb_a_cursor, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_post_at_any_moment, 2 * N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "threads", .cases = cases, .teardown = transport_end });
}
