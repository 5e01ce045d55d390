/* SPDX-License-Identifier: MIT */
/* test_daemon_topic_rules.c - sections [topic "PATTERN"]: how they are written, and which of them holds for a path. */
#include "harness/harness.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/topic_rules.h"

/* --- headers --------------------------------------------------------------------------------------- */

START_TEST(headers)
{
	static const struct {
		const char *line, *pattern; /* NULL: it is none, */
		const char *wrong;          /* or a wrong one */
	} rows[] = {
		{ "[topic \"/srv/**\"]\n", "/srv/**", NULL },
		{ "[topic \"/srv/**\"]", "/srv/**", NULL },
		{ "[ topic\t\"/srv/**\" ]  \r\n", "/srv/**", NULL },
		{ "[topic\"/srv/**\"]", "/srv/**", NULL },
		{ "[topic \"/srv/**\"] ; a comment with \"] in it\n", "/srv/**", NULL },
		{ "[topic \"/srv/[ab]/x\"]", "/srv/[ab]/x", NULL },
		{ "[topic \"/srv/a\"]b\"]", "/srv/a\"]b", NULL },
		{ "[topic \"/srv/a\\\"] \"]", "/srv/a\\\"] ", NULL },
		{ "[topic \"/srv/a b ; c\"]", "/srv/a b ; c", NULL },
		{ "[topic \"\"]", "", NULL }, /* no pattern, but that is said of the pattern */
		{ "[topic]", NULL, "written" },
		{ "[topic", NULL, "written" },
		{ "[topic /srv/**]", NULL, "written" },
		{ "[topic \"/srv/**]", NULL, "written" },
		{ "[topic \"/srv/**\"", NULL, "written" },
		{ "[topic \"/srv/**\\\"]", NULL, "written" },
		{ "[topic \"/srv/**\"] more", NULL, "written" },
		{ "[topic \"/a\" \"/b\"] x", NULL, "written" },
		{ "[topics]", NULL, NULL },
		{ "[rights]", NULL, NULL },
		{ "topic \"/srv/**\"]", NULL, NULL },
		{ " [topic \"/srv/**\"]", NULL, NULL },
		{ "", NULL, NULL },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char pattern[64], error[TOPIC_RULES_ERROR_SIZE] = "";
		int r = topic_rules_header(rows[i].line, pattern, sizeof(pattern), error);

		ck_assert_msg(r == (rows[i].pattern ? 1 : rows[i].wrong ? -EINVAL : 0), "%s: %d", rows[i].line, r);
		if (rows[i].pattern)
			ck_assert_str_eq(pattern, rows[i].pattern);
		if (rows[i].wrong)
			ck_assert_msg(strstr(error, rows[i].wrong), "%s: %s", rows[i].line, error);
	}
}
END_TEST

START_TEST(a_pattern_that_does_not_fit)
{
	char pattern[8], error[TOPIC_RULES_ERROR_SIZE];

	ck_assert_int_eq(topic_rules_header("[topic \"/123456\"]", pattern, sizeof(pattern), error), 1);
	ck_assert_str_eq(pattern, "/123456");
	ck_assert_int_eq(topic_rules_header("[topic \"/1234567\"]", pattern, sizeof(pattern), error), -EINVAL);
}
END_TEST

/* --- values ---------------------------------------------------------------------------------------- */

static struct topic_rules *begin(struct topic_rules *rules, const char *pattern)
{
	char error[TOPIC_RULES_ERROR_SIZE] = "";

	ck_assert_msg(topic_rules_begin(&rules, pattern, "file:1", error) == 0, "%s: %s", pattern, error);
	return rules;
}

static void add(struct topic_rules *rules, const char *key, const char *value)
{
	char error[TOPIC_RULES_ERROR_SIZE] = "";

	ck_assert_msg(topic_rules_add(rules, key, value, "file:2", error) == 0, "%s = %s: %s", key, value, error);
}

static struct topic_setting find(const struct topic_rules *rules, const char *path)
{
	struct topic_setting setting;

	memset(&setting, 0x55, sizeof(setting));
	topic_rules_find(rules, path, &setting);
	return setting;
}

