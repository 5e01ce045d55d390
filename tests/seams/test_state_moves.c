/* SPDX-License-Identifier: MIT */
/*
 * test_state_moves.c - the topic's state, and pathbus_sync, while the daemon comes and goes and across a link.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "harness/daemon.h"
#include "harness/harness.h"
#include "seams/agent.h"
#include "seams/listener.h"

static struct harness_daemon daemon_;
static const char *file;

static void setup(void)
{
	daemon_ = (struct harness_daemon){ .address = harness_path("socket") };
	file = harness_path("data");
	harness_write_file(file, "");
	/* The leak check at a program's end stops it by a signal, which a continuing one would take away. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
}

static uint64_t value_of(const struct listener *listener)
{
	uint64_t value;

	ck_assert_int_eq(pathbus_get_state(listener->topic, &value, NULL), 0);
	return value;
}

static uint64_t version_of(const struct listener *listener)
{
	uint64_t value, version;

	ck_assert_int_eq(pathbus_get_state(listener->topic, &value, &version), 0);
	return version;
}

static void set(struct listener *listener, uint64_t value)
{
	ck_assert_int_eq(pathbus_set_state(listener->topic, value), 0);
}

static void expect_linked(struct listener *a, struct listener *b)
{
	for (int i = 0; i < 2; i++) {
		struct listener *from = i ? a : b, *to = i ? b : a;

		listener_drain(to);
		ck_assert_int_eq(pathbus_post(from->topic), 0);
		listener_expect(to, PATHBUS_EVENT_POST);
	}
	listener_drain(a);
	listener_drain(b);
}

/* --- the daemon comes and goes -------------------------------------------------------------------------------------- */

START_TEST(moves_with_its_members)
{
	struct listener a, b;
	uint64_t version = 0, value = 1000;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&a, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&b, daemon_.address, PATHBUS_AUTO, file, 0);
	for (int round = 0; round < 5; round++) {
		set(round % 2 ? &a : &b, ++value);
		harness_daemon_kill(&daemon_);
		ck_assert_uint_eq(value_of(&a), value); /* before it knows */
		listener_await_transport(&a, PATHBUS_PEER);
		ck_assert_uint_eq(value_of(&a), value);
		ck_assert_uint_eq(value_of(&b), value);
		listener_await_transport(&b, PATHBUS_PEER);
		ck_assert_uint_eq(value_of(&b), value);
		set(&a, ++value);
		ck_assert_uint_eq(value_of(&b), value);
		/* -EOPNOTSUPP as long as the dead daemon's link is there. */
		harness_await(pathbus_exchange_state(b.topic, value - 1, 0) == -EAGAIN);
		ck_assert_int_eq(pathbus_exchange_state(b.topic, value, value + 1), 0);
		ck_assert_uint_eq(value_of(&a), ++value);
		harness_daemon_start(&daemon_, NULL);
		listener_await_transport(&b, PATHBUS_BUS);
		ck_assert_uint_eq(value_of(&b), value);
		listener_await_transport(&a, PATHBUS_BUS);
		ck_assert_uint_eq(value_of(&a), value);
		ck_assert_uint_gt(version_of(&a), version);
		ck_assert_uint_eq(version_of(&a), version_of(&b));
		version = version_of(&a);
	}
	listener_close(&a);
	listener_close(&b);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* One has moved and changed it; the other finds out later that its lane is dead. */
