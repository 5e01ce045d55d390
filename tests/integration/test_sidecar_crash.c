/* SPDX-License-Identifier: MIT */
/* test_sidecar_crash.c - what members that died have left is cleaned up by the next who comes. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/sidecars.h"
#include "harness/process.h"

static void expect_use(void)
{
	pathbus *a = transport_new(), *b = transport_new();
	pathbus_topic *from = transport_open(a, "data", 0);

	transport_open(b, "data", 0);
	ck_assert(is_held(sidecar_path("data", "page")));
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(b, 1);
	pathbus_free(a);
	pathbus_free(b);
}

START_TEST(all_members_died)
{
	transport_begin(ON_PEER);
	for (int i = 0; i < 3; i++) {
		leave_sidecar("data");
		expect_use();
		ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	}
}
END_TEST

/* A page that was left is not used again: what it counted is of another time. */
START_TEST(a_new_page_each_time)
{
	pathbus *bus;
	int kept;

	transport_begin(ON_PEER);
	bus = transport_new();
	leave_sidecar("data");
	kept = open(sidecar_path("data", "page"), O_PATH | O_CLOEXEC); /* so that its number is not given out again */
	transport_open(bus, "data", 0);
	ck_assert(is_held(sidecar_path("data", "page")));
	{
		struct stat old;

		ck_assert_int_eq(fstat(kept, &old), 0);
		ck_assert_uint_eq(old.st_nlink, 0);
	}
	close(kept);
	pathbus_free(bus);
}
END_TEST

static int be_a_member(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();

	(void)arg;
	transport_open(bus, "data", 0);
	harness_tell(peer, "ready");
	(void)harness_hear(peer);
	return 1;
}

