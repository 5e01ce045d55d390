/* SPDX-License-Identifier: MIT */
/* test_paths.c - every way to spell a file, or to hand it over, leads to the same topic. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static pathbus *poster, *listener;
static pathbus_topic *data; /* the listener's, of `data` */

static void begin(int transport)
{
	transport_begin(transport);
	poster = transport_new();
	listener = transport_new();
	data = transport_open(listener, "data", 0);
}

static void end(void)
{
	pathbus_free(poster);
	pathbus_free(listener);
}

/* Whoever opens this is heard at `data`. */
static void expect_same(const char *path)
{
	pathbus_topic *from;
	int r;

	r = pathbus_open(poster, path, 0, &from);
	ck_assert_msg(r == 0, "%s: %s", path, strerror(-r));
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(listener, 1);
	ck_assert_int_eq(pathbus_post(data), 0);
	await_posts(poster, 1);
	pathbus_close(from);
	expect_quiet(listener);
}

static void expect_error(const char *path, int error)
{
	pathbus_topic *topic = NULL;

	ck_assert_msg(pathbus_open(poster, path, 0, &topic) == error, "%s: not %s", path, strerror(-error));
	ck_assert_ptr_null(topic);
}

static void link_to(const char *target, const char *name)
{
	ck_assert_int_eq(symlink(target, transport_edit(name)), 0);
}

START_TEST(symbolic_links)
{
	begin(_i);
	ck_assert_int_eq(mkdir(transport_edit("sub"), 0700), 0);
	link_to("data", "relative");
	link_to(transport_path("data"), "absolute");
	link_to("absolute", "chain");
	link_to("../data", "sub/up");
	link_to("sub/up", "down");
	link_to(".", "here");
	link_to("loop", "loop");
	for (int exists = 0; exists < 2; exists++) { /* the links dangle at first */
		expect_same(transport_path("relative"));
		expect_same(transport_path("absolute"));
		expect_same(transport_path("chain"));
		expect_same(transport_path("sub/up"));
		expect_same(transport_path("down"));
		expect_same(transport_path("here/here/data"));
		expect_error(transport_path("loop"), -ELOOP);
		expect_error(transport_path("loop/data"), -ELOOP);
		harness_write_file(transport_edit("data"), "");
	}
	end();
}
END_TEST

START_TEST(relative_paths)
{
	begin(_i);
	ck_assert_int_eq(mkdir(transport_edit("sub"), 0700), 0);
	ck_assert_int_eq(chdir(transport_path("")), 0);
	expect_same("data");
	expect_same("./data");
	expect_same(".//sub/..///data");
	ck_assert_int_eq(chdir("sub"), 0);
	expect_same("../data");
	ck_assert_int_eq(chdir(harness_tmpdir()), 0);
	expect_same(_i == ON_RUNTIME ? "view/data" : "files/data");
	ck_assert_int_eq(mkdir("gone", 0700), 0);
	ck_assert_int_eq(chdir("gone"), 0);
	ck_assert_int_eq(rmdir("../gone"), 0);
	expect_error("data", -ENOENT);
	ck_assert_int_eq(chdir("/"), 0);
	end();
}
END_TEST

START_TEST(a_folder_is_a_topic)
{
	static const char *const spellings[] = { "data", "data/", "data/.", "data//", "data/sub/..", "sub/../data" };

	begin(_i); /* of what becomes a folder now */
	ck_assert_int_eq(mkdir(transport_edit("data"), 0700), 0);
	ck_assert_int_eq(mkdir(transport_edit("data/sub"), 0700), 0);
	ck_assert_int_eq(mkdir(transport_edit("sub"), 0700), 0);
	for (size_t i = 0; i < sizeof(spellings) / sizeof(spellings[0]); i++)
		expect_same(transport_path(spellings[i]));
	ck_assert_int_eq(chdir(transport_path("data")), 0);
	expect_same(".");
	expect_same("sub/..");
	ck_assert_int_eq(chdir("sub"), 0);
	expect_same("..");
	ck_assert_int_eq(chdir("/"), 0);
	/* What is in it has its own. */
	pathbus_close(transport_open(poster, "data/file", 0));
	expect_quiet(listener);
	end();
}
END_TEST

START_TEST(not_a_folder)
{
	begin(_i);
	harness_write_file(transport_edit("data"), "");
	expect_error(transport_path("data/file"), -ENOTDIR);
	expect_error(transport_path("data/"), -ENOTDIR);
	expect_error(transport_path("data/."), -ENOTDIR);
	expect_error(transport_path("data/.."), -ENOTDIR);
	expect_error(transport_path("missing/file"), -ENOENT);
	expect_error(transport_path("missing/../data"), -ENOENT);
	end();
}
END_TEST

START_TEST(bind_mounts)
{
	const char *elsewhere = harness_path("elsewhere"), *again;

	transport_own_mounts(); /* before the daemon starts */
	begin(_i);
	ck_assert_int_eq(mkdir(elsewhere, 0700), 0);
	ck_assert_int_eq(mount(transport_path(""), elsewhere, NULL, MS_BIND, NULL), 0);
	again = harness_path("elsewhere/data");
	expect_same(again);
	harness_write_file(transport_edit("data"), "");
	expect_same(again);
	end();
	ck_assert_int_eq(umount2(elsewhere, MNT_DETACH), 0);
}
END_TEST