START_TEST(the_newest_version_wins)
{
	struct listener first, second;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&first, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&second, daemon_.address, PATHBUS_AUTO, file, 0);
	set(&first, 1);
	harness_daemon_kill(&daemon_);
	listener_await_transport(&first, PATHBUS_PEER);
	set(&first, 2);
	set(&first, 3);
	ck_assert_uint_eq(value_of(&second), 1); /* it has not looked */
	listener_await_transport(&second, PATHBUS_PEER);
	ck_assert_uint_eq(value_of(&second), 3);
	ck_assert_uint_eq(version_of(&second), version_of(&first));
	listener_close(&first);
	listener_close(&second);

	/* The other way round: it sets, and finds out by that. */
	harness_daemon_start(&daemon_, NULL);
	listener_open(&first, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&second, daemon_.address, PATHBUS_AUTO, file, 0);
	set(&first, 1);
	harness_daemon_kill(&daemon_);
	listener_await_transport(&first, PATHBUS_PEER);
	set(&first, 2);
	set(&first, 3);
	set(&second, 9);
	ck_assert_int_eq(listener_transport(&second), PATHBUS_PEER);
	ck_assert_uint_eq(value_of(&first), 9);
	ck_assert_uint_eq(value_of(&second), 9);
	listener_close(&first);
	listener_close(&second);
	listener_await_no_sidecar("data");
}
END_TEST

/* Of two who compare and swap, one on the dead lane and one that has moved, only one is told that it was through. */
START_TEST(a_swap_on_a_dead_lane_is_not_another_ones)
{
	struct listener first, second;

	for (int i = 0; i < 5; i++) {
		harness_daemon_start(&daemon_, NULL);
		listener_open(&first, daemon_.address, PATHBUS_AUTO, file, 0);
		listener_open(&second, daemon_.address, PATHBUS_AUTO, file, 0);
		set(&first, 5);
		harness_daemon_kill(&daemon_);
		listener_await_transport(&first, PATHBUS_PEER);
		/* Both add one to what they know. */
		harness_await(pathbus_exchange_state(first.topic, 5, 6) == 0); /* the dead daemon's link may be there still */
		ck_assert_int_eq(pathbus_exchange_state(second.topic, 5, 6), -EAGAIN);
		ck_assert_uint_eq(value_of(&second), 6);
		ck_assert_int_eq(pathbus_exchange_state(second.topic, 6, 7), 0);
		ck_assert_uint_eq(value_of(&first), 7);
		listener_close(&first);
		listener_close(&second);
	}
	listener_await_no_sidecar("data");
}
END_TEST

/* The same, and the one that has moved leaves: its slot, and its cells, are the other's then. */
START_TEST(a_swap_is_not_that_of_one_who_has_left)
{
	struct listener keeper, first, second;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&keeper, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&first, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&second, daemon_.address, PATHBUS_AUTO, file, 0);
	set(&keeper, 5);
	harness_daemon_kill(&daemon_);
	listener_await_transport(&keeper, PATHBUS_PEER);
	listener_await_transport(&first, PATHBUS_PEER);
	harness_await(pathbus_exchange_state(first.topic, 5, 6) == 0);
	listener_close(&first);
	ck_assert_int_eq(pathbus_exchange_state(second.topic, 5, 6), -EAGAIN);
	ck_assert_int_eq(listener_transport(&second), PATHBUS_PEER);
	ck_assert_uint_eq(value_of(&keeper), 6);
	/* What it has carried itself is its own. */
	ck_assert_int_eq(pathbus_exchange_state(second.topic, 6, 7), 0);
	listener_close(&keeper);
	listener_close(&second);
	listener_await_no_sidecar("data");

	harness_daemon_start(&daemon_, NULL);
	listener_open(&second, daemon_.address, PATHBUS_AUTO, file, 0);
	set(&second, 5);
	harness_daemon_kill(&daemon_);
	ck_assert_int_eq(pathbus_exchange_state(second.topic, 5, 6), 0);
	ck_assert_int_eq(listener_transport(&second), PATHBUS_PEER);
	ck_assert_uint_eq(value_of(&second), 6);
	listener_close(&second);
	listener_await_no_sidecar("data");
}
END_TEST

