/* SPDX-License-Identifier: MIT */
/*
 * test_region_crash.c - a process that is killed at each step of what it does with a region: the others go on, nothing is
 * alive twice, and nothing is left.
 *
 * It is traced, and killed at its first, second, third... system call; within the brackets, which make none, at its
 * instructions.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/process.h"
#include "region_world.h"

enum { TIMEOUT_MS = 10000, MOST_STEPS = 2000, MOST_INSTRUCTIONS = 100000 };

enum deed { CREATE, CREATE_RESERVED, OPEN, REPLACE, CLOSE, WRITE, READ };

struct job {
	enum deed deed;
	enum pathbus_transport_kind kind;
	unsigned flags; /* of the region that is there */
	bool writes;    /* into it, too, and not only brackets: which is many instructions */
};

static struct world_member a, b;

/* --- the one that is killed -------------------------------------------------------------------------------------- */

static int prepare(const struct job *job, struct world_member *me, pathbus_region **region)
{
	const void *data;
	void *to;

	*me = world_join(job->kind, TIMEOUT_MS);
	if (job->deed == OPEN || job->deed == CREATE || job->deed == CREATE_RESERVED)
		return 0;
	if (pathbus_region_open(me->topic, "r", 0, region) < 0)
		return -1;
	/* What is made at the first time is there. */
	if (pathbus_region_begin(*region, 0, UINT64_MAX, &to) < 0)
		return -1;
	memset(to, 1, REGION_BYTES);
	if (pathbus_region_end(*region) < 0)
		return -1;
	return pathbus_region_read_begin(*region, &data, NULL) < 0 || pathbus_region_read_end(*region) < 0 ? -1 : 0;
}

static void commit(const struct job *job, struct world_member *me, pathbus_region *region)
{
	pathbus_region *made;
	const void *data;
	void *to;

	switch (job->deed) {
	case CREATE:
		(void)pathbus_region_create(me->topic, "n", REGION_BYTES, 0, &made);
		break;
	case CREATE_RESERVED:
		(void)pathbus_region_create(me->topic, "n", REGION_BYTES, PATHBUS_REGION_RESERVE, &made);
		break;
	case OPEN:
		(void)pathbus_region_open(me->topic, "r", 0, &made);
		break;
	case REPLACE:
		(void)pathbus_region_replace(region, 2 * REGION_BYTES, 0, &made);
		break;
	case CLOSE:
		(void)pathbus_region_close(region);
		break;
	case WRITE:
		if (pathbus_region_begin(region, 0, UINT64_MAX, &to) == 0) {
			if (job->writes)
				memset(to, 2, REGION_BYTES);
			(void)pathbus_region_end(region);
		}
		break;
	case READ:
		if (pathbus_region_read_begin(region, &data, NULL) == 0)
			(void)pathbus_region_read_end(region);
		break;
	}
}

