/* SPDX-License-Identifier: MIT */
/*
 * test_moving.c - members that have to go elsewhere: from the runtime folder to the file's side as soon as there is
 * a sidecar, out of a sidecar that was removed under them, and out of a folder that is gone.
 */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/sidecars.h"
#include "harness/process.h"
#include "os/os.h"

static const char *mounted;
static pathbus *a, *b;
static pathbus_topic *of_a, *of_b;

static void unmount(void)
{
	if (mounted)
		ck_assert_int_eq(umount2(mounted, MNT_DETACH), 0);
	mounted = NULL;
}

static void teardown(void)
{
	unmount();
	transport_end();
}

static bool is_in_runtime(const pathbus_topic *topic)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	ck_assert_int_eq(pathbus_transport(topic, &transport), 0);
	ck_assert_int_eq(transport.kind, PATHBUS_PEER);
	return transport.in_runtime_folder;
}

/* `files` has no inode left for a sidecar; two members are in the runtime folder. */
static void begin_in_runtime(void)
{
	transport_own_mounts();
	transport_begin(ON_PEER);
	ck_assert_int_eq(mount("test", harness_path("files"), "tmpfs", 0, "nr_inodes=1"), 0);
	mounted = harness_path("files");
	a = transport_new();
	b = transport_new();
	ck_assert_int_eq(pathbus_open(a, transport_path("data"), 0, &of_a), 0);
	ck_assert_int_eq(pathbus_open(b, transport_path("data"), 0, &of_b), 0);
	ck_assert(is_in_runtime(of_a) && is_in_runtime(of_b));
	ck_assert_int_eq(pathbus_post(of_a), 0);
	await_posts(b, 1);
	ck_assert_int_eq(count_entries(transport_runtime_folder(), ""), 1);
}

static void give_room(void)
{
	ck_assert_int_eq(mount(NULL, mounted, NULL, MS_REMOUNT, "nr_inodes=100"), 0);
}

static void expect_exchange(void)
{
	drain(a);
	drain(b);
	ck_assert_int_eq(pathbus_post(of_a), 0);
	await_posts(b, 1);
	ck_assert_int_eq(pathbus_post(of_b), 0);
	await_posts(a, 1);
}

static void expect_moved(void)
{
	await_event(a, PATHBUS_EVENT_RESYNC);
	await_event(b, PATHBUS_EVENT_RESYNC);
	expect_exchange();
	ck_assert(!is_in_runtime(of_a) && !is_in_runtime(of_b));
	ck_assert(is_held(sidecar_path("data", "page")));
	ck_assert_int_eq(count_entries(transport_runtime_folder(), ""), 0);
}

static void end(void)
{
	pathbus_free(a);
	pathbus_free(b);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	unmount();
}

/* Whoever makes the sidecar calls those over who are in the runtime folder. */
START_TEST(called_over)
{
	pathbus *c;
	pathbus_topic *of_c;

	os_seams.no_inotify = _i == 1; /* or notices by itself */
	begin_in_runtime();
	give_room();
	c = transport_new();
	of_c = transport_open(c, "data", 0);
	ck_assert_int_eq(pathbus_post(of_c), 0); /* whether they have moved already or not */
	expect_moved();
	drain(c);
	ck_assert_int_eq(pathbus_post(of_c), 0);
	await_posts(a, 1);
	await_posts(b, 1);
	pathbus_free(c);
	end();
}
END_TEST

/* As a container does: the files are the same, the runtime folder is another. */
static int come_from_elsewhere(struct harness_process *peer, void *arg)
{
	pathbus *mine;
	pathbus_topic *topic;

	(void)arg;
	ck_assert_int_eq(unshare(CLONE_NEWNS), 0);
	ck_assert_int_eq(mount("tmpfs", "/dev/shm", "tmpfs", 0, "size=1m"), 0);
	mine = transport_new();
	topic = transport_open(mine, "data", 0);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "post");
	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_expect_line(peer, "end");
	pathbus_free(mine);
	return 0;
}