/* Who came while the daemon stood still is beside the file, and the others are in its lane. */
START_TEST(no_swap_beside_a_daemon_that_stands_still)
{
	struct listener lane, beside;
	uint64_t value;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&lane, daemon_.address, PATHBUS_AUTO, file, 0);
	ck_assert_int_eq(pathbus_exchange_state(lane.topic, 0, 10), 0);
	harness_daemon_suspend(&daemon_);
	listener_open(&beside, daemon_.address, PATHBUS_AUTO, file, 0);
	ck_assert_int_eq(listener_transport(&beside), PATHBUS_PEER);
	ck_assert_int_eq(pathbus_exchange_state(lane.topic, 10, 11), 0);
	ck_assert_int_eq(pathbus_exchange_state(beside.topic, 0, 1), -EOPNOTSUPP);
	if (_i) {
		/* It ends: they meet beside the file, and who never looks finds out by that. */
		harness_daemon_kill(&daemon_);
		listener_await_transport(&lane, PATHBUS_PEER);
		harness_await(pathbus_exchange_state(beside.topic, 11, 12) == 0);
		value = value_of(&lane);
	} else {
		harness_daemon_resume(&daemon_);
		/* From the first word it says on, and until it has answered. */
		harness_await((value = value_of(&beside)) == 11 || pathbus_exchange_state(beside.topic, 0, 1) == -EAGAIN);
		listener_await_transport(&beside, PATHBUS_BUS);
		ck_assert_uint_eq(value_of(&beside), 11);
		ck_assert_int_eq(pathbus_exchange_state(beside.topic, 11, 12), 0);
		value = value_of(&lane);
	}
	ck_assert_uint_eq(value, 12);
	listener_close(&lane);
	listener_close(&beside);
	listener_await_no_sidecar("data");
	if (!_i)
		harness_daemon_stop(&daemon_);
}
END_TEST

/* --- across a link ------------------------------------------------------------------------------------------------ */

