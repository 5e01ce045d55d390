/* SPDX-License-Identifier: MIT */
/*
 * test_lock_crash.c - a party that is killed, or stopped and continued, at each step of opening, taking, giving back
 * and closing a lock: the others get it, are told that it was abandoned if it was, and nothing is left behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "conformance/lockers.h"
#include "conformance/transports.h"
#include "libclient/lock_file.h"

#define NAME "n"

static const char *path;

/* Files for locks in the folder, under whatever name. */
static int n_files(void)
{
	DIR *dir = opendir(harness_path("files"));
	struct dirent *entry;
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)))
		n += strstr(entry->d_name, "lock") != NULL;
	closedir(dir);
	return n;
}

/* What the victim is told to do, so that it comes to that step. */
static const char *command_at(enum lock_step step)
{
	if (step <= LOCK_STEP_NAMED)
		return "open";
	if (step <= LOCK_STEP_NOTED)
		return "try";
	if (step == LOCK_STEP_WANTED)
		return "try";
	return step <= LOCK_STEP_GIVEN ? "release" : "close";
}

/* Steps that are taken only by who is alone. */
static bool needs_solitude(enum lock_step step)
{
	return step == LOCK_STEP_PREPARED || step == LOCK_STEP_MADE || step == LOCK_STEP_ALONE || step == LOCK_STEP_REMOVED;
}

/* Those have a case of their own. */
static bool is_near(enum lock_step step)
{
	return step == LOCK_STEP_NEAR_TAKEN || step == LOCK_STEP_NEAR_FREED || step == LOCK_STEP_WANTED;
}

static bool is_locked_at(enum lock_step step)
{
	return step == LOCK_STEP_TAKEN || step == LOCK_STEP_NOTED || step == LOCK_STEP_FREED;
}

static void stop_victim_at(struct locker *victim, enum lock_step step)
{
	const char *command = command_at(step);
	char stop[16];

	if (strcmp(command, "open") == 0)
		locker_expect(victim, "close", 0);
	else if (strcmp(command, "release") == 0)
		locker_expect(victim, "try", 0);
	snprintf(stop, sizeof(stop), "stop %d", (int)step);
	locker_expect(victim, stop, 0);
	locker_tell(victim, "%s", command);
	locker_await_stop(victim);
}

/* Others while it stands still: who comes is held up where it must be, and nobody gets what it has. */
static void look_at_others(struct locker *other, enum lock_step step, bool is_alone)
{
	int expected = step == LOCK_STEP_TABLE || step == LOCK_STEP_NAMED || step == LOCK_STEP_ALONE ? -EBUSY : 0;
	int r = is_alone ? locker_start_as(other, path, NAME, 0, 0) : 0;

	ck_assert_int_eq(r, is_alone ? expected : 0);
	if (r < 0)
		return;
	locker_expect(other, "try", is_locked_at(step) ? -EBUSY : 0);
	locker_expect(other, "release", is_locked_at(step) ? -EPERM : 0);
}

/* _i: transport, whether it is alone, whether it is killed, step */
enum { N_CASES = 8 * LOCK_N_STEPS };

