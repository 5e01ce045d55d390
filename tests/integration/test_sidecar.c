/* SPDX-License-Identifier: MIT */
/* test_sidecar.c - the folder beside the file: what is in it, and how long it lives. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/sidecars.h"
#include "common/page.h"
#include "harness/process.h"

static void expect_mode(const char *path, mode_t mode)
{
	struct stat st;

	ck_assert_msg(lstat(path, &st) == 0, "%s: %s", path, strerror(errno));
	ck_assert_msg(st.st_mode == mode, "%s has mode %o", path, (unsigned)st.st_mode);
	ck_assert_uint_eq(st.st_uid, geteuid());
}

START_TEST(contents)
{
	static const mode_t masks[] = { 022, 0, 0777 };
	static const char signature[] = "Signature: 8a477f597d28d172789f06886806bc55";

	transport_begin(ON_PEER);
	for (size_t i = 0; i < 3; i++) { /* whatever the umask */
		pathbus *bus = transport_new();
		mode_t old = umask(masks[i]);
		struct stat st;

		transport_open(bus, "data", 0);
		umask(old);
		expect_mode(sidecar_path("data", NULL), S_IFDIR | 0700);
		expect_mode(sidecar_path("data", "page"), S_IFREG | 0600);
		expect_mode(sidecar_path("data", "bell"), S_IFIFO | 0600);
		ck_assert_int_eq(count_entries(sidecar_path("data", NULL), ""), 4);
		ck_assert_int_eq(lstat(sidecar_path("data", "page"), &st), 0);
		ck_assert_int_gt(st.st_size, (off_t)PAGE_SIZE_BYTES); /* the ring is there once somebody publishes */
		ck_assert_int_ge(st.st_blocks * 512, (off_t)PAGE_SIZE_BYTES); /* allocated, not just sized */
		ck_assert(is_held(sidecar_path("data", "page")));
		ck_assert(is_held(sidecar_path("data", "bell")));
		if (geteuid() == 0 || masks[i] == 022) {
			ck_assert_str_eq(harness_read_file(sidecar_path("data", ".gitignore")), "*\n");
			ck_assert_int_eq(strncmp(harness_read_file(sidecar_path("data", "CACHEDIR.TAG")), signature,
						 strlen(signature)), 0);
		}
		pathbus_free(bus);
		ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
	}
}
END_TEST

START_TEST(gone_with_the_last)
{
	pathbus *buses[3];
	pathbus_topic *topics[3];
	ino_t inode;

	transport_begin(ON_PEER);
	for (int i = 0; i < 3; i++)
		buses[i] = transport_new();
	ck_assert(!is_there(sidecar_path("data", NULL)));
	for (int order = 0; order < 3; order++) {
		for (int i = 0; i < 3; i++)
			topics[i] = transport_open(buses[i], "data", i == 1 ? PATHBUS_POST : 0);
		inode = inode_of(sidecar_path("data", "page"));
		for (int i = 0; i < 3; i++) {
			ck_assert_uint_eq(inode_of(sidecar_path("data", "page")), inode);
			pathbus_close(topics[(i + order) % 3]);
		}
		ck_assert(!is_there(sidecar_path("data", NULL)));
	}
	for (int i = 0; i < 3; i++)
		pathbus_free(buses[i]);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

START_TEST(free_leaves_all_of_them)
{
	pathbus *bus;
	char name[16];

	transport_begin(ON_PEER);
	bus = transport_new();
	for (int i = 0; i < 20; i++) {
		snprintf(name, sizeof(name), "data%d", i);
		transport_open(bus, name, 0);
	}
	ck_assert_int_eq(count_entries(harness_path("files"), ".data"), 20);
	pathbus_free(bus);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

/* A failed opening leaves none. */
START_TEST(gone_after_a_refusal)
{
	pathbus *bus;
	pathbus_topic *topic = NULL;

	transport_become_nobody();
	transport_begin(ON_PEER);
	bus = transport_new();
	harness_write_file(transport_edit("data"), "");
	ck_assert_int_eq(chmod(transport_edit("data"), 0400), 0);
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), PATHBUS_POST, &topic), -EACCES);
	ck_assert_ptr_null(topic);
	ck_assert(!is_there(sidecar_path("data", NULL)));
	pathbus_free(bus);
}
END_TEST

