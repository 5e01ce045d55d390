/* SPDX-License-Identifier: MIT */
/*
 * test_many_topics.c - a thousand topics in one handle: all are heard, none keeps another waiting, and nothing of
 * them is left, here or in the daemon.
 */
#include "conformance/transports.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "harness/process.h"

enum { N_TOPICS = 1000, N_DESCRIPTORS = 8 * N_TOPICS };

/* The library does not do this for its host. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	if (limit.rlim_max < N_DESCRIPTORS)
		harness_skip("at most %llu descriptors", (unsigned long long)limit.rlim_max);
	limit.rlim_cur = N_DESCRIPTORS;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

static void lower_descriptor_limit(rlim_t limit)
{
	struct rlimit now;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
	if (now.rlim_cur > limit)
		now.rlim_cur = limit;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
}

static int n_descriptors(pid_t pid)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	ck_assert_msg(dir != NULL, "%s: %s", path, strerror(errno));
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

/* Lanes that the daemon holds. Its other descriptors are its own affair: it may have started another worker. */
static int n_lanes(pid_t pid)
{
	char path[64];
	struct dirent *entry;
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	ck_assert_msg(dir != NULL, "%s: %s", path, strerror(errno));
	while ((entry = readdir(dir))) {
		char target[64] = "";

		if (readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1) > 0)
			n += strncmp(target, "/memfd:", 7) == 0;
	}
	closedir(dir);
	return n;
}

static const char *name_of(int i)
{
	static char name[16];

	snprintf(name, sizeof(name), "data%d", i);
	return name;
}

static void open_all(pathbus *bus, pathbus_topic **ret)
{
	for (int i = 0; i < N_TOPICS; i++) {
		ret[i] = transport_open(bus, name_of(i), 0);
		pathbus_set_userdata(ret[i], &ret[i]);
	}
}

static int post_on_each(struct harness_process *peer, void *arg)
{
	static pathbus_topic *topics[N_TOPICS];
	pathbus *bus;

	(void)arg;
	raise_descriptor_limit();
	bus = transport_new();
	open_all(bus, topics);
	harness_tell(peer, "open");
	harness_expect_line(peer, "post");
	for (int i = 0; i < N_TOPICS; i++)
		ck_assert_int_eq(pathbus_post(topics[i]), 0);
	harness_tell(peer, "posted");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

/* One event for each, one event per wake-up. */
static void hear_each_once(pathbus *bus, pathbus_topic **topics)
{
	static bool heard[N_TOPICS];
	struct pathbus_event event;

	memset(heard, 0, sizeof(heard));
	for (int n = 0; n < N_TOPICS; n++) {
		ptrdiff_t i;

		do
			await_readable(bus);
		while (!take(bus, &event));
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_POST);
		i = (pathbus_topic **)event.userdata - topics;
		ck_assert(i >= 0 && i < N_TOPICS);
		ck_assert_ptr_eq(event.topic, topics[i]);
		ck_assert_uint_eq(event.count, 1);
		ck_assert_msg(!heard[i], "%s twice", name_of((int)i));
		heard[i] = true;
	}
	expect_quiet(bus);
}

START_TEST(a_thousand_are_heard)
{
	static pathbus_topic *topics[N_TOPICS];
	struct harness_process poster;
	int before, before_of_daemon = 0;
	pathbus *bus;

	lower_descriptor_limit(1024); /* as it usually is, for the daemon too */
	transport_begin(_i);
	raise_descriptor_limit();
	before = n_descriptors(getpid());
	bus = transport_new();
	pathbus_close(transport_open(bus, "warm", 0)); /* what is made once */
	pathbus_free(bus);
	if (_i == ON_BUS) {
		/* The first handle is gone when the second is served. */
		bus = transport_new();
		ck_assert_int_eq(pathbus_ping(bus, NULL), 0);
		before_of_daemon = n_lanes(transport_daemon()->process.pid);
		pathbus_free(bus);
	}
	bus = transport_new();
	open_all(bus, topics);
	harness_spawn(&poster, post_on_each, NULL);
	harness_expect_line(&poster, "open");
	harness_tell(&poster, "post");
	hear_each_once(bus, topics);
	harness_expect_line(&poster, "posted");
	harness_tell(&poster, "end");
	harness_expect_exit(&poster, 0);
	expect_quiet(bus);
	for (int i = 0; i < N_TOPICS; i += 2) /* the rest with the handle */
		pathbus_close(topics[i]);
	pathbus_free(bus);
	ck_assert_int_eq(n_descriptors(getpid()), before);
	if (_i == ON_BUS)
		harness_await(n_lanes(transport_daemon()->process.pid) <= before_of_daemon);
}
END_TEST

/* However much there is to close, and however slow the daemon is, a handle that is freed says goodbye: nobody is
 * told to look again. */
START_TEST(leaving_all_of_them_is_no_death)
{
	static pathbus_topic *topics[N_TOPICS];
	struct harness_process poster;
	pathbus *bus;
	int before;

	raise_descriptor_limit();
	transport_begin(ON_BUS);
	bus = transport_new();
	open_all(bus, topics);
	before = n_lanes(transport_daemon()->process.pid);
	harness_spawn(&poster, post_on_each, NULL);
	harness_expect_line(&poster, "open");
	harness_tell(&poster, "post");
	hear_each_once(bus, topics);
	harness_expect_line(&poster, "posted");
	harness_daemon_suspend(transport_daemon());
	harness_tell(&poster, "end");
	harness_expect_exit(&poster, 0);
	harness_daemon_resume(transport_daemon());
	harness_await(n_lanes(transport_daemon()->process.pid) <= before);
	expect_quiet(bus);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_thousand_are_heard, N_FIELD_TRANSPORTS),
	HARNESS_CASE(leaving_all_of_them_is_no_death),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "many_topics", .cases = cases, .teardown = transport_end });
}
