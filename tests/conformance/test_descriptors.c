/* SPDX-License-Identifier: MIT */
/*
 * test_descriptors.c - a full descriptor table: whichever step of a call finds it full, the call says so, leaves
 * nothing behind, and works again once there is room.
 */
#include "conformance/transports.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define MOST 16 /* more than any step needs */
#define N_FILLERS 1024

static rlim_t usual;
static int fillers[N_FILLERS], n_fillers;

static int highest(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int max = 0;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (fd != dirfd(dir) && fd > max)
			max = fd;
	}
	closedir(dir);
	return max;
}

static int count(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	if (!dir)
		return 0;
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static void set_limit(rlim_t limit)
{
	struct rlimit now;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
	if (usual == 0)
		usual = now.rlim_cur;
	now.rlim_cur = limit;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
}

/* So that exactly k more can be opened. */
static void leave_room_for(int k)
{
	int max = highest(), fd;

	for (;;) {
		fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0);
		ck_assert_int_ge(fd, 0);
		if (fd > max)
			break;
		ck_assert_int_lt(n_fillers, N_FILLERS);
		fillers[n_fillers++] = fd;
	}
	close(fd);
	set_limit((rlim_t)max + 1 + (rlim_t)k);
}

static void make_room(void)
{
	if (usual)
		set_limit(usual);
	while (n_fillers > 0)
		close(fillers[--n_fillers]);
}

static int n_descriptors(void)
{
	return count("/proc/self/fd");
}

/* Sidecars, whole or half-made. */
static int n_lanes(void)
{
	return count(harness_path("files")) + (transport_own_runtime() ? count(transport_runtime_folder()) : 0);
}

static void expect_full(int r)
{
	ck_assert_msg(r == -EMFILE, "%d (%s) instead of EMFILE", r, r < 0 ? strerror(-r) : "success");
}

/* Both hear each other. */
static void meet(pathbus *a, pathbus_topic *of_a, pathbus *b, pathbus_topic *of_b)
{
	ck_assert_int_eq(pathbus_post(of_a), 0);
	await_posts(b, 1);
	ck_assert_int_eq(pathbus_post(of_b), 0);
	await_posts(a, 1);
}

START_TEST(in_new)
{
	struct pathbus_options options;
	int n, k, r = -1;

	transport_begin(_i);
	options = transport_options();
	n = n_descriptors();
	for (k = 0; r < 0; k++) {
		pathbus *bus = NULL;

		ck_assert_int_lt(k, MOST);
		leave_room_for(k);
		r = pathbus_new(&bus, &options);
		make_room();
		if (r == 0) {
			pathbus_topic *topic = transport_open(bus, "data", 0);

			ck_assert_int_eq(pathbus_post(topic), 0);
			pathbus_free(bus);
		} else {
			expect_full(r);
			ck_assert_ptr_null(bus);
		}
		ck_assert_int_eq(n_descriptors(), n);
	}
	ck_assert_int_gt(k, 2);
}
END_TEST

/* The first member of a lane, and one that finds it there. */
static void in_open(int transport, bool first)
{
	pathbus *bus, *other;
	pathbus_topic *of_other = NULL;
	int n, n_before, k, r = -1;

	transport_begin(transport);
	bus = transport_new();
	other = transport_new();
	pathbus_close(transport_open(bus, "warm", 0)); /* what a handle makes once */
	pathbus_close(transport_open(other, "warm", 0));
	if (!first)
		of_other = transport_open(other, "data", 0);
	n = n_descriptors();
	n_before = n_lanes();
	for (k = 0; r < 0; k++) {
		pathbus_topic *topic = NULL;

		ck_assert_int_lt(k, MOST);
		leave_room_for(k);
		r = pathbus_open(bus, transport_path("data"), 0, &topic);
		make_room();
		if (r < 0) {
			expect_full(r);
			ck_assert_ptr_null(topic);
			ck_assert_int_eq(n_descriptors(), n);
			ck_assert_int_eq(n_lanes(), n_before);
			topic = transport_open(bus, "data", 0);
		}
		if (first)
			of_other = transport_open(other, "data", 0);
		meet(bus, topic, other, of_other);
		pathbus_close(topic);
		if (first)
			pathbus_close(of_other);
		expect_quiet(bus);
		ck_assert_int_eq(n_descriptors(), n);
		ck_assert_int_eq(n_lanes(), n_before);
	}
	ck_assert_int_gt(k, 1);
	pathbus_free(bus);
	pathbus_free(other);
}

