/* SPDX-License-Identifier: MIT */
/*
 * test_late_counts.c - a thread that is in the middle of a post while its topic moves, or that finds out late that its
 * slot is another member's: those who hide a member swallow nobody else's posts because of that.
 *
 * The linker leads the library's ring here (--wrap, see CMakeLists.txt): it comes between a post's counting and its end.
 */
#include "conformance/transports.h"

#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "libclient/internal.h"

static _Thread_local bool holds; /* this thread stops at its next ring */
static _Atomic bool held, go_on;

void __real_os_bell_ring(int bell);
void __wrap_os_bell_ring(int bell);
void __wrap_os_bell_ring(int bell)
{
	if (holds) {
		holds = false;
		atomic_store(&held, true);
		harness_await(atomic_load(&go_on));
	}
	__real_os_bell_ring(bell);
}

static void *post_and_stop(void *arg)
{
	holds = true;
	ck_assert_int_eq(pathbus_post(arg), 0);
	ck_assert(!holds);
	return NULL;
}

static pathbus *new_auto(void)
{
	struct pathbus_options options = transport_options();
	pathbus *bus;

	options.transport = PATHBUS_AUTO;
	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	return bus;
}

static uint64_t drain_posts(pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t n = 0;

	while (take(bus, &event))
		n += event.kind == PATHBUS_EVENT_POST ? event.count : 0;
	return n;
}

enum { N_HIDDEN = 1000, N_STRANGE = 20 };

/* Each of a stranger's posts shows at once. */
static void expect_strangers(pathbus *bus, pathbus_topic *from)
{
	for (int i = 0; i < N_STRANGE; i++) {
		ck_assert_int_eq(pathbus_post(from), 0);
		await_posts(bus, 1);
	}
}

struct opener {
	pathbus *bus;
	pathbus_topic *topic;
};

/* So that posting belongs to another thread than the one that opened, or to that one. */
static void *open_it(void *arg)
{
	struct opener *opener = arg;

	opener->bus = new_auto();
	ck_assert_int_eq(pathbus_open(opener->bus, transport_path("data"), 0, &opener->topic), 0);
	for (int i = 0; i < N_HIDDEN; i++)
		ck_assert_int_eq(pathbus_post(opener->topic), 0);
	return NULL;
}

static void *open_and_post(void *arg)
{
	struct opener *opener = arg;

	open_it(arg);
	atomic_store(&held, true);
	harness_await(atomic_load(&go_on));
	atomic_store(&held, false);
	atomic_store(&go_on, false);
	return post_and_stop(opener->topic);
}

START_TEST(in_the_middle_of_a_move)
{
	bool at_home = _i == 0;
	struct opener hidden;
	pathbus *listener, *stranger;
	pathbus_topic *to, *from;
	pthread_t thread;
	uint64_t seen = 0;

	transport_begin(ON_BUS);
	if (at_home) {
		ck_assert_int_eq(pthread_create(&thread, NULL, open_and_post, &hidden), 0);
		harness_await(atomic_load(&held));
	} else {
		open_it(&hidden);
	}
	listener = new_auto();
	stranger = new_auto();
	to = transport_open(listener, "data", 0);
	from = transport_open(stranger, "data", PATHBUS_POST);
	ck_assert_int_eq(pathbus_hide(to, pathbus_origin(hidden.topic)), 0);
	expect_quiet(listener);
	if (at_home) {
		atomic_store(&go_on, true);
		harness_await(atomic_load(&held) && !atomic_load(&go_on));
	} else {
		ck_assert_int_eq(pthread_create(&thread, NULL, post_and_stop, hidden.topic), 0);
		harness_await(atomic_load(&held));
	}
	/* It rings, for a post that it has made, and all others go. */
	harness_daemon_kill(transport_daemon());
	while (pathbus_check(hidden.topic, &seen) == 1)
		;
	drain(listener);
	drain(stranger);
	ck_assert_int_eq(pathbus_post(from), 0);
	harness_await((drain_posts(listener), !is_readable(pathbus_fd(listener))));
	atomic_store(&go_on, true);
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
	harness_await((drain_posts(listener), !is_readable(pathbus_fd(listener))));
	expect_strangers(listener, from);
	/* And it is hidden as before. */
	if (!at_home)
		ck_assert_int_eq(pathbus_post(hidden.topic), 0);
	ck_assert_uint_eq(drain_posts(listener), 0);
	expect_strangers(listener, from);
	pathbus_free(hidden.bus);
	pathbus_free(listener);
	pathbus_free(stranger);
}
END_TEST