START_TEST(noticed)
{
	struct harness_process process;

	begin_in_runtime();
	give_room();
	harness_spawn(&process, come_from_elsewhere, NULL);
	harness_expect_line(&process, "ready");
	expect_moved();
	harness_tell(&process, "post");
	await_posts(a, 1);
	await_posts(b, 1);
	harness_tell(&process, "end");
	harness_expect_exit(&process, 0);
	end();
}
END_TEST

/* A member that never looks at its descriptor comes over with its next post. */
START_TEST(with_a_post)
{
	pathbus *c;
	pathbus_topic *of_c;

	begin_in_runtime();
	give_room();
	c = transport_new();
	of_c = transport_open(c, "data", 0);
	ck_assert_int_eq(pathbus_post(of_a), 0);
	await_posts(c, 1);
	ck_assert(!is_in_runtime(of_a));
	(void)of_c;
	pathbus_free(c);
	end();
}
END_TEST

/* One who sleeps in pathbus_wait is woken, and comes along. */
static int sleep_there(struct harness_process *peer, void *arg)
{
	pathbus *mine = transport_new();
	pathbus_topic *topic = NULL;
	uint64_t seen = 0;

	(void)arg;
	ck_assert_int_eq(pathbus_open(mine, transport_path("data"), 0, &topic), 0);
	ck_assert(is_in_runtime(topic));
	ck_assert_int_eq(pathbus_check(topic, &seen), 1);
	harness_tell(peer, "ready");
	while (is_in_runtime(topic))
		ck_assert_int_eq(pathbus_wait(topic, &seen, harness_deadline(harness_limit_ms), 0), 1);
	harness_tell(peer, "moved");
	harness_expect_line(peer, "post"); /* not before the other has opened: it may have seen us that early */
	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_expect_line(peer, "end");
	pathbus_free(mine);
	return 0;
}

START_TEST(out_of_a_wait)
{
	struct harness_process process;
	pathbus *c;

	begin_in_runtime();
	harness_spawn(&process, sleep_there, NULL);
	harness_expect_line(&process, "ready");
	give_room();
	c = transport_new();
	transport_open(c, "data", 0);
	harness_expect_line(&process, "moved");
	harness_tell(&process, "post");
	await_posts(c, 1);
	harness_tell(&process, "end");
	harness_expect_exit(&process, 0);
	pathbus_free(c);
	end();
}
END_TEST

/* --- removed ------------------------------------------------------------------------------------------ */

static int n_members = 2; /* in this process */

/* Each member holds the page that the path leads to. */
static bool all_are_there(void)
{
	drain(a);
	drain(b);
	return n_holds(sidecar_path("data", "page")) == n_members;
}

static bool meet_again(pathbus_topic *poster)
{
	drain(a);
	drain(b);
	ck_assert_int_eq(pathbus_post(poster), 0);
	return all_are_there();
}

static void begin_beside(unsigned flags)
{
	transport_begin(ON_PEER);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", flags);
	of_b = transport_open(b, "data", 0);
	expect_quiet(a);
	expect_quiet(b);
}

START_TEST(a_sidecar_removed_under_its_members)
{
	begin_beside(0);
	for (int i = 0; i < 3; i++) {
		remove_all(sidecar_path("data", NULL));
		harness_await(meet_again(i % 2 ? of_a : of_b));
		expect_exchange();
	}
	end();
}
END_TEST

/* One that only posts is never woken: it hears from whoever notices. */
START_TEST(removed_under_one_that_only_posts)
{
	begin_beside(PATHBUS_POST);
	remove_all(sidecar_path("data", NULL));
	harness_await(meet_again(of_a));
	drain(b);
	ck_assert_int_eq(pathbus_post(of_a), 0);
	await_posts(b, 1);
	end();
}
END_TEST

