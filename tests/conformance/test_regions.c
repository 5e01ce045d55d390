/* SPDX-License-Identifier: MIT */
/* test_regions.c - named memory: who gets it, what it tells, when it goes. */
#include "conformance/transports.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/process.h"
#include "os/os.h"

enum { SIZE = 100000, N_SHARED = ON_SOCKET };

static struct pathbus_region_info info(const pathbus_region *region)
{
	struct pathbus_region_info got = { .size = sizeof(got) };

	ck_assert_int_eq(pathbus_region_get_info(region, &got), 0);
	return got;
}

static pathbus_region *create(pathbus_topic *topic, const char *name, unsigned flags)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_create(topic, name, SIZE, flags, &region);

	ck_assert_msg(r == 0, "creating %s: %s", name, strerror(-r));
	ck_assert_int_eq(info(region).place, current_transport() == ON_BUS ? PATHBUS_BUS : PATHBUS_PEER);
	return region;
}

static pathbus_region *open_region(pathbus_topic *topic, const char *name, unsigned flags)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_open(topic, name, flags, &region);

	ck_assert_msg(r == 0, "opening %s: %s", name, strerror(-r));
	return region;
}

static int try_open(pathbus_topic *topic, const char *name)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_open(topic, name, 0, &region);

	pathbus_region_close(region);
	return r;
}

static int try_create(pathbus_topic *topic, const char *name)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_create(topic, name, 1, 0, &region);

	pathbus_region_close(region);
	return r;
}

static void publish(pathbus_region *region, int byte)
{
	void *data;

	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, &data), 0);
	memset(data, byte, SIZE);
	ck_assert_int_eq(pathbus_region_end(region), 0);
}

static void expect_bytes(const unsigned char *data, int byte)
{
	for (size_t i = 0; i < SIZE; i += 999)
		ck_assert_int_eq(data[i], byte);
	ck_assert_int_eq(data[SIZE - 1], byte);
}

static void expect_published(pathbus_region *region, int byte, uint64_t version)
{
	const void *data;
	uint64_t got;

	ck_assert_int_eq(pathbus_region_read_begin(region, &data, &got), 0);
	ck_assert_uint_eq(got, version);
	expect_bytes(data, byte);
	ck_assert_int_eq(pathbus_region_read_end(region), 0);
}

static struct {
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;
} two;

static void begin_two(int transport)
{
	transport_begin(transport);
	two.a = transport_new();
	two.b = transport_new();
	two.of_a = transport_open(two.a, "data", 0);
	two.of_b = transport_open(two.b, "data", 0);
}

static void end_two(void)
{
	pathbus_free(two.a);
	pathbus_free(two.b);
}

/* The next event about a region, passing over posts. */
static struct pathbus_event next_region_event(pathbus *bus)
{
	struct pathbus_event event;

	do
		take_soon(bus, &event);
	while (event.kind == PATHBUS_EVENT_POST);
	return event;
}

/* --- coming and going ---------------------------------------------------------------------------------- */

START_TEST(shared_by_name)
{
	pathbus_region *ours, *theirs;

	begin_two(_i);
	ours = create(two.of_a, "frame", 0);
	theirs = open_region(two.of_b, "frame", 0);
	ck_assert_uint_eq(info(theirs).data_size, SIZE);
	ck_assert_str_eq(info(theirs).name, "frame");
	ck_assert(info(ours).writable && info(theirs).writable);
	ck_assert_uint_eq(info(theirs).version, 0);
	expect_published(theirs, 0, 0);
	publish(ours, 'a');
	expect_published(theirs, 'a', 1);
	publish(theirs, 'b');
	expect_published(ours, 'b', 2);
	ck_assert_uint_eq(info(ours).version, 2);
	pathbus_region_close(ours); /* who made it is no more than another holder */
	publish(theirs, 'c');
	ours = open_region(two.of_a, "frame", 0);
	expect_published(ours, 'c', 3);
	end_two();
}
END_TEST

static bool can_create(pathbus_topic *topic, const char *name)
{
	return try_create(topic, name) == 0;
}

static bool region_files_are(int n)
{
	DIR *dir = opendir(transport_runtime_folder());
	struct dirent *entry;
	int found = 0;

	while (dir && (entry = readdir(dir)))
		found += strstr(entry->d_name, ".region") != NULL;
	if (dir)
		closedir(dir);
	return found == n;
}

START_TEST(goes_with_its_last_holder)
{
	pathbus_region *ours, *theirs;

	begin_two(_i);
	ck_assert_int_eq(try_open(two.of_a, "r"), -ENOENT);
	ours = create(two.of_a, "r", 0);
	ck_assert_int_eq(try_create(two.of_a, "r"), -EEXIST);
	ck_assert_int_eq(try_create(two.of_b, "r"), -EEXIST);
	ck_assert_int_eq(try_create(two.of_b, "s"), 0);
	theirs = open_region(two.of_b, "r", 0);
	pathbus_region_close(ours);
	ck_assert_int_eq(try_create(two.of_a, "r"), -EEXIST);
	pathbus_region_close(theirs);
	ck_assert(!transport_own_runtime() || region_files_are(0));
	harness_await(try_open(two.of_a, "r") == -ENOENT);
	ours = create(two.of_a, "r", 0);
	ck_assert_uint_eq(info(ours).version, 0);
	pathbus_close(two.of_a); /* takes it along */
	harness_await(can_create(two.of_b, "r"));
	end_two();
}
END_TEST

