/* SPDX-License-Identifier: MIT */
/* test_daemon_config.c - the file that is shipped says what the program knows: every key, with its range and default. */
#include "harness/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/config.h"
#include "daemon/keys.h"
#include "daemon/narrow.h"
#include "wire.h"

/* CONF: conf/pathbusd.conf */

static char *next_of(FILE *file, char *line, size_t size)
{
	if (!fgets(line, (int)size, file))
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	return line;
}

/* Every "#KEY = VALUE" in the table's order, in its section, behind a line that tells its range. */
START_TEST(every_key_is_there)
{
	char line[256], before[256] = "", section[64] = "", expected[256], value[KEY_TEXT_SIZE], range[KEY_TEXT_SIZE];
	bool restart = false;
	FILE *file = fopen(CONF, "re");
	size_t n = 0;

	ck_assert_ptr_nonnull(file);
	while (next_of(file, line, sizeof(line))) {
		if (line[0] == '[') {
			snprintf(section, sizeof(section), "%.*s", (int)strcspn(line + 1, "]"), line + 1);
			ck_assert_msg(key_section_exists(section), "[%s]", section);
		} else if (line[0] == '#' && line[1] != ' ' && line[1] != '\0' && strcmp(section, KEY_SECTION_RIGHTS) != 0) {
			const char *low, *high;

			ck_assert_msg(n < n_keys, "%s", line);
			key_normal(&keys[n], value);
			snprintf(expected, sizeof(expected), value[0] ? "#%s = %s" : "#%s =%s", keys[n].name, value);
			ck_assert_str_eq(line, expected);
			ck_assert_str_eq(section, keys[n].section);
			key_range(&keys[n], range);
			low = strstr(range, "from ");
			if (low) {
				char *end = strstr(range, " (");

				if (end)
					*end = '\0';
				high = strstr(before, low + strlen("from "));
				ck_assert_msg(high && high[strlen(low) - strlen("from ")] == '\0', "%s: '%s' is not in '%s'",
				              keys[n].name, low, before);
			}
			ck_assert_msg(restart != keys[n].live, "%s: does it need a restart?", keys[n].name);
			n++;
		} else if (line[0] != '\0' && line[0] != '#') {
			ck_abort_msg("not a comment: %s", line);
		}
		restart = line[0] == '#' && (restart || strstr(line, "(restart)"));
		snprintf(before, sizeof(before), "%s", line);
	}
	fclose(file);
	ck_assert_uint_eq(n, n_keys);
}
END_TEST

/* As the daemon takes it. 0 or -errno. */
static int take(const char *path, bool trusted, struct options *ret, char *ret_error)
{
	const struct config_place place = { .path = path, .trusted = trusted };
	struct sources files = { 0 };
	int r = config_read(&place, &files, ret_error);

	if (r == 0)
		r = options_make(&(struct options){ 0 }, &files, ret, ret_error);
	sources_deinit(&files);
	return r;
}

/* With all lines at work it changes nothing. */
START_TEST(what_it_says_is_the_default)
{
	const char *path = harness_path("conf");
	char line[256], error[CONFIG_ERROR_SIZE] = "";
	FILE *from = fopen(CONF, "re"), *to = fopen(path, "we");
	struct options options, normal;
	size_t n = 0;

	ck_assert(from && to);
	while (next_of(from, line, sizeof(line))) {
		size_t end = strlen(line);

		if (line[0] == '#' && line[1] != ' ' && end > 0 && line[end - 1] != '=' && !strstr(line, " : "))
			fprintf(to, "%s\n", line + 1);
		else if (line[0] == '[')
			fprintf(to, "%s\n", line);
	}
	fclose(from);
	fclose(to);
	ck_assert_msg(take(path, true, &options, error) == 0, "%s", error);
	ck_assert_int_eq(options_make(&(struct options){ 0 }, &(struct sources){ 0 }, &normal, error), 0);
	for (size_t i = 0; i < n_keys; i++) {
		ck_assert_msg(key_is_same(&keys[i], &options, &normal), "%s", keys[i].name);
		n += sources_find(&options.sources, keys[i].name) != NULL;
	}
	ck_assert_uint_ge(n, n_keys - 8); /* some have no default that could be written */
	options_deinit(&options);
	options_deinit(&normal);
}
END_TEST

