/* SPDX-License-Identifier: MIT */
/*
 * test_chaos.c - eight processes post and listen on four files while the daemon is killed, stopped, continued
 * and restarted, and members are killed and replaced. After each quiet point every live subscriber has seen
 * every post that returned. Three worlds: all reach the daemon, there is none, half of them reach it.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "seams/world.h"
#include "harness/daemon.h"
#include "harness/harness.h"

enum { SHORT_S = 10, FULL_S = 75, ROUND_MS = 1500, CASE_LIMIT_S = 110 };
/* The long form has to make this many in each world. */
#define FULL_POSTS UINT64_C(1000000)

struct chaos {
	struct world *world;
	struct harness_process members[N_MEMBERS];
	int seats[N_MEMBERS]; /* their own numbers, to hand in */
	struct harness_daemon daemon;
	bool daemon_runs, daemon_stopped;
	unsigned random;
	int n_daemon_kills, n_member_kills, n_rounds;
};

static struct chaos chaos;

static unsigned roll(unsigned sides)
{
	chaos.random = chaos.random * 1103515245u + 12345u;
	return (chaos.random >> 16) % sides;
}

static int member_main(struct harness_process *peer, void *arg)
{
	int me = *(int *)arg;

	(void)peer;
	return member_run(chaos.world, me, (unsigned)getpid() * 2654435761u);
}

static void start_member(int me)
{
	struct seat *seat = &chaos.world->seats[me];

	atomic_store(&seat->joined, false);
	atomic_store(&seat->quiet, false);
	for (int file = 0; file < N_FILES; file++)
		atomic_store(&seat->look[file], 0);
	chaos.seats[me] = me;
	harness_spawn(&chaos.members[me], member_main, &chaos.seats[me]);
}

static void kill_member(int me)
{
	harness_signal(&chaos.members[me], SIGKILL);
	harness_expect_signal(&chaos.members[me], SIGKILL);
	chaos.n_member_kills++;
}

/* --- the daemon's fate ------------------------------------------------------------------------------------ */

static void start_daemon(void)
{
	harness_daemon_start(&chaos.daemon, NULL);
	chaos.daemon_runs = true;
}

static void kill_daemon(void)
{
	harness_daemon_kill(&chaos.daemon);
	chaos.daemon_runs = chaos.daemon_stopped = false;
	chaos.n_daemon_kills++;
}

static void continue_daemon(void)
{
	if (chaos.daemon_stopped)
		harness_daemon_resume(&chaos.daemon);
	chaos.daemon_stopped = false;
}

static void strike_daemon(void)
{
	if (!chaos.world->has_daemon)
		return;
	if (chaos.daemon_stopped) {
		continue_daemon();
	} else if (!chaos.daemon_runs) {
		start_daemon();
	} else if (roll(5) == 0) {
		harness_daemon_suspend(&chaos.daemon);
		chaos.daemon_stopped = true;
	} else if (roll(5) == 0) {
		harness_daemon_stop(&chaos.daemon);
		chaos.daemon_runs = false;
	} else {
		kill_daemon();
		if (roll(2) == 0)
			start_daemon(); /* so soon that nobody gets to the sidecar in between */
	}
}

/* --- rounds ----------------------------------------------------------------------------------------------- */

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 }, NULL);
}

static bool all(size_t offset)
{
	for (int me = 0; me < N_MEMBERS; me++)
		if (!atomic_load((_Atomic bool *)((char *)&chaos.world->seats[me] + offset)))
			return false;
	return true;
}

static void be_busy(unsigned ms)
{
	uint64_t end = harness_now_ns() + ms * UINT64_C(1000000);

	while (harness_now_ns() < end) {
		pause_ms(200 + roll(800)); /* the rate of disaster, not a condition */
		strike_daemon();
		if (roll(2) == 0) {
			int me = (int)roll(N_MEMBERS);

			kill_member(me);
			start_member(me);
		}
	}
}

static void explain(int me, int file, int poster)
{
	const struct seat *seat = &chaos.world->seats[me];

	fprintf(stderr, "member %d (pid %d) has seen %llu of file %d, member %d had posted %llu; daemon %s\n", me,
	        (int)chaos.members[me].pid, (unsigned long long)atomic_load(&seat->look[file]), file, poster,
	        (unsigned long long)atomic_load(&chaos.world->seats[poster].returned[file]),
	        chaos.daemon_runs ? "runs" : "is away");
}