static int hold(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);

	(void)arg;
	(void)create(topic, "r", 0);
	harness_tell(peer, "holding");
	(void)harness_hear(peer);
	return 0;
}

START_TEST(goes_when_its_holder_is_killed)
{
	struct harness_process holder;

	begin_two(_i);
	harness_allow_sidecars();
	for (int i = 0; i < 3; i++) {
		harness_spawn(&holder, hold, NULL);
		harness_expect_line(&holder, "holding");
		ck_assert_int_eq(try_create(two.of_a, "r"), -EEXIST);
		harness_signal(&holder, SIGKILL);
		harness_expect_signal(&holder, SIGKILL);
		harness_await(try_open(two.of_a, "r") == -ENOENT);
		harness_await(can_create(two.of_a, "r"));
	}
	end_two();
}
END_TEST

START_TEST(one_topic_s_is_not_another_s)
{
	pathbus_topic *other;
	pathbus_region *region;

	begin_two(_i);
	region = create(two.of_a, "r", 0);
	other = transport_open(two.b, "other", 0);
	ck_assert_int_eq(try_open(other, "r"), -ENOENT);
	ck_assert_int_eq(try_create(other, "r"), 0);
	pathbus_region_close(region);
	end_two();
}
END_TEST

START_TEST(names)
{
	char longest[257];
	const char *good[] = { "a", ".", "..", "a/b/../c", "\xff\xfe not utf-8", "new\nline", longest };

	begin_two(_i);
	memset(longest, 'n', sizeof(longest));
	longest[256] = '\0';
	ck_assert_int_eq(try_create(two.of_a, longest), -ENAMETOOLONG);
	ck_assert_int_eq(try_open(two.of_a, longest), -ENAMETOOLONG);
	longest[255] = '\0';
	ck_assert_int_eq(try_create(two.of_a, ""), -EINVAL);
	ck_assert_int_eq(try_open(two.of_a, ""), -EINVAL);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		pathbus_region *region = create(two.of_a, good[i], 0), *theirs = open_region(two.of_b, good[i], 0);

		ck_assert_str_eq(info(theirs).name, good[i]);
		publish(region, (int)i + 1);
		expect_published(theirs, (int)i + 1, 1);
	}
	end_two();
}
END_TEST

START_TEST(wrong_calls)
{
	struct pathbus_region_info wrong = { .size = 1 };
	pathbus_region *region, *none = NULL;
	const void *data;
	uint64_t version = 0;
	void *to;

	begin_two(_i);
	ck_assert_int_eq(pathbus_region_create(NULL, "r", 1, 0, &none), -EINVAL);
	ck_assert_int_eq(pathbus_region_create(two.of_a, NULL, 1, 0, &none), -EINVAL);
	ck_assert_int_eq(pathbus_region_create(two.of_a, "r", 0, 0, &none), -EINVAL);
	ck_assert_int_eq(pathbus_region_create(two.of_a, "r", (size_t)1 << 43, 0, &none), -EINVAL);
	ck_assert_int_eq(pathbus_region_create(two.of_a, "r", 1, 8, &none), -EINVAL);
	ck_assert_int_eq(pathbus_region_create(two.of_a, "r", 1, 0, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_region_open(two.of_a, "r", 1, &none), -EINVAL);
	ck_assert_int_eq(pathbus_region_replace(NULL, 1, 0, &none), -EINVAL);
	ck_assert_int_eq(pathbus_region_list(two.of_a, NULL, NULL), -EINVAL);
	ck_assert_ptr_null(none);
	ck_assert_ptr_null(pathbus_region_close(NULL));
	region = create(two.of_a, "r", 0);
	ck_assert_int_eq(pathbus_region_get_info(region, &wrong), -EINVAL);
	ck_assert_int_eq(pathbus_region_end(region), -EINVAL);
	ck_assert_int_eq(pathbus_region_read_end(region), -EINVAL);
	ck_assert_int_eq(pathbus_region_begin(region, 1, 0, &to), -EINVAL);
	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, &to), 0);
	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, &to), -EALREADY);
	ck_assert_int_eq(pathbus_region_end(region), 0);
	ck_assert_int_eq(pathbus_region_read_begin(region, &data, NULL), 0);
	ck_assert_int_eq(pathbus_region_read_begin(region, &data, NULL), -EALREADY);
	ck_assert_int_eq(pathbus_region_read_end(region), 0);
	ck_assert_int_eq(pathbus_region_wait(region, NULL, 0, 0), -EINVAL);
	ck_assert_int_eq(pathbus_region_wait(region, &version, 0, 0), 1);
	end_two();
}
END_TEST