START_TEST(a_party_that_stands_still)
{
	enum lock_step step = (enum lock_step)(_i / 8);
	bool is_alone = _i & 2, killed = _i & 4, abandoned = killed && step == LOCK_STEP_NOTED;
	struct locker victim, other = { .path = NULL };

	if ((!is_alone && (needs_solitude(step) || step == LOCK_STEP_NAMED)) || is_near(step))
		return;
	transport_begin(_i & 1 ? ON_PEER : ON_BUS);
	if (killed)
		harness_allow_sidecars();
	path = transport_path("data");
	locker_start(&victim, path, NAME);
	if (!is_alone)
		locker_start(&other, path, NAME);
	stop_victim_at(&victim, step);
	look_at_others(&other, step, is_alone);
	if (killed) {
		locker_kill(&victim);
	} else {
		harness_signal(&victim.process, SIGCONT);
		ck_assert_int_eq(locker_hear(&victim), 0);
	}
	/* One that was refused tries again. */
	if (is_alone && (step == LOCK_STEP_TABLE || step == LOCK_STEP_NAMED || step == LOCK_STEP_ALONE))
		locker_expect(&other, "open", 0);
	if (!killed && (step == LOCK_STEP_TAKEN || step == LOCK_STEP_NOTED)) {
		locker_expect(&other, "try", -EBUSY);
		locker_expect(&victim, "release", 0);
	}
	locker_expect(&other, "within 20000", abandoned ? -EOWNERDEAD : 0);
	locker_expect(&other, "consistent", abandoned ? 0 : -EINVAL);
	if (!killed) {
		if (strcmp(command_at(step), "close") == 0)
			locker_expect(&victim, "open", 0);
		locker_expect(&victim, "try", -EBUSY); /* they have met in one file */
	}
	locker_expect(&other, "release", 0);
	if (!killed) {
		locker_expect(&victim, "try", 0);
		locker_end(&victim);
	}
	locker_expect(&other, "within 20000", 0);
	locker_end(&other);
	ck_assert_int_eq(n_files(), 0);
}
END_TEST

/* Killed alone, and nobody comes for a while: what it has left is taken over and cleaned up. */
START_TEST(what_a_crash_leaves)
{
	enum lock_step step = (enum lock_step)(_i / 2);
	bool abandoned = step == LOCK_STEP_NOTED;
	struct locker victim, next;

	if (is_near(step))
		return;
	transport_begin(_i & 1 ? ON_PEER : ON_BUS);
	harness_allow_sidecars();
	path = transport_path("data");
	locker_start(&victim, path, NAME);
	stop_victim_at(&victim, step);
	locker_kill(&victim);
	ck_assert_int_eq(n_files(), step == LOCK_STEP_PREPARED || step == LOCK_STEP_REMOVED ? 0 : 1);
	for (int i = 0; i < 2; i++) { /* once without doing anything */
		locker_start(&next, path, NAME);
		if (i == 1) {
			locker_expect(&next, "try", abandoned ? -EOWNERDEAD : 0);
			locker_expect(&next, "consistent", abandoned ? 0 : -EINVAL);
		}
		locker_end(&next);
		ck_assert_int_eq(n_files(), i == 0 && abandoned ? 1 : 0);
	}
}
END_TEST

/* Stopped with a file that is removed by the last one out, whom it has not met. */
START_TEST(a_file_that_goes_meanwhile)
{
	struct locker slow, last, next;

	transport_begin(_i & 1 ? ON_PEER : ON_BUS);
	path = transport_path("data");
	locker_start(&slow, path, NAME);
	locker_start(&last, path, NAME);
	stop_victim_at(&slow, LOCK_STEP_OPENED);
	locker_end(&last);
	if (_i & 2)
		locker_start(&next, path, NAME);
	ck_assert_int_eq(n_files(), _i & 2 ? 1 : 0);
	harness_signal(&slow.process, SIGCONT);
	ck_assert_int_eq(locker_hear(&slow), 0);
	if (!(_i & 2))
		locker_start(&next, path, NAME);
	locker_expect(&next, "try", 0);
	locker_expect(&slow, "try", -EBUSY);
	locker_end(&next);
	locker_expect(&slow, "try", 0);
	locker_end(&slow);
	ck_assert_int_eq(n_files(), 0);
}
END_TEST

/* Stopped with a new file that has no name yet, while another makes one and goes: it makes its own in the end. */
START_TEST(makers_that_meet)
{
	struct locker slow, fast;

	transport_begin(_i);
	path = transport_path("data");
	locker_start(&slow, path, NAME);
	stop_victim_at(&slow, LOCK_STEP_PREPARED);
	for (int i = 0; i < 3; i++) {
		locker_start(&fast, path, NAME);
		locker_expect(&fast, "try", 0);
		if (i < 2)
			locker_end(&fast);
	}
	harness_signal(&slow.process, SIGCONT);
	ck_assert_int_eq(locker_hear(&slow), 0);
	locker_expect(&slow, "try", -EBUSY);
	locker_end(&fast);
	locker_expect(&slow, "try", 0);
	locker_end(&slow);
	ck_assert_int_eq(n_files(), 0);
}
END_TEST