/* The table itself. */
START_TEST(keys_are_what_they_say)
{
	struct options options = { 0 };

	for (size_t i = 0; i < n_keys; i++) {
		const struct key *key = &keys[i];
		char text[KEY_TEXT_SIZE];

		ck_assert_ptr_eq(key_find(key->name), key);
		ck_assert_msg(strlen(key->help) + 25 < 100, "%s", key->name);
		if (key->type == KEY_PATH || key->type == KEY_USER || key->type == KEY_GROUP || key->type == KEY_TARGET)
			continue;
		key_normal(key, text);
		ck_assert_int_eq(key_set(key, text, &options), 0);
		ck_assert_int_eq(key_set(key, "", &options), -EINVAL);
		ck_assert_int_eq(key_set(key, "-1", &options), -EINVAL);
		ck_assert_int_eq(key_set(key, "1x", &options), -EINVAL);
		ck_assert_int_eq(key_set(key, "99999999999999999999", &options), -EINVAL);
		if (key->type == KEY_LEVEL)
			continue;
		ck_assert_msg(key->width == 8 || (key->width == 4 && key->max <= UINT32_MAX), "%s", key->name);
		ck_assert_msg(key->min <= key->normal && key->normal <= key->max, "%s", key->name);
	}
	ck_assert_int_eq(key_set(key_find("max-region-bytes"), "3G", &options), 0);
	ck_assert_uint_eq(options.user_most[CHARGE_REGION_BYTES], UINT64_C(3) << 30);
	ck_assert_int_eq(key_set(key_find("max-region-bytes"), "5M", &options), 0);
	ck_assert_uint_eq(options.user_most[CHARGE_REGION_BYTES], UINT64_C(5) << 20);
	ck_assert_int_eq(key_set(key_find("max-message"), "1K", &options), 0);
	ck_assert_uint_eq(options.max_message, 1024);
	ck_assert_int_eq(key_set(key_find("max-message"), "1KK", &options), -EINVAL);
	ck_assert_int_eq(key_set(key_find("max-message"), "65K", &options), -EINVAL);
	ck_assert_int_eq(key_set(key_find("max-message"), "17592186044416M", &options), -EINVAL); /* 2^64 */
	ck_assert_int_eq(key_set(key_find("max-message"), "K", &options), -EINVAL);
	ck_assert_int_eq(key_set(key_find("max-regions"), "1K", &options), -EINVAL);
	ck_assert_uint_eq(options.max_message, 1024);
}
END_TEST

/* The file that is for all users: nobody but root, or who the daemon runs as, may be able to write it. */
START_TEST(whose_file_it_is)
{
	static const struct {
		mode_t mode;
		int status;
	} rows[] = { { 0600, 0 }, { 0644, 0 }, { 0664, -EINVAL }, { 0646, -EINVAL }, { 0622, -EINVAL }, { 0400, 0 } };
	const char *path = harness_path("conf");
	char error[CONFIG_ERROR_SIZE];
	struct options options;

	harness_write_file(path, "[regions]\nmax-regions = 1\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(chmod(path, rows[i].mode), 0);
		ck_assert_int_eq(take(path, true, &options, error), rows[i].status);
		if (rows[i].status == 0) {
			ck_assert_uint_eq(options.user_most[CHARGE_REGIONS], 1u);
			options_deinit(&options);
		}
		ck_assert_int_eq(take(path, false, &options, error), 0);
		options_deinit(&options);
	}
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chown(path, 65534, 0), 0);
	ck_assert_int_eq(take(path, true, &options, error), -EINVAL);
	ck_assert_int_eq(take(path, false, &options, error), 0);
	options_deinit(&options);
}
END_TEST

/* --- [rights] */

START_TEST(patterns)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} rows[] = {
		{ "/a/b", "/a/b", true }, { "/a/b", "/a/bc", false }, { "/a/b", "/a/b/c", false }, { "/a/b", "/a", false },
		{ "/a/*", "/a/b", true }, { "/a/*", "/a/.b", true }, { "/a/*", "/a/b/c", false }, { "/a/*", "/a", false },
		{ "/a/?", "/a/b", true }, { "/a/?", "/a/bb", false }, { "/a/[bc]", "/a/c", true }, { "/a/[!bc]", "/a/c", false },
		{ "/a/**", "/a", true }, { "/a/**", "/a/b", true }, { "/a/**", "/a/b/.c/d", true }, { "/a/**", "/ab", false },
		{ "/a/**", "/", false }, { "/**", "/", true }, { "/**", "/a/b", true }, { "/*", "/", false },
		{ "/a/**/z", "/a/z", true }, { "/a/**/z", "/a/b/z", true }, { "/a/**/z", "/a/b/c/z", true },
		{ "/a/**/z", "/a/b/z/c", false }, { "/a/**/z", "/a/z/b/z", true }, { "/a/**/z", "/b/z", false },
		{ "/**/b/**/d", "/a/b/c/d", true }, { "/**/b/**/d", "/b/d", true }, { "/**/b/**/d", "/a/b/c/b/x", false },
		{ "/**/b/c", "/b/x/b/c", true }, { "/**/b/c", "/b/b/b/b/c", true }, { "/**/b/c", "/b/b/b/b/c/c", false },
		{ "/a/b**", "/a/bcd", true }, { "/a/b**", "/a/bc/d", false }, { "/a/***", "/a/b/c", false },
		{ "/a/\\*", "/a/*", true }, { "/a/\\*", "/a/b", false }, { "/a/[", "/a/[", true },
		{ "/**/x", "/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/a/y", false },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		ck_assert_msg(narrow_matches(rows[i].pattern, rows[i].path) == rows[i].matches, "%s and %s", rows[i].pattern,
		              rows[i].path);
}
END_TEST

static struct narrow *rules_of(const char *const *rules)
{
	struct narrow *narrow = NULL;
	char error[NARROW_ERROR_SIZE] = "";