START_TEST(not_over_the_socket)
{
	pathbus_region *region = NULL;
	pathbus_topic *topic;
	pathbus *bus;

	transport_begin(ON_SOCKET);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	ck_assert_int_eq(pathbus_region_create(topic, "r", 1, 0, &region), -EOPNOTSUPP);
	ck_assert_int_eq(pathbus_region_open(topic, "r", 0, &region), -EOPNOTSUPP);
	ck_assert_ptr_null(region);
	pathbus_free(bus);
}
END_TEST

/* --- rights ------------------------------------------------------------------------------------------------ */

static void expect_unwritable(pathbus_region *region)
{
	const void *data;
	void *to;

	ck_assert(!info(region).writable);
	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, &to), -EACCES);
	ck_assert_int_eq(pathbus_region_read_begin(region, &data, NULL), 0);
	ck_assert_int_eq(mprotect((void *)((uintptr_t)data & ~(uintptr_t)4095), 4096, PROT_READ | PROT_WRITE), -1);
	ck_assert_int_eq(errno, EACCES);
	ck_assert_int_eq(pathbus_region_read_end(region), 0);
}

START_TEST(read_only_on_request)
{
	pathbus_region *ours, *theirs;

	begin_two(_i);
	ours = create(two.of_a, "r", _i % 2 ? 0 : PATHBUS_REGION_DOUBLE);
	theirs = open_region(two.of_b, "r", PATHBUS_REGION_READ_ONLY);
	expect_unwritable(theirs);
	publish(ours, 'x');
	expect_published(theirs, 'x', 1);
	end_two();
}
END_TEST

START_TEST(rights_follow_the_file)
{
	pathbus_region *region, *none = NULL;

	if (geteuid() == 0)
		(void)transport_try_own_mounts();
	transport_become_nobody();
	transport_begin(_i);
	two.a = transport_new();
	two.b = transport_new();
	harness_write_file(transport_edit("data"), "x");
	two.of_a = transport_open(two.a, "data", 0);
	region = create(two.of_a, "r", 0);
	publish(region, 'w');
	ck_assert_int_eq(chmod(transport_edit("data"), 0400), 0);
	two.of_b = transport_open(two.b, "data", 0);
	ck_assert_int_eq(pathbus_region_create(two.of_b, "s", 1, 0, &none), -EACCES);
	none = open_region(two.of_b, "r", 0);
	expect_unwritable(none);
	expect_published(none, 'w', 1);
	ck_assert_int_eq(pathbus_region_replace(none, 1, 0, &region), -EACCES);
	end_two();
}
END_TEST

/* --- brackets ------------------------------------------------------------------------------------------------ */

START_TEST(a_torn_read_is_told)
{
	pathbus_region *ours, *theirs;
	const void *data;
	void *to;

	begin_two(_i);
	ours = create(two.of_a, "r", 0);
	theirs = open_region(two.of_b, "r", 0);
	publish(ours, 1);
	ck_assert_int_eq(pathbus_region_read_begin(theirs, &data, NULL), 0);
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), 0);
	ck_assert_int_eq(pathbus_region_read_end(theirs), -EAGAIN);
	ck_assert_int_eq(pathbus_region_read_begin(theirs, &data, NULL), -EAGAIN);
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	ck_assert_int_eq(pathbus_region_read_begin(theirs, &data, NULL), 0);
	publish(ours, 2);
	ck_assert_int_eq(pathbus_region_read_end(theirs), -EAGAIN);
	expect_published(theirs, 2, 3);
	end_two();
}
END_TEST

START_TEST(one_writer_at_a_time)
{
	pathbus_region *ours, *theirs;
	uint64_t soon;
	void *to;

	begin_two(_i);
	ours = create(two.of_a, "r", 0);
	theirs = open_region(two.of_b, "r", 0);
	publish(theirs, 1);
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), 0);
	ck_assert_int_eq(pathbus_region_begin(theirs, 0, 0, &to), -EBUSY);
	soon = os_now_ns() + 5000000;
	ck_assert_int_eq(pathbus_region_begin(theirs, 0, soon, &to), -EBUSY);
	ck_assert_uint_ge(os_now_ns(), soon);
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	publish(theirs, 2);
	/* One that is closed within its bracket is no hindrance. */
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), 0);
	pathbus_region_close(ours);
	publish(theirs, 3);
	expect_published(theirs, 3, 4);
	end_two();
}
END_TEST

START_TEST(double_has_always_a_whole_one)
{
	pathbus_region *ours, *theirs;
	const void *data;
	void *to;

	begin_two(_i);
	ours = create(two.of_a, "r", PATHBUS_REGION_DOUBLE);
	theirs = open_region(two.of_b, "r", PATHBUS_REGION_READ_ONLY);
	ck_assert_uint_eq(info(theirs).flags, PATHBUS_REGION_DOUBLE);
	publish(ours, 1);
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), 0);
	memset(to, 9, SIZE);
	expect_published(theirs, 1, 1); /* in the middle of the next one */
	ck_assert_int_eq(pathbus_region_read_begin(theirs, &data, NULL), 0);
	memset(to, 2, SIZE);
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	expect_bytes(data, 1); /* still there, though another is shown */
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), -EBUSY);
	ck_assert_int_eq(pathbus_region_begin(ours, 0, os_now_ns() + 3000000, &to), -EBUSY);
	expect_bytes(data, 1);
	ck_assert_int_eq(pathbus_region_read_end(theirs), 0);
	publish(ours, 3);
	expect_published(theirs, 3, 3);
	end_two();
}
END_TEST

