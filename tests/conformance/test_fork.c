/* SPDX-License-Identifier: MIT */
/* test_fork.c - a handle in a forked child is dead there, and its end there harms nobody; nothing crosses exec. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/process.h"

static pathbus *bus, *other;
static pathbus_topic *topic, *of_other;

static void begin(int transport)
{
	transport_begin(transport);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
}

static int use_it(struct harness_process *peer, void *arg)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	struct pathbus_event event = { .size = sizeof(event) };
	pathbus_topic *another = NULL;
	uint64_t seen = 0, ns = 0;

	(void)peer;
	(void)arg;
	ck_assert_int_eq(pathbus_fd(bus), -ECHILD);
	ck_assert_int_eq(pathbus_next(bus, &event), -ECHILD);
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), 0, &another), -ECHILD);
	ck_assert_int_eq(pathbus_open_fd(bus, STDIN_FILENO, 0, &another), -ECHILD);
	ck_assert_ptr_null(another);
	ck_assert_int_eq(pathbus_post(topic), -ECHILD);
	ck_assert_int_eq(pathbus_check(topic, &seen), -ECHILD);
	ck_assert_int_eq(pathbus_wait(topic, &seen, UINT64_MAX, 0), -ECHILD);
	ck_assert_int_eq(pathbus_transport(topic, &transport), -ECHILD);
	ck_assert_int_eq(pathbus_ping(bus, &ns), -ECHILD);
	ck_assert_ptr_null(pathbus_address(bus));
	pathbus_set_userdata(topic, &seen);
	ck_assert_uint_eq(seen, 0);
	return 0;
}

static int free_it(struct harness_process *peer, void *arg)
{
	(void)peer;
	if (arg)
		ck_assert_ptr_null(pathbus_close(topic));
	ck_assert_ptr_null(pathbus_free(bus));
	return 0;
}

static int leave_it(struct harness_process *peer, void *arg)
{
	(void)peer;
	(void)arg;
	return 0;
}

/* One's own, in the child, on the same file. */
static int make_another(struct harness_process *peer, void *arg)
{
	(void)arg;
	bus = pathbus_free(bus);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "post");
	ck_assert_int_eq(pathbus_post(topic), 0);
	await_posts(bus, 1);
	pathbus_free(bus);
	return 0;
}

static void check_parent(void)
{
	struct harness_process process;

	/* Still hears and is heard, and still a member: a third who comes and goes leaves it in place. */
	other = transport_new();
	of_other = transport_open(other, "data", 0);
	ck_assert_int_eq(pathbus_post(of_other), 0);
	await_posts(bus, 1);
	ck_assert_int_eq(pathbus_post(topic), 0);
	await_posts(other, 1);
	pathbus_free(other);
	harness_spawn(&process, make_another, NULL);
	harness_expect_line(&process, "ready");
	harness_tell(&process, "post");
	await_posts(bus, 1);
	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_expect_exit(&process, 0);
	expect_quiet(bus);
	transport_expect(topic);
}

static void run(int (*function)(struct harness_process *peer, void *arg), void *arg)
{
	struct harness_process process;

	harness_spawn(&process, function, arg);
	harness_expect_exit(&process, 0);
}

START_TEST(calls_say_so_in_the_child)
{
	begin(_i);
	run(use_it, NULL);
	check_parent();
	pathbus_free(bus);
}
END_TEST

START_TEST(its_end_in_the_child_harms_nobody)
{
	begin(_i);
	run(free_it, NULL);
	check_parent();
	run(free_it, &bus);
	check_parent();
	run(leave_it, NULL);
	check_parent();
	pathbus_free(bus);
}
END_TEST

START_TEST(with_a_wait_set_and_events_queued)
{
	uint64_t seen = 0;

	begin(_i);
	ck_assert_int_eq(pathbus_wait(topic, &seen, 0, 0), 1);
	ck_assert_int_eq(pathbus_wait(topic, &seen, 0, 0), 0);
	other = transport_new();
	of_other = transport_open(other, "data", 0);
	for (int i = 0; i < 3; i++) {
		struct pathbus_event event;

		ck_assert_int_eq(pathbus_post(of_other), 0);
		run(use_it, NULL);
		ck_assert_int_eq(pathbus_wait(topic, &seen, harness_deadline(harness_limit_ms), 0), 1);
		await_readable(bus);
		ck_assert_int_eq(take(bus, &event), 1);
		run(free_it, i % 2 ? &bus : NULL);
		expect_quiet(bus);
	}
	pathbus_free(other);
	check_parent();
	pathbus_free(bus);
}
END_TEST

static int fork_again(struct harness_process *peer, void *arg)
{
	use_it(peer, arg);
	run(use_it, NULL);
	run(free_it, NULL);
	return use_it(peer, arg);
}

START_TEST(grandchildren_too)
{
	begin(_i);
	run(fork_again, NULL);
	check_parent();
	pathbus_free(bus);
}
END_TEST

START_TEST(nothing_crosses_exec)
{
	static const char *const list[] = { "/bin/ls", "/proc/self/fd", NULL };
	const char *before, *after, *errors;
	pathbus_topic *many[10];
	uint64_t seen = 0;
	char name[16];

	transport_begin(_i);
	ck_assert_int_eq(harness_run(list, &before, &errors), 0);
	bus = transport_new();
	for (int i = 0; i < 10; i++) {
		snprintf(name, sizeof(name), "data%d", i);
		many[i] = transport_open(bus, name, 0);
		(void)pathbus_wait(many[i], &seen, 0, 0);
	}
	ck_assert_int_eq(harness_run(list, &after, &errors), 0);
	ck_assert_str_eq(after, before);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(calls_say_so_in_the_child, N_TRANSPORTS),
	HARNESS_CASE_EACH(its_end_in_the_child_harms_nobody, N_TRANSPORTS),
	HARNESS_CASE_EACH(with_a_wait_set_and_events_queued, N_TRANSPORTS),
	HARNESS_CASE_EACH(grandchildren_too, N_TRANSPORTS),
	HARNESS_CASE_EACH(nothing_crosses_exec, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "fork", .cases = cases, .teardown = transport_end });
}
