/* SPDX-License-Identifier: MIT */
/*
 * test_sidecar_races.c - two who come and go at the same time, at every possible moment: the one is stopped before
 * each of the system calls that it makes, in turn, and the other does all that it does just then. So each
 * interleaving with one interruption is tried, not only those that happen to come up.
 *
 * The linker leads the library's calls here (--wrap, see CMakeLists.txt).
 */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/sidecars.h"

static int n_calls;		 /* that the one has made */
static int stop_before;		 /* which; 0: none */
static void (*intrude)(void);	 /* what the other does then */
static bool watching, intruding;

static void before_call(void)
{
	if (!watching || intruding || ++n_calls != stop_before)
		return;
	intruding = true;
	intrude();
	intruding = false;
}

/* `type name(parameters)` */
#define WRAP(name, parameters, arguments)                                                                              \
	int __real_##name parameters;                                                                                  \
	int __wrap_##name parameters;                                                                                  \
	int __wrap_##name parameters                                                                                   \
	{                                                                                                              \
		before_call();                                                                                         \
		return __real_##name arguments;                                                                        \
	}

WRAP(close, (int fd), (fd))
WRAP(fstat, (int fd, struct stat *st), (fd, st))
WRAP(fstatat, (int dir, const char *name, struct stat *st, int flags), (dir, name, st, flags))
WRAP(mkdirat, (int dir, const char *name, mode_t mode), (dir, name, mode))
WRAP(mkfifoat, (int dir, const char *name, mode_t mode), (dir, name, mode))
WRAP(unlinkat, (int dir, const char *name, int flags), (dir, name, flags))
WRAP(renameat2, (int from_dir, const char *from, int to_dir, const char *to, unsigned flags),
     (from_dir, from, to_dir, to, flags))
WRAP(flock, (int fd, int operation), (fd, operation))

int __real_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...);
int __wrap_openat(int dir, const char *name, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, mode_t);
	va_end(ap);
	before_call();
	return __real_openat(dir, name, flags, mode);
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, command);
	arg = va_arg(ap, void *);
	va_end(ap);
	before_call();
	return __real_fcntl(fd, command, arg);
}

/* --- the cast ------------------------------------------------------------------------------------------ */

enum { ONE, OTHER, THIRD, N_MEMBERS };
static pathbus *buses[N_MEMBERS];
static pathbus_topic *topics[N_MEMBERS];

/* While the one is stopped under the lock of a sidecar that is being removed, nobody can come in. */
static void come(int who)
{
	int r = pathbus_open(buses[who], transport_path("data"), 0, &topics[who]);

	ck_assert_msg(r == 0 || (r == -EBUSY && who != ONE), "member %d, step %d: %s", who, stop_before, strerror(-r));
}

static void go(int who)
{
	topics[who] = pathbus_close(topics[who]);
}

static void other_comes(void)
{
	come(OTHER);
}

static void other_goes(void)
{
	go(OTHER);
}

static void other_comes_and_goes(void)
{
	come(OTHER);
	go(OTHER);
}

static void other_goes_and_comes(void)
{
	go(OTHER);
	come(OTHER);
}

static void third_takes_over(void)
{
	come(THIRD);
	go(OTHER);
}

static void one_comes(void)
{
	come(ONE);
}

static void one_goes(void)
{
	go(ONE);
}

static void nobody_is_there(void)
{
}

static void one_is_there(void)
{
	come(ONE);
}

static void both_are_there(void)
{
	come(ONE);
	come(OTHER);
}

static void a_dead_one_was_there(void)
{
	leave_sidecar("data");
}

static void two_died_half_way(void)
{
	leave_sidecar("data");
	ck_assert_int_eq(rename(sidecar_path("data", NULL), harness_path("files/.data.pathbus~0")), 0);
	leave_sidecar("data");
	ck_assert_int_eq(unlink(sidecar_path("data", "page")), 0);
}

static void (*const plays[][3])(void) = {
	{ nobody_is_there, one_comes, other_comes },
	{ nobody_is_there, one_comes, other_comes_and_goes },
	{ other_comes, one_comes, other_goes },
	{ other_comes, one_comes, other_goes_and_comes },
	{ other_comes, one_comes, third_takes_over },
	{ one_is_there, one_goes, other_comes },
	{ one_is_there, one_goes, other_comes_and_goes },
	{ both_are_there, one_goes, other_goes },
	{ both_are_there, one_goes, other_goes_and_comes },
	{ both_are_there, one_goes, third_takes_over },
	{ a_dead_one_was_there, one_comes, other_comes },
	{ a_dead_one_was_there, one_comes, other_comes_and_goes },
	{ two_died_half_way, one_comes, other_comes },
	{ two_died_half_way, one_comes, other_comes_and_goes },
};
#define N_PLAYS (int)(sizeof(plays) / sizeof(plays[0]))

/* Whoever is a member is where the path leads, and is heard by all others. */
static void check_members(void)
{
	int n = 0;

	for (int i = 0; i < N_MEMBERS; i++)
		n += topics[i] != NULL;
	ck_assert_msg(n_holds(sidecar_path("data", "page")) == n, "step %d: %d of %d are where the path leads", stop_before,
		      n_holds(sidecar_path("data", "page")), n);
	for (int i = 0; i < N_MEMBERS; i++) {
		if (!topics[i])
			continue;
		transport_expect(topics[i]);
		for (int k = 0; k < N_MEMBERS; k++)
			drain(buses[k]);
		ck_assert_int_eq(pathbus_post(topics[i]), 0);
		for (int k = 0; k < N_MEMBERS; k++)
			if (k != i && topics[k])
				await_posts(buses[k], 1);
	}
}

START_TEST(at_every_moment)
{
	int n_steps = 0;

	transport_begin(ON_PEER);
	for (int i = 0; i < N_MEMBERS; i++)
		buses[i] = transport_new();
	do {
		plays[_i][0]();
		stop_before++;
		n_calls = 0;
		intrude = plays[_i][2];
		watching = true;
		plays[_i][1]();
		watching = false;
		n_steps = n_calls;
		check_members();
		for (int i = 0; i < N_MEMBERS; i++)
			go(i);
		ck_assert_msg(count_entries(harness_path("files"), "") == 0, "step %d: litter", stop_before);
	} while (stop_before <= n_steps);
	ck_assert_int_gt(n_steps, 3);
	for (int i = 0; i < N_MEMBERS; i++)
		pathbus_free(buses[i]);
}
END_TEST

static const struct harness_case cases[] = {
	{ .test = &at_every_moment, .name = "at_every_moment", .n_runs = N_PLAYS, .limit_s = 120 },
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "sidecar_races", .cases = cases, .teardown = transport_end });
}