	for (; *rules; rules++)
		ck_assert_msg(narrow_add(&narrow, (*rules)[0] == 'p' ? WIRE_RIGHT_POST : WIRE_RIGHT_SUBSCRIBE, *rules + 1, error) == 0,
		              "%s: %s", *rules, error);
	return narrow;
}

START_TEST(who_keeps_what)
{
	static const char *const rules[] = {
		"p/srv/** : 1000, @200", "p/srv/a/** : 1000, 1001, @300", "s/srv/secret : @200", "p/frozen:", "p/root : root, @0", NULL,
	};
	static const gid_t in_300[] = { 7, 300 }, in_both[] = { 300, 200 };
	const struct narrow_who alice = { 1000, 1000, NULL, 0 }, bob = { 1001, 1001, NULL, 0 }, carol = { 1002, 200, NULL, 0 },
	                        dora = { 1003, 1003, in_300, 2 }, emil = { 1004, 1004, in_both, 2 }, root = { 0, 0, NULL, 0 };
	static const struct {
		const char *path;
		uint32_t alice, bob, carol, dora, emil, root;
	} rows[] = {
		{ "/etc/x", 3, 3, 3, 3, 3, 3 },
		{ "/srv", 3, 1, 3, 1, 3, 1 },
		{ "/srv/x", 3, 1, 3, 1, 3, 1 },
		{ "/srv/a/x", 3, 1, 1, 1, 3, 1 }, /* each rule has to name them */
		{ "/srv/secret", 2, 0, 3, 0, 3, 0 },
		{ "/srv/secret/x", 3, 1, 3, 1, 3, 1 },
		{ "/frozen", 1, 1, 1, 1, 1, 1 },
		{ "/root", 1, 1, 1, 1, 1, 3 },
		{ "", 0, 0, 1, 0, 1, 0 }, /* not known: all rules */
	};
	struct narrow *narrow = rules_of(rules);

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *path = rows[i].path;

		ck_assert_msg(narrow_rights(narrow, path, &alice, 3) == rows[i].alice, "%s", path);
		ck_assert_msg(narrow_rights(narrow, path, &bob, 3) == rows[i].bob, "%s", path);
		ck_assert_msg(narrow_rights(narrow, path, &carol, 3) == rows[i].carol, "%s", path);
		ck_assert_msg(narrow_rights(narrow, path, &dora, 3) == rows[i].dora, "%s", path);
		ck_assert_msg(narrow_rights(narrow, path, &emil, 3) == rows[i].emil, "%s", path);
		ck_assert_msg(narrow_rights(narrow, path, &root, 3) == rows[i].root, "%s", path);
		for (uint32_t rights = 0; rights <= 3; rights++)
			ck_assert_uint_eq(narrow_rights(narrow, path, &bob, rights) & ~rights, 0); /* nobody gains any */
	}
	ck_assert_uint_eq(narrow_rights(NULL, "/frozen", &bob, 3), 3);
	ck_assert(narrow_is_same(narrow, "/srv/x", "/srv/y/z"));
	ck_assert(!narrow_is_same(narrow, "/srv/x", "/home/x"));
	ck_assert(!narrow_is_same(narrow, "/home/x", ""));
	ck_assert(narrow_is_same(NULL, "/srv/x", ""));
	narrow_free(narrow);
}
END_TEST

START_TEST(rules_that_are_wrong)
{
	static const struct {
		const char *rule, *says;
	} rows[] = {
		{ "", "PATTERN : WHO" }, { "/srv/** @users", "PATTERN : WHO" }, { "srv/** : 0", "begins with /" },
		{ " : 0", "begins with /" }, { "/srv//x : 0", "empty component" }, { "/srv/../x : 0", ".." },
		{ "/srv/./x : 0", "no ." }, { "/srv/ : 0", "end with /" }, { "/srv/x\\ : 0", "nothing behind" },
		{ "/srv : no-such-user", "no user 'no-such-user'" }, { "/srv : @no-such-group", "no group '@no-such-group'" },
		{ "/srv : 0,,0", "no user ''" }, { "/srv : @", "no group" }, { "/srv : 4294967295", "no user" },
		{ "/srv : -1", "no user" }, { "/srv : 0 0", "no user" }, { "/proc/self/cwd/** : 0", "symbolic link" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char error[NARROW_ERROR_SIZE] = "";
		struct narrow *narrow = NULL;

		ck_assert_msg(narrow_add(&narrow, WIRE_RIGHT_POST, rows[i].rule, error) == -EINVAL, "%s", rows[i].rule);
		ck_assert_msg(strstr(error, rows[i].says) != NULL, "%s: '%s'", rows[i].rule, error);
		ck_assert_ptr_null(narrow);
	}
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(patterns),
	HARNESS_CASE(who_keeps_what),
	HARNESS_CASE(rules_that_are_wrong),
	HARNESS_CASE(whose_file_it_is),
	HARNESS_CASE(every_key_is_there),
	HARNESS_CASE(what_it_says_is_the_default),
	HARNESS_CASE(keys_are_what_they_say),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-config", .cases = cases });
}