/* Its own reading keeps a writer out as another's does. */
START_TEST(double_does_not_overtake_itself)
{
	pathbus_region *ours;
	const void *data;
	void *to;

	begin_two(_i);
	ours = create(two.of_a, "r", PATHBUS_REGION_DOUBLE);
	publish(ours, 1);
	ck_assert_int_eq(pathbus_region_read_begin(ours, &data, NULL), 0);
	publish(ours, 2); /* in the other frame */
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), -EBUSY);
	ck_assert_int_eq(pathbus_region_read_end(ours), 0);
	ck_assert_int_eq(pathbus_region_read_begin(ours, &data, NULL), 0);
	publish(ours, 3);
	ck_assert_int_eq(pathbus_region_begin(ours, PATHBUS_REGION_OVERTAKE, 0, &to), 0);
	ck_assert_int_eq(pathbus_region_read_end(ours), -EAGAIN);
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	expect_published(ours, 2, 4); /* the frame of version 2, which nobody has written since */
	end_two();
}
END_TEST

START_TEST(double_overtakes_if_told_to)
{
	pathbus_region *ours, *theirs;
	const void *data;
	void *to;

	begin_two(_i);
	ours = create(two.of_a, "r", PATHBUS_REGION_DOUBLE);
	theirs = open_region(two.of_b, "r", 0);
	publish(ours, 1);
	ck_assert_int_eq(pathbus_region_read_begin(theirs, &data, NULL), 0);
	publish(ours, 2);
	ck_assert_int_eq(pathbus_region_begin(ours, PATHBUS_REGION_OVERTAKE, os_now_ns() + 2000000, &to), 0);
	memset(to, 3, SIZE);
	ck_assert_int_eq(pathbus_region_read_end(theirs), -EAGAIN); /* not ended yet, and told all the same */
	expect_published(theirs, 2, 2);
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	expect_published(theirs, 3, 3);
	/* No reader is in the way: no waiting, whatever the flag. */
	ck_assert_int_eq(pathbus_region_begin(ours, PATHBUS_REGION_OVERTAKE, 0, &to), 0);
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	end_two();
}
END_TEST

static int read_and_stop(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);
	pathbus_region *region = open_region(topic, "r", *(const unsigned *)arg);
	const void *data;

	ck_assert_int_eq(pathbus_region_read_begin(region, &data, NULL), 0);
	harness_tell(peer, "reading");
	(void)harness_hear(peer);
	return 0;
}

static bool can_begin(pathbus_region *region)
{
	void *to;

	return pathbus_region_begin(region, 0, 0, &to) == 0;
}

START_TEST(a_killed_reader_is_in_nobody_s_way)
{
	static const unsigned ways[] = { 0, PATHBUS_REGION_READ_ONLY };
	struct harness_process reader;
	pathbus_region *ours;

	begin_two(_i);
	harness_allow_sidecars();
	ours = create(two.of_a, "r", PATHBUS_REGION_DOUBLE);
	for (size_t i = 0; i < 2; i++) {
		harness_spawn(&reader, read_and_stop, (void *)(uintptr_t)&ways[i]);
		harness_expect_line(&reader, "reading");
		publish(ours, 1);
		ck_assert(!can_begin(ours));
		harness_signal(&reader, SIGKILL);
		harness_expect_signal(&reader, SIGKILL);
		harness_await(can_begin(ours));
		ck_assert_int_eq(pathbus_region_end(ours), 0);
	}
	end_two();
}
END_TEST

static int write_and_stop(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);
	pathbus_region *region = open_region(topic, "r", 0);
	void *to;

	(void)arg;
	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, &to), 0);
	memset(to, 'k', SIZE / 2);
	harness_tell(peer, "writing");
	(void)harness_hear(peer);
	return 0;
}

/* i: transport, and twice that: of two frames. */
START_TEST(a_killed_writer_is_in_nobody_s_way)
{
	bool is_double = _i >= N_SHARED;
	struct harness_process writer;
	pathbus_region *ours;
	const void *data;
	void *to;

	begin_two(_i % N_SHARED);
	harness_allow_sidecars();
	ours = create(two.of_a, "r", is_double ? PATHBUS_REGION_DOUBLE : 0);
	publish(ours, 'g');
	harness_spawn(&writer, write_and_stop, NULL);
	harness_expect_line(&writer, "writing");
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), -EBUSY);
	harness_signal(&writer, SIGSTOP);
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), -EBUSY); /* stopped is not dead */
	harness_signal(&writer, SIGKILL);
	harness_expect_signal(&writer, SIGKILL);
	if (is_double)
		expect_published(ours, 'g', 1);
	else
		ck_assert_int_eq(pathbus_region_read_begin(ours, &data, NULL), -EAGAIN);
	/* Its lock ends with its mapping, which whoever reads of it in /proc may keep for a moment after its end. */
	ck_assert_int_eq(pathbus_region_begin(ours, 0, harness_now_ns() + UINT64_C(10000000000), &to), 0);
	memset(to, 'n', SIZE);
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	expect_published(ours, 'n', 2);
	end_two();
}
END_TEST