static int be_victim(struct harness_process *peer, void *arg)
{
	const struct job *job = arg;
	pathbus_region *region = NULL;
	struct world_member me;

	(void)peer;
	if (prepare(job, &me, &region) < 0 || ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
		return 1;
	raise(SIGSTOP);
	commit(job, &me, region);
	raise(SIGSTOP); /* it has outlived all of it */
	return 2;
}

/* One step more. False: it has done everything. */
static bool step(pid_t pid, enum __ptrace_request how)
{
	int status;

	ck_assert_int_eq(ptrace(how, pid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFSTOPPED(status), "it has ended: %x", (unsigned)status);
	return WSTOPSIG(status) != SIGSTOP;
}

/* Kills it at its n-th step. False: it makes fewer. */
static bool kill_at(const struct job *job, unsigned n, enum __ptrace_request how)
{
	struct harness_process victim;
	bool alive = true;
	int status;

	harness_spawn(&victim, be_victim, (void *)(uintptr_t)job);
	ck_assert_int_eq(waitpid(victim.pid, &status, 0), victim.pid);
	if (!WIFSTOPPED(status))
		harness_skip("processes cannot be traced here");
	for (unsigned i = 0; i < n && alive; i++)
		alive = step(victim.pid, how);
	harness_signal(&victim, SIGKILL);
	harness_expect_signal(&victim, SIGKILL);
	return alive;
}

/* --- the others ------------------------------------------------------------------------------------------------------ */

static bool is_whole(pathbus_region *region)
{
	const unsigned char *bytes;
	const void *data;
	bool whole = true;

	if (pathbus_region_read_begin(region, &data, NULL) < 0)
		return false;
	bytes = data;
	for (size_t i = 1; i < REGION_BYTES; i += 97)
		whole &= bytes[i] == bytes[0];
	return pathbus_region_read_end(region) == 0 && whole;
}

/* The region that was there before, and is held. */
static void expect_usable(pathbus_region *region, bool is_double)
{
	void *to;

	if (is_double)
		ck_assert(is_whole(region)); /* whatever became of its writer */
	ck_assert_int_eq(pathbus_region_begin(region, 0, UINT64_MAX, &to), 0);
	memset(to, 3, REGION_BYTES);
	ck_assert_int_eq(pathbus_region_end(region), 0);
	ck_assert(is_whole(region));
}

static pathbus_region *held;

/* Does it still have its name? The daemon may take the word of the dead only while we look. */
static bool has_its_name(void)
{
	pathbus_region *again = NULL;
	bool is_same;

	if (world_info(held).replaced)
		return false;
	ck_assert_int_eq(world_try_create(&b, "r"), -EEXIST);
	is_same = pathbus_region_open(b.topic, "r", 0, &again) == 0 && world_info(again).data_size == REGION_BYTES &&
	          world_info(again).version == world_info(held).version;
	pathbus_region_close(again);
	ck_assert(is_same || world_info(held).replaced);
	return is_same;
}

static void expect_held(const struct job *job)
{
	unsigned told = 0;

	expect_usable(held, job->flags & PATHBUS_REGION_DOUBLE);
	if (has_its_name())
		return;
	/* Who replaced it is gone, and the new one with it; who was told is not in the way. */
	ck_assert_int_eq(job->deed, REPLACE);
	ck_assert_int_eq(pathbus_post(b.topic), 0); /* without a daemon nobody else may have */
	harness_await((told += world_pump(&a, PATHBUS_EVENT_REGION_REPLACED), told > 0));
	harness_await((world_pump(&a, 0), world_try_create(&b, "r") == 0));
	pathbus_region_close(held);
	held = world_create(&a, "r", job->flags);
}

static void begin(const struct job *job)
{
	world_begin(job->kind == PATHBUS_BUS);
	a = world_join(job->kind, TIMEOUT_MS);
	b = world_join(job->kind, TIMEOUT_MS);
	held = world_create(&a, "r", job->flags);
	world_publish(held, 1);
}

static void finish(void)
{
	world_leave(&a);
	world_leave(&b);
	ck_assert_int_eq(world_region_files(), 0);
}

static void die_at_each(const struct job *job, enum __ptrace_request how, unsigned stride, unsigned most)
{
	bool goes_on = true;
	unsigned n_deaths = 0;

	begin(job);
	for (unsigned n = 1; n < most && goes_on; n += stride) {
		goes_on = kill_at(job, n, how);
		n_deaths++;
		expect_held(job);
		harness_await(world_try_create(&b, "n") == 0);
	}
	ck_assert(!goes_on); /* it was killed at the last step, too, and after it */
	ck_assert_uint_gt(n_deaths, 1);
	if (harness_full())
		printf("deed %d: killed %u times\n", (int)job->deed, n_deaths);
	finish();
}

/* What makes system calls. The frames make a difference only where there are two lines. */
static const struct {
	enum deed deed;
	unsigned flags;
} with_calls[] = {
	{ CREATE, 0 },  { CREATE_RESERVED, 0 }, { OPEN, 0 },
	{ REPLACE, 0 }, { REPLACE, PATHBUS_REGION_DOUBLE },
	{ CLOSE, 0 },
	{ WRITE, 0 },   { WRITE, PATHBUS_REGION_DOUBLE },
	{ READ, PATHBUS_REGION_DOUBLE },
};
enum { N_WITH_CALLS = sizeof(with_calls) / sizeof(with_calls[0]) };

/* i: one of those, with the daemon or without it. */
START_TEST(killed_at_each_call)
{
	const struct job job = { .deed = with_calls[_i / 2].deed,
		                 .kind = _i % 2 ? PATHBUS_PEER : PATHBUS_BUS,
		                 .flags = with_calls[_i / 2].flags,
		                 .writes = true };

	/* Each call is seen twice, and between two of them nothing happens that others see. */
	die_at_each(&job, PTRACE_SYSCALL, harness_full() ? 1 : 2, MOST_STEPS);
}
END_TEST

START_TEST(killed_within_a_bracket)
{
	const struct job job = { .deed = _i / 4 ? READ : WRITE,
		                 .kind = _i % 2 ? PATHBUS_PEER : PATHBUS_BUS,
		                 .flags = _i / 2 % 2 ? PATHBUS_REGION_DOUBLE : 0 };

	die_at_each(&job, PTRACE_SINGLESTEP, harness_full() ? 7 : 97, MOST_INSTRUCTIONS);
}
END_TEST

/* --- the daemon ---------------------------------------------------------------------------------------------------------- */

/* Does its deed when told to, and says how it went; then gives back what it has, and ends. */
static int be_client(struct harness_process *peer, void *arg)
{
	const struct job *job = arg;
	pathbus_region *region = NULL, *made = NULL;
	struct world_member me = world_join(PATHBUS_AUTO, 2000);
	int r = 0;

	if (job->deed == REPLACE || job->deed == CLOSE)
		ck_assert_int_eq(pathbus_region_open(me.topic, "r", 0, &region), 0);
	harness_tell(peer, "ready");
	(void)harness_hear(peer);
	if (job->deed == CREATE)
		r = pathbus_region_create(me.topic, "n", REGION_BYTES, 0, &made);
	else if (job->deed == OPEN)
		r = pathbus_region_open(me.topic, "r", 0, &made);
	else if (job->deed == REPLACE)
		r = pathbus_region_replace(region, 2 * REGION_BYTES, 0, &made);
	else
		pathbus_region_close(region);
	if (made) { /* whatever it is, it can be used */
		void *to;

		ck_assert_int_eq(pathbus_region_begin(made, 0, UINT64_MAX, &to), 0);
		memset(to, 1, REGION_BYTES);
		ck_assert_int_eq(pathbus_region_end(made), 0);
		ck_assert(is_whole(made));
	}
	harness_tell(peer, "%d", r);
	(void)harness_hear(peer);
	world_leave(&me);
	return 0;
}

/* Has it stopped at a system call? Else the client has had its answer. */
static bool daemon_steps(struct harness_process *client)
{
	struct pollfd said = { .fd = client->in, .events = POLLIN };
	pid_t pid = world_daemon.process.pid;
	int status;

	ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
	for (;;) {
		if (waitpid(pid, &status, WNOHANG) == pid) {
			ck_assert(WIFSTOPPED(status));
			return true;
		}
		if (poll(&said, 1, 1) == 1)
			return false;
	}
}

/* False: it makes fewer steps. */
static bool kill_daemon_at(const struct job *job, unsigned n)
{
	struct harness_process client;
	bool alive = true;
	int r, status;

	harness_spawn(&client, be_client, (void *)(uintptr_t)job);
	harness_expect_line(&client, "ready");
	ck_assert_int_eq(ptrace(PTRACE_SEIZE, world_daemon.process.pid, NULL, NULL), 0);
	ck_assert_int_eq(ptrace(PTRACE_INTERRUPT, world_daemon.process.pid, NULL, NULL), 0);
	ck_assert_int_eq(waitpid(world_daemon.process.pid, &status, 0), world_daemon.process.pid);
	harness_tell(&client, "go");
	for (unsigned i = 0; i < n && alive; i++)
		alive = daemon_steps(&client);
	harness_daemon_kill(&world_daemon);
	r = atoi(harness_hear(&client));
	ck_assert_msg(r == 0 || r == -EBUSY || r == -ENOTCONN || r == -ETIMEDOUT || r == -ESTALE, "%s", strerror(-r));
	/* Nobody is disturbed, whatever had been done by then. */
	expect_usable(held, false);
	harness_daemon_start(&world_daemon, NULL);
	world_await_place(&a, PATHBUS_BUS);
	harness_tell(&client, "end");
	harness_expect_exit(&client, 0);
	world_await_place(&b, PATHBUS_BUS);
	harness_await((world_pump(&b, 0), world_try_create(&b, "n") == 0));
	if (!world_info(held).replaced) {
		harness_await((world_pump(&a, 0), world_try_open(&b, "r") == 0));
		ck_assert_int_eq(world_try_create(&b, "r"), -EEXIST);
		return alive;
	}
	ck_assert_int_eq(job->deed, REPLACE);
	harness_await((world_pump(&a, 0), world_try_create(&b, "r") == 0));
	pathbus_region_close(held);
	held = world_create(&a, "r", 0);
	return alive;
}

START_TEST(the_daemon_at_each_call)
{
	static const enum deed deeds[] = { CREATE, OPEN, REPLACE, CLOSE };
	const struct job job = { .deed = deeds[_i], .kind = PATHBUS_AUTO };
	unsigned n_deaths = 0;
	bool goes_on = true;

	world_begin(true);
	a = world_join(PATHBUS_AUTO, TIMEOUT_MS);
	b = world_join(PATHBUS_AUTO, TIMEOUT_MS);
	held = world_create(&a, "r", 0);
	world_publish(held, 1);
	for (unsigned n = 1; goes_on; n += harness_full() ? 1 : 4) {
		goes_on = kill_daemon_at(&job, n);
		n_deaths++;
	}
	if (harness_full())
		printf("daemon, deed %d: killed %u times\n", (int)job.deed, n_deaths);
	finish();
}
END_TEST

static const struct harness_case cases[] = {
	{ .test = &killed_at_each_call, .name = "killed_at_each_call", .n_runs = 2 * N_WITH_CALLS, .limit_s = 120 },
	{ .test = &killed_within_a_bracket, .name = "killed_within_a_bracket", .n_runs = 8, .limit_s = 120 },
	{ .test = &the_daemon_at_each_call, .name = "the_daemon_at_each_call", .n_runs = 4, .limit_s = 120 },
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "region_crash", .cases = cases, .teardown = world_end });
}
