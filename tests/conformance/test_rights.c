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

static const struct harness_case cases[] = {
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
