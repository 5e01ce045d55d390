/* SPDX-License-Identifier: MIT */
/* test_hash.c - FNV-1a with 128 bits, against published values. */
#include "harness/harness.h"

#include <stdio.h>
#include <string.h>

#include "hash.h"

static const struct {
	const char *data, *hash;
} known[] = {
	{ "", "6c62272e07bb014262b821756295c58d" },
	{ "a", "d228cb696f1a8caf78912b704e4a8964" },
	{ "foobar", "343e1662793c64bf6f0d3597ba446f18" },
};

START_TEST(published_values)
{
	char text[HASH_TEXT_SIZE];

	hash_text(known[_i].data, strlen(known[_i].data), text);
	ck_assert_str_eq(text, known[_i].hash);
}
END_TEST

/* The same number by adding and shifting, without the halves. */
static void hash_slowly(const unsigned char *data, size_t size, char *ret)
{
	unsigned __int128 hash = (unsigned __int128)UINT64_C(0x6c62272e07bb0142) << 64 |
				 UINT64_C(0x62b821756295c58d);

	for (size_t i = 0; i < size; i++) {
		hash ^= data[i];
		hash *= ((unsigned __int128)1 << 88) + 0x13b;
	}
	snprintf(ret, HASH_TEXT_SIZE, "%016llx%016llx", (unsigned long long)(hash >> 64),
		 (unsigned long long)hash);
}

START_TEST(agrees_with_wide_multiplication)
{
	char text[HASH_TEXT_SIZE], expected[HASH_TEXT_SIZE];
	unsigned char data[300];
	uint32_t random = 1;

	for (size_t i = 0; i < sizeof(data); i++) {
		random = random * 1664525 + 1013904223;
		data[i] = (unsigned char)(random >> 24);
	}
	for (size_t size = 0; size <= sizeof(data); size++) {
		hash_text(data, size, text);
		hash_slowly(data, size, expected);
		ck_assert_str_eq(text, expected);
	}
}
END_TEST

/* From the same draft. */
START_TEST(published_numbers)
{
	ck_assert_uint_eq(hash_number("", 0), UINT64_C(0xcbf29ce484222325));
	ck_assert_uint_eq(hash_number("a", 1), UINT64_C(0xaf63dc4c8601ec8c));
	ck_assert_uint_eq(hash_number("foobar", 6), UINT64_C(0x85944171f73967e8));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(published_numbers),
	HARNESS_CASE_EACH(published_values, 3),
	HARNESS_CASE(agrees_with_wide_multiplication),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "hash", .cases = cases });
}