enum { N_LOAD_WRITERS = 2, N_LOAD_READERS = 2, N_LOAD_WRITES = 1500, LOAD_SIZE = 4000 };

/* Writes the version over and over; with two of them each one is written by one of them only. */
static int write_on(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);
	pathbus_region *region = open_region(topic, "r", 0);

	(void)arg;
	harness_tell(peer, "ready");
	(void)harness_hear(peer);
	for (int i = 0; i < N_LOAD_WRITES; i++) {
		uint64_t *to, next;
		void *data;

		ck_assert_int_eq(pathbus_region_begin(region, 0, UINT64_MAX, &data), 0);
		to = data;
		next = info(region).version + 1;
		for (size_t at = 0; at < LOAD_SIZE / sizeof(*to); at++)
			to[at] = next;
		ck_assert_int_eq(pathbus_region_end(region), 0);
	}
	pathbus_free(bus);
	return 0;
}

static uint64_t seen_in(const uint64_t *data, bool *ret_whole)
{
	uint64_t first = data[0];

	*ret_whole = true;
	for (size_t at = 1; at < LOAD_SIZE / sizeof(*data); at++)
		*ret_whole &= data[at] == first;
	return first;
}

static int read_on(struct harness_process *peer, void *arg)
{
	bool is_double = *(const bool *)arg, whole;
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);
	pathbus_region *region = open_region(topic, "r", PATHBUS_REGION_READ_ONLY);
	uint64_t version = 0, seen;
	const void *data;
	int r;

	harness_tell(peer, "ready");
	(void)harness_hear(peer);
	while (version < N_LOAD_WRITERS * N_LOAD_WRITES) {
		uint64_t before = version, now;

		r = pathbus_region_read_begin(region, &data, &now);
		if (r == 0) {
			seen = seen_in(data, &whole);
			r = pathbus_region_read_end(region);
			version = now;
		}
		ck_assert(r == 0 || (r == -EAGAIN && !is_double)); /* of two frames one is always whole */
		if (r == 0)
			ck_assert_msg(whole && seen == now && now >= before, "version %lu, after %lu: %lu, %s", (unsigned long)now,
			              (unsigned long)before, (unsigned long)seen, whole ? "whole" : "torn");
	}
	pathbus_free(bus);
	return 0;
}

START_TEST(whole_under_load)
{
	struct harness_process processes[N_LOAD_WRITERS + N_LOAD_READERS];
	bool is_double = _i >= N_SHARED;
	pathbus_region *region;

	begin_two(_i % N_SHARED);
	ck_assert_int_eq(pathbus_region_create(two.of_a, "r", LOAD_SIZE, is_double ? PATHBUS_REGION_DOUBLE : 0, &region), 0);
	for (int i = 0; i < N_LOAD_WRITERS + N_LOAD_READERS; i++) {
		harness_spawn(&processes[i], i < N_LOAD_WRITERS ? write_on : read_on, &is_double);
		harness_expect_line(&processes[i], "ready");
	}
	for (int i = 0; i < N_LOAD_WRITERS + N_LOAD_READERS; i++)
		harness_tell(&processes[i], "go");
	for (int i = 0; i < N_LOAD_WRITERS + N_LOAD_READERS; i++)
		harness_expect_exit(&processes[i], 0);
	ck_assert_uint_eq(info(region).version, N_LOAD_WRITERS * N_LOAD_WRITES);
	end_two();
}
END_TEST

/* --- telling ------------------------------------------------------------------------------------------------- */

START_TEST(versions_are_events)
{
	pathbus_region *ours, *theirs;
	struct pathbus_event event;

	begin_two(_i);
	ours = create(two.of_a, "r", 0);
	publish(ours, 1);
	theirs = open_region(two.of_b, "r", 0);
	drain(two.b);
	publish(ours, 2);
	publish(ours, 3);
	await_readable(two.b);
	event = next_region_event(two.b);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_REGION);
	ck_assert_ptr_eq(event.region, theirs);
	ck_assert_ptr_eq(event.topic, two.of_b);
	ck_assert_uint_eq(event.version, 3);
	ck_assert_uint_eq(event.count, 2);
	drain(two.b);
	expect_quiet(two.b);
	expect_quiet(two.a); /* one's own are no news */
	publish(theirs, 4);
	event = next_region_event(two.a);
	ck_assert_ptr_eq(event.region, ours);
	ck_assert_uint_eq(event.version, 4);
	drain(two.a);
	expect_quiet(two.a);
	expect_quiet(two.b);
	end_two();
}
END_TEST

enum { N_VERSIONS = 200 };

static int follow(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);
	pathbus_region *region = open_region(topic, "r", PATHBUS_REGION_READ_ONLY);
	uint64_t version = 0, read;
	const void *data;

	(void)arg;
	harness_tell(peer, "following");
	while (version < N_VERSIONS) {
		uint64_t before = version;

		ck_assert_int_eq(pathbus_region_wait(region, &version, UINT64_MAX, 0), 1);
		ck_assert_uint_gt(version, before);
		if (pathbus_region_read_begin(region, &data, &read) == 0) {
			int first = *(const unsigned char *)data, last = ((const unsigned char *)data)[SIZE - 1];

			if (pathbus_region_read_end(region) == 0) {
				ck_assert_int_eq(first, last);
				ck_assert_int_eq(first, (int)(read & 0xff));
			}
		}
	}
	pathbus_free(bus);
	return 0;
}

