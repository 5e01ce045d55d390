/* SPDX-License-Identifier: MIT */
/* test_daemon_ringing.c - bells are rung whatever those who share them have done to them. */
#include "harness/harness.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "daemon/ringing.h"
#include "os/os.h"

static int bell, set;

static void setup(void)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLET };

	bell = os_bell_new();
	set = epoll_create1(EPOLL_CLOEXEC);
	ck_assert_int_ge(bell, 0);
	ck_assert_int_eq(epoll_ctl(set, EPOLL_CTL_ADD, bell, &event), 0);
}

static void teardown(void)
{
	ringing_deinit();
	close(bell);
	close(set);
}

static bool wakes(void)
{
	struct epoll_event event;

	return epoll_wait(set, &event, 1, 0) == 1;
}

/* i: written to, or rung by the kernel. */
START_TEST(each_ring_wakes)
{
	if (_i == 1 && ringing_init() < 0)
		harness_skip("this kernel has no asynchronous operations");
	ck_assert(!wakes());
	for (int i = 0; i < 1000; i++) {
		ringing_ring(bell);
		ck_assert(wakes());
		ck_assert(!wakes());
	}
}
END_TEST

/* Full, and blocking: a write would wait for somebody to read. */
START_TEST(one_that_was_filled_and_made_to_block)
{
	const uint64_t most = UINT64_MAX - 1;

	if (ringing_init() < 0)
		harness_skip("this kernel has no asynchronous operations");
	ck_assert_int_eq(write(bell, &most, sizeof(most)), sizeof(most));
	ck_assert_int_eq(fcntl(bell, F_SETFL, 0), 0);
	(void)wakes();
	for (int i = 0; i < 100; i++) {
		ringing_ring(bell);
		ck_assert(wakes());
	}
}
END_TEST

/* Nothing that the caller has to mind. */
START_TEST(what_is_no_bell)
{
	if (ringing_init() < 0)
		harness_skip("this kernel has no asynchronous operations");
	ringing_ring(-1);
	ringing_ring(set);
	ringing_ring(bell);
	ck_assert(wakes());
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(each_ring_wakes, 2),
	HARNESS_CASE(one_that_was_filled_and_made_to_block),
	HARNESS_CASE(what_is_no_bell),
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){
		.name = "ringing", .cases = cases, .setup = setup, .teardown = teardown });
}
