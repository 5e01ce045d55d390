/* SPDX-License-Identifier: MIT */
/* test_known.c - which messages have been told already. */
#include "known.h"

#include "harness/harness.h"

START_TEST(each_number_once)
{
	struct known known = { 0 };

	ck_assert(known_add(&known, 5, 10));
	ck_assert(!known_add(&known, 5, 10));
	ck_assert(known_add(&known, 5, 12));
	ck_assert(known_add(&known, 5, 11)); /* carried late */
	ck_assert(!known_add(&known, 5, 11));
	ck_assert(!known_has(&known, 5, 9));
	ck_assert(known_has(&known, 5, 10));
	ck_assert(!known_has(&known, 6, 10));
	ck_assert(known_add(&known, 5, 75));
	ck_assert(known_has(&known, 5, 11)); /* 64 behind, still known one by one */
	ck_assert(!known_has(&known, 5, 13));
	ck_assert(known_add(&known, 5, 13));
	ck_assert(known_add(&known, 5, 76));
	ck_assert(!known_add(&known, 5, 11)); /* further behind: taken for known */
	ck_assert(known_has(&known, 5, 12));
	ck_assert(known_add(&known, 5, 1000));
	ck_assert(!known_has(&known, 5, 999));
	known_deinit(&known);
	ck_assert(!known_has(&known, 5, 10));
}
END_TEST

START_TEST(many_origins_take_bounded_memory)
{
	struct known known = { 0 };

	ck_assert(known_add(&known, 0, 1)); /* nobody's: never known */
	ck_assert(known_add(&known, 0, 1));
	for (uint64_t i = 1; i <= 3 * KNOWN_MAX; i++) {
		if (!known_add(&known, i * 7919, 1) || known_add(&known, i * 7919, 1))
			ck_abort_msg("origin %llu", (unsigned long long)i);
		if (known.recent.used + known.before.used > KNOWN_MAX || known.recent.size + known.before.size > 2 * KNOWN_MAX)
			ck_abort_msg("%u and %u", known.recent.used, known.before.used);
	}
	known_deinit(&known);
}
END_TEST

/* Who publishes now and then is not forgotten for those who come once. */
START_TEST(a_full_table_keeps_who_goes_on)
{
	struct known known = { .max = 64 };
	uint64_t number = 1;

	for (uint64_t i = 1; i <= 1000; i++) {
		ck_assert(known_add(&known, i * 7919, 1));
		ck_assert_uint_le(known.recent.used + known.before.used, 64);
		if (i % 20 != 0)
			continue;
		ck_assert(known_add(&known, 5, number + 1));
		ck_assert(known_has(&known, 5, number + 1));
		ck_assert(!known_add(&known, 5, number + 1));
		ck_assert(number == 1 || known_has(&known, 5, number - 1));
		ck_assert(known_is_late(&known, 5, number));
		number += 2;
	}
	ck_assert(!known_has(&known, 7919, 1));
	known_deinit(&known);
	ck_assert_uint_eq(known.max, 64);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(each_number_once),
	HARNESS_CASE(many_origins_take_bounded_memory),
	HARNESS_CASE(a_full_table_keeps_who_goes_on),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "known", .cases = cases });
}
