/* SPDX-License-Identifier: MIT */
/* test_fallback.c - folders that take no sidecar: the lane is in the runtime folder then, for everybody. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/sidecars.h"
#include "harness/process.h"

static const char *mounted;

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

/* A file system of its own at `files`. */
static void begin_on(const char *type, const char *options)
{
	transport_own_mounts();
	transport_begin(ON_PEER);
	if (mount("test", harness_path("files"), type, MS_NOSUID | MS_NODEV, options) < 0)
		harness_skip("mounting %s: %s", type, strerror(errno));
	mounted = harness_path("files");
}

static int answer(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = NULL;
	int r = pathbus_open(bus, arg, 0, &topic);

	ck_assert_msg(r == 0, "%s", strerror(-r));
	harness_tell(peer, "ready");
	await_posts(bus, 1);
	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

/* Two processes meet there, say where they are, and leave nothing. */
static void expect_runtime(const char *path)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	struct harness_process process;
	pathbus *bus = transport_new();
	pathbus_topic *topic = NULL;
	int n_before = count_entries(harness_path("files"), ".");
	int n_lanes = count_entries(transport_runtime_folder(), "");
	int r;

	r = pathbus_open(bus, path, 0, &topic);
	ck_assert_msg(r == 0, "%s", strerror(-r));
	ck_assert_int_eq(pathbus_transport(topic, &transport), 0);
	ck_assert_int_eq(transport.kind, PATHBUS_PEER);
	ck_assert_int_eq(transport.in_runtime_folder, 1);
	ck_assert_int_eq(transport.local_only, 0);
	ck_assert_msg(strstr(transport.why, "takes no sidecar"), "why: %s", transport.why);
	if (transport_own_runtime())
		ck_assert_int_eq(count_entries(transport_runtime_folder(), ""), n_lanes + 1);
	harness_spawn(&process, answer, (void *)(uintptr_t)path);
	harness_expect_line(&process, "ready");
	ck_assert_int_eq(pathbus_post(topic), 0);
	await_posts(bus, 1);
	harness_tell(&process, "end");
	harness_expect_exit(&process, 0);
	expect_quiet(bus);
	pathbus_free(bus);
	ck_assert_int_eq(count_entries(harness_path("files"), "."), n_before);
	if (transport_own_runtime())
		ck_assert_int_eq(count_entries(transport_runtime_folder(), ""), n_lanes);
}

START_TEST(a_folder_without_the_right_to_write)
{
	transport_become_nobody();
	transport_begin(ON_PEER);
	harness_write_file(transport_edit("data"), "");
	ck_assert_int_eq(chmod(harness_path("files"), 0555), 0);
	expect_runtime(transport_path("data"));
	ck_assert_int_eq(chmod(harness_path("files"), 0700), 0);
}
END_TEST