START_TEST(is_carried_without_a_post)
{
	struct listener beside, lane;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	set(&beside, 77);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	ck_assert_uint_eq(value_of(&lane), 77); /* an opening waits for the link, and the link has carried it */
	expect_linked(&beside, &lane);
	for (uint64_t i = 1; i <= 50; i++) {
		struct listener *from = i % 3 ? &lane : &beside, *to = i % 3 ? &beside : &lane;

		set(from, i);
		harness_await(value_of(to) == i);
		ck_assert_uint_eq(value_of(from), i);
	}
	ck_assert_uint_eq(version_of(&beside), version_of(&lane));
	beside.n_posts = lane.n_posts = 0;
	listener_drain(&beside);
	listener_drain(&lane);
	ck_assert_uint_eq(beside.n_posts + lane.n_posts, 0);
	/* The last change before the lane is left goes over as well. */
	set(&lane, 4711);
	listener_close(&lane);
	harness_await(value_of(&beside) == 4711);
	listener_close(&beside);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* The link is held up while its daemon dies; the one who set it is gone with its lane. */
START_TEST(the_link_outlives_the_daemon_with_the_state)
{
	struct listener beside, lane;

	for (uint64_t i = 0; i < 5; i++) {
		pid_t link;

		harness_daemon_start(&daemon_, NULL);
		listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
		listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
		expect_linked(&beside, &lane);
		link = agent_of(&daemon_);
		agent_stop(link);
		set(&lane, 100 + i);
		harness_daemon_kill(&daemon_);
		listener_close(&lane);
		kill(link, SIGCONT);
		harness_await(value_of(&beside) == 100 + i);
		harness_await(kill(link, 0) < 0 && errno == ESRCH);
		listener_close(&beside);
		listener_await_no_sidecar("data");
	}
}
END_TEST

enum { N_SETS = 300 };

static int set_many(struct harness_process *peer, void *arg)
{
	const enum pathbus_transport_kind *kind = arg;
	struct listener me;

	listener_open(&me, daemon_.address, *kind, file, 0);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	for (uint64_t i = 1; i <= N_SETS; i++)
		set(&me, (uint64_t)*kind << 32 | i);
	harness_tell(peer, "done");
	harness_expect_line(peer, "end");
	listener_close(&me);
	return 0;
}

/* Both sides at once: one value in the end, the same on both, and the last of one of them. */
START_TEST(both_sides_agree)
{
	static const enum pathbus_transport_kind kinds[] = { PATHBUS_BUS, PATHBUS_PEER };
	struct harness_process setters[2];
	struct listener beside, lane;
	uint64_t last;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	expect_linked(&beside, &lane);
	for (int round = 0; round < 5; round++) {
		for (int i = 0; i < 2; i++)
			harness_spawn(&setters[i], set_many, (void *)(uintptr_t)&kinds[i]);
		for (int i = 0; i < 2; i++)
			harness_expect_line(&setters[i], "ready");
		for (int i = 0; i < 2; i++)
			harness_tell(&setters[i], "go");
		for (int i = 0; i < 2; i++)
			harness_expect_line(&setters[i], "done");
		harness_await(version_of(&beside) == version_of(&lane) && value_of(&beside) == value_of(&lane));
		last = value_of(&lane);
		ck_assert((uint32_t)last == N_SETS && (last >> 32 == PATHBUS_BUS || last >> 32 == PATHBUS_PEER));
		for (int i = 0; i < 2; i++) {
			harness_tell(&setters[i], "end");
			harness_expect_exit(&setters[i], 0);
		}
		ck_assert_uint_eq(value_of(&lane), last);
		ck_assert_uint_eq(value_of(&beside), last);
		/* They go on from there. */
		set(&beside, 1);
		harness_await(value_of(&lane) == 1);
		set(&lane, 2);
		harness_await(value_of(&beside) == 2);
	}
	listener_close(&beside);
	listener_close(&lane);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* --- compare and swap ----------------------------------------------------------------------------------------------- */

START_TEST(swaps_belong_to_the_daemons_side)
{
	struct listener beside, lane;
	pid_t link;

	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	ck_assert_int_eq(pathbus_exchange_state(beside.topic, 0, 1), 0);
	harness_daemon_start(&daemon_, NULL);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	ck_assert_int_eq(pathbus_exchange_state(beside.topic, 1, 2), -EOPNOTSUPP);
	ck_assert_int_eq(pathbus_exchange_state(lane.topic, 1, 2), 0);
	harness_await(value_of(&beside) == 2);
	set(&beside, 3); /* setting is not comparing */
	harness_await(pathbus_exchange_state(lane.topic, 3, 4) == 0);

	/* The lane is left, and so the link leaves. */
	listener_close(&lane);
	harness_await(pathbus_exchange_state(beside.topic, 4, 5) == 0);

	/* It is killed and replaced. */
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	ck_assert_uint_eq(value_of(&lane), 5);
	expect_linked(&beside, &lane);
	ck_assert_int_eq(pathbus_exchange_state(beside.topic, 5, 6), -EOPNOTSUPP);
	link = agent_of(&daemon_);
	kill(link, SIGKILL);
	harness_await(agent_of(&daemon_) != 0 && agent_of(&daemon_) != link);
	harness_await(pathbus_exchange_state(beside.topic, 5, 5) == -EOPNOTSUPP);

	/* Daemon and link are killed together: who is beside the file is by himself at once. */
	link = agent_of(&daemon_);
	agent_stop(link);
	harness_daemon_kill(&daemon_);
	kill(link, SIGKILL);
	harness_await(pathbus_exchange_state(beside.topic, 5, 6) == 0);
	ck_assert_uint_eq(value_of(&beside), 6);
	listener_close(&lane);
	listener_close(&beside);
	listener_await_no_sidecar("data");
}
END_TEST

enum { N_ADDERS = 4, SHORT_S = 4, FULL_S = 30 };

static struct race {
	_Atomic bool over;
	_Atomic uint64_t added[N_ADDERS], again[N_ADDERS], refused[N_ADDERS], last[N_ADDERS];
	_Atomic int transport[N_ADDERS];
	_Atomic bool ready[N_ADDERS];
} *race;

static int numbers[N_ADDERS];

static int add(struct harness_process *peer, void *arg)
{
	int me = *(int *)arg;
	struct listener member;

	(void)peer;
	listener_open(&member, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_drain(&member);
	atomic_store(&race->ready[me], true);
	for (unsigned n = 0; !atomic_load(&race->over) || atomic_load(&race->transport[me]) != PATHBUS_BUS; n++) {
		uint64_t value = value_of(&member);
		int r = atomic_load(&race->over) ? -EAGAIN : pathbus_exchange_state(member.topic, value, value + 1);

		if (r == 0)
			atomic_fetch_add(&race->added[me], 1);
		else if (r == -EAGAIN)
			atomic_fetch_add(&race->again[me], 1);
		else if (r == -EOPNOTSUPP)
			atomic_fetch_add(&race->refused[me], 1); /* the others are on the daemon: so will this one be */
		else
			ck_abort_msg("exchanging: %s", strerror(-r));
		if (r != 0 || n % 64 == 0)
			listener_turn(&member, r == -EOPNOTSUPP || atomic_load(&race->over) ? 5 : 0);
		atomic_store(&race->last[me], value_of(&member));
		atomic_store(&race->transport[me], (int)listener_transport(&member));
	}
	atomic_store(&race->last[me], value_of(&member));
	harness_expect_line(peer, "end");
	listener_close(&member);
	return 0;
}

static bool is_back(void *arg)
{
	return atomic_load(&race->transport[*(int *)arg]) == PATHBUS_BUS;
}

/* Whatever dies: an addition that was told to be through is in the sum. It may be in it twice if it was told to be tried
 * again. */
START_TEST(no_addition_is_lost)
{
	uint64_t end = harness_now_ns() + (harness_full() ? FULL_S : SHORT_S) * UINT64_C(1000000000);
	struct harness_process adders[N_ADDERS];
	uint64_t sum = 0, again = 0, refused = 0, value;
	unsigned n_deaths = 0, random = (unsigned)getpid();
	struct listener witness;

	race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(race, MAP_FAILED);
	harness_daemon_start(&daemon_, NULL);
	for (int i = 0; i < N_ADDERS; i++) {
		numbers[i] = i;
		harness_spawn(&adders[i], add, &numbers[i]);
		harness_await(atomic_load(&race->ready[i]));
	}
	while (harness_now_ns() < end) {
		random = random * 1103515245u + 12345u;
		/* The rate of disaster, not a condition. */
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 + (long)(random >> 16) % 180000000 }, NULL);
		harness_daemon_kill(&daemon_);
		if (random >> 16 & 1)
			nanosleep(&(struct timespec){ .tv_nsec = (long)(random >> 8) % 150000000 }, NULL);
		harness_daemon_start(&daemon_, NULL);
		n_deaths++;
	}
	atomic_store(&race->over, true);
	for (int i = 0; i < N_ADDERS; i++)
		if (!harness_wait_until(is_back, &numbers[i], 2 * harness_limit_ms)) {
			if (getenv("PATHBUS_CHAOS_HOLD"))
				pause();
			ck_abort_msg("adder %d (process %d) stays on transport %d", i, (int)adders[i].pid,
			             atomic_load(&race->transport[i]));
		}
	listener_open(&witness, daemon_.address, PATHBUS_BUS, file, 0);
	for (int i = 0; i < N_ADDERS; i++) {
		sum += atomic_load(&race->added[i]);
		again += atomic_load(&race->again[i]);
		refused += atomic_load(&race->refused[i]);
	}
	value = value_of(&witness);
	printf("%llu additions through, %llu in the state, %llu tried again, %llu refused, the daemon died %u times\n",
	       (unsigned long long)sum, (unsigned long long)value, (unsigned long long)again, (unsigned long long)refused,
	       n_deaths);
	ck_assert_uint_ge(value, sum);
	ck_assert_uint_le(value, sum + n_deaths * N_ADDERS * 2); /* what was under way when a lane died */
	listener_close(&witness);
	for (int i = 0; i < N_ADDERS; i++) {
		harness_tell(&adders[i], "end");
		harness_expect_exit(&adders[i], 0);
	}
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
	munmap(race, sizeof(*race));
}
END_TEST

/* --- pathbus_sync --------------------------------------------------------------------------------------------------- */

static int wait_for_all(struct harness_process *peer, void *arg)
{
	const enum pathbus_transport_kind *kind = arg;
	struct pathbus_sync result = { .size = sizeof(result) };
	struct listener me;
	int r;

	listener_open(&me, daemon_.address, *kind, file, PATHBUS_POST);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	ck_assert_int_eq(pathbus_post(me.topic), 0);
	harness_tell(peer, "waits");
	r = pathbus_sync(me.topic, UINT64_MAX, &result);
	harness_tell(peer, "%d", r);
	harness_expect_line(peer, "end");
	listener_close(&me);
	return 0;
}

static bool has_said(const struct harness_process *process)
{
	return poll(&(struct pollfd){ .fd = process->in, .events = POLLIN }, 1, 0) > 0;
}

static const enum pathbus_transport_kind sync_kinds[] = { PATHBUS_AUTO, PATHBUS_BUS, PATHBUS_SOCKET };

enum { N_SYNC_KINDS = sizeof(sync_kinds) / sizeof(sync_kinds[0]) };

/* The one it waits for never comes back for more, and the daemon dies: the waiting ends; where there is another way to
 * meet, once the other has come and has been told. */
START_TEST(sync_ends_with_the_daemon)
{
	harness_daemon_start(&daemon_, NULL);
	for (int i = 0; i < 6; i++) {
		struct harness_process waiter;
		struct listener idle;
		const char *line;

		if (daemon_.process.pid == 0)
			harness_daemon_start(&daemon_, NULL);
		listener_open(&idle, daemon_.address, PATHBUS_AUTO, file, PATHBUS_SUBSCRIBE);
		listener_drain(&idle);
		harness_spawn(&waiter, wait_for_all, (void *)(uintptr_t)&sync_kinds[_i]);
		harness_expect_line(&waiter, "ready");
		harness_tell(&waiter, "go");
		harness_expect_line(&waiter, "waits");
		if (i % 2) /* so that it sleeps already, or does not yet */
			nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
		if (i % 3 == 2)
			harness_daemon_stop(&daemon_);
		else
			harness_daemon_kill(&daemon_);
		if (i % 2 || sync_kinds[_i] == PATHBUS_AUTO) /* goes over too, and takes what comes; else it stays away */
			harness_await((listener_drain(&idle), has_said(&waiter)));
		line = harness_hear(&waiter);
		ck_assert_ptr_nonnull(line);
		ck_assert_msg(atoi(line) <= 0, "pathbus_sync said %s", line);
		if (sync_kinds[_i] == PATHBUS_AUTO)
			ck_assert_str_eq(line, "0");
		else
			ck_assert_msg(atoi(line) != 0 && atoi(line) != -ETIMEDOUT, "pathbus_sync said %s", line);
		harness_tell(&waiter, "end");
		harness_expect_exit(&waiter, 0);
		listener_close(&idle);
	}
	listener_await_no_sidecar("data");
}
END_TEST

/* A daemon that stands still changes nothing for those who have a lane; and one who listens ends the waiting. */
START_TEST(sync_does_not_need_the_daemon)
{
	struct harness_process waiter;
	struct listener listener;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&listener, daemon_.address, PATHBUS_AUTO, file, PATHBUS_SUBSCRIBE);
	listener_drain(&listener);
	harness_spawn(&waiter, wait_for_all, (void *)(uintptr_t)&sync_kinds[0]);
	harness_expect_line(&waiter, "ready");
	harness_daemon_suspend(&daemon_);
	harness_tell(&waiter, "go");
	harness_expect_line(&waiter, "waits");
	listener_expect(&listener, PATHBUS_EVENT_POST);
	harness_expect_line(&waiter, "0");
	harness_tell(&waiter, "end");
	harness_expect_exit(&waiter, 0);
	harness_daemon_resume(&daemon_);
	listener_close(&listener);
	harness_daemon_stop(&daemon_);
}
END_TEST