#define N_PROCESSES 8

static int n_rounds(void)
{
	return harness_full() ? 2000 : 200;
}

/* While one is a member, the path leads to where one is. So two members are never in two places. */
static int come_and_go(struct harness_process *peer, void *arg)
{
	unsigned seed = (unsigned)getpid();
	pathbus *bus = transport_new();

	(void)arg;
	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	for (int i = 0; i < n_rounds(); i++) {
		pathbus_topic *topic = transport_open(bus, "data", 0);

		ck_assert_msg(is_held(sidecar_path("data", "page")), "round %d: the page is another", i);
		ck_assert_msg(is_held(sidecar_path("data", "bell")), "round %d: the bell is another", i);
		ck_assert_int_eq(pathbus_post(topic), 0);
		for (int k = rand_r(&seed) % 4; k > 0; k--)
			(void)take_posts(bus);
		ck_assert(is_held(sidecar_path("data", "page")));
		pathbus_close(topic);
	}
	pathbus_free(bus);
	return 0;
}

START_TEST(never_two_and_no_litter)
{
	struct harness_process processes[N_PROCESSES];

	transport_begin(ON_PEER);
	harness_limit_ms = harness_full() ? 300000 : 50000;
	for (int i = 0; i < N_PROCESSES; i++)
		harness_spawn(&processes[i], come_and_go, NULL);
	for (int i = 0; i < N_PROCESSES; i++)
		harness_expect_line(&processes[i], "ready");
	for (int i = 0; i < N_PROCESSES; i++)
		harness_tell(&processes[i], "go");
	for (int i = 0; i < N_PROCESSES; i++)
		harness_expect_exit(&processes[i], 0);
	ck_assert_int_eq(count_entries(harness_path("files"), ""), 0);
}
END_TEST

static int change_places(struct harness_process *peer, void *arg)
{
	struct harness_process *next = peer;

	(void)arg;
	for (;;) {
		const char *line = harness_hear(next);
		pathbus *bus;
		pathbus_topic *topic;

		if (!line)
			return 0;
		bus = transport_new();
		topic = transport_open(bus, "data", 0);
		harness_tell(next, "in");
		harness_expect_line(next, "post");
		ck_assert_int_eq(pathbus_post(topic), 0);
		harness_tell(next, "posted");
		harness_expect_line(next, "out");
		pathbus_free(bus);
		harness_tell(next, "left");
	}
}

/* Somebody is always there, never the same one for long: it is one channel all the time. */
START_TEST(handed_on)
{
	struct harness_process processes[2];
	ino_t inode = 0;
	pathbus *bus;

	transport_begin(ON_PEER);
	bus = transport_new();
	for (int i = 0; i < 2; i++)
		harness_spawn(&processes[i], change_places, NULL);
	for (int i = 0; i < 20; i++) {
		struct harness_process *now = &processes[i % 2], *before = &processes[(i + 1) % 2];

		harness_tell(now, "in");
		harness_expect_line(now, "in");
		if (i > 0) {
			ck_assert_uint_eq(inode_of(sidecar_path("data", "page")), inode);
			harness_tell(before, "out");
			harness_expect_line(before, "left");
		}
		inode = inode_of(sidecar_path("data", "page"));
		transport_open(bus, "data", 0);
		harness_tell(now, "post");
		harness_expect_line(now, "posted");
		await_posts(bus, 1);
		bus = pathbus_free(bus);
		bus = transport_new();
	}
	harness_tell(&processes[1], "out");
	harness_expect_line(&processes[1], "left");
	ck_assert(!is_there(sidecar_path("data", NULL)));
	for (int i = 0; i < 2; i++) {
		harness_hang_up(&processes[i]);
		harness_expect_exit(&processes[i], 0);
	}
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(contents),
	HARNESS_CASE(gone_with_the_last),
	HARNESS_CASE(free_leaves_all_of_them),
	HARNESS_CASE(gone_after_a_refusal),
	HARNESS_CASE(never_two_and_no_litter),
	HARNESS_CASE(handed_on),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "sidecar", .cases = cases, .teardown = transport_end });
}