/* --- a lock that is kept near --------------------------------------------------------------------------------- */

/* Is this byte of the lock's first record locked? So it is kept near. */
static bool is_kept(void)
{
	int fd = open(lock_path(path), O_RDONLY | O_CLOEXEC), r;

	ck_assert_int_ge(fd, 0);
	r = os_lock_is_held(fd, LOCK_FILE_NEAR, 1);
	ck_assert_int_ge(r, 0);
	close(fd);
	return r;
}

/* _i: transport, killed, what it does. Others come while it stands still, and wait or try. */
START_TEST(who_keeps_it_near)
{
	static const struct {
		const char *command;
		enum lock_step step;  /* LOCK_N_STEPS: has done it */
		bool holds, abandons; /* as others see it; when it is killed there */
	} rows[] = {
		{ "keep", LOCK_N_STEPS, false, false },
		{ "near", LOCK_STEP_NEAR_TAKEN, true, true },
		{ "near", LOCK_N_STEPS, true, true },
		{ "release", LOCK_STEP_NEAR_FREED, false, false },
	};
	bool killed = _i & 2;
	int row = _i / 4 % 4, way = _i / 16;
	static const char *const ways[] = { "acquire", "within 20000", "acquire shared", "near" };
	struct locker victim, other;
	char stop[16];

	if (row == 1 && way == 1 && !killed)
		return; /* either may be first */
	transport_begin(_i & 1 ? ON_PEER : ON_BUS);
	if (killed)
		harness_allow_sidecars();
	path = transport_path("data");
	locker_start(&victim, path, NAME);
	locker_start(&other, path, NAME);
	locker_expect(&victim, "keep", 0);
	ck_assert(is_kept());
	if (row == 3)
		locker_expect(&victim, "near", 0);
	snprintf(stop, sizeof(stop), "stop %d", (int)rows[row].step);
	locker_expect(&victim, stop, 0);
	locker_tell(&victim, "%s", rows[row].command);
	if (rows[row].step == LOCK_N_STEPS) {
		ck_assert_int_eq(locker_hear(&victim), 0);
		harness_signal(&victim.process, SIGSTOP);
	} else {
		locker_await_stop(&victim);
	}
	locker_expect(&other, "try", rows[row].holds ? -EBUSY : 0);
	locker_expect(&other, "release", rows[row].holds ? -EPERM : 0);
	locker_tell(&other, "%s", ways[way]);
	lock_await(path, NAME, 1, rows[row].holds ? 1 : 0);
	if (killed) {
		locker_kill(&victim);
		ck_assert_int_eq(locker_hear(&other), rows[row].abandons ? -EOWNERDEAD : 0);
	} else {
		harness_signal(&victim.process, SIGCONT);
		if (row == 1) /* it finds that others want it, and waits behind them */
			ck_assert_int_eq(locker_hear(&other), 0);
		else if (rows[row].step != LOCK_N_STEPS)
			ck_assert_int_eq(locker_hear(&victim), 0);
		if (row == 2)
			locker_expect(&victim, "release", 0);
		if (row != 1)
			ck_assert_int_eq(locker_hear(&other), 0);
	}
	if (way != 2 && killed && rows[row].abandons)
		locker_expect(&other, "consistent", 0);
	if (!killed && row != 1)
		locker_expect(&victim, "try", -EBUSY);
	locker_expect(&other, "release", 0);
	if (!killed) {
		if (row == 1)
			ck_assert_int_eq(locker_hear(&victim), 0);
		else
			locker_expect(&victim, "near", 0);
		locker_expect(&other, "try", -EBUSY);
		locker_expect(&victim, "release", 0);
		locker_end(&victim);
	}
	locker_expect(&other, "try", way == 2 && killed && rows[row].abandons ? -EOWNERDEAD : 0);
	(void)locker_ask(&other, "consistent");
	locker_end(&other);
	ck_assert_int_eq(n_files(), 0);
}
END_TEST