/* Who was there and has not come over yet has not caught up, whether it was asked for before or after that. */
START_TEST(sync_waits_for_those_who_have_not_come)
{
	struct pathbus_laggard laggard;
	struct pathbus_sync result = { .size = sizeof(result), .laggards = &laggard, .max_laggards = 1 };
	struct listener poster, late, gone;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&poster, daemon_.address, PATHBUS_AUTO, file, PATHBUS_POST);
	listener_open(&late, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&gone, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_drain(&late);
	listener_drain(&gone);
	ck_assert_int_eq(pathbus_publish(poster.topic, "m", 1), 0);
	harness_daemon_kill(&daemon_);
	listener_close(&gone); /* and nobody is there to clear its slot */
	if (_i)
		ck_assert_int_eq(pathbus_post(poster.topic), 0); /* moves by that */
	ck_assert_int_eq(pathbus_sync(poster.topic, harness_now_ns() + 50000000, &result), -ETIMEDOUT);
	ck_assert_int_eq(listener_transport(&poster), PATHBUS_PEER);
	ck_assert_uint_eq(result.n_subscribers, 1);
	ck_assert_uint_eq(result.n_caught_up, 0);
	ck_assert_uint_eq(result.n_laggards, 1);
	ck_assert_uint_eq(laggard.origin, pathbus_origin(late.topic));
	ck_assert_int_eq(laggard.pid, getpid());
	/* It comes, and is told. */
	harness_await((listener_drain(&late), pathbus_sync(poster.topic, 0, &result)) == 0);
	ck_assert_int_eq(listener_transport(&late), PATHBUS_PEER);
	ck_assert_uint_eq(result.n_subscribers, 1);
	ck_assert_uint_eq(result.n_caught_up, 1);
	ck_assert_uint_ge(late.n_resyncs, 1);
	listener_close(&late);
	ck_assert_int_eq(pathbus_sync(poster.topic, 0, &result), 0);
	ck_assert_uint_eq(result.n_subscribers, 0);
	listener_close(&poster);
	listener_await_no_sidecar("data");
}
END_TEST