START_TEST(a_version_is_waited_for)
{
	struct harness_process follower;
	uint64_t version = 0, soon;
	pathbus_region *ours;

	begin_two(_i);
	ours = create(two.of_a, "r", _i % 2 ? PATHBUS_REGION_DOUBLE : 0);
	soon = os_now_ns() + 2000000;
	ck_assert_int_eq(pathbus_region_wait(ours, &version, soon, 0), 0);
	ck_assert_uint_ge(os_now_ns(), soon);
	harness_spawn(&follower, follow, NULL);
	harness_expect_line(&follower, "following");
	for (int i = 1; i <= N_VERSIONS; i++) {
		void *to;

		ck_assert_int_eq(pathbus_region_begin(ours, 0, UINT64_MAX, &to), 0);
		memset(to, i & 0xff, SIZE);
		ck_assert_int_eq(pathbus_region_end(ours), 0);
	}
	harness_expect_exit(&follower, 0);
	ck_assert_int_eq(pathbus_region_wait(ours, &version, 0, 0), 1);
	ck_assert_uint_eq(version, N_VERSIONS);
	end_two();
}
END_TEST

START_TEST(replaced_ones_are_kept_and_told)
{
	pathbus_region *ours, *theirs, *new, *another = NULL;
	struct pathbus_event event;
	uint64_t version = 0;

	begin_two(_i);
	ours = create(two.of_a, "r", 0);
	theirs = open_region(two.of_b, "r", 0);
	publish(ours, 1);
	drain(two.b);
	ck_assert_int_eq(pathbus_region_wait(theirs, &version, 0, 0), 1);
	ck_assert_int_eq(pathbus_region_replace(ours, 5 * SIZE, PATHBUS_REGION_DOUBLE, &new), 0);
	ck_assert_uint_eq(info(new).data_size, 5 * SIZE);
	ck_assert_uint_eq(info(new).version, 0);
	ck_assert(!info(new).replaced && info(ours).replaced);
	event = next_region_event(two.b);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_REGION_REPLACED);
	ck_assert_ptr_eq(event.region, theirs);
	ck_assert(info(theirs).replaced);
	ck_assert_int_eq(pathbus_region_wait(theirs, &version, UINT64_MAX, 0), -ESTALE);
	expect_published(theirs, 1, 1);
	publish(theirs, 2); /* still memory that the two have */
	expect_published(ours, 2, 2);
	ck_assert_int_eq(pathbus_region_replace(theirs, 1, 0, &another), -ESTALE);
	ck_assert_ptr_null(another);
	another = open_region(two.of_b, "r", 0);
	ck_assert_uint_eq(info(another).data_size, 5 * SIZE);
	ck_assert_int_eq(try_create(two.of_b, "r"), -EEXIST);
	pathbus_region_close(new);
	pathbus_region_close(another);
	drain(two.a); /* has heard of it, too, so the old one is not in the way */
	drain(two.b);
	harness_await(can_create(two.of_b, "r"));
	end_two();
}
END_TEST