START_TEST(values)
{
	static const struct {
		const char *key, *good;
		uint64_t is;
	} rows[] = {
		{ "ring", "8", 8 },
		{ "ring", "65536", 65536 },
		{ "max-ring", "1000", 1000 },
		{ "max-message", "128", 128 },
		{ "max-message", "64K", 65536 },
		{ "max-message", "65536", 65536 },
		{ "keep-state", "yes", TOPIC_KEEP_EVER },
		{ "keep-state", "no", 0 },
		{ "keep-state", "90s", 90 },
		{ "keep-state", "10m", 600 },
		{ "keep-state", "24h", 86400 },
		{ "keep-state", "7d", 604800 },
		{ "keep-state", "36500d", UINT64_C(36500) * 86400 },
		{ "log", "yes", 1 },
		{ "log", "no", 0 },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct topic_rules *rules = begin(NULL, "/**");
		struct topic_setting found;
		const char *key = rows[i].key;

		add(rules, key, rows[i].good);
		found = find(rules, "/x");
		ck_assert_msg((strcmp(key, "ring") == 0            ? found.ring_slots :
		               strcmp(key, "max-ring") == 0        ? found.max_ring_slots :
		               strcmp(key, "max-message") == 0     ? found.max_message :
		               strcmp(key, "keep-state") == 0      ? found.keep_s :
		                                                     found.log) == rows[i].is,
		              "%s = %s", key, rows[i].good);
		topic_rules_free(rules);
	}
}
END_TEST

START_TEST(wrong_values)
{
	static const char *const rows[][3] = {
		{ "ring", "7", "from 8 to 65536" },
		{ "ring", "65537", "from 8 to 65536" },
		{ "ring", "1K", "from 8 to 65536" },
		{ "ring", "", "from 8 to 65536" },
		{ "ring", "-8", "from 8 to 65536" },
		{ "max-ring", "18446744073709551624", "from 8 to 65536" }, /* 2^64 + 8 */
		{ "max-ring", "eight", "not 'eight'" },
		{ "max-message", "127", "from 128 to 64K" },
		{ "max-message", "65K", "from 128 to 64K" },
		{ "max-message", "1M", "from 128 to 64K" },
		{ "max-message", "4k", "from 128 to 64K" },
		{ "max-message", "18014398509481985K", "from 128 to 64K" },
		{ "keep-state", "1", "24h" },
		{ "keep-state", "0s", "24h" },
		{ "keep-state", "1w", "24h" },
		{ "keep-state", "1hh", "24h" },
		{ "keep-state", "36501d", "100 years" },
		{ "keep-state", "18446744073709551615s", "100 years" },
		{ "keep-state", "Yes", "24h" },
		{ "keep-state", "\033[1m", "'\\x1b[1m'" },
		{ "log", "1", "yes or no" },
		{ "log", "", "yes or no" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct topic_rules *rules = begin(NULL, "/**");
		char error[TOPIC_RULES_ERROR_SIZE] = "";
		struct topic_setting found;

		ck_assert_msg(topic_rules_add(rules, rows[i][0], rows[i][1], "file:2", error) == -EINVAL, "%s = %s", rows[i][0],
		              rows[i][1]);
		ck_assert_msg(strstr(error, rows[i][2]) && strstr(error, rows[i][0]) == error, "%s = %s: %s", rows[i][0], rows[i][1],
		              error);
		found = find(rules, "/x");
		ck_assert(!found.ring_slots && !found.max_ring_slots && !found.max_message && !found.keep_s && !found.log);
		ck_assert_uint_eq(topic_rules_section(rules, 0)->n_keys, 0);
		/* And it may be set rightly then. */
		add(rules, "ring", "8");
		topic_rules_free(rules);
	}
}
END_TEST

START_TEST(wrong_sections)
{
	static const char *const patterns[] = { "", "srv", "/srv/", "/srv//x", "/srv/../x", "/srv\\", "/srv ", "/srv/x\t" };
	char error[TOPIC_RULES_ERROR_SIZE];
	struct topic_rules *rules = NULL;

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		error[0] = '\0';
		ck_assert_msg(topic_rules_begin(&rules, patterns[i], "file:1", error) == -EINVAL, "%s", patterns[i]);
		ck_assert_msg(strstr(error, "pattern"), "%s: %s", patterns[i], error);
		ck_assert_ptr_null(rules);
	}
	rules = begin(NULL, "/**");
	ck_assert_int_eq(topic_rules_add(rules, "colour", "red", "file:2", error), -ENOENT);
	add(rules, "ring", "8");
	ck_assert_int_eq(topic_rules_add(rules, "ring", "8", "file:3", error), -EINVAL);
	ck_assert_ptr_nonnull(strstr(error, "already"));
	add(rules, "post", "0");
	ck_assert_int_eq(topic_rules_add(rules, "post", "0", "file:3", error), -EINVAL);
	add(rules, "max-ring", "8");
	topic_rules_free(rules);

	/* In either order. */
	for (int i = 0; i < 2; i++) {
		rules = begin(NULL, "/**");
		add(rules, i ? "ring" : "max-ring", i ? "16" : "8");
		ck_assert_int_eq(topic_rules_add(rules, i ? "max-ring" : "ring", i ? "8" : "16", "file:3", error), -EINVAL);
		ck_assert_ptr_nonnull(strstr(error, "ring (16) is more than max-ring (8)"));
		topic_rules_free(rules);
	}
}
END_TEST