/* One keeps it near and does nothing for long, while others take it, who would keep it near as well. */
START_TEST(who_has_not_noticed)
{
	struct locker one, other, third;

	transport_begin(_i);
	path = transport_path("data");
	locker_start(&one, path, NAME);
	locker_start(&other, path, NAME);
	locker_start(&third, path, NAME);
	for (int i = 0; i < 4; i++) {
		locker_expect(&one, "keep", 0);
		ck_assert(is_kept());
		locker_expect(&other, "keep", 0);
		locker_expect(&other, "near", 0);
		if (i % 2) {
			locker_expect(&one, "try", -EBUSY);
			locker_expect(&third, "try", -EBUSY);
		} else {
			locker_expect(&third, "share", -EBUSY);
			locker_expect(&one, "share", -EBUSY);
		}
		locker_expect(&other, "release", 0);
		locker_expect(&third, "within 20000", 0);
		locker_expect(&one, "try", -EBUSY);
		locker_expect(&other, "try", -EBUSY);
		locker_expect(&third, "release", 0);
	}
	locker_end(&third);
	locker_end(&one);
	locker_end(&other);
	ck_assert_int_eq(n_files(), 0);
}
END_TEST

/* Who wants it dies when it has said so: nobody waits for it. */
START_TEST(who_wants_it)
{
	struct locker keeper, victim;

	transport_begin(_i & 1 ? ON_PEER : ON_BUS);
	harness_allow_sidecars();
	path = transport_path("data");
	locker_start(&keeper, path, NAME);
	locker_start(&victim, path, NAME);
	locker_expect(&keeper, "keep", 0);
	locker_expect(&keeper, "near", 0);
	stop_victim_at(&victim, LOCK_STEP_WANTED);
	if (_i & 2)
		locker_expect(&keeper, "release", 0);
	locker_kill(&victim);
	if (!(_i & 2))
		locker_expect(&keeper, "release", 0);
	ck_assert(!is_kept());
	for (int i = 0; i < 2; i++) {
		locker_expect(&keeper, "near", 0);
		locker_expect(&keeper, "release", 0);
		locker_expect(&keeper, "keep", 0);
	}
	ck_assert(is_kept());
	/* Killed while nobody has it, and in the end with it. */
	locker_start(&victim, path, NAME);
	locker_kill(&keeper);
	locker_expect(&victim, "keep", 0);
	locker_expect(&victim, "near", 0);
	locker_kill(&victim);
	ck_assert(lock_is_there(path));
	locker_start(&keeper, path, NAME);
	locker_end(&keeper);
	ck_assert(lock_is_there(path)); /* it remembers */
	locker_start(&keeper, path, NAME);
	locker_expect(&keeper, "share", -EOWNERDEAD);
	locker_expect(&keeper, "release", 0);
	locker_expect(&keeper, "near", -EOWNERDEAD);
	locker_expect(&keeper, "consistent", 0);
	locker_expect(&keeper, "release", 0);
	locker_expect(&keeper, "keep", 0);
	locker_end(&keeper);
	ck_assert_int_eq(n_files(), 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_party_that_stands_still, N_CASES),
	HARNESS_CASE_EACH(what_a_crash_leaves, 2 * LOCK_N_STEPS),
	HARNESS_CASE_EACH(who_keeps_it_near, 64),
	HARNESS_CASE_EACH(who_has_not_noticed, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(who_wants_it, 4),
	HARNESS_CASE_EACH(a_file_that_goes_meanwhile, 4),
	HARNESS_CASE_EACH(makers_that_meet, N_FIELD_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "lock_crash", .cases = cases, .teardown = transport_end });
}
