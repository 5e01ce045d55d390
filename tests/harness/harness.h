/* SPDX-License-Identifier: MIT */
/*
 * harness.h - what every test program of the project is made of.
 *
 * A program is one suite of Check cases. Each case runs in a process of its own, with a time limit, and fails
 * if at its end a descriptor is open that was not open at its start, if a child process is left, or if a
 * sidecar is left in its folder. What a case leaves behind when it dies is removed by the program.
 *
 *     START_TEST(counts)
 *     {
 *             const char *file = harness_path("data");
 *             ...
 *             ck_assert_int_eq(n, 1);
 *     }
 *     END_TEST
 *
 *     static const struct harness_case cases[] = { HARNESS_CASE(counts), { 0 } };
 *
 *     int main(int argc, char **argv)
 *     {
 *             return harness_main(argc, argv, &(struct harness_suite){ .name = "counter", .cases = cases });
 *     }
 *
 * The program runs all of its cases, or those whose names are its arguments; with CK_FORK=no in the
 * environment they run in the program itself, for a debugger.
 */
#ifndef PATHBUS_TESTS_HARNESS_H
#define PATHBUS_TESTS_HARNESS_H

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#define HARNESS_LIMIT_MS                                                                           \
	20000 /* for one condition; generous, since it is reached only in failure */
#define HARNESS_CASE_LIMIT_S 60	     /* for one case */
#define HARNESS_FULL_LIMIT_FACTOR 10 /* for the limits of cases in the long form */

struct harness_case {
	const TTest *const *test;
	const char *name;
	int n_runs;	  /* run for _i = 0 .. n_runs - 1; 0: once */
	unsigned limit_s; /* 0: HARNESS_CASE_LIMIT_S */
};

#define HARNESS_CASE(t) HARNESS_CASE_EACH(t, 0)
#define HARNESS_CASE_EACH(t, n)                                                                    \
	{                                                                                          \
		.test = &(t), .name = #t, .n_runs = (n)                                            \
	}
#define HARNESS_CASE_LONG(t, seconds)                                                              \
	{                                                                                          \
		.test = &(t), .name = #t, .limit_s = (seconds)                                     \
	}

struct harness_suite {
	const char *name;
	const struct harness_case *cases; /* ends with a zeroed one */
	/* Around each case, in its process; NULL: nothing. A case that fails gets no teardown. */
	void (*setup)(void);
	void (*teardown)(void);
};

int harness_main(int argc, char **argv, const struct harness_suite *suite);

/* Whether the long forms are asked for (PATHBUS_TEST_FULL=1 in the environment). */
bool harness_full(void);

/* In a case: ends it as skipped. Before harness_main: ends the program as skipped. The reason is printed. */
_Noreturn void harness_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

_Noreturn void harness_fail(const char *file, int line, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* The case's own folder: mode 0700, without symbolic links in its path, removed with the case. */
const char *harness_tmpdir(void);
/* A path in it. The strings that these return belong to the harness and live until the case ends. */
const char *harness_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *harness_read_file(const char *path);
void harness_write_file(const char *path, const char *text);
/* For a case that kills members of a sidecar: one may be left, to be removed with the folder. */
void harness_allow_sidecars(void);

/*
 * Waiting for a condition, never for a time. harness_wait_until returns false when the limit is reached
 * first; harness_await fails the case then, and names the condition. The limit of harness_await, and of
 * every wait for another process, is HARNESS_LIMIT_MS unless the case sets another.
 */
extern unsigned harness_limit_ms;

bool harness_wait_until(bool (*condition)(void *arg), void *arg, unsigned limit_ms);
#define harness_await(expression)                                                                  \
	for (uint64_t end_ = harness_deadline(harness_limit_ms); !(expression);)                   \
	harness_await_more(end_, __FILE__, __LINE__, #expression)

uint64_t harness_now_ns(void);
uint64_t harness_deadline(unsigned limit_ms);
/* One pause of harness_await, or the failure. */
void harness_await_more(uint64_t deadline_ns, const char *file, int line, const char *expression);

#endif
