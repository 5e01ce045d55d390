/* SPDX-License-Identifier: MIT */
/*
 * test_lock_crash.c - a party that is killed, or stopped and continued, at each step of opening, taking, giving back and
 * closing a lock: the others get it, are told that it was abandoned if it was, and nothing is left behind.
 */
#include <dirent.h>
#include <errno.h>
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
	return step <= LOCK_STEP_GIVEN ? "release" : "close";
}

/* Steps that are taken only by who is alone. */
static bool needs_solitude(enum lock_step step)
{
	return step <= LOCK_STEP_MADE || step == LOCK_STEP_ALONE || step == LOCK_STEP_REMOVED;
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

	if (!is_alone && (needs_solitude(step) || step == LOCK_STEP_NAMED))
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

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_party_that_stands_still, N_CASES),
	HARNESS_CASE_EACH(what_a_crash_leaves, 2 * LOCK_N_STEPS),
	HARNESS_CASE_EACH(makers_that_meet, N_FIELD_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "lock_crash", .cases = cases, .teardown = transport_end });
}
