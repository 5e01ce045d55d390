/* SPDX-License-Identifier: MIT */
/* test_names.c - names of every kind: any bytes, any length that the system takes. */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pathbus *poster, *listener;

static void begin(int transport)
{
	transport_begin(transport);
	poster = transport_new();
	listener = transport_new();
}

static void end(void)
{
	pathbus_free(poster);
	pathbus_free(listener);
}

/* Both open it, one is heard by the other and by nobody else. */
static void meet_at(const char *path)
{
	pathbus_topic *from, *to;
	struct pathbus_event event;
	int r;

	r = pathbus_open(listener, path, 0, &to);
	ck_assert_msg(r == 0, "%s: %s", path, strerror(-r));
	ck_assert_int_eq(pathbus_open(poster, path, 0, &from), 0);
	transport_expect(to);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_readable(listener);
	ck_assert_int_eq(take(listener, &event), 1);
	ck_assert_ptr_eq(event.topic, to);
	ck_assert_uint_eq(event.count, 1);
	expect_quiet(listener);
	pathbus_close(from);
	pathbus_close(to);
}

START_TEST(any_bytes)
{
	static const char *const names[] = {
		"\xff\xfe\x80", "caf\xe9", "line\nbreak", "tab\there", "esc\x1b[31m", " ", "~", "~0", "-",
		"a\"b'c\\d", "%s%n", ".hidden", "..two", "...", ".data.pathbus", ".pathbus", "data (deleted)",
		"\xc3\xa9", ("\xe2\x80\xae" "override"), "memfd:x", "pipe:[1]",
	};
	pathbus_topic *data;

	begin(_i);
	data = transport_open(listener, "data", 0); /* which none of them is */
	(void)data;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		meet_at(transport_path(names[i])); /* not there yet */
		if (i != 14) { /* the sidecar of `data` is there, on the way beside the file */
			harness_write_file(transport_edit(names[i]), "");
			meet_at(transport_path(names[i]));
		}
	}
	end();
}
END_TEST

START_TEST(every_length)
{
	static const char *const letters[] = { "x", "\xe4" };

	begin(_i);
	for (int n = 230; n <= NAME_MAX; n++) {
		for (size_t k = 0; k < 2; k++) {
			char name[NAME_MAX + 1];

			memset(name, letters[k][0], (size_t)n);
			name[n] = '\0';
			harness_write_file(transport_edit(name), "");
			meet_at(transport_path(name));
		}
	}
	end();
}
END_TEST

START_TEST(long_names_that_differ_at_the_end)
{
	pathbus_topic *from[2], *to[2];
	struct pathbus_event event;
	char name[NAME_MAX + 1];

	begin(_i);
	memset(name, 'x', NAME_MAX);
	name[NAME_MAX] = '\0';
	for (int i = 0; i < 2; i++) {
		name[NAME_MAX - 1] = (char)('a' + i);
		from[i] = transport_open(poster, name, 0);
		to[i] = transport_open(listener, name, 0);
	}
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pathbus_post(from[i]), 0);
		await_readable(listener);
		ck_assert_int_eq(take(listener, &event), 1);
		ck_assert_ptr_eq(event.topic, to[i]);
		expect_quiet(listener);
	}
	end();
}
END_TEST

START_TEST(too_long_a_name)
{
	pathbus_topic *topic = NULL;
	char name[NAME_MAX + 2];

	begin(_i);
	memset(name, 'x', NAME_MAX + 1);
	name[NAME_MAX + 1] = '\0';
	ck_assert_int_eq(pathbus_open(listener, transport_path(name), 0, &topic), -ENAMETOOLONG);
	ck_assert_ptr_null(topic);
	end();
}
END_TEST

/* Makes the folders of a path of exactly this length below the view, by the other way in, and returns it. */
static char *make_deep(size_t length)
{
	const char *start = transport_path("");
	char *path = malloc(length + 1), component[NAME_MAX + 1];
	int dir = open(transport_edit(""), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t at = strlen(start);

	ck_assert_int_ge(dir, 0);
	ck_assert_ptr_nonnull(path);
	strcpy(path, start);
	while (at < length) {
		size_t left = length - at, n = left <= NAME_MAX ? left : left <= NAME_MAX + 20 ? 100 : 200;
		int deeper;

		memset(component, 'd', n);
		component[n] = '\0';
		strcpy(path + at, component);
		at += n;
		if (at == length)
			break;
		path[at++] = '/';
		path[at] = '\0';
		(void)mkdirat(dir, component, 0700);
		deeper = openat(dir, component, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		ck_assert_int_ge(deeper, 0);
		close(dir);
		dir = deeper;
	}
	close(dir);
	return path;
}

START_TEST(paths_as_long_as_they_get)
{
	begin(_i);
	for (size_t length = PATH_MAX - 300; length < PATH_MAX; length += length < PATH_MAX - 5 ? 59 : 1) {
		char *path = make_deep(length);

		ck_assert_uint_eq(strlen(path), length);
		meet_at(path);
		free(path);
	}
	end();
}
END_TEST

START_TEST(paths_that_are_too_long)
{
	pathbus_topic *topic = NULL;
	char *path;

	begin(_i);
	path = make_deep(PATH_MAX);
	ck_assert_int_eq(pathbus_open(listener, path, 0, &topic), -ENAMETOOLONG);
	free(path);
	path = malloc(100000);
	ck_assert_ptr_nonnull(path);
	memset(path, '/', 99999);
	path[99999] = '\0';
	ck_assert_int_eq(pathbus_open(listener, path, 0, &topic), -ENAMETOOLONG);
	free(path);
	ck_assert_ptr_null(topic);
	end();
}
END_TEST

/* What is too long is the whole path, not what the caller wrote. */
START_TEST(relative_to_a_deep_folder)
{
	pathbus_topic *topic = NULL;
	char *path, *slash, name[NAME_MAX + 1];

	begin(_i);
	path = make_deep(PATH_MAX - 1);
	slash = strrchr(path, '/');
	*slash = '\0';
	ck_assert_int_eq(chdir(path), 0);
	meet_at(slash + 1);
	memset(name, 'd', NAME_MAX);
	name[NAME_MAX] = '\0';
	ck_assert_uint_gt(NAME_MAX, strlen(slash + 1));
	ck_assert_int_eq(pathbus_open(listener, name, 0, &topic), -ENAMETOOLONG);
	ck_assert_ptr_null(topic);
	ck_assert_int_eq(chdir("/"), 0);
	free(path);
	end();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(any_bytes, N_TRANSPORTS),
	HARNESS_CASE_EACH(every_length, N_TRANSPORTS),
	HARNESS_CASE_EACH(long_names_that_differ_at_the_end, N_TRANSPORTS),
	HARNESS_CASE_EACH(too_long_a_name, N_TRANSPORTS),
	HARNESS_CASE_EACH(paths_as_long_as_they_get, N_TRANSPORTS),
	HARNESS_CASE_EACH(paths_that_are_too_long, N_TRANSPORTS),
	HARNESS_CASE_EACH(relative_to_a_deep_folder, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "names", .cases = cases, .teardown = transport_end });
}
