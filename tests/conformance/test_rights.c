/* SPDX-License-Identifier: MIT */
/* test_rights.c - who may read the file may subscribe, who may write it may post. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* As an unprivileged user, whose files these are: the mode bits decide for their owner as well. */
static void begin(int transport)
{
	if (geteuid() == 0)
		(void)transport_try_own_mounts(); /* which somebody without privileges could only do by getting some */
	transport_become_nobody();
	transport_begin(transport);
}

static void make(const char *name, mode_t mode)
{
	const char *path = transport_edit(name);

	harness_write_file(path, name);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static int try(pathbus *bus, const char *name, unsigned flags)
{
	pathbus_topic *topic = NULL;
	int r = pathbus_open(bus, transport_path(name), flags, &topic);

	if (r < 0) {
		ck_assert_ptr_null(topic);
		return r;
	}
	r = pathbus_post(topic);
	pathbus_close(topic);
	ck_assert_msg(r == 0 || r == -EACCES, "post: %s", strerror(-r));
	return r == 0 ? 1 : 0; /* 1: may post as well */
}

START_TEST(flags_against_mode_bits)
{
	static const struct {
		mode_t mode;
		int neither, subscribe, post, both; /* 1: opens and posts; 0: opens */
	} rows[] = {
		{ 0600, 1, 0, 1, 1 },
		{ 0400, 0, 0, -EACCES, -EACCES },
		{ 0200, -EACCES, -EACCES, 1, -EACCES },
		{ 0000, -EACCES, -EACCES, -EACCES, -EACCES },
		{ 0066, -EACCES, -EACCES, -EACCES, -EACCES }, /* the owner's bits count, not the others' */
	};
	pathbus *bus;

	begin(_i);
	bus = transport_new();
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char name[16];

		snprintf(name, sizeof(name), "mode%o", (unsigned)rows[i].mode);
		make(name, rows[i].mode);
		ck_assert_int_eq(try(bus, name, 0), rows[i].neither);
		ck_assert_int_eq(try(bus, name, PATHBUS_SUBSCRIBE), rows[i].subscribe);
		ck_assert_int_eq(try(bus, name, PATHBUS_POST), rows[i].post);
		ck_assert_int_eq(try(bus, name, PATHBUS_POST | PATHBUS_SUBSCRIBE), rows[i].both);
		ck_assert_int_eq(try(bus, name, PATHBUS_ECHO), rows[i].neither);
	}
	pathbus_free(bus);
}
END_TEST

/* Who may only listen hears all the same; and what was decided at opening stays. */
START_TEST(a_reader_hears_a_writer)
{
	pathbus *reader, *writer;
	pathbus_topic *to, *from;

	begin(_i);
	reader = transport_new();
	writer = transport_new();
	make("data", 0600);
	from = transport_open(writer, "data", PATHBUS_POST);
	ck_assert_int_eq(chmod(transport_edit("data"), 0400), 0);
	to = transport_open(reader, "data", 0);
	ck_assert_int_eq(pathbus_post(to), -EACCES);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(reader, 1);
	ck_assert_int_eq(chmod(transport_edit("data"), 0200), 0);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(reader, 1);
	expect_quiet(writer);
	pathbus_free(reader);
	pathbus_free(writer);
}
END_TEST

START_TEST(folders_that_may_not_be_searched)
{
	pathbus *bus;
	const char *folder;

	begin(_i);
	bus = transport_new();
	folder = transport_edit("closed");
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	make("closed/data", 0600);
	ck_assert_int_eq(chmod(folder, 0600), 0);
	ck_assert_int_eq(try(bus, "closed/data", 0), -EACCES);
	ck_assert_int_eq(try(bus, "closed/missing", 0), -EACCES);
	ck_assert_int_eq(try(bus, "closed/deeper/data", 0), -EACCES);
	ck_assert_int_eq(chmod(folder, 0700), 0);
	ck_assert_int_eq(try(bus, "closed/data", 0), 1);
	pathbus_free(bus);
}
END_TEST

/* Of a file that does not exist its folder decides. */
START_TEST(missing_files)
{
	pathbus *bus;
	const char *folder;

	begin(_i);
	bus = transport_new();
	folder = transport_edit("folder");
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	ck_assert_int_eq(try(bus, "folder/missing", PATHBUS_SUBSCRIBE | PATHBUS_POST), 1);
	ck_assert_int_eq(chmod(folder, 0500), 0);
	ck_assert_int_eq(try(bus, "folder/missing", 0), 0);
	ck_assert_int_eq(try(bus, "folder/missing", PATHBUS_POST), -EACCES);
	ck_assert_int_eq(chmod(folder, 0700), 0);
	pathbus_free(bus);
}
END_TEST

/* --- the file becomes another --- */

static const int with_daemon[] = { ON_BUS, ON_SOCKET };

/* By rename, as programs do that want others to see whole files only. */
static void exchange(const char *name, mode_t mode)
{
	const char *path = transport_edit(name);

	make("exchange", mode);
	ck_assert_int_eq(rename(transport_edit("exchange"), path), 0);
}

static void await_error(pathbus *bus, pathbus_topic *topic, int error)
{
	struct pathbus_event event = { .size = sizeof(event) };

	do
		take_soon(bus, &event);
	while (event.kind != PATHBUS_EVENT_ERROR);
	ck_assert_ptr_eq(event.topic, topic);
	ck_assert_int_eq(event.error, error);
}

