/* SPDX-License-Identifier: MIT */
/*
 * test_rules.c - what programs see while the daemon is killed, stopped, continued, restarted or started late; rule
 * by rule of docs/design.md, "The seams".
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "harness/daemon.h"
#include "harness/harness.h"
#include "libclient/internal.h"
#include "seams/listener.h"

static struct harness_daemon daemon_;
static const char *file;

static void setup(void)
{
	daemon_ = (struct harness_daemon){ 0 };
	file = harness_path("data");
	harness_write_file(file, "");
}

static void open_two(struct listener *a, struct listener *b)
{
	listener_open(a, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(b, daemon_.address, PATHBUS_AUTO, file, 0);
	ck_assert_int_eq(listener_transport(a), PATHBUS_BUS);
	ck_assert_int_eq(listener_transport(b), PATHBUS_BUS);
}

static void expect_post(struct listener *from, struct listener *to)
{
	listener_drain(to);
	ck_assert_int_eq(pathbus_post(from->topic), 0);
	listener_expect(to, PATHBUS_EVENT_POST);
}

/* Rules 1 and 2: a program that only posts, and never looks at its descriptor, is not fooled by a dead lane. */
START_TEST(a_poster_finds_out_by_itself)
{
	struct listener poster, listener;

	harness_daemon_start(&daemon_, NULL);
	open_two(&poster, &listener);
	expect_post(&poster, &listener);
	harness_daemon_kill(&daemon_);
	ck_assert_int_eq(pathbus_post(poster.topic), 0);
	ck_assert_int_eq(listener_transport(&poster), PATHBUS_PEER);
	listener_expect(&listener, PATHBUS_EVENT_RESYNC);
	ck_assert_int_eq(listener_transport(&listener), PATHBUS_PEER);
	expect_post(&poster, &listener);
	listener_close(&poster);
	listener_close(&listener);
}
END_TEST

/* Rule 1: no system call is needed to find out, and none is made while the daemon lives. */
START_TEST(the_death_word_comes_before_the_end_of_the_socket)
{
	struct listener one;
	struct pathbus *bus;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&one, daemon_.address, PATHBUS_BUS, file, 0);
	bus = one.bus;
	ck_assert(!bus->connection.death_unarmed);
	ck_assert(!death_has_come(bus->connection.death));
	harness_daemon_kill(&daemon_);
	ck_assert(death_has_come(bus->connection.death));
	listener_close(&one);
}
END_TEST

START_TEST(a_clean_stop_marks_the_word_too)
{
	struct listener one;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&one, daemon_.address, PATHBUS_AUTO, file, 0);
	harness_daemon_stop(&daemon_);
	ck_assert(death_has_come(one.bus->connection.death));
	listener_expect(&one, PATHBUS_EVENT_RESYNC);
	ck_assert_int_eq(listener_transport(&one), PATHBUS_PEER);
	listener_close(&one);
}
END_TEST

