/* SPDX-License-Identifier: MIT */
/* test_wait.c - check and wait: the caller's cursor, deadlines, and who wakes a sleeper. */
#include "conformance/transports.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "harness/process.h"

static pathbus *poster, *listener;
static pathbus_topic *from, *to;

static void begin(int transport)
{
	transport_begin(transport);
	poster = transport_new();
	listener = transport_new();
	from = transport_open(poster, "data", 0);
	to = transport_open(listener, "data", 0);
}

static void end(void)
{
	pathbus_free(poster);
	pathbus_free(listener);
}

START_TEST(a_cursor_moves)
{
	uint64_t seen = 0, other = 0, before;

	begin(_i);
	ck_assert_int_eq(pathbus_check(to, &seen), 1); /* the first look */
	ck_assert_uint_ne(seen, 0);
	before = seen;
	ck_assert_int_eq(pathbus_check(to, &seen), 0);
	ck_assert_uint_eq(seen, before);
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(pathbus_check(to, &seen), 1);
	ck_assert_uint_gt(seen, before);
	ck_assert_int_eq(pathbus_check(to, &seen), 0);
	ck_assert_int_eq(pathbus_check(to, &other), 1); /* each cursor for itself */
	ck_assert_uint_eq(other, seen);
	ck_assert_int_eq(pathbus_check(to, &before), 1);
	ck_assert_uint_eq(before, seen);
	end();
}
END_TEST

/* A deadline by which a post that has returned has to show: at once, where that is promised. */
static uint64_t when_there(void)
{
	return transport_is_immediate() ? 0 : UINT64_MAX;
}

START_TEST(own_posts_do_not_move_it)
{
	uint64_t seen = 0, echoed = 0;
	pathbus_topic *echo;

	begin(_i);
	echo = transport_open(listener, "data", PATHBUS_ECHO);
	ck_assert_int_eq(pathbus_check(to, &seen), 1);
	ck_assert_int_eq(pathbus_check(echo, &echoed), 1);
	ck_assert_int_eq(pathbus_post(to), 0);
	ck_assert_int_eq(pathbus_check(to, &seen), 0);
	ck_assert_int_eq(pathbus_wait(to, &seen, 0, 0), 0);
	ck_assert_int_eq(pathbus_wait(echo, &echoed, when_there(), 0), 1);
	ck_assert_int_eq(pathbus_post(echo), 0);
	ck_assert_int_eq(pathbus_wait(echo, &echoed, when_there(), 0), 1);
	ck_assert_int_eq(pathbus_wait(to, &seen, when_there(), 0), 1);
	end();
}
END_TEST

START_TEST(looking_takes_nothing_from_next)
{
	uint64_t seen = 0;

	begin(_i);
	ck_assert_int_eq(pathbus_wait(to, &seen, 0, 0), 1);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(pathbus_wait(to, &seen, 0, 0), 0);
		ck_assert_int_eq(pathbus_post(from), 0);
		ck_assert_int_eq(pathbus_wait(to, &seen, UINT64_MAX, 0), 1);
		ck_assert_int_eq(pathbus_wait(to, &seen, 0, 0), 0);
		ck_assert_int_eq(pathbus_check(to, &seen), 0);
		await_posts(listener, 1);
		expect_quiet(listener);
		/* And next takes nothing from a cursor. */
		ck_assert_int_eq(pathbus_post(from), 0);
		await_posts(listener, 1);
		ck_assert_int_eq(pathbus_wait(to, &seen, UINT64_MAX, 0), 1);
	}
	end();
}
END_TEST

START_TEST(deadlines)
{
	uint64_t seen = 0, before, deadline;

	begin(_i);
	ck_assert_int_eq(pathbus_wait(to, &seen, 0, 0), 1); /* a cursor of 0 is always behind */
	before = seen;
	ck_assert_int_eq(pathbus_wait(to, &seen, 0, 0), 0);
	ck_assert_int_eq(pathbus_wait(to, &seen, 1, 0), 0); /* long past */
	ck_assert_int_eq(pathbus_wait(to, &seen, harness_now_ns(), 0), 0);
	deadline = harness_now_ns() + 3000000;
	ck_assert_int_eq(pathbus_wait(to, &seen, deadline, 0), 0);
	ck_assert_uint_ge(harness_now_ns(), deadline);
	deadline = harness_now_ns() + 1000000;
	ck_assert_int_eq(pathbus_wait(to, &seen, deadline, 100), 0); /* spins, then sleeps */
	ck_assert_uint_ge(harness_now_ns(), deadline);
	ck_assert_uint_eq(seen, before);
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(pathbus_wait(to, &seen, when_there(), 0), 1); /* what is there is told at any deadline */
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(pathbus_wait(to, &seen, when_there(), 1000), 1);
	end();
}
END_TEST

/* Posts each time the owner has come as far as it. */
static void *post_in_turns(void *arg)
{
	_Atomic int *n = arg;

	for (int i = 1; i <= 200; i++) {
		while (atomic_load(n) < i)
			;
		if (pathbus_post(from) < 0)
			break;
	}
	return NULL;
}