static bool has_moved(pathbus *bus, const pathbus_topic *topic)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	drain(bus);
	ck_assert_int_eq(pathbus_transport(topic, &transport), 0);
	return transport.kind != PATHBUS_AUTO; /* which is: on the way */
}

/* Who is still on the way to where the others are is told RESYNC instead of the post. */
static bool hears(pathbus *reader, pathbus_topic *from)
{
	struct pathbus_event event = { .size = sizeof(event) };
	bool heard = false;

	ck_assert_int_eq(pathbus_post(from), 0);
	while (take(reader, &event) > 0) {
		ck_assert_msg(event.kind == PATHBUS_EVENT_POST || event.kind == PATHBUS_EVENT_RESYNC, "%d", (int)event.kind);
		heard = heard || event.kind == PATHBUS_EVENT_POST;
	}
	return heard;
}

/* Whoever loses a right is told once, and goes on with what is left; and has it again when the file allows it. */
START_TEST(rights_come_and_go)
{
	struct pathbus_event event = { .size = sizeof(event) };
	pathbus *either, *poster, *reader;
	pathbus_topic *both, *from, *to;

	begin(with_daemon[_i]);
	either = transport_new();
	poster = transport_new();
	reader = transport_new();
	make("data", 0600);
	both = transport_open(either, "data", 0);
	from = transport_open(poster, "data", PATHBUS_POST);
	to = transport_open(reader, "data", PATHBUS_SUBSCRIBE);

	exchange("data", 0400);
	await_error(either, both, -EACCES);
	ck_assert_int_eq(pathbus_post(both), -EACCES);
	harness_await(pathbus_post(from) == -EACCES); /* who only posts listens to nothing, and finds out by that */
	await_error(poster, from, -EACCES);
	harness_await(has_moved(reader, to));
	harness_await(has_moved(either, both));
	ck_assert_int_eq(take(poster, &event), 0); /* once */
	transport_expect(to);

	/* Nobody who has lost it goes beside the file instead. */
	ck_assert_int_eq(pathbus_post(from), -EACCES);
	ck_assert_int_eq(access(transport_edit(".data.pathbus"), F_OK), -1);

	exchange("data", 0600);
	harness_await((drain(either), pathbus_post(both)) == 0);
	harness_await((drain(poster), pathbus_post(from)) == 0);
	harness_await(hears(reader, from));
	harness_await(hears(either, from));
	harness_await(hears(reader, both));
	transport_expect(both);
	transport_expect(from);
	transport_expect(to);
	pathbus_free(either);
	pathbus_free(poster);
	pathbus_free(reader);
}
END_TEST

/* Who only posts, and never looks for events, finds out by itself. */
START_TEST(rights_of_who_only_posts)
{
	pathbus *poster, *reader;
	pathbus_topic *from;

	begin(with_daemon[_i]);
	poster = transport_new();
	reader = transport_new();
	make("data", 0600);
	from = transport_open(poster, "data", PATHBUS_POST);
	transport_open(reader, "data", PATHBUS_SUBSCRIBE);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(reader, 1);
	exchange("data", 0400);
	harness_await(pathbus_post(from) == -EACCES);
	exchange("data", 0600);
	harness_await(pathbus_post(from) == 0);
	harness_await(hears(reader, from));
	pathbus_free(poster);
	pathbus_free(reader);
}
END_TEST

/* The lane is closed before anybody has listened to its bell. */
START_TEST(rights_are_lost_before_anybody_listens)
{
	pathbus *bus, *poster;
	pathbus_topic *topic, *from;

	begin(with_daemon[_i]);
	bus = transport_new();
	poster = transport_new();
	make("data", 0600);
	topic = transport_open(bus, "data", 0);
	from = transport_open(poster, "data", PATHBUS_POST);
	exchange("data", 0400);
	harness_await(pathbus_post(from) == -EACCES);
	await_error(bus, topic, -EACCES);
	harness_await(has_moved(bus, topic));
	ck_assert_int_eq(pathbus_post(topic), -EACCES);
	pathbus_free(bus);
	pathbus_free(poster);
}
END_TEST

/* Files that are exchanged all the time, as configurations are, by others of equal rights: nobody is disturbed. */
START_TEST(equal_rights_stay)
{
	pathbus *reader, *writer;
	pathbus_topic *from;

	begin(with_daemon[_i]);
	reader = transport_new();
	writer = transport_new();
	make("data", 0600);
	transport_open(reader, "data", 0);
	from = transport_open(writer, "data", PATHBUS_POST);
	for (int i = 0; i < 50; i++) {
		exchange("data", 0600);
		ck_assert_int_eq(pathbus_post(from), 0);
		await_posts(reader, 1);
	}
	pathbus_free(reader);
	pathbus_free(writer);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(rights_come_and_go, 2),
	HARNESS_CASE_EACH(rights_of_who_only_posts, 2),
	HARNESS_CASE_EACH(rights_are_lost_before_anybody_listens, 2),
	HARNESS_CASE_EACH(equal_rights_stay, 2),
	HARNESS_CASE_EACH(flags_against_mode_bits, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(a_reader_hears_a_writer, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(folders_that_may_not_be_searched, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(missing_files, N_FIELD_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "rights", .cases = cases, .teardown = transport_end });
}