static bool everyone_has_seen(void *arg)
{
	int file, poster;

	(void)arg;
	return world_first_miss(chaos.world, &file, &poster) < 0;
}

static void quiet_point(void)
{
	int file, poster, me;

	/* A stopped daemon delays what only it can do; it is continued, or has been killed, in the end. */
	continue_daemon();
	/* Half of the quiet points have a daemon, where there is one at all. */
	atomic_store(&chaos.world->phase, PHASE_QUIET);
	harness_await(all(offsetof(struct seat, joined)) && all(offsetof(struct seat, quiet)));
	if (!harness_wait_until(everyone_has_seen, NULL, 2 * harness_limit_ms)) {
		me = world_first_miss(chaos.world, &file, &poster);
		if (me >= 0) {
			explain(me, file, poster);
			if (getenv("PATHBUS_CHAOS_HOLD"))
				pause();
			ck_abort_msg("a post was missed in round %d", chaos.n_rounds);
		}
	}
	atomic_store(&chaos.world->phase, PHASE_BUSY);
	harness_await(!all(offsetof(struct seat, quiet)));
	chaos.n_rounds++;
}

static uint64_t sum(size_t offset)
{
	uint64_t total = 0;

	for (int me = 0; me < N_MEMBERS; me++)
		total += atomic_load((_Atomic uint64_t *)((char *)&chaos.world->seats[me] + offset));
	return total;
}

static void end_members(void)
{
	harness_await(all(offsetof(struct seat, joined)));
	atomic_store(&chaos.world->phase, PHASE_END);
	for (int me = 0; me < N_MEMBERS; me++)
		harness_expect_exit(&chaos.members[me], 0);
}

static void run(bool has_daemon, bool is_mixed)
{
	uint64_t end = harness_now_ns() + (harness_full() ? FULL_S : SHORT_S) * UINT64_C(1000000000);
	const char *seed = getenv("PATHBUS_CHAOS_SEED");

	chaos = (struct chaos){ .world = world_new(), .random = seed ? (unsigned)atoi(seed) : (unsigned)getpid() };
	ck_assert_ptr_nonnull(chaos.world);
	printf("seed %u\n", chaos.random);
	for (int file = 0; file < N_FILES; file++) {
		chaos.world->files[file] = harness_path("file-%d", file);
		harness_write_file(chaos.world->files[file], "");
	}
	chaos.world->address = harness_path("socket");
	chaos.world->nowhere = harness_path("nowhere");
	chaos.world->has_daemon = has_daemon;
	chaos.world->is_mixed = is_mixed;
	if (has_daemon)
		start_daemon();
	for (int me = 0; me < N_MEMBERS; me++)
		start_member(me);
	while (harness_now_ns() < end) {
		be_busy(ROUND_MS);
		quiet_point();
	}
	end_members();
	if (chaos.daemon_runs)
		harness_daemon_stop(&chaos.daemon);
	printf("%d quiet points, %llu posts (%llu failed), %llu events (%llu resyncs), daemon ended %d times, "
	       "%d members killed, 0 misses\n",
	       chaos.n_rounds, (unsigned long long)sum(offsetof(struct seat, posts)),
	       (unsigned long long)sum(offsetof(struct seat, failed)),
	       (unsigned long long)sum(offsetof(struct seat, events)),
	       (unsigned long long)sum(offsetof(struct seat, resyncs)), chaos.n_daemon_kills, chaos.n_member_kills);
	ck_assert_uint_eq(sum(offsetof(struct seat, failed)), 0);
	if (harness_full())
		ck_assert_uint_ge(sum(offsetof(struct seat, posts)), FULL_POSTS);
	harness_allow_sidecars(); /* of members that were killed last */
	chaos.world = world_free(chaos.world);
}

START_TEST(bus)
{
	run(true, false);
}
END_TEST

START_TEST(peer)
{
	run(false, false);
}
END_TEST

START_TEST(mixed)
{
	run(true, true);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_LONG(bus, CASE_LIMIT_S),
	HARNESS_CASE_LONG(peer, CASE_LIMIT_S),
	HARNESS_CASE_LONG(mixed, CASE_LIMIT_S),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "chaos", .cases = cases });
}
