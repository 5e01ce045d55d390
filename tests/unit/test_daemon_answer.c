/* SPDX-License-Identifier: MIT */
/* test_daemon_answer.c - JSON as the control socket writes it. */
#include "harness/harness.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/control/answer.h"

static struct answer *answer;

static void setup(void)
{
	answer = answer_new(4096);
	ck_assert_ptr_nonnull(answer);
}

static void teardown(void)
{
	answer = answer_free(answer);
}

static void expect(const char *text)
{
	size_t size = 0;
	char *found = answer_take(answer, &size);

	ck_assert_ptr_nonnull(found);
	ck_assert_uint_eq(size, strlen(text));
	ck_assert_msg(memcmp(found, text, size) == 0, "%.*s", (int)size, found);
	free(found);
}

START_TEST(structure)
{
	answer_object(answer, NULL);
	answer_list(answer, "none");
	answer_end(answer);
	answer_list(answer, "some");
	answer_number(answer, NULL, UINT64_MAX);
	answer_object(answer, NULL);
	answer_signed(answer, "a", INT64_MIN);
	answer_bool(answer, "b", true);
	answer_end(answer);
	answer_list(answer, NULL);
	answer_null(answer, NULL);
	answer_bool(answer, NULL, false);
	answer_end(answer);
	answer_end(answer);
	answer_text(answer, "no", NULL);
	answer_end(answer);
	expect("{\"none\":[],\"some\":[18446744073709551615,{\"a\":-9223372036854775808,\"b\":true},[null,false]],\"no\":null}");
	/* And anew. */
	answer_list(answer, NULL);
	answer_end(answer);
	expect("[]");
}
END_TEST

/* What is no valid UTF-8 is told as one U+FFFD for each byte. */
START_TEST(text)
{
	static const struct {
		const char *from, *to;
	} cases_of_text[] = {
		{ "", "" },
		{ "plain /a-b_c.d", "plain /a-b_c.d" },
		{ "\" \\ / \b \n \x1f \x7f", "\\\" \\\\ / \\u0008 \\u000a \\u001f \\u007f" },
		{ "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80", "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x98\x80" },
		{ "\xff", "\xef\xbf\xbd" },
		{ "a\x80z", "a\xef\xbf\xbdz" },
		{ "\xc3", "\xef\xbf\xbd" },                                     /* cut off */
		{ "\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd" },                     /* longer than it has to be */
		{ "\xe0\x80\xaf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
		{ "\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },     /* half of a pair */
		{ "\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* no such character */
		{ "\xf0\x8f\xbf\xbf", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },
	};

	for (size_t i = 0; i < sizeof(cases_of_text) / sizeof(cases_of_text[0]); i++) {
		char wanted[256];

		snprintf(wanted, sizeof(wanted), "[\"%s\"]", cases_of_text[i].to);
		answer_list(answer, NULL);
		answer_text(answer, NULL, cases_of_text[i].from);
		answer_end(answer);
		expect(wanted);
	}
	answer_list(answer, NULL);
	answer_bytes(answer, NULL, "a\0b", 3);
	answer_end(answer);
	expect("[\"a\\u0000b\"]");
}
END_TEST

START_TEST(paths_are_told_exactly)
{
	answer_object(answer, NULL);
	answer_path(answer, "path", "/a");
	answer_path(answer, "other", "/\xff");
	answer_path(answer, "none", NULL);
	answer_end(answer);
	expect("{\"path\":\"/a\",\"other\":\"/\xef\xbf\xbd\",\"other_bytes\":\"2fff\",\"none\":null}");
}
END_TEST

START_TEST(times)
{
	answer_list(answer, NULL);
	answer_time(answer, NULL, 0);
	answer_time(answer, NULL, UINT64_C(1769860800123456789));
	answer_end(answer);
	expect("[\"1970-01-01T00:00:00.000Z\",\"2026-01-31T12:00:00.123Z\"]");
}
END_TEST

/* It stops at its limit, says so, and can be used anew. */
START_TEST(too_large)
{
	size_t size;

	answer_list(answer, NULL);
	for (unsigned i = 0; i < 4096 / 4; i++)
		answer_number(answer, NULL, 1000);
	answer_end(answer);
	ck_assert(answer_failed(answer));
	ck_assert_uint_le(answer_size(answer), 4096);
	ck_assert_ptr_null(answer_take(answer, &size));
	answer_clear(answer);
	answer_list(answer, NULL);
	answer_end(answer);
	expect("[]");
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(structure),
	HARNESS_CASE(text),
	HARNESS_CASE(paths_are_told_exactly),
	HARNESS_CASE(times),
	HARNESS_CASE(too_large),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){
	                            .name = "daemon-answer", .cases = cases, .setup = setup, .teardown = teardown });
}