/* Before it exists, while it exists, across a rename over it, and when it is gone: one topic. */
START_TEST(the_life_of_a_file)
{
	pathbus *third;
	pathbus_topic *early;

	begin(_i);
	third = transport_new();
	early = transport_open(third, "data", 0);
	for (int i = 0; i < 4; i++) {
		if (i == 1)
			harness_write_file(transport_edit("data"), "one");
		if (i == 2) {
			harness_write_file(transport_edit("data.new"), "two");
			ck_assert_int_eq(rename(transport_edit("data.new"), transport_edit("data")), 0);
		}
		if (i == 3)
			ck_assert_int_eq(unlink(transport_edit("data")), 0);
		ck_assert_int_eq(pathbus_post(early), 0);
		await_posts(listener, 1);
		expect_same(transport_path("data"));
		await_posts(third, 2); /* both sides of it */
	}
	pathbus_free(third);
	end();
}
END_TEST

/* --- by descriptor ------------------------------------------------------------------------------------ */

static int try_fd(int fd)
{
	pathbus_topic *from = NULL;
	int r = pathbus_open_fd(poster, fd, 0, &from);

	if (r < 0) {
		ck_assert_ptr_null(from);
		return r;
	}
	ck_assert_int_eq(pathbus_post(from), 0);
	pathbus_close(from);
	ck_assert_int_ge(fcntl(fd, F_GETFD), 0); /* still the caller's */
	return 0;
}

START_TEST(by_descriptor)
{
	static const int flags[] = { O_RDONLY, O_RDWR, O_WRONLY | O_APPEND, O_PATH, O_PATH | O_NOFOLLOW };
	int fd;

	begin(_i);
	harness_write_file(transport_edit("data"), "contents");
	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		/* Where the view cannot be written, a descriptor that can be is one of another place. */
		if (_i == ON_RUNTIME && (flags[i] & O_ACCMODE) != O_RDONLY)
			continue;
		fd = open(transport_path("data"), flags[i] | O_CLOEXEC);
		ck_assert_int_ge(fd, 0);
		if (!(flags[i] & O_PATH))
			ck_assert_int_eq(lseek(fd, 3, SEEK_SET), 3);
		ck_assert_int_eq(try_fd(fd), 0);
		await_posts(listener, 1);
		if (!(flags[i] & O_PATH))
			ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 3);
		close(fd);
	}
	/* The name it has now, not the one it was opened by. */
	harness_write_file(transport_edit("old"), "");
	fd = open(transport_path("old"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(rename(transport_edit("old"), transport_edit("data")), 0);
	ck_assert_int_eq(try_fd(fd), 0);
	await_posts(listener, 1);
	close(fd);
	/* A folder's. */
	ck_assert_int_eq(unlink(transport_edit("data")), 0);
	ck_assert_int_eq(mkdir(transport_edit("data"), 0700), 0);
	fd = open(transport_path("data"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(try_fd(fd), 0);
	await_posts(listener, 1);
	close(fd);
	expect_quiet(listener);
	end();
}
END_TEST

START_TEST(descriptors_without_a_file)
{
	int pair[2], fd;

	begin(_i);
	ck_assert_int_eq(try_fd(-1), -EBADF);
	ck_assert_int_eq(try_fd(99999), -EBADF);
	ck_assert_int_eq(pipe2(pair, O_CLOEXEC), 0);
	ck_assert_int_eq(try_fd(pair[0]), -EINVAL);
	close(pair[0]);
	close(pair[1]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	ck_assert_int_eq(try_fd(pair[0]), -EINVAL);
	close(pair[0]);
	close(pair[1]);
	fd = memfd_create("data", MFD_CLOEXEC);
	ck_assert_int_eq(try_fd(fd), -EINVAL);
	close(fd);
	fd = eventfd(0, EFD_CLOEXEC);
	ck_assert_int_eq(try_fd(fd), -EINVAL);
	close(fd);
	/* Removed: at once, with another name left, as a folder; and a file that is called so. */
	for (int hard = 0; hard < 2; hard++) {
		harness_write_file(transport_edit("data"), "");
		fd = open(transport_path("data"), O_RDONLY | O_CLOEXEC);
		if (hard)
			ck_assert_int_eq(link(transport_edit("data"), transport_edit("other")), 0);
		ck_assert_int_eq(unlink(transport_edit("data")), 0);
		ck_assert_int_eq(try_fd(fd), -ENOENT);
		close(fd);
	}
	ck_assert_int_eq(mkdir(transport_edit("folder"), 0700), 0);
	fd = open(transport_path("folder"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(rmdir(transport_edit("folder")), 0);
	ck_assert_int_eq(try_fd(fd), -ENOENT);
	close(fd);
	harness_write_file(transport_edit("data (deleted)"), "");
	fd = open(transport_path("data (deleted)"), O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(try_fd(fd), 0);
	close(fd);
	expect_quiet(listener);
	end();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(symbolic_links, N_TRANSPORTS),
	HARNESS_CASE_EACH(relative_paths, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_folder_is_a_topic, N_TRANSPORTS),
	HARNESS_CASE_EACH(not_a_folder, N_TRANSPORTS),
	HARNESS_CASE_EACH(bind_mounts, N_TRANSPORTS),
	HARNESS_CASE_EACH(the_life_of_a_file, N_TRANSPORTS),
	HARNESS_CASE_EACH(by_descriptor, N_TRANSPORTS),
	HARNESS_CASE_EACH(descriptors_without_a_file, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "paths", .cases = cases, .teardown = transport_end });
}