START_TEST(woken_by_a_thread)
{
	_Atomic int n = 0;
	uint64_t seen = 0;
	pthread_t thread;

	begin(_i);
	ck_assert_int_eq(pathbus_check(to, &seen), 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, post_in_turns, &n), 0);
	for (int i = 1; i <= 200; i++) {
		atomic_store(&n, i);
		ck_assert_int_eq(pathbus_wait(to, &seen, harness_deadline(harness_limit_ms), i % 2 ? 0 : 50), 1);
	}
	pthread_join(thread, NULL);
	await_posts(listener, 200);
	end();
}
END_TEST

static int answer_posts(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);
	uint64_t seen = 0;

	(void)arg;
	ck_assert_int_eq(pathbus_check(topic, &seen), 1);
	harness_tell(peer, "ready");
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(pathbus_wait(topic, &seen, harness_deadline(harness_limit_ms), 0), 1);
		ck_assert_int_eq(pathbus_post(topic), 0);
	}
	pathbus_free(bus);
	return 0;
}

START_TEST(woken_by_a_process)
{
	struct harness_process process;
	uint64_t seen = 0;

	transport_begin(_i);
	harness_spawn(&process, answer_posts, NULL);
	harness_expect_line(&process, "ready");
	poster = transport_new();
	from = transport_open(poster, "data", 0);
	ck_assert_int_eq(pathbus_check(from, &seen), 1);
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(pathbus_post(from), 0);
		ck_assert_int_eq(pathbus_wait(from, &seen, harness_deadline(harness_limit_ms), i % 3 ? 0 : 20), 1);
	}
	harness_expect_exit(&process, 0);
	pathbus_free(poster);
}
END_TEST

static void on_signal(int number)
{
	(void)number;
}

struct target {
	pid_t thread;
	_Atomic bool stop;
};

/* Again and again, since it may come before the sleep. */
static void *interrupt(void *arg)
{
	struct target *target = arg;

	while (!atomic_load(&target->stop)) {
		syscall(SYS_tgkill, getpid(), target->thread, SIGUSR1);
		usleep(200);
	}
	return NULL;
}

START_TEST(interrupted)
{
	struct sigaction action = { .sa_handler = on_signal }, old;
	struct target target = { .thread = (pid_t)syscall(SYS_gettid) };
	uint64_t seen = 0, before;
	pthread_t thread;

	begin(_i);
	ck_assert_int_eq(pathbus_check(to, &seen), 1);
	before = seen;
	ck_assert_int_eq(sigaction(SIGUSR1, &action, &old), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, interrupt, &target), 0);
	ck_assert_int_eq(pathbus_wait(to, &seen, UINT64_MAX, 0), -EINTR);
	atomic_store(&target.stop, true);
	pthread_join(thread, NULL);
	ck_assert_int_eq(sigaction(SIGUSR1, &old, NULL), 0);
	ck_assert_uint_eq(seen, before);
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(pathbus_wait(to, &seen, UINT64_MAX, 0), 1);
	end();
}
END_TEST

START_TEST(a_member_that_only_posts_can_wait)
{
	pathbus_topic *only;
	uint64_t seen = 0;

	begin(_i);
	only = transport_open(listener, "data", PATHBUS_POST);
	if (_i == ON_SOCKET) { /* the daemon does not tell it */
		ck_assert_int_eq(pathbus_wait(only, &seen, UINT64_MAX, 0), -EACCES);
		ck_assert_int_eq(pathbus_check(only, &seen), -EACCES);
		end();
		return;
	}
	ck_assert_int_eq(pathbus_wait(only, &seen, 0, 0), 1);
	ck_assert_int_eq(pathbus_post(only), 0);
	ck_assert_int_eq(pathbus_wait(only, &seen, 0, 0), 0);
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(pathbus_wait(only, &seen, UINT64_MAX, 0), 1);
	end();
}
END_TEST

START_TEST(wrong_arguments)
{
	uint64_t seen = 0;

	begin(_i);
	ck_assert_int_eq(pathbus_check(NULL, &seen), -EINVAL);
	ck_assert_int_eq(pathbus_check(to, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_wait(NULL, &seen, 0, 0), -EINVAL);
	ck_assert_int_eq(pathbus_wait(to, NULL, 0, 0), -EINVAL);
	ck_assert_uint_eq(seen, 0);
	end();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_cursor_moves, N_TRANSPORTS),
	HARNESS_CASE_EACH(own_posts_do_not_move_it, N_TRANSPORTS),
	HARNESS_CASE_EACH(looking_takes_nothing_from_next, N_TRANSPORTS),
	HARNESS_CASE_EACH(deadlines, N_TRANSPORTS),
	HARNESS_CASE_EACH(woken_by_a_thread, N_TRANSPORTS),
	HARNESS_CASE_EACH(woken_by_a_process, N_TRANSPORTS),
	HARNESS_CASE_EACH(interrupted, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_member_that_only_posts_can_wait, N_TRANSPORTS),
	HARNESS_CASE_EACH(wrong_arguments, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "wait", .cases = cases, .teardown = transport_end });
}