/* --- which of them --------------------------------------------------------------------------------- */

START_TEST(the_last_one_wins_for_each_key)
{
	struct topic_rules *rules = begin(NULL, "/srv/**");
	struct topic_setting found;

	add(rules, "ring", "1024");
	add(rules, "max-message", "8K");
	add(rules, "keep-state", "1h");
	add(rules, "log", "yes");
	begin(rules, "/srv/small/*");
	add(rules, "max-message", "256");
	add(rules, "keep-state", "no");
	begin(rules, "/srv/**");
	add(rules, "log", "no");
	begin(rules, "/srv/small/x");
	add(rules, "max-ring", "64");

	found = find(rules, "/srv/y");
	ck_assert(found.ring_slots == 1024 && found.max_message == 8192 && found.keep_s == 3600 && !found.log && !found.max_ring_slots);
	found = find(rules, "/srv/small/y");
	ck_assert(found.ring_slots == 1024 && found.max_message == 256 && found.keep_s == 0 && !found.log);
	/* A limit of one section is not passed by the size of another. */
	found = find(rules, "/srv/small/x");
	ck_assert(found.ring_slots == 64 && found.max_ring_slots == 64 && found.max_message == 256);
	found = find(rules, "/home/x");
	ck_assert(!found.ring_slots && !found.max_ring_slots && !found.max_message && !found.keep_s && !found.log);
	found = find(NULL, "/srv/y");
	ck_assert(!found.ring_slots && !found.max_ring_slots && !found.max_message && !found.keep_s && !found.log);

	/* A path that is not known may be any of them. */
	found = find(rules, "");
	ck_assert(found.ring_slots == 0 && found.max_ring_slots == 64 && found.max_message == 256 && found.keep_s == 0 && found.log);

	ck_assert(topic_rules_is_same(rules, "/srv/y", "/srv/other/y"));
	ck_assert(!topic_rules_is_same(rules, "/srv/y", "/home/y"));
	ck_assert(!topic_rules_is_same(rules, "/srv/small/x", "/srv/small/y"));
	ck_assert(!topic_rules_is_same(rules, "/srv/y", ""));
	ck_assert(topic_rules_is_same(NULL, "/srv/y", ""));
	topic_rules_free(rules);
}
END_TEST

START_TEST(the_least_of_limits)
{
	struct topic_rules *rules = begin(NULL, "/a");

	add(rules, "max-ring", "64");
	add(rules, "max-message", "256");
	begin(rules, "/b");
	begin(rules, "/c");
	add(rules, "max-ring", "128");
	add(rules, "max-message", "128");
	ck_assert_uint_eq(find(rules, "").max_ring_slots, 64);
	ck_assert_uint_eq(find(rules, "").max_message, 128);
	topic_rules_free(rules);
}
END_TEST

/* --- as they were written -------------------------------------------------------------------------- */

START_TEST(listing)
{
	struct topic_rules *rules = begin(NULL, "/srv/**");
	const struct topic_section *section;
	char *right;

	ck_assert_ptr_null(topic_rules_section(NULL, 0));
	add(rules, "keep-state", "24h");
	add(rules, "post", "@writers, 1000");
	right = topic_rules_right(rules, "@writers, 1000");
	ck_assert_str_eq(right, "/srv/** : @writers, 1000");
	free(right);
	begin(rules, "/srv/x");
	section = topic_rules_section(rules, 0);
	ck_assert_str_eq(section->pattern, "/srv/**");
	ck_assert_str_eq(section->from, "file:1");
	ck_assert_uint_eq(section->n_keys, 2);
	ck_assert_str_eq(section->keys[0].key, "keep-state");
	ck_assert_str_eq(section->keys[0].value, "24h");
	ck_assert_str_eq(section->keys[0].from, "file:2");
	ck_assert_str_eq(section->keys[1].key, "post");
	ck_assert_str_eq(section->keys[1].value, "@writers, 1000");
	section = topic_rules_section(rules, 1);
	ck_assert_str_eq(section->pattern, "/srv/x");
	ck_assert_uint_eq(section->n_keys, 0);
	ck_assert_ptr_null(topic_rules_section(rules, 2));
	topic_rules_free(rules);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(headers),
	HARNESS_CASE(a_pattern_that_does_not_fit),
	HARNESS_CASE(values),
	HARNESS_CASE(wrong_values),
	HARNESS_CASE(wrong_sections),
	HARNESS_CASE(the_last_one_wins_for_each_key),
	HARNESS_CASE(the_least_of_limits),
	HARNESS_CASE(listing),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-topic_rules", .cases = cases });
}
