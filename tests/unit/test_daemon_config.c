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
			n++;
		} else if (line[0] != '\0' && line[0] != '#') {
			ck_abort_msg("not a comment: %s", line);
		}
		snprintf(before, sizeof(before), "%s", line);
	}
	fclose(file);
	ck_assert_uint_eq(n, n_keys);
}
END_TEST

/* With all lines at work it changes nothing. */
START_TEST(what_it_says_is_the_default)
{
	const char *path = harness_path("conf");
	struct options options, normal;
	char line[256];
	FILE *from = fopen(CONF, "re"), *to = fopen(path, "we");

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
	memset(&options, 0xff, sizeof(options));
	memset(&normal, 0xff, sizeof(normal));
	for (size_t i = 0; i < n_keys; i++) {
		memset((char *)&normal + keys[i].offset, 0, keys[i].width);
		key_set_normal(&keys[i], &normal);
		if (keys[i].type == KEY_PATH || keys[i].type == KEY_USER)
			key_set_normal(&keys[i], &options);
	}
	ck_assert_int_eq(config_read(path, true, &options), -1);
	ck_assert_str_eq(options.user, SERVICE_USER);
	normal.user = options.user;
	ck_assert_mem_eq(&options, &normal, sizeof(options));
	free(options.user);
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
		if (key->type == KEY_PATH || key->type == KEY_USER)
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
	ck_assert_uint_eq(options.max_region_bytes, UINT64_C(3) << 30);
	ck_assert_int_eq(key_set(key_find("max-region-bytes"), "5M", &options), 0);
	ck_assert_uint_eq(options.max_region_bytes, UINT64_C(5) << 20);
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
	} rows[] = { { 0600, -1 }, { 0644, -1 }, { 0664, 2 }, { 0646, 2 }, { 0622, 2 }, { 0400, -1 } };
	const char *path = harness_path("conf");
	struct options options;

	harness_write_file(path, "[regions]\nmax-regions = 1\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		ck_assert_int_eq(chmod(path, rows[i].mode), 0);
		options = (struct options){ 0 };
		ck_assert_int_eq(config_read(path, true, &options), rows[i].status);
		ck_assert_uint_eq(options.max_regions, rows[i].status < 0 ? 1u : 0u);
		ck_assert_int_eq(config_read(path, false, &options), -1);
	}
	if (geteuid() != 0)
		return;
	ck_assert_int_eq(chown(path, 65534, 0), 0);
	ck_assert_int_eq(config_read(path, true, &options), 2);
	ck_assert_int_eq(config_read(path, false, &options), -1);
}
END_TEST

static const struct harness_case cases[] = {
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