/* Replaces it while there are no descriptors left. */
static int replace_in_a_full_table(pathbus_region *region)
{
	struct rlimit before, limit;
	pathbus_region *new = NULL;
	int fds[100], r;
	unsigned n = 0;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	limit = before;
	limit.rlim_cur = 100;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	while ((fds[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	r = pathbus_region_replace(region, SIZE, 0, &new);
	ck_assert_ptr_null(new);
	while (n > 0)
		close(fds[--n]);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	return r;
}

START_TEST(a_replacement_that_fails_changes_nothing)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * 4096;
	pathbus_region *ours, *new = NULL;
	int r;

	begin_two(_i);
	ours = create(two.of_a, "r", 0);
	publish(ours, 1);
	r = pathbus_region_replace(ours, all + all / 8, PATHBUS_REGION_RESERVE, &new);
	ck_assert_msg(r == -ENOSPC || r == -EDQUOT, "more than there is: %s", strerror(-r));
	ck_assert(!info(ours).replaced);
	ck_assert_int_eq(try_open(two.of_b, "r"), 0);
	ck_assert_int_eq(replace_in_a_full_table(ours), -EMFILE);
	ck_assert(!info(ours).replaced);
	ck_assert_int_eq(try_open(two.of_b, "r"), 0);
	expect_published(ours, 1, 1);
	end_two();
}
END_TEST

/* --- lists ------------------------------------------------------------------------------------------------------- */

struct listed {
	unsigned n, n_holders, n_writers;
	bool knows_us;
};

static int count_region(const struct pathbus_region_entry *entry, void *arg)
{
	struct listed *listed = arg;

	ck_assert(strncmp(entry->name, "list-", 5) == 0);
	ck_assert_uint_eq(entry->data_size, SIZE);
	ck_assert_int_eq(entry->place, current_transport() == ON_BUS ? PATHBUS_BUS : PATHBUS_PEER);
	ck_assert_uint_eq(entry->version, strcmp(entry->name, "list-1") == 0);
	ck_assert_uint_eq(entry->n_listed, entry->n_holders);
	listed->n++;
	listed->n_holders += entry->n_holders;
	for (unsigned i = 0; i < entry->n_listed; i++) {
		listed->n_writers += entry->holders[i].writes != 0;
		listed->knows_us |= entry->holders[i].pid == getpid() && entry->holders[i].uid == geteuid() &&
		                    entry->holders[i].command[0] != '\0';
	}
	return 0;
}

static int stop_at_once(const struct pathbus_region_entry *entry, void *arg)
{
	(void)entry;
	++*(int *)arg;
	return 77;
}

static struct listed list(pathbus_topic *topic)
{
	struct listed listed = { 0 };

	ck_assert_int_eq(pathbus_region_list(topic, count_region, &listed), 0);
	return listed;
}

START_TEST(lists_what_there_is)
{
	pathbus_region *one, *two_, *new;
	int calls = 0;

	begin_two(_i);
	ck_assert_uint_eq(list(two.of_a).n, 0);
	one = create(two.of_a, "list-1", 0);
	two_ = create(two.of_a, "list-2", PATHBUS_REGION_DOUBLE);
	publish(one, 1);
	(void)open_region(two.of_b, "list-1", PATHBUS_REGION_READ_ONLY);
	ck_assert_uint_eq(list(two.of_b).n, 2);
	ck_assert_uint_eq(list(two.of_b).n_holders, 3);
	ck_assert_uint_eq(list(two.of_b).n_writers, 2);
	ck_assert(list(two.of_b).knows_us);
	ck_assert_int_eq(pathbus_region_list(two.of_a, stop_at_once, &calls), 77);
	ck_assert_int_eq(calls, 1);
	ck_assert_int_eq(pathbus_region_replace(two_, SIZE, 0, &new), 0);
	ck_assert_uint_eq(list(two.of_b).n, 2);
	ck_assert_uint_eq(list(two.of_b).n_holders, 3);
	pathbus_region_close(two_);
	pathbus_region_close(new);
	harness_await(list(two.of_a).n == 1);
	end_two();
}
END_TEST

/* --- memory --------------------------------------------------------------------------------------------------------- */

START_TEST(reservation)
{
	uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * 4096;
	pathbus_region *region = NULL;
	int r;

	begin_two(_i);
	r = pathbus_region_create(two.of_a, "r", all * 4, PATHBUS_REGION_RESERVE, &region);
	ck_assert_msg(r == -ENOSPC || r == -EDQUOT, "more than there is: %s", strerror(-r));
	ck_assert_ptr_null(region);
	harness_await(try_open(two.of_a, "r") == -ENOENT); /* nothing is left of it */
	region = create(two.of_a, "r", PATHBUS_REGION_RESERVE);
	ck_assert_uint_eq(info(region).flags, PATHBUS_REGION_RESERVE);
	publish(region, 1);
	end_two();
}
END_TEST

START_TEST(huge_pages_or_what_there_is)
{
	pathbus_region *ours, *theirs;

	begin_two(_i);
	ours = create(two.of_a, "r", PATHBUS_REGION_HUGE | PATHBUS_REGION_DOUBLE);
	theirs = open_region(two.of_b, "r", 0);
	ck_assert_uint_eq(info(theirs).flags, PATHBUS_REGION_HUGE | PATHBUS_REGION_DOUBLE);
	if (current_transport() == ON_BUS)
		ck_assert_int_eq(info(ours).pages, info(theirs).pages);
	publish(ours, 7);
	expect_published(theirs, 7, 1);
	publish(ours, 8);
	expect_published(theirs, 8, 2);
	end_two();
}
END_TEST

/* --- forks ------------------------------------------------------------------------------------------------------------ */

static pathbus_region *only_ours;

static int be_child(struct harness_process *peer, void *arg)
{
	pathbus_region *region = arg, *none = NULL;
	struct pathbus_region_info got = { .size = sizeof(got) };
	const void *data;
	uint64_t version = 0;
	void *to;

	(void)peer;
	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, &to), -ECHILD);
	ck_assert_int_eq(pathbus_region_end(region), -ECHILD);
	ck_assert_int_eq(pathbus_region_read_begin(region, &data, NULL), -ECHILD);
	ck_assert_int_eq(pathbus_region_read_end(region), -ECHILD);
	ck_assert_int_eq(pathbus_region_wait(region, &version, 0, 0), -ECHILD);
	ck_assert_int_eq(pathbus_region_get_info(region, &got), -ECHILD);
	ck_assert_int_eq(pathbus_region_replace(region, 1, 0, &none), -ECHILD);
	ck_assert_int_eq(pathbus_region_create(two.of_a, "s", 1, 0, &none), -ECHILD);
	ck_assert_int_eq(pathbus_region_open(two.of_a, "r", 0, &none), -ECHILD);
	ck_assert_int_eq(pathbus_region_list(two.of_a, stop_at_once, NULL), -ECHILD);
	ck_assert_ptr_null(pathbus_region_close(region));
	ck_assert_ptr_null(pathbus_region_close(only_ours));
	pathbus_free(two.a);
	return 0;
}

