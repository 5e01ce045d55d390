/* SPDX-License-Identifier: MIT */
/*
 * test_link.c - processes that reach the daemon and processes that do not, on one file: what the link carries, that
 * an opening waits for it, that it outlives the daemon and leaves as the last one out.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "harness/daemon.h"
#include "harness/harness.h"
#include "seams/agent.h"
#include "seams/listener.h"

static struct harness_daemon daemon_;
static const char *file;

static void setup(void)
{
	daemon_ = (struct harness_daemon){ 0 };
	file = harness_path("data");
	harness_write_file(file, "");
}

static void expect_post(struct listener *from, struct listener *to)
{
	listener_drain(to);
	ck_assert_int_eq(pathbus_post(from->topic), 0);
	listener_expect(to, PATHBUS_EVENT_POST);
}

static void expect_both_ways(struct listener *a, struct listener *b)
{
	for (int i = 0; i < 10; i++) {
		expect_post(a, b);
		expect_post(b, a);
	}
}

START_TEST(the_sidecar_is_there_first)
{
	struct listener beside, lane;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	/* The opening was answered only once the two were linked: the very next post arrives. */
	expect_post(&beside, &lane);
	expect_both_ways(&lane, &beside);
	listener_close(&beside);
	listener_close(&lane);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(the_sidecar_comes_later)
{
	struct listener beside, lane;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	/* The link announces itself on both sides; what was posted before is told by that. */
	ck_assert_int_eq(pathbus_post(beside.topic), 0);
	listener_expect(&lane, PATHBUS_EVENT_POST);
	expect_both_ways(&lane, &beside);
	listener_close(&beside);
	listener_close(&lane);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* A sidecar that came and went at once still counts. */
START_TEST(one_shot_posters_are_heard)
{
	struct listener lane;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	for (int i = 0; i < 50; i++) {
		struct listener beside;

		listener_drain(&lane);
		listener_open(&beside, NULL, PATHBUS_PEER, file, PATHBUS_POST);
		ck_assert_int_eq(pathbus_post(beside.topic), 0);
		listener_close(&beside);
		listener_expect_news(&lane); /* RESYNC where it was gone before it could be linked */
	}
	listener_close(&lane);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* The other way round: the lane is gone again before the link has carried. */
START_TEST(one_shot_posters_on_the_bus_are_heard_beside)
{
	struct listener beside;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	for (int i = 0; i < 50; i++) {
		struct listener lane;

		listener_drain(&beside);
		listener_open(&lane, daemon_.address, PATHBUS_BUS, file, PATHBUS_POST);
		ck_assert_int_eq(pathbus_post(lane.topic), 0);
		listener_close(&lane);
		listener_expect(&beside, PATHBUS_EVENT_POST);
	}
	listener_close(&beside);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* The poster leaves before the daemon has seen the sidecar: its last post is owed to it all the same. */
START_TEST(the_last_one_out_of_the_lane_is_heard_beside)
{
	harness_daemon_start(&daemon_, NULL);
	for (int i = 0; i < 100; i++) {
		struct listener beside, lane;

		listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
		listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
		ck_assert_int_eq(pathbus_post(lane.topic), 0);
		listener_close(&lane);
		listener_expect(&beside, PATHBUS_EVENT_POST);
		listener_close(&beside);
		listener_await_no_sidecar("data");
	}
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(own_posts_do_not_come_back_through_the_link)
{
	struct listener beside, lane;
	uint64_t seen = 0;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	expect_both_ways(&lane, &beside);
	listener_drain(&lane);
	ck_assert_int_eq(pathbus_check(lane.topic, &seen), 1);
	expect_post(&lane, &beside);
	/* An answer from beside comes after anything that its cause may have sent back. */
	expect_post(&beside, &lane);
	listener_drain(&lane);
	ck_assert_int_eq(pathbus_check(lane.topic, &seen), 1);
	ck_assert_int_eq(pathbus_check(lane.topic, &seen), 0);
	listener_close(&beside);
	listener_close(&lane);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* A post that returned while the daemon lived is carried although the daemon dies. */
START_TEST(the_link_outlives_the_daemon)
{
	struct listener beside, lane;

	/* The leak check at a program's end stops it by a signal, which a continuing one would take away. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);

	for (int i = 0; i < 10; i++) {
		pid_t link;

		harness_daemon_start(&daemon_, NULL);
		listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
		listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
		link = agent_of(&daemon_);
		ck_assert_int_ne(link, 0);
		expect_post(&lane, &beside);
		/* Held while it is killed, so that the post is in the lane only. */
		kill(link, SIGSTOP);
		ck_assert_int_eq(pathbus_post(lane.topic), 0);
		harness_daemon_kill(&daemon_);
		kill(link, SIGCONT);
		listener_expect(&beside, PATHBUS_EVENT_POST);
		harness_await(kill(link, 0) < 0 && errno == ESRCH);
		listener_close(&beside);
		listener_close(&lane);
		listener_await_no_sidecar("data");
	}
}
END_TEST

START_TEST(a_link_that_is_killed_is_replaced)
{
	struct listener beside, lane;
	pid_t first;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	first = agent_of(&daemon_);
	ck_assert_int_ne(first, 0);
	kill(first, SIGSTOP);
	listener_drain(&lane);
	ck_assert_int_eq(pathbus_post(beside.topic), 0);
	kill(first, SIGKILL);
	/* The new one announces itself. */
	listener_expect(&lane, PATHBUS_EVENT_POST);
	harness_await(agent_of(&daemon_) != 0 && agent_of(&daemon_) != first);
	expect_both_ways(&lane, &beside);
	listener_close(&beside);
	listener_close(&lane);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(a_link_that_is_told_to_end_is_replaced)
{
	struct listener beside, lane;
	pid_t first;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	first = agent_of(&daemon_);
	listener_drain(&beside);
	kill(first, SIGTERM);
	listener_expect(&beside, PATHBUS_EVENT_POST); /* its last announcement, or the next one's first */
	harness_await(agent_of(&daemon_) != 0 && agent_of(&daemon_) != first);
	expect_both_ways(&lane, &beside);
	listener_close(&beside);
	listener_close(&lane);
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}
END_TEST

/* As the last one out, the sidecar is removed although the lane lives on, and a new one is linked again. */
START_TEST(the_link_leaves_last_and_comes_back)
{
	struct listener beside, lane;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&lane, daemon_.address, PATHBUS_BUS, file, 0);
	for (int i = 0; i < 20; i++) {
		listener_open(&beside, NULL, PATHBUS_PEER, file, 0);
		ck_assert_int_eq(pathbus_post(beside.topic), 0);
		listener_expect_news(&lane);
		expect_post(&lane, &beside);
		listener_close(&beside);
		listener_await_no_sidecar("data");
	}
	listener_close(&lane);
	harness_daemon_stop(&daemon_);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(the_sidecar_is_there_first),
	HARNESS_CASE(the_sidecar_comes_later),
	HARNESS_CASE(one_shot_posters_are_heard),
	HARNESS_CASE(one_shot_posters_on_the_bus_are_heard_beside),
	HARNESS_CASE(the_last_one_out_of_the_lane_is_heard_beside),
	HARNESS_CASE(own_posts_do_not_come_back_through_the_link),
	HARNESS_CASE(the_link_outlives_the_daemon),
	HARNESS_CASE(a_link_that_is_killed_is_replaced),
	HARNESS_CASE(a_link_that_is_told_to_end_is_replaced),
	HARNESS_CASE(the_link_leaves_last_and_comes_back),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "link", .cases = cases, .setup = setup });
}
