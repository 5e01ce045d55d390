/* SPDX-License-Identifier: MIT */
/* test_daemon_glob.c - patterns of names, compared with those of the C library. */
#include "harness/harness.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/glob.h"

static bool matches(const char *pattern, const char *name)
{
	return glob_matches(pattern, strlen(pattern), name, strlen(name));
}

START_TEST(what_they_mean)
{
	static const struct {
		const char *pattern, *name;
		bool matches;
	} of[] = {
		{ "", "", true },          { "", "a", false },         { "*", "", true },          { "*", ".hidden", true },
		{ "?", "", false },        { "?", "a", true },         { "a*", "abc", true },      { "*c", "abc", true },
		{ "*b", "abc", false },    { "a*c*e", "abcde", true }, { "a**e", "abcde", true },  { "*.db", "app.db", true },
		{ "*.db", "app.db-wal", false }, { "[abc]", "b", true }, { "[abc]", "d", false },  { "[!abc]", "d", true },
		{ "[^abc]", "a", false },  { "[a-c]x", "bx", true },   { "[a-c]x", "dx", false },  { "[]]", "]", true },
		{ "[!]]", "a", true },     { "[a-]", "-", true },      { "[-a]", "-", true },      { "[\\]]", "]", true },
		{ "[[:digit:]]*", "7up", true }, { "[[:digit:]]*", "up", false }, { "[", "[", true }, { "[a", "[a", true },
		{ "\\*", "*", true },      { "\\*", "a", false },      { "a\\", "a", false },      { "*ab*ab", "abaab", true },
		{ "\xff?", "\xff\xfe", true },
	};

	for (size_t i = 0; i < sizeof(of) / sizeof(of[0]); i++)
		ck_assert_msg(matches(of[i].pattern, of[i].name) == of[i].matches, "%s %s", of[i].pattern, of[i].name);
}
END_TEST

/* Sets are made whole: of one that has no end each library thinks something else. */
START_TEST(as_the_library_does)
{
	static const char *const pieces[] = { "a", "b", "*", "?", "[ab]", "[!a]", "[a-c]", "\\*", "-", "[^]]", "[[:alpha:]]", "]" };
	static const char names[] = "abc-]*";

	srandom(1);
	for (unsigned i = 0; i < 300000; i++) {
		char pattern[128] = "", name[16];
		size_t n = (size_t)random() % 8;

		for (unsigned k = (unsigned)random() % 8; k > 0; k--)
			strcat(pattern, pieces[(size_t)random() % (sizeof(pieces) / sizeof(pieces[0]))]);
		for (size_t k = 0; k < n; k++)
			name[k] = names[(size_t)random() % (sizeof(names) - 1)];
		name[n] = '\0';
		ck_assert_msg(matches(pattern, name) == (fnmatch(pattern, name, FNM_PATHNAME) == 0), "'%s' '%s'", pattern, name);
	}
}
END_TEST

/* There are 10^50 ways to place these stars; the test's time would be over. */
START_TEST(no_pattern_takes_long)
{
	char pattern[256], name[256];

	for (size_t i = 0; i < 254; i += 2)
		memcpy(pattern + i, "*a", 2);
	strcpy(pattern + 254, "b");
	memset(name, 'a', 255);
	name[255] = '\0';
	for (unsigned i = 0; i < 100; i++)
		ck_assert(!matches(pattern, name));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(what_they_mean),
	HARNESS_CASE(as_the_library_does),
	HARNESS_CASE(no_pattern_takes_long),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-glob", .cases = cases });
}
