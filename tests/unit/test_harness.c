/* SPDX-License-Identifier: MIT */
/* test_harness.c - what the harness promises to the other tests. */
#include "harness/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/process.h"

static const struct fault {
	const char *name;
	int code;
	const char *said;
} faults[] = {
	{ "leaks_descriptor", 1, "(/dev/null)" },
	{ "replaces_descriptor", 1, "still open: 0 (/dev/zero)" },
	{ "leaves_child", 1, "a child is still running: a forked function" },
	{ "leaves_sidecar", 1, "/.data.pathbus" },
	{ "child_asserts", 1, "the child's own words" },
	{ "waits_in_vain", 1, "not so after 10 ms: 1 + 1 == 3" },
	{ "skips", 77, "SKIP: skips: not on a Monday" },
	{ "all-of-it", 77, "SKIP: no moon" },
	{ "passes", 0, "100%" },
	{ "no-such-case", 1, "" },
};
#define N_FAULTS (int)(sizeof(faults) / sizeof(faults[0]))

static int run_fault(const char *name, const char **ret_stdout, const char **ret_stderr)
{
	return harness_run((const char *[]){ HARNESS_FAULTS, name, NULL }, ret_stdout, ret_stderr);
}

START_TEST(tells_of_faults)
{
	const char *said;
	int status = run_fault(faults[_i].name, &said, NULL);

	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == faults[_i].code, "%s: 0x%x, %s",
		      faults[_i].name, (unsigned)status, said);
	ck_assert_msg(strstr(said, faults[_i].said) != NULL, "%s: %s", faults[_i].name, said);
}
END_TEST

START_TEST(tells_of_leaked_memory)
{
#ifdef __SANITIZE_ADDRESS__
	const char *said;
	int status = run_fault("leaks_memory", NULL, &said);

	if (strstr(said, "LeakSanitizer has encountered a fatal error"))
		harness_skip("LeakSanitizer does not work here");
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) != 0);
	ck_assert_ptr_nonnull(strstr(said, "LeakSanitizer"));
#else
	harness_skip("built without the address sanitizer");
#endif
}
END_TEST

START_TEST(cleans_up_after_the_dead)
{
	const char *out, *err;
	char *folder;

	ck_assert_int_ne(run_fault("dies", &out, &err), 0);
	ck_assert_ptr_nonnull(strstr(err, "its last words"));
	out = strchr(out, '/');
	ck_assert_ptr_nonnull(out);
	folder = strndup(out, strcspn(out, "\n"));
	ck_assert_int_eq(access(folder, F_OK), -1);
	ck_assert_int_eq(errno, ENOENT);
	free(folder);
}
END_TEST

START_TEST(removes_hard_cases)
{
	const char *name = "a-name-that-is-long-enough-to-get-beyond-PATH_MAX-soon";

	ck_assert_int_eq(symlink("/dev/null", harness_path("link")), 0);
	ck_assert_int_eq(mkdir(harness_path("closed"), 0700), 0);
	harness_write_file(harness_path("closed/file"), "");
	ck_assert_int_eq(chmod(harness_path("closed"), 0), 0);
	ck_assert_int_eq(chdir(harness_tmpdir()), 0);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(mkdir(name, 0700), 0);
		ck_assert_int_eq(chdir(name), 0);
	}
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

static int answers(struct harness_process *peer, void *arg)
{
	const char *line;

	harness_tell(peer, "I am %s", (const char *)arg);
	while ((line = harness_hear(peer)))
		harness_tell(peer, "%s!", line);
	return 7;
}

START_TEST(talks_with_a_function)
{
	struct harness_process one, two;

	harness_spawn(&one, answers, (void *)"one");
	harness_spawn(&two, answers, (void *)"two");
	harness_expect_line(&one, "I am one");
	harness_expect_line(&two, "I am two");
	harness_tell(&one, "hello %d", 1);
	harness_expect_line(&one, "hello 1!");
	harness_hang_up(&one);
	harness_expect_exit(&one, 7);
	harness_signal(&two, SIGSTOP);
	harness_signal(&two, SIGKILL);
	harness_expect_signal(&two, SIGKILL);
}
END_TEST

START_TEST(talks_with_a_program)
{
	struct harness_process cat;

	harness_exec(&cat, (const char *[]){ "cat", NULL });
	harness_tell(&cat, "hello");
	harness_expect_line(&cat, "hello");
	harness_signal(&cat, SIGTERM);
	harness_expect_signal(&cat, SIGTERM);
}
END_TEST

START_TEST(runs_a_program)
{
	const char *out, *err;
	int status = harness_run(
		(const char *[]){ "sh", "-c", "echo out; echo err >&2; exit 3", NULL }, &out, &err);

	ck_assert_int_eq(WEXITSTATUS(status), 3);
	ck_assert_str_eq(out, "out\n");
	ck_assert_str_eq(err, "err\n");
}
END_TEST

static bool reaches_three(void *arg)
{
	int *n = arg;

	return ++*n >= 3;
}

START_TEST(waits_for_conditions)
{
	int n = 0;

	ck_assert(harness_wait_until(reaches_three, &n, HARNESS_LIMIT_MS));
	ck_assert_int_eq(n, 3);
	harness_await(++n == 6);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(tells_of_faults, N_FAULTS),
	HARNESS_CASE(tells_of_leaked_memory),
	HARNESS_CASE(cleans_up_after_the_dead),
	HARNESS_CASE(removes_hard_cases),
	HARNESS_CASE(talks_with_a_function),
	HARNESS_CASE(talks_with_a_program),
	HARNESS_CASE(runs_a_program),
	HARNESS_CASE(waits_for_conditions),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "harness", .cases = cases });
}
