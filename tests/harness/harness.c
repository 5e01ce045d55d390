/* SPDX-License-Identifier: MIT */
/*
 * harness.c - runs a suite: one Check test case for each harness_case, in a process of its own, between the
 * harness's own fixtures.
 */
#include "harness/harness.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "harness/internal.h"

#define EXIT_SKIPPED 77 /* SKIP_RETURN_CODE in tests/CMakeLists.txt */

unsigned harness_limit_ms = HARNESS_LIMIT_MS;

static const struct harness_suite *current; /* NULL: not in harness_main yet */
static pid_t program;
static unsigned *n_skipped; /* shared with the cases' processes */

bool harness_full(void)
{
	const char *full = getenv("PATHBUS_TEST_FULL");

	return full && strcmp(full, "1") == 0;
}

static void case_setup(void)
{
	guest_init(program);
	dir_case_init();
	if (current->setup)
		current->setup();
}

static void case_teardown(void)
{
	if (current->teardown)
		current->teardown();
	guest_check();
	dir_case_check();
	dir_case_deinit();
}

static void add_case(Suite *suite, const struct harness_case *c)
{
	TCase *tcase = tcase_create(c->name);
	unsigned limit_s = c->limit_s ? c->limit_s : HARNESS_CASE_LIMIT_S;

	if (harness_full())
		limit_s *= HARNESS_FULL_LIMIT_FACTOR;
	tcase_set_timeout(tcase, limit_s);
	tcase_add_unchecked_fixture(tcase, NULL, dir_program_sweep); /* in the program */
	tcase_add_checked_fixture(tcase, case_setup, case_teardown);
	tcase_add_loop_test(tcase, *c->test, 0, c->n_runs ? c->n_runs : 1);
	suite_add_tcase(suite, tcase);
}

static bool is_wanted(const struct harness_case *c, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], c->name) == 0)
			return true;
	return argc <= 1;
}

/* No case may meet a daemon that the machine happens to run. */
static void isolate(const char *folder)
{
	unsetenv("PATHBUS_ADDRESS");
	unsetenv("PATHBUS_CONTROL");
	setenv("XDG_RUNTIME_DIR", folder, 1);
}

int harness_main(int argc, char **argv, const struct harness_suite *suite)
{
	Suite *s = suite_create(suite->name);
	SRunner *runner = srunner_create(s);
	int n_added = 0, n_run, n_failed;

	for (const struct harness_case *c = suite->cases; c->test; c++) {
		if (!is_wanted(c, argc, argv))
			continue;
		add_case(s, c);
		n_added++;
	}
	if (n_added == 0) {
		fprintf(stderr, "%s: no such case\n", argv[0]);
		srunner_free(runner);
		return EXIT_FAILURE;
	}

	n_skipped = mmap(NULL, sizeof(*n_skipped), PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (n_skipped == MAP_FAILED) {
		perror("mmap");
		return EXIT_FAILURE;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	current = suite;
	program = getpid();
	isolate(dir_program_init());
	srunner_run_all(runner, CK_ENV);
	dir_program_deinit();

	n_run = srunner_ntests_run(runner);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	if (n_failed > 0)
		return EXIT_FAILURE;
	return (unsigned)n_run == *n_skipped ? EXIT_SKIPPED : EXIT_SUCCESS;
}

void harness_skip(const char *format, ...)
{
	va_list ap;

	printf("SKIP: ");
	if (current)
		printf("%s: ", tcase_name());
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	printf("\n");
	if (!current)
		exit(EXIT_SKIPPED);
	__atomic_add_fetch(n_skipped, 1, __ATOMIC_RELAXED);
	case_teardown();
	exit(EXIT_SUCCESS);
}

void harness_fail(const char *file, int line, const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof(text), format, ap);
	va_end(ap);
	ck_abort_msg("%s:%d: %s", file, line, text);
	abort(); /* not reached */
}

uint64_t harness_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

uint64_t harness_deadline(unsigned limit_ms)
{
	return harness_now_ns() + limit_ms * UINT64_C(1000000);
}

static void pause_briefly(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 500000 }, NULL);
}

bool harness_wait_until(bool (*condition)(void *arg), void *arg, unsigned limit_ms)
{
	uint64_t deadline = harness_deadline(limit_ms);

	while (!condition(arg)) {
		if (harness_now_ns() > deadline)
			return false;
		pause_briefly();
	}
	return true;
}

void harness_await_more(uint64_t deadline_ns, const char *file, int line, const char *expression)
{
	if (harness_now_ns() > deadline_ns)
		harness_fail(file, line, "not so after %u ms: %s", harness_limit_ms, expression);
	pause_briefly();
}
