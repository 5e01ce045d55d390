/* SPDX-License-Identifier: MIT */
/* harness_faults.c - cases that the harness has to fail, or to skip. Run one by one by test_harness.c. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/harness.h"
#include "harness/process.h"

static int sleeps(struct harness_process *peer, void *arg)
{
	(void)arg;
	(void)harness_hear(peer);
	return 0;
}

static int asserts(struct harness_process *peer, void *arg)
{
	(void)peer;
	(void)arg;
	ck_abort_msg("the child's own words");
	return 0;
}

START_TEST(leaks_descriptor)
{
	ck_assert_int_ge(open("/dev/null", O_RDONLY | O_CLOEXEC), 0);
}
END_TEST

START_TEST(replaces_descriptor)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);

	ck_assert_int_ge(dup2(fd, STDIN_FILENO), 0);
	close(fd);
}
END_TEST

START_TEST(leaves_child)
{
	static struct harness_process child;

	harness_spawn(&child, sleeps, NULL);
	harness_signal(&child, SIGSTOP); /* before it can hear that we have hung up, and end */
	harness_hang_up(&child);
}
END_TEST

START_TEST(leaves_sidecar)
{
	ck_assert_int_eq(mkdir(harness_path(".data.pathbus"), 0700), 0);
}
END_TEST

START_TEST(leaks_memory)
{
	/* volatile, so that it is not optimized away */
	char *volatile leaked = strdup("leaked");

	leaked = NULL;
	(void)leaked;
}
END_TEST

START_TEST(dies)
{
	harness_write_file(harness_path("some.log"), "its last words\n");
	puts(harness_tmpdir());
	fflush(stdout);
	raise(SIGKILL);
}
END_TEST

START_TEST(child_asserts)
{
	struct harness_process child;

	harness_spawn(&child, asserts, NULL);
	harness_expect_exit(&child, 0);
}
END_TEST

START_TEST(waits_in_vain)
{
	harness_limit_ms = 10;
	harness_await(1 + 1 == 3);
}
END_TEST

START_TEST(skips)
{
	ck_assert_int_ge(puts(harness_tmpdir()), 0);
	harness_skip("not on a %s", "Monday");
}
END_TEST

START_TEST(passes)
{
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(leaks_descriptor),
	HARNESS_CASE(replaces_descriptor),
	HARNESS_CASE(leaves_child),
	HARNESS_CASE(leaves_sidecar),
	HARNESS_CASE(leaks_memory),
	HARNESS_CASE(dies),
	HARNESS_CASE(child_asserts),
	HARNESS_CASE(waits_in_vain),
	HARNESS_CASE(skips),
	HARNESS_CASE(passes),
	{ 0 },
};

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "all-of-it") == 0)
		harness_skip("no moon");
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "faults", .cases = cases });
}