START_TEST(in_the_first_open)
{
	in_open(_i, true);
}
END_TEST

START_TEST(in_another_open)
{
	in_open(_i, false);
}
END_TEST

START_TEST(in_open_by_descriptor)
{
	pathbus *bus;
	pathbus_topic *topic = NULL;
	FILE *file;
	int n;

	transport_begin(_i);
	bus = transport_new();
	harness_write_file(transport_edit("data"), "");
	file = fopen(transport_path("data"), "re");
	ck_assert_ptr_nonnull(file);
	n = n_descriptors();
	leave_room_for(0);
	ck_assert_int_eq(pathbus_open_fd(bus, fileno(file), 0, &topic), -EMFILE);
	make_room();
	ck_assert_int_eq(n_descriptors(), n);
	ck_assert_int_eq(pathbus_open_fd(bus, fileno(file), 0, &topic), 0);
	fclose(file);
	pathbus_free(bus);
}
END_TEST

START_TEST(in_the_first_wait)
{
	pathbus *bus, *other;
	pathbus_topic *topic, *of_other;
	uint64_t seen = 0, before;

	transport_begin(_i);
	bus = transport_new();
	other = transport_new();
	topic = transport_open(bus, "data", 0);
	of_other = transport_open(other, "data", 0);
	ck_assert_int_eq(pathbus_check(topic, &seen), 1);
	before = seen;
	leave_room_for(0);
	ck_assert_int_eq(pathbus_wait(topic, &seen, UINT64_MAX, 0), -EMFILE);
	ck_assert_uint_eq(seen, before);
	ck_assert_int_eq(pathbus_post(of_other), 0); /* posting, looking and taking need none */
	ck_assert_int_eq(pathbus_check(topic, &seen), 1);
	await_posts(bus, 1);
	make_room();
	ck_assert_int_eq(pathbus_wait(topic, &seen, 0, 0), 0);
	ck_assert_int_eq(pathbus_post(of_other), 0);
	ck_assert_int_eq(pathbus_wait(topic, &seen, UINT64_MAX, 0), 1);
	pathbus_free(bus);
	pathbus_free(other);
}
END_TEST

/* The last one out removes the sidecar, even then. */
START_TEST(in_close)
{
	pathbus *bus;
	pathbus_topic *topic;
	int n, n_before;

	transport_begin(_i);
	bus = transport_new();
	pathbus_close(transport_open(bus, "warm", 0));
	n = n_descriptors();
	n_before = n_lanes();
	topic = transport_open(bus, "data", 0);
	leave_room_for(0);
	pathbus_close(topic);
	make_room();
	ck_assert_int_eq(n_descriptors(), n);
	ck_assert_int_eq(n_lanes(), n_before);
	transport_open(bus, "data", 0);
	leave_room_for(0);
	pathbus_free(bus);
	make_room();
	ck_assert_int_eq(n_lanes(), n_before);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(in_new, N_TRANSPORTS),
	HARNESS_CASE_EACH(in_the_first_open, N_TRANSPORTS),
	HARNESS_CASE_EACH(in_another_open, N_TRANSPORTS),
	HARNESS_CASE_EACH(in_open_by_descriptor, N_TRANSPORTS),
	HARNESS_CASE_EACH(in_the_first_wait, N_TRANSPORTS),
	HARNESS_CASE_EACH(in_close, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "descriptors", .cases = cases, .teardown = transport_end });
}