START_TEST(a_read_only_mount)
{
	begin_on("tmpfs", "size=1m");
	harness_write_file(transport_edit("data"), "");
	ck_assert_int_eq(mount(NULL, mounted, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	expect_runtime(transport_path("data"));
	expect_runtime(transport_path("missing"));
}
END_TEST

START_TEST(file_systems_without_fifos)
{
	static const char *const types[] = { "devpts", "cgroup2" };

	if (geteuid() != 0)
		harness_skip("needs root, whose these are");
	begin_on(types[_i], _i == 0 ? "newinstance,ptmxmode=0666" : NULL);
	expect_runtime(transport_path("data"));
	if (_i == 1) /* all there is of the other are devices, which nobody may open on a mount without any */
		expect_runtime(transport_path("cgroup.procs"));
}
END_TEST

START_TEST(a_full_disk)
{
	static const char *const options[] = {
		"nr_inodes=2", "nr_inodes=3", "nr_inodes=4", "nr_inodes=5", "nr_inodes=6", "size=4k", "size=8k", "size=12k",
	};
	char *full;

	begin_on("tmpfs", options[_i]);
	full = malloc(65536);
	ck_assert_ptr_nonnull(full);
	{ /* `data` takes an inode, and where the size is limited a page; nothing of the sidecar fits after it */
		int fd = open(transport_edit("data"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		ck_assert_int_ge(fd, 0);
		memset(full, 'x', 65536);
		if (_i > 4)
			ck_assert_int_ge(write(fd, full, 4096), 0);
		close(fd);
	}
	free(full);
	expect_runtime(transport_path("data"));
}
END_TEST

/* Members that are in a sidecar are not disturbed by a disk that is full later. */
START_TEST(a_disk_that_fills_up)
{
	struct harness_process process;
	pathbus *bus;
	pathbus_topic *topic;
	int fd, n = 0;
	char zeros[4096] = { 0 };

	begin_on("tmpfs", "size=256k");
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	fd = open(transport_edit("data"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	while (write(fd, zeros, sizeof(zeros)) > 0)
		n++;
	ck_assert_int_gt(n, 10);
	close(fd);
	harness_spawn(&process, answer, (void *)(uintptr_t)transport_path("data"));
	harness_expect_line(&process, "ready");
	transport_expect(topic);
	ck_assert_int_eq(pathbus_post(topic), 0); /* no SIGBUS: the page was allocated */
	await_posts(bus, 1);
	harness_tell(&process, "end");
	harness_expect_exit(&process, 0);
	pathbus_free(bus);
}
END_TEST

/* Beside the file stands a sidecar in which somebody lives, but here it cannot be written. */
START_TEST(a_sidecar_on_a_read_only_mount)
{
	pathbus *bus, *other;
	pathbus_topic *topic = NULL;
	const char *view = harness_path("view");

	begin_on("tmpfs", "size=1m");
	bus = transport_new();
	transport_open(bus, "data", 0);
	ck_assert_int_eq(mkdir(view, 0700), 0);
	ck_assert_int_eq(mount(mounted, view, NULL, MS_BIND, NULL), 0);
	ck_assert_int_eq(mount(NULL, view, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL), 0);
	other = transport_new();
	ck_assert_int_eq(pathbus_open(other, harness_path("view/data"), 0, &topic), -EROFS); /* no silent split */
	pathbus_free(other);
	ck_assert_int_eq(umount2(view, MNT_DETACH), 0);
	pathbus_free(bus);
}
END_TEST

/* Nobody else's runtime folder is used. */
START_TEST(a_foreign_runtime_folder)
{
	pathbus *bus;
	pathbus_topic *topic = NULL;
	const char *folder = transport_runtime_folder();

	begin_on("tmpfs", "nr_inodes=1");
	bus = transport_new();
	for (int i = 0; i < 4; i++) {
		(void)rmdir(folder);
		(void)unlink(folder);
		if (i == 0) {
			harness_write_file(folder, "");
		} else if (i == 1) {
			ck_assert_int_eq(symlink("/tmp", folder), 0);
		} else if (i == 2) {
			ck_assert_int_eq(mkdir(folder, 0700), 0);
			ck_assert_int_eq(chmod(folder, 0777), 0);
		} else {
			ck_assert_int_eq(mkdir(folder, 0700), 0);
			if (geteuid() != 0)
				break;
			ck_assert_int_eq(chown(folder, 65534, 65534), 0);
		}
		ck_assert_int_eq(pathbus_open(bus, transport_path("data"), 0, &topic), -EPERM);
		ck_assert_ptr_null(topic);
	}
	ck_assert_int_eq(rmdir(folder), 0);
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), 0, &topic), 0);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(a_folder_without_the_right_to_write),
	HARNESS_CASE(a_read_only_mount),
	HARNESS_CASE_EACH(file_systems_without_fifos, 2),
	HARNESS_CASE_EACH(a_full_disk, 8),
	HARNESS_CASE(a_disk_that_fills_up),
	HARNESS_CASE(a_sidecar_on_a_read_only_mount),
	HARNESS_CASE(a_foreign_runtime_folder),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "fallback", .cases = cases, .teardown = teardown });
}