/* What such a thread stores before the post: by hand, since nothing is called there that could be stopped. */
START_TEST(in_a_slot_that_is_another_ones)
{
	pathbus *listener, *hidden, *stranger;
	pathbus_topic *to, *of_hidden, *from;
	_Atomic uint64_t *count;
	uint64_t late;

	transport_begin(_i);
	listener = transport_new();
	hidden = transport_new();
	stranger = transport_new();
	to = transport_open(listener, "data", 0);
	of_hidden = transport_open(hidden, "data", PATHBUS_POST);
	from = transport_open(stranger, "data", PATHBUS_POST);
	ck_assert_int_eq(pathbus_hide(to, pathbus_origin(of_hidden)), 0);
	expect_quiet(listener);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(pathbus_post(of_hidden), 0);
	ck_assert_uint_eq(drain_posts(listener), 0);
	count = &of_hidden->page->slots[atomic_load(&of_hidden->slot)].posts;
	late = count_tag(pathbus_origin(of_hidden), 4711) + N_HIDDEN;
	for (int round = 0; round < 2; round++) {
		atomic_store(count, late + (round ? COUNT_FLYING : 0));
		expect_strangers(listener, from);
		/* Put right by the next one's own. */
		ck_assert_int_eq(pathbus_post(of_hidden), 0);
		harness_await((drain_posts(listener), !is_readable(pathbus_fd(listener))));
		expect_strangers(listener, from);
		for (int i = 0; i < 5; i++)
			ck_assert_int_eq(pathbus_post(of_hidden), 0);
		ck_assert_uint_eq(drain_posts(listener), 0);
		expect_strangers(listener, from);
	}
	pathbus_free(listener);
	pathbus_free(hidden);
	pathbus_free(stranger);
}
END_TEST

enum { N_AT_ONCE = 200000 };

static void *post_many(void *arg)
{
	for (int i = 0; i < N_AT_ONCE; i++)
		ck_assert_int_eq(pathbus_post(arg), 0);
	return NULL;
}

static int post_from_three(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);
	pthread_t threads[2];

	(void)arg;
	harness_tell(peer, "%llu", (unsigned long long)pathbus_origin(topic));
	harness_expect_line(peer, "go");
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, post_many, topic), 0);
	post_many(topic);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
	harness_tell(peer, "done");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

static bool has_said(const struct harness_process *process)
{
	return poll(&(struct pollfd){ .fd = process->in, .events = POLLIN }, 1, 0) > 0;
}

/* Three threads that overtake each other: none of their posts shows, and none of a stranger's is swallowed. */
START_TEST(by_several_threads)
{
	struct harness_process hidden;
	pathbus *listener, *stranger;
	pathbus_topic *to, *from;
	uint64_t n = 0, made = 0;

	transport_begin(_i);
	listener = transport_new();
	stranger = transport_new();
	to = transport_open(listener, "data", 0);
	from = transport_open(stranger, "data", PATHBUS_POST);
	harness_spawn(&hidden, post_from_three, NULL);
	ck_assert_int_eq(pathbus_hide(to, strtoull(harness_hear(&hidden), NULL, 10)), 0);
	expect_quiet(listener);
	harness_tell(&hidden, "go");
	while (!has_said(&hidden)) {
		n += drain_posts(listener);
		ck_assert_uint_le(n, made);
		if (n == made) {
			ck_assert_int_eq(pathbus_post(from), 0);
			made++;
		}
	}
	harness_expect_line(&hidden, "done");
	harness_await((n += drain_posts(listener), n == made && !is_readable(pathbus_fd(listener))));
	expect_strangers(listener, from);
	harness_tell(&hidden, "end");
	harness_expect_exit(&hidden, 0);
	pathbus_free(listener);
	pathbus_free(stranger);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(in_the_middle_of_a_move, 2),
	HARNESS_CASE_EACH(in_a_slot_that_is_another_ones, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(by_several_threads, N_FIELD_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "late counts", .cases = cases,
								 .teardown = transport_end });
}
