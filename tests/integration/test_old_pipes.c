/* SPDX-License-Identifier: MIT */
/*
 * test_old_pipes.c - kernels on which a pipe wakes its edge-triggered readers only when it was empty: posts are
 * seen all the same, by a timer that runs nowhere else.
 */
#include "conformance/transports.h"

#include <dirent.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "harness/process.h"
#include "os/os.h"

/* How many of this process's timers are set? */
static int n_timers_set(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		char target[64] = "", path[300];

		(void)readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%s", entry->d_name);
		if (strstr(target, "timerfd"))
			n += !strstr(harness_read_file(path), "it_value: (0, 0)");
	}
	closedir(dir);
	return n;
}

START_TEST(no_timer_runs_elsewhere)
{
	pathbus *a, *b;
	pathbus_topic *of_a;
	uint64_t seen = 0;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	transport_open(b, "data", 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pathbus_post(of_a), 0);
		await_posts(b, 1);
		(void)pathbus_wait(of_a, &seen, 0, 0);
	}
	/* A look at the sidecar may be owed, once. */
	if (_i == ON_BUS || os_bell_fifo_reliable())
		harness_await(take_posts(a) == 0 && take_posts(b) == 0 && n_timers_set() == 0);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

/* The pipe is never emptied, so after the first post it wakes nobody by itself. */
START_TEST(posts_are_seen)
{
	pathbus *a, *b;
	pathbus_topic *of_a;

	os_seams.fifo_unreliable = true;
	transport_begin(ON_PEER + _i); /* both kinds of sidecar */
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	transport_open(b, "data", 0);
	ck_assert(!os_bell_fifo_reliable());
	for (int i = 1; i <= 30; i++) {
		for (int k = 0; k < i; k++)
			ck_assert_int_eq(pathbus_post(of_a), 0);
		await_posts(b, (uint64_t)i);
		expect_quiet(a);
	}
	ck_assert_int_eq(n_timers_set(), 2);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

START_TEST(one_event_per_wake_up)
{
	pathbus *a, *b;
	pathbus_topic *of_a[20];
	struct pathbus_event event;
	char name[16];
	int n = 0;

	os_seams.fifo_unreliable = true;
	transport_begin(ON_PEER + _i); /* both kinds of sidecar */
	a = transport_new();
	b = transport_new();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "data%d", i);
		of_a[i] = transport_open(a, name, 0);
		transport_open(b, name, 0);
	}
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 20; i++)
			ck_assert_int_eq(pathbus_post(of_a[i]), 0);
		for (n = 0; n < 20;) {
			await_readable(b);
			n += take(b, &event);
		}
		expect_quiet(b);
	}
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

static int post_when_told(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);

	(void)arg;
	harness_tell(peer, "ready");
	while (harness_hear(peer))
		ck_assert_int_eq(pathbus_post(topic), 0);
	pathbus_free(bus);
	return 0;
}

START_TEST(waits_end)
{
	struct harness_process process;
	pathbus *bus;
	pathbus_topic *topic;
	uint64_t seen = 0;

	os_seams.fifo_unreliable = true;
	transport_begin(ON_PEER + _i); /* both kinds of sidecar */
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	harness_spawn(&process, post_when_told, NULL);
	harness_expect_line(&process, "ready");
	ck_assert_int_eq(pathbus_wait(topic, &seen, 0, 0), 1);
	for (int i = 0; i < 30; i++) {
		harness_tell(&process, "post");
		ck_assert_int_eq(pathbus_wait(topic, &seen, harness_deadline(harness_limit_ms), 0), 1);
	}
	ck_assert_int_eq(pathbus_wait(topic, &seen, harness_now_ns() + 50000000, 0), 0); /* looks, and sleeps on */
	harness_hang_up(&process);
	harness_expect_exit(&process, 0);
	pathbus_free(bus);
}
END_TEST

/* With the last topic goes the looking. */
START_TEST(nothing_looks_without_a_topic)
{
	pathbus *bus;
	pathbus_topic *topic;
	struct pathbus_event event;

	os_seams.fifo_unreliable = true;
	transport_begin(ON_PEER + _i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	ck_assert_int_eq(n_timers_set(), 1);
	for (int i = 0; i < 3; i++) { /* on and on */
		await_readable(bus);
		ck_assert_int_eq(take(bus, &event), 0);
		ck_assert_int_eq(n_timers_set(), 1);
	}
	pathbus_close(topic);
	harness_await(take(bus, &event) == 0 && n_timers_set() == 0 && !is_readable(pathbus_fd(bus)));
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(no_timer_runs_elsewhere, N_TRANSPORTS),
	HARNESS_CASE_EACH(posts_are_seen, 2),
	HARNESS_CASE_EACH(one_event_per_wake_up, 2),
	HARNESS_CASE_EACH(waits_end, 2),
	HARNESS_CASE_EACH(nothing_looks_without_a_topic, 2),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "old_pipes", .cases = cases, .teardown = transport_end });
}
