/* SPDX-License-Identifier: MIT */
/* test_escape.c - names as printable text. */
#include "harness/harness.h"

#include <stdio.h>
#include <string.h>

#include "escape.h"

static const struct {
	const char *from, *to;
} table[] = {
	{ "", "" },
	{ "plain-file_1.db ~", "plain-file_1.db ~" },
	{ "back\\slash", "back\\\\slash" },
	{ "tab\tline\nnul", "tab\\x09line\\x0anul" },
	{ "\x1b[31m\x7f", "\\x1b[31m\\x7f" },
	{ "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
	{ "\xe2\x82\xac \xf0\x9f\x94\x94", "\xe2\x82\xac \xf0\x9f\x94\x94" },
	{ "latin1 \xfc", "latin1 \\xfc" },
	{ "\x80\xbf", "\\x80\\xbf" }, /* continuation without a start */
	{ "\xc3", "\\xc3" },	      /* cut off */
	{ "\xe2\x82", "\\xe2\\x82" },
	{ "\xf0\x9f\x94", "\\xf0\\x9f\\x94" },
	{ "\xe2\x82"
	  "a",
	  "\\xe2\\x82"
	  "a" },
	{ "\xc0\xaf", "\\xc0\\xaf" }, /* longer than need be */
	{ "\xe0\x80\xaf", "\\xe0\\x80\\xaf" },
	{ "\xe0\x9f\xbf", "\\xe0\\x9f\\xbf" },
	{ "\xf0\x80\x80\xaf", "\\xf0\\x80\\x80\\xaf" },
	{ "\xf0\x8f\xbf\xbf", "\\xf0\\x8f\\xbf\\xbf" },
	{ "\xed\xa0\x80", "\\xed\\xa0\\x80" }, /* half of a pair */
	{ "\xed\x9f\xbf", "\xed\x9f\xbf" },
	{ "\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf" }, /* the last one */
	{ "\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80" },
	{ "\xf5\x80\x80\x80\xff", "\\xf5\\x80\\x80\\x80\\xff" },
	{ "\xc2\x85", "\\xc2\\x85" }, /* a C1 control */
	{ "\xc2\xa0", "\xc2\xa0" },
	{ "a\xe2\x80\xae"
	  "b",
	  "a\\xe2\\x80\\xae"
	  "b" }, /* right to left from here */
	{ "\xe2\x80\x8f\xd8\x9c", "\\xe2\\x80\\x8f\\xd8\\x9c" },
	{ "\xe2\x81\xa6\xe2\x81\xa9", "\\xe2\\x81\\xa6\\xe2\\x81\\xa9" },
	{ "\xe2\x80\xa8\xe2\x80\xa9", "\\xe2\\x80\\xa8\\xe2\\x80\\xa9" },
};
#define N_TABLE (int)(sizeof(table) / sizeof(table[0]))

START_TEST(escapes)
{
	char text[ESCAPE_SIZE(64)];
	size_t size = strlen(table[_i].from);

	ck_assert_uint_eq(escape(table[_i].from, size, text, ESCAPE_SIZE(size)),
			  strlen(table[_i].to));
	ck_assert_str_eq(text, table[_i].to);
}
END_TEST

START_TEST(every_byte)
{
	for (int byte = 0; byte < 256; byte++) {
		char from = (char)byte, text[ESCAPE_SIZE(1)], expected[8];

		if (byte >= 0x20 && byte < 0x7f && byte != '\\')
			snprintf(expected, sizeof(expected), "%c", byte);
		else
			snprintf(expected, sizeof(expected), byte == '\\' ? "\\\\" : "\\x%02x",
				 (unsigned)byte);
		ck_assert_uint_eq(escape(&from, 1, text, sizeof(text)), strlen(expected));
		ck_assert_str_eq(text, expected);
	}
}
END_TEST

START_TEST(cuts_at_whole_characters)
{
	static const char from[] = "a\xc3\xbc\x01\xf0\x9f\x94\x94z";
	static const char to[] = "a\xc3\xbc\\x01\xf0\x9f\x94\x94z";
	static const size_t ends[] = { 0, 1, 3, 7, 11, 12 };
	char text[32];

	for (size_t room = 1; room <= sizeof(to); room++) {
		size_t expected = 0, n;

		for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
			if (ends[i] < room)
				expected = ends[i];
		memset(text, '#', sizeof(text));
		n = escape(from, sizeof(from) - 1, text, room);
		ck_assert_uint_eq(n, expected);
		ck_assert_mem_eq(text, to, n);
		ck_assert_int_eq(text[n], '\0');
		ck_assert_int_eq(text[room], '#');
	}
	text[0] = '#';
	ck_assert_uint_eq(escape(from, sizeof(from) - 1, text, 0), 0);
	ck_assert_int_eq(text[0], '#');
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(escapes, N_TABLE),
	HARNESS_CASE(every_byte),
	HARNESS_CASE(cuts_at_whole_characters),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "escape", .cases = cases });
}
