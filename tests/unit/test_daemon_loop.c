/* SPDX-License-Identifier: MIT */
/* test_daemon_loop.c - turns in the daemon's event loop. */
#include "harness/harness.h"

#include <unistd.h>

#include "daemon/loop.h"

#define MANY 1000

static struct loop *loop;
static struct loop_event *soon, *other, *readable;
static int ends[2];
static int n_soon, n_other, n_readable;

static void setup(void)
{
	loop = loop_new();
	ck_assert_ptr_nonnull(loop);
	ck_assert_int_eq(pipe(ends), 0);
	n_soon = n_other = n_readable = 0;
}

static void teardown(void)
{
	soon = loop_event_free(soon);
	other = loop_event_free(other);
	readable = loop_event_free(readable);
	loop = loop_free(loop);
	close(ends[0]);
	close(ends[1]);
}

static void again(void *arg)
{
	(void)arg;
	if (++n_soon == 3)
		ck_assert_int_eq(write(ends[1], "x", 1), 1);
	if (n_soon == MANY)
		loop_stop(loop);
	loop_call_soon(soon);
}

static void stop_when_readable(void *arg)
{
	(void)arg;
	n_readable++;
	loop_stop(loop);
}

START_TEST(who_always_goes_on_lets_others_have_their_turn)
{
	soon = loop_timer(loop, again, NULL);
	readable = loop_on_readable(loop, ends[0], stop_when_readable, NULL);
	loop_call_soon(soon);
	loop_run(loop);
	ck_assert_int_eq(n_readable, 1);
	ck_assert_int_le(n_soon, 4);
}
END_TEST

static void one(void *arg)
{
	(void)arg;
	n_soon++;
	loop_call_soon(other);
}

static void another(void *arg)
{
	(void)arg;
	n_other++;
	if (n_soon == 3)
		ck_assert_int_eq(write(ends[1], "x", 1), 1);
	if (n_soon == MANY)
		loop_stop(loop);
	loop_call_soon(soon);
}

START_TEST(so_do_two_that_call_each_other)
{
	soon = loop_timer(loop, one, NULL);
	other = loop_timer(loop, another, NULL);
	readable = loop_on_readable(loop, ends[0], stop_when_readable, NULL);
	loop_call_soon(soon);
	loop_run(loop);
	ck_assert_int_eq(n_readable, 1);
	ck_assert_int_le(n_soon, 4);
}
END_TEST

static void read_a_bit(void *arg)
{
	char bytes[1];

	(void)arg;
	n_readable++;
	ck_assert_int_eq(read(ends[0], bytes, 1), 1);
	if (n_readable == 3)
		loop_stop(loop);
	loop_call_soon(readable);
	loop_call_soon(readable);
}

START_TEST(called_once_if_it_is_ready_as_well)
{
	readable = loop_on_readable(loop, ends[0], read_a_bit, NULL);
	ck_assert_int_eq(write(ends[1], "xxx", 3), 3);
	loop_run(loop);
	ck_assert_int_eq(n_readable, 3);
}
END_TEST

static void take_back(void *arg)
{
	(void)arg;
	n_soon++;
	loop_call_soon(soon);
	if (n_soon == 1) {
		/* From the next round, and from this one. */
		loop_disable(soon);
		loop_call_soon(other);
		loop_disable(other);
		loop_set(readable, 0);
		return;
	}
	/* It may free itself while it is to be called again. */
	soon = loop_event_free(soon);
	loop_call_soon(readable);
}

static void next_step(void *arg)
{
	(void)arg;
	if (++n_readable == 1)
		loop_call_soon(soon);
	else
		loop_stop(loop);
}

START_TEST(taken_back)
{
	soon = loop_timer(loop, take_back, NULL);
	other = loop_timer(loop, another, NULL);
	readable = loop_timer(loop, next_step, NULL);
	loop_call_soon(soon);
	loop_run(loop);
	ck_assert_int_eq(n_soon, 2);
	ck_assert_int_eq(n_other, 0);
	ck_assert_int_eq(n_readable, 2);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(who_always_goes_on_lets_others_have_their_turn),
	HARNESS_CASE(so_do_two_that_call_each_other),
	HARNESS_CASE(called_once_if_it_is_ready_as_well),
	HARNESS_CASE(taken_back),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){
	                            .name = "daemon-loop", .cases = cases, .setup = setup, .teardown = teardown });
}