static int stay(struct harness_process *peer, void *arg)
{
	struct listener me;

	(void)arg;
	listener_open(&me, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_drain(&me);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "end");
	return 0;
}

/* Daemon and subscriber die together: nobody is there to say so. */
START_TEST(sync_does_not_wait_for_the_dead)
{
	struct pathbus_sync result = { .size = sizeof(result) };
	struct harness_process other;
	struct listener poster;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&poster, daemon_.address, PATHBUS_AUTO, file, PATHBUS_POST);
	harness_spawn(&other, stay, NULL);
	harness_expect_line(&other, "ready");
	ck_assert_int_eq(pathbus_post(poster.topic), 0);
	ck_assert_int_eq(pathbus_sync(poster.topic, 0, &result), -ETIMEDOUT);
	harness_daemon_kill(&daemon_);
	harness_signal(&other, SIGKILL);
	harness_expect_signal(&other, SIGKILL);
	ck_assert_int_eq(pathbus_sync(poster.topic, UINT64_MAX, &result), 0);
	ck_assert_uint_eq(result.n_subscribers, 0);
	listener_close(&poster);
	listener_await_no_sidecar("data");
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(moves_with_its_members),
	HARNESS_CASE(the_newest_version_wins),
	HARNESS_CASE(a_swap_on_a_dead_lane_is_not_another_ones),
	HARNESS_CASE(a_swap_is_not_that_of_one_who_has_left),
	HARNESS_CASE_EACH(no_swap_beside_a_daemon_that_stands_still, 2),
	HARNESS_CASE(is_carried_without_a_post),
	HARNESS_CASE(the_link_outlives_the_daemon_with_the_state),
	HARNESS_CASE(both_sides_agree),
	HARNESS_CASE(swaps_belong_to_the_daemons_side),
	HARNESS_CASE(no_addition_is_lost),
	HARNESS_CASE_EACH(sync_ends_with_the_daemon, N_SYNC_KINDS),
	HARNESS_CASE(sync_does_not_need_the_daemon),
	HARNESS_CASE_EACH(sync_waits_for_those_who_have_not_come, 2),
	HARNESS_CASE(sync_does_not_wait_for_the_dead),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "state moves", .cases = cases, .setup = setup });
}