START_TEST(a_forked_child_changes_nothing)
{
	struct harness_process child;
	pathbus_region *ours, *theirs;
	const void *data;
	void *to;

	begin_two(_i);
	ours = create(two.of_a, "r", PATHBUS_REGION_DOUBLE);
	only_ours = create(two.of_a, "only", 0);
	theirs = open_region(two.of_b, "r", 0);
	ck_assert_int_eq(pathbus_region_read_begin(ours, &data, NULL), 0);
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), 0);
	harness_spawn(&child, be_child, ours);
	harness_expect_exit(&child, 0);
	ck_assert_int_eq(pathbus_region_begin(theirs, 0, 0, &to), -EBUSY); /* its lock is still there */
	ck_assert_int_eq(pathbus_region_end(ours), 0);
	ck_assert_int_eq(pathbus_region_begin(theirs, 0, 0, &to), -EBUSY); /* and its reader's */
	ck_assert_int_eq(pathbus_region_read_end(ours), 0);
	publish(theirs, 2);
	ck_assert_int_eq(try_create(two.of_b, "r"), -EEXIST);
	ck_assert_int_eq(try_create(two.of_b, "only"), -EEXIST);
	ck_assert_int_eq(try_open(two.of_b, "only"), 0);
	ck_assert(!transport_own_runtime() || region_files_are(2));
	end_two();
}
END_TEST

static int linger(struct harness_process *peer, void *arg)
{
	(void)arg;
	harness_tell(peer, "here");
	(void)harness_hear(peer);
	return 0;
}

/* A child that has copies of the descriptors does not hold open what its parent has closed. */
START_TEST(closing_with_a_child_alive)
{
	struct harness_process child;
	pathbus_region *ours, *theirs;
	const void *data;
	void *to;

	begin_two(_i);
	ours = create(two.of_a, "r", PATHBUS_REGION_DOUBLE);
	theirs = open_region(two.of_b, "r", 0);
	ck_assert_int_eq(pathbus_region_read_begin(ours, &data, NULL), 0);
	ck_assert_int_eq(pathbus_region_begin(ours, 0, 0, &to), 0);
	harness_spawn(&child, linger, NULL);
	harness_expect_line(&child, "here");
	ck_assert_int_eq(pathbus_region_begin(theirs, 0, 0, &to), -EBUSY);
	pathbus_region_close(ours);
	for (int i = 1; i <= 3; i++) {
		publish(theirs, i);
		expect_published(theirs, i, (uint64_t)i);
	}
	pathbus_region_close(theirs);
	ck_assert_int_eq(try_open(two.of_b, "r"), -ENOENT);
	harness_tell(&child, "go");
	harness_expect_exit(&child, 0);
	end_two();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(shared_by_name, N_SHARED),
	HARNESS_CASE_EACH(goes_with_its_last_holder, N_SHARED),
	HARNESS_CASE_EACH(goes_when_its_holder_is_killed, N_SHARED),
	HARNESS_CASE_EACH(one_topic_s_is_not_another_s, N_SHARED),
	HARNESS_CASE_EACH(names, N_SHARED),
	HARNESS_CASE_EACH(wrong_calls, N_SHARED),
	HARNESS_CASE(not_over_the_socket),
	HARNESS_CASE_EACH(read_only_on_request, N_SHARED),
	HARNESS_CASE_EACH(rights_follow_the_file, N_SHARED - 1),
	HARNESS_CASE_EACH(a_torn_read_is_told, N_SHARED),
	HARNESS_CASE_EACH(one_writer_at_a_time, N_SHARED),
	HARNESS_CASE_EACH(double_has_always_a_whole_one, N_SHARED),
	HARNESS_CASE_EACH(double_does_not_overtake_itself, N_SHARED),
	HARNESS_CASE_EACH(double_overtakes_if_told_to, N_SHARED),
	HARNESS_CASE_EACH(a_killed_reader_is_in_nobody_s_way, N_SHARED),
	HARNESS_CASE_EACH(a_killed_writer_is_in_nobody_s_way, 2 * N_SHARED),
	HARNESS_CASE_EACH(whole_under_load, 2 * N_SHARED),
	HARNESS_CASE_EACH(versions_are_events, N_SHARED),
	HARNESS_CASE_EACH(a_version_is_waited_for, N_SHARED),
	HARNESS_CASE_EACH(replaced_ones_are_kept_and_told, N_SHARED),
	HARNESS_CASE_EACH(a_replacement_that_fails_changes_nothing, N_SHARED),
	HARNESS_CASE_EACH(lists_what_there_is, N_SHARED),
	HARNESS_CASE_EACH(reservation, N_SHARED),
	HARNESS_CASE_EACH(huge_pages_or_what_there_is, N_SHARED),
	HARNESS_CASE_EACH(a_forked_child_changes_nothing, N_SHARED),
	HARNESS_CASE_EACH(closing_with_a_child_alive, N_SHARED),
	{ 0 }
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "regions", .cases = cases, .teardown = transport_end });
}