/* Those who live go on, and the dead one's place is free again. */
START_TEST(one_member_died)
{
	struct harness_process process;
	pathbus *bus;
	ino_t inode;

	transport_begin(ON_PEER);
	bus = transport_new();
	transport_open(bus, "data", 0);
	inode = inode_of(sidecar_path("data", "page"));
	for (int i = 0; i < 60; i++) { /* more than the page has slots */
		harness_spawn(&process, be_a_member, NULL);
		harness_expect_line(&process, "ready");
		harness_signal(&process, SIGKILL);
		harness_expect_signal(&process, SIGKILL);
	}
	ck_assert_uint_eq(inode_of(sidecar_path("data", "page")), inode);
	pathbus_free(bus);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

/* Makes what a maker leaves that dies after `step` steps. */
static void half_make(const char *name, int step)
{
	const char *folder = harness_path("files/%s", name);

	ck_assert_int_eq(mkdir(folder, 0700), 0);
	if (step > 0) {
		harness_write_file(harness_path("files/%s/page", name), "");
		ck_assert_int_eq(chmod(harness_path("files/%s/page", name), 0600), 0);
	}
	if (step > 1)
		ck_assert_int_eq(truncate(harness_path("files/%s/page", name), 4096), 0);
	if (step > 2)
		ck_assert_int_eq(mkfifo(harness_path("files/%s/bell", name), 0600), 0);
	if (step > 3)
		harness_write_file(harness_path("files/%s/CACHEDIR.TAG", name), "");
	if (step > 4)
		harness_write_file(harness_path("files/%s/.gitignore", name), "*\n");
}

START_TEST(half_made)
{
	transport_begin(ON_PEER);
	for (int step = 0; step < 6; step++) {
		half_make(".data.pathbus~0", step);
		expect_use();
		ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	}
}
END_TEST

/* Somebody is still at it: in the making, its folder is locked, and in the removing, its page. */
START_TEST(half_made_by_the_living)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int dir, page;

	transport_begin(ON_PEER);
	half_make(".data.pathbus~0", 2);
	half_make(".data.pathbus~1", 0);
	page = open(harness_path("files/.data.pathbus~0/page"), O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(page, F_OFD_SETLK, &lock), 0);
	dir = open(harness_path("files/.data.pathbus~1"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(flock(dir, LOCK_EX), 0);
	expect_use();
	ck_assert(is_there(harness_path("files/.data.pathbus~0/page")));
	ck_assert(is_there(harness_path("files/.data.pathbus~1")));
	close(page);
	close(dir);
	expect_use();
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

START_TEST(several_half_made)
{
	transport_begin(ON_PEER);
	half_make(".data.pathbus~1", 3);
	half_make(".data.pathbus~4", 0);
	half_make(".data.pathbus~9", 5);
	expect_use();
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

START_TEST(all_temporary_names_taken)
{
	transport_begin(ON_PEER);
	for (int i = 0; i < 10; i++) {
		char name[32];

		snprintf(name, sizeof(name), ".data.pathbus~%d", i);
		half_make(name, i % 6);
	}
	expect_use();
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

/* What stands under the final name without a page cannot be a maker's. */
START_TEST(half_removed)
{
	static const char *const left[] = { "bell", "CACHEDIR.TAG", ".gitignore" };

	transport_begin(ON_PEER);
	for (size_t i = 0; i <= 3; i++) {
		ck_assert_int_eq(mkdir(sidecar_path("data", NULL), 0700), 0);
		for (size_t k = 0; k < i; k++) {
			if (k == 0)
				ck_assert_int_eq(mkfifo(sidecar_path("data", left[k]), 0600), 0);
			else
				harness_write_file(sidecar_path("data", left[k]), "");
		}
		expect_use();
		ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	}
	/* Or with a page but no bell: nobody lives there. */
	leave_sidecar("data");
	ck_assert_int_eq(unlink(sidecar_path("data", "bell")), 0);
	expect_use();
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

#define N_PROCESSES 6

/* Without the assertions of Check, which write a message each: not one of them may be cut in half. */
static int come_and_go(struct harness_process *peer, void *arg)
{
	struct pathbus_options options = transport_options();
	const char *path = transport_path("data"), *page = sidecar_path("data", "page");
	struct pathbus_event event = { .size = sizeof(event) };
	pathbus_topic *topic = NULL;
	pathbus *bus = NULL;
	bool held = true;
	int r = 0;

	(void)peer;
	(void)arg;
	while (r >= 0 && held) {
		r = pathbus_new(&bus, &options);
		if (r == 0)
			r = pathbus_open(bus, path, 0, &topic);
		if (r == 0) {
			held = is_held(page);
			r = pathbus_post(topic);
		}
		if (r == 0)
			r = pathbus_next(bus, &event);
		bus = pathbus_free(bus);
	}
	ck_assert(held);
	ck_assert_msg(r == 0, "%s", strerror(-r));
	return 0;
}

/* Killed anywhere: in the making, the joining, the leaving. */
START_TEST(killed_while_coming_and_going)
{
	struct harness_process processes[N_PROCESSES];

	transport_begin(ON_PEER);
	for (int i = 0; i < N_PROCESSES; i++)
		harness_spawn(&processes[i], come_and_go, NULL);
	for (int i = 0; i < (harness_full() ? 3000 : 300); i++) {
		struct harness_process *victim = &processes[i % N_PROCESSES];

		usleep((useconds_t)(rand() % 2000));
		harness_signal(victim, SIGKILL);
		harness_expect_signal(victim, SIGKILL); /* not its own failure */
		harness_spawn(victim, come_and_go, NULL);
	}
	for (int i = 0; i < N_PROCESSES; i++) {
		harness_signal(&processes[i], SIGKILL);
		harness_expect_signal(&processes[i], SIGKILL);
	}
	expect_use();
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(all_members_died),
	HARNESS_CASE(a_new_page_each_time),
	HARNESS_CASE(one_member_died),
	HARNESS_CASE(half_made),
	HARNESS_CASE(half_made_by_the_living),
	HARNESS_CASE(several_half_made),
	HARNESS_CASE(all_temporary_names_taken),
	HARNESS_CASE(half_removed),
	HARNESS_CASE(killed_while_coming_and_going),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){
		.name = "sidecar_crash", .cases = cases, .teardown = transport_end });
}