/* Rule 4: all come back, with RESYNC, and meet again. */
START_TEST(members_return_when_the_daemon_does)
{
	struct listener a, b;

	harness_daemon_start(&daemon_, NULL);
	open_two(&a, &b);
	for (int i = 0; i < 3; i++) {
		unsigned resyncs = a.n_resyncs;

		harness_daemon_kill(&daemon_);
		listener_await_transport(&a, PATHBUS_PEER);
		listener_await_transport(&b, PATHBUS_PEER);
		expect_post(&a, &b);
		harness_daemon_start(&daemon_, NULL);
		listener_await_transport(&a, PATHBUS_BUS);
		listener_await_transport(&b, PATHBUS_BUS);
		listener_drain(&a);
		ck_assert_uint_ge(a.n_resyncs, resyncs + 2);
		expect_post(&b, &a);
	}
	listener_close(&a);
	listener_close(&b);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(a_daemon_that_starts_late_takes_everybody_over)
{
	struct listener a, b;
	const char *address = harness_path("socket");

	listener_open(&a, address, PATHBUS_AUTO, file, 0);
	listener_open(&b, address, PATHBUS_AUTO, file, 0);
	ck_assert_int_eq(listener_transport(&a), PATHBUS_PEER);
	expect_post(&a, &b);
	harness_daemon_start(&daemon_, NULL);
	listener_await_transport(&a, PATHBUS_BUS);
	expect_post(&a, &b); /* b may not have moved yet */
	listener_await_transport(&b, PATHBUS_BUS);
	expect_post(&b, &a);
	listener_close(&a);
	listener_close(&b);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* The socket's folder does not exist yet, nor does the one above it. */
START_TEST(a_daemon_whose_folder_comes_late)
{
	struct listener a;
	const char *upper = harness_path("upper"), *lower = harness_path("upper/lower");

	daemon_.address = harness_path("upper/lower/socket");
	listener_open(&a, daemon_.address, PATHBUS_AUTO, file, 0);
	ck_assert_int_eq(mkdir(upper, 0700), 0);
	listener_drain(&a);
	ck_assert_int_eq(mkdir(lower, 0700), 0);
	harness_daemon_start(&daemon_, NULL);
	listener_await_transport(&a, PATHBUS_BUS);
	listener_close(&a);
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(without_inotify_the_daemon_is_found_by_growing_pauses)
{
	struct listener a;

	os_seams.no_inotify = true;
	listener_open(&a, harness_path("socket"), PATHBUS_AUTO, file, 0);
	harness_daemon_start(&daemon_, NULL);
	listener_await_transport(&a, PATHBUS_BUS);
	listener_close(&a);
	harness_daemon_stop(&daemon_);
}
END_TEST

/* Accepts and does not answer: treated as absent; when it is continued, everybody is taken over. */
START_TEST(a_stopped_daemon_is_absent_until_continued)
{
	struct listener early, late, later;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&early, daemon_.address, PATHBUS_AUTO, file, 0);
	harness_daemon_suspend(&daemon_);
	listener_open(&late, daemon_.address, PATHBUS_AUTO, file, 0);
	ck_assert_int_eq(listener_transport(&late), PATHBUS_PEER);
	listener_open(&later, daemon_.address, PATHBUS_AUTO, file, 0);
	expect_post(&late, &later);
	listener_drain(&early);
	harness_daemon_resume(&daemon_);
	/* The link tells the lane what happened beside it, or they meet on the bus: in any case it is heard. */
	harness_await((listener_turn(&early, 100), early.n_posts + early.n_resyncs > 0));
	listener_await_transport(&late, PATHBUS_BUS);
	listener_await_transport(&later, PATHBUS_BUS);
	expect_post(&late, &early);
	expect_post(&early, &later);
	listener_close(&early);
	listener_close(&late);
	listener_close(&later);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* An opening on a handle whose daemon was stopped after the greeting. */
START_TEST(a_daemon_stopped_later_does_not_hold_openings_up)
{
	struct listener a;
	pathbus_topic *more[3];
	struct pathbus_transport transport = { .size = sizeof(transport) };

	harness_daemon_start(&daemon_, NULL);
	listener_open(&a, daemon_.address, PATHBUS_AUTO, file, 0);
	harness_daemon_suspend(&daemon_);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pathbus_open(a.bus, harness_path("more-%d", i), 0, &more[i]), 0);
		ck_assert_int_eq(pathbus_transport(more[i], &transport), 0);
		ck_assert_int_eq(transport.kind, PATHBUS_PEER);
	}
	harness_daemon_resume(&daemon_);
	for (int i = 0; i < 3; i++)
		harness_await((listener_turn(&a, 100), pathbus_transport(more[i], &transport) == 0 &&
		                                               transport.kind == PATHBUS_BUS));
	listener_close(&a);
	for (int i = 0; i < 3; i++)
		listener_await_no_sidecar(i == 0 ? "more-0" : i == 1 ? "more-1" : "more-2");
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(the_bus_alone_says_so_and_comes_back)
{
	struct listener a, b;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&a, daemon_.address, PATHBUS_BUS, file, 0);
	listener_open(&b, daemon_.address, PATHBUS_BUS, file, 0);
	harness_daemon_kill(&daemon_);
	ck_assert_int_eq(pathbus_post(a.topic), -ENOTCONN);
	listener_expect(&b, PATHBUS_EVENT_ERROR);
	ck_assert_int_eq(b.last_error, -ENOTCONN);
	ck_assert_int_eq(listener_transport(&b), PATHBUS_AUTO);
	harness_daemon_start(&daemon_, NULL);
	listener_expect(&b, PATHBUS_EVENT_RESYNC);
	listener_await_transport(&a, PATHBUS_BUS);
	expect_post(&a, &b);
	listener_close(&a);
	listener_close(&b);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* Rule 3, and the handle's own count: it never falls, and every move raises it. */
START_TEST(cursors_survive_every_move)
{
	struct listener a;
	uint64_t seen = 0, before;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&a, daemon_.address, PATHBUS_AUTO, file, 0);
	ck_assert_int_eq(pathbus_check(a.topic, &seen), 1);
	ck_assert_int_eq(pathbus_check(a.topic, &seen), 0);
	for (int i = 0; i < 4; i++) {
		before = seen;
		if (i % 2 == 0)
			harness_daemon_kill(&daemon_);
		else
			harness_daemon_start(&daemon_, NULL);
		listener_await_transport(&a, i % 2 == 0 ? PATHBUS_PEER : PATHBUS_BUS);
		ck_assert_int_eq(pathbus_check(a.topic, &seen), 1);
		ck_assert_uint_gt(seen, before);
		ck_assert_int_eq(pathbus_check(a.topic, &seen), 0);
	}
	listener_close(&a);
	harness_daemon_stop(&daemon_);
}
END_TEST

/* A program that never has an event loop: check alone notices the death and finds the others. */
START_TEST(check_alone_moves_on)
{
	struct listener a, b;
	uint64_t seen = 0;

	harness_daemon_start(&daemon_, NULL);
	open_two(&a, &b);
	ck_assert_int_eq(pathbus_check(a.topic, &seen), 1);
	harness_daemon_kill(&daemon_);
	ck_assert_int_eq(pathbus_post(b.topic), 0);
	harness_await(pathbus_check(a.topic, &seen) == 1);
	harness_await(listener_transport(&a) == PATHBUS_PEER);
	(void)pathbus_check(a.topic, &seen);
	ck_assert_int_eq(pathbus_post(b.topic), 0);
	harness_await(pathbus_check(a.topic, &seen) == 1);
	listener_close(&a);
	listener_close(&b);
}
END_TEST

struct waiter {
	struct listener *listener;
	_Atomic int woken;
};

static void *wait_on(void *arg)
{
	struct waiter *waiter = arg;
	uint64_t seen = 0;

	while (pathbus_wait(waiter->listener->topic, &seen, UINT64_MAX, 0) == 1)
		if (atomic_fetch_add(&waiter->woken, 1) >= 2)
			break;
	return NULL;
}

/* Nor does one that sits in pathbus_wait. */
START_TEST(wait_alone_moves_on)
{
	struct listener a, b;
	struct waiter waiter = { .listener = &a };
	pthread_t thread;

	harness_daemon_start(&daemon_, NULL);
	open_two(&a, &b);
	ck_assert_int_eq(pthread_create(&thread, NULL, wait_on, &waiter), 0);
	harness_await(atomic_load(&waiter.woken) == 1); /* the first is not owed to a post */
	harness_daemon_kill(&daemon_);
	harness_await(atomic_load(&waiter.woken) >= 2); /* the move */
	ck_assert_int_eq(pathbus_post(b.topic), 0);
	pthread_join(thread, NULL);
	listener_close(&a);
	listener_close(&b);
}
END_TEST

static unsigned take_all_descriptors(int *fds, unsigned max)
{
	unsigned n = 0;

	while (n < max && (fds[n] = dup(0)) >= 0)
		n++;
	return n;
}

/* Joining anew fails because no descriptor is left. It is told, and tried again by itself. */
START_TEST(what_could_not_be_joined_is_tried_again)
{
	struct listener a, b;
	struct rlimit limit;
	int fds[64];
	unsigned n;

	harness_daemon_start(&daemon_, NULL);
	open_two(&a, &b);
	harness_daemon_kill(&daemon_);
	ck_assert_int_eq(pathbus_post(b.topic), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 64;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	n = take_all_descriptors(fds, 64);
	listener_expect(&a, PATHBUS_EVENT_ERROR);
	ck_assert_int_eq(a.last_error, -EMFILE);
	while (n > 0)
		close(fds[--n]);
	listener_await_transport(&a, PATHBUS_PEER);
	expect_post(&b, &a);
	listener_close(&a);
	listener_close(&b);
}
END_TEST

/* More topics than the kernel lets sets watch one descriptor. */
START_TEST(waiting_on_many_topics)
{
	enum { N = 600 };
	struct pathbus_options options = { .size = sizeof(options), .transport = PATHBUS_PEER };
	pathbus *bus, *poster;
	pathbus_topic *topics[N], *theirs;
	uint64_t seen[N] = { 0 };
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	ck_assert_int_eq(pathbus_new(&poster, &options), 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(pathbus_open(bus, harness_path("many-%d", i), 0, &topics[i]), 0);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(pathbus_wait(topics[i], &seen[i], 0, 0), 1);
		ck_assert_int_eq(pathbus_wait(topics[i], &seen[i], 1, 0), 0);
	}
	for (int i = 0; i < N; i += 60) {
		ck_assert_int_eq(pathbus_open(poster, harness_path("many-%d", i), 0, &theirs), 0);
		ck_assert_int_eq(pathbus_post(theirs), 0);
		ck_assert_int_eq(pathbus_wait(topics[i], &seen[i], UINT64_MAX, 0), 1);
	}
	pathbus_free(poster);
	pathbus_free(bus);
}
END_TEST

static _Atomic bool stop_posting;
static _Atomic int n_failed;

/* Without Check, whose lock a thread must not hold while the case forks a daemon. */
static void *post_on(void *arg)
{
	while (!atomic_load(&stop_posting))
		if (pathbus_post(arg) != 0)
			atomic_fetch_add(&n_failed, 1);
	return NULL;
}

/* Posts from another thread while the handle's own thread moves, and the other way round. */
START_TEST(moving_under_a_posting_thread)
{
	struct listener a, b;
	pthread_t thread;

	atomic_store(&stop_posting, false);
	harness_daemon_start(&daemon_, NULL);
	open_two(&a, &b);
	ck_assert_int_eq(pthread_create(&thread, NULL, post_on, a.topic), 0);
	for (int i = 0; i < 5; i++) {
		harness_daemon_kill(&daemon_);
		listener_await_transport(&a, PATHBUS_PEER);
		listener_await_transport(&b, PATHBUS_PEER);
		listener_expect(&b, PATHBUS_EVENT_POST);
		harness_daemon_start(&daemon_, NULL);
		listener_await_transport(&a, PATHBUS_BUS);
		listener_await_transport(&b, PATHBUS_BUS);
		listener_expect(&b, PATHBUS_EVENT_POST);
	}
	atomic_store(&stop_posting, true);
	pthread_join(thread, NULL);
	ck_assert_int_eq(atomic_load(&n_failed), 0);
	listener_drain(&b);
	expect_post(&a, &b);
	listener_close(&a);
	listener_close(&b);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* Somebody died between its change and its post: the others are told to look. */
static int die_before_posting(struct harness_process *peer, void *arg)
{
	struct listener mine;

	listener_open(&mine, arg, PATHBUS_BUS, file, 0);
	harness_tell(peer, "open");
	harness_hear(peer);
	return 0;
}

START_TEST(a_poster_that_dies_makes_the_others_look)
{
	struct listener a;
	struct harness_process child;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&a, daemon_.address, PATHBUS_BUS, file, 0);
	harness_spawn(&child, die_before_posting, (void *)daemon_.address);
	harness_expect_line(&child, "open");
	ck_assert_uint_eq(listener_drain(&a), 0);
	harness_signal(&child, SIGKILL);
	harness_expect_signal(&child, SIGKILL);
	listener_expect(&a, PATHBUS_EVENT_RESYNC);
	listener_close(&a);
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(a_goodbye_makes_nobody_look)
{
	struct listener a, b;

	harness_daemon_start(&daemon_, NULL);
	open_two(&a, &b);
	expect_post(&b, &a);
	listener_close(&b);
	/* A second opening is answered after the goodbye was dealt with, and would find what it had done. */
	listener_open(&b, daemon_.address, PATHBUS_BUS, file, 0);
	listener_drain(&a);
	ck_assert_uint_eq(a.n_resyncs, 0);
	listener_close(&a);
	listener_close(&b);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(a_poster_finds_out_by_itself),
	HARNESS_CASE(the_death_word_comes_before_the_end_of_the_socket),
	HARNESS_CASE(a_clean_stop_marks_the_word_too),
	HARNESS_CASE(members_return_when_the_daemon_does),
	HARNESS_CASE(a_daemon_that_starts_late_takes_everybody_over),
	HARNESS_CASE(a_daemon_whose_folder_comes_late),
	HARNESS_CASE(without_inotify_the_daemon_is_found_by_growing_pauses),
	HARNESS_CASE(a_stopped_daemon_is_absent_until_continued),
	HARNESS_CASE(a_daemon_stopped_later_does_not_hold_openings_up),
	HARNESS_CASE(the_bus_alone_says_so_and_comes_back),
	HARNESS_CASE(cursors_survive_every_move),
	HARNESS_CASE(check_alone_moves_on),
	HARNESS_CASE(wait_alone_moves_on),
	HARNESS_CASE(what_could_not_be_joined_is_tried_again),
	HARNESS_CASE(waiting_on_many_topics),
	HARNESS_CASE(moving_under_a_posting_thread),
	HARNESS_CASE(a_poster_that_dies_makes_the_others_look),
	HARNESS_CASE(a_goodbye_makes_nobody_look),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "rules", .cases = cases, .setup = setup });
}