/* Who comes next makes a new one; the others are found there after their next wake-up. */
START_TEST(removed_and_made_anew_by_another)
{
	pathbus *c;
	pathbus_topic *of_c;

	begin_beside(0);
	remove_all(sidecar_path("data", NULL));
	c = transport_new();
	of_c = transport_open(c, "data", 0);
	n_members = 3;
	harness_await(meet_again(of_a));
	expect_exchange();
	drain(c);
	ck_assert_int_eq(pathbus_post(of_c), 0);
	await_posts(a, 1);
	await_posts(b, 1);
	ck_assert_int_eq(pathbus_post(of_b), 0);
	await_posts(c, 1);
	pathbus_free(c);
	end();
}
END_TEST

static _Atomic bool stop;
static _Atomic int n_errors;

static void *post_on(void *arg)
{
	while (!atomic_load(&stop))
		if (pathbus_post(arg) < 0)
			atomic_fetch_add(&n_errors, 1);
	return NULL;
}

static void *look_at(void *arg)
{
	uint64_t seen = 0, before;

	while (!atomic_load(&stop)) {
		before = seen;
		if (pathbus_check(arg, &seen) < 0 || seen < before) /* it never falls, whatever lane it is on */
			atomic_fetch_add(&n_errors, 1);
	}
	return NULL;
}

/* Page and bell are exchanged under threads that are in the middle of a post. */
START_TEST(removed_under_threads)
{
	pthread_t threads[4];

	begin_beside(0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, i < 2 ? post_on : look_at, i % 2 ? of_a : of_b), 0);
	for (int i = 0; i < 30; i++) {
		remove_all(sidecar_path("data", NULL));
		harness_await(all_are_there());
	}
	atomic_store(&stop, true);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(atomic_load(&n_errors), 0);
	expect_exchange();
	end();
}
END_TEST

/* The folder, with all that is in it: those who are in the middle of it go on. */
START_TEST(the_folder_is_removed)
{
	transport_own_mounts();
	transport_begin(ON_PEER);
	ck_assert_int_eq(mkdir(transport_edit("sub"), 0700), 0);
	harness_write_file(transport_edit("sub/data"), "");
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "sub/data", 0);
	of_b = transport_open(b, "sub/data", 0);
	remove_all(transport_edit("sub"));
	ck_assert_int_eq(pathbus_post(of_a), 0);
	await_readable(b);
	for (uint64_t end = harness_deadline(harness_limit_ms); !is_in_runtime(of_a) || !is_in_runtime(of_b);
	     harness_await_more(end, __FILE__, __LINE__, "both are in the runtime folder")) {
		drain(a);
		drain(b);
		ck_assert_int_eq(pathbus_post(of_a), 0);
		ck_assert_int_eq(pathbus_post(of_b), 0);
	}
	expect_exchange();
	ck_assert_int_eq(count_entries(transport_runtime_folder(), ""), 1);
	pathbus_free(a);
	expect_quiet(b);
	pathbus_free(b);
	ck_assert_int_eq(count_entries(transport_runtime_folder(), ""), 0);
}
END_TEST

/* Renamed, it takes its sidecar along, and nobody notices. */
START_TEST(the_folder_is_renamed)
{
	transport_begin(ON_PEER);
	ck_assert_int_eq(mkdir(transport_edit("old"), 0700), 0);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "old/data", 0);
	ck_assert_int_eq(rename(transport_edit("old"), transport_edit("new")), 0);
	of_b = transport_open(b, "new/data", 0);
	expect_exchange();
	expect_quiet(a);
	expect_quiet(b);
	pathbus_free(b);
	pathbus_free(a);
	ck_assert_int_eq(count_entries(transport_edit("new"), ""), 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(called_over, 2),
	HARNESS_CASE(noticed),
	HARNESS_CASE(with_a_post),
	HARNESS_CASE(out_of_a_wait),
	HARNESS_CASE(a_sidecar_removed_under_its_members),
	HARNESS_CASE(removed_under_one_that_only_posts),
	HARNESS_CASE(removed_and_made_anew_by_another),
	HARNESS_CASE(removed_under_threads),
	HARNESS_CASE(the_folder_is_removed),
	HARNESS_CASE(the_folder_is_renamed),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "moving", .cases = cases, .teardown = teardown });
}
