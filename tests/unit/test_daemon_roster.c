/* SPDX-License-Identifier: MIT */
/* test_daemon_roster.c - numbers that are never used again, in their order. */
#include "harness/harness.h"

#include <stdlib.h>

#include "daemon/roster.h"

enum { MANY = 2000 };

static struct roster roster;
static int items[MANY + 1]; /* by number */

static void setup(void)
{
	roster = (struct roster){ 0 };
}

static void teardown(void)
{
	roster_deinit(&roster);
}

static uint64_t add(void)
{
	uint64_t number = 0;

	ck_assert_int_eq(roster_add(&roster, &items[roster.last + 1], &number), 0);
	return number;
}

START_TEST(an_empty_one)
{
	ck_assert_ptr_null(roster_find(&roster, 0));
	ck_assert_ptr_null(roster_find(&roster, 1));
	ck_assert_ptr_null(roster_after(&roster, 0));
	ck_assert_ptr_null(roster_after(&roster, UINT64_MAX));
	roster_remove(&roster, 0);
	roster_remove(&roster, 7);
}
END_TEST

START_TEST(numbers_only_grow)
{
	ck_assert_uint_eq(add(), 1);
	ck_assert_uint_eq(add(), 2);
	roster_remove(&roster, 2);
	roster_remove(&roster, 1);
	ck_assert_ptr_null(roster_after(&roster, 0));
	ck_assert_uint_eq(add(), 3);
	ck_assert_ptr_eq(roster_after(&roster, 0), &items[3]);
	roster_remove(&roster, 3);
	roster_remove(&roster, 3);
	ck_assert_uint_eq(add(), 4);
}
END_TEST

/* Whoever goes, in whatever order, the others are found. */
START_TEST(all_others_stay)
{
	for (unsigned step = 2; step < 6; step++) {
		uint64_t first = roster.last + 1;

		for (unsigned i = 0; i < 100; i++)
			add();
		for (uint64_t i = first; i < first + 100; i++) {
			if ((i - first) % step != 0)
				roster_remove(&roster, i);
			for (uint64_t k = first; k < first + 100; k++)
				ck_assert_ptr_eq(roster_find(&roster, k), k > i || (k - first) % step == 0 ? &items[k] : NULL);
		}
		for (uint64_t i = first; i < first + 100; i++)
			roster_remove(&roster, i);
	}
}
END_TEST

/* Who walks it, by the number it had last, meets whoever stays exactly once, whatever comes and goes meanwhile. */
START_TEST(walked_while_others_come_and_go)
{
	bool there[MANY + 1] = { false };
	uint64_t at = 0;
	unsigned state = 1;

	for (unsigned i = 0; i < MANY / 2; i++)
		there[add()] = true;
	for (;;) {
		int *item = roster_after(&roster, at);
		uint64_t number, gone = 1 + (state = state * 1103515245 + 12345) / 65536 % MANY;

		if (!item)
			break;
		number = (uint64_t)(item - items);
		ck_assert_uint_gt(number, at);
		for (uint64_t i = at + 1; i < number; i++)
			ck_assert_msg(!there[i], "%u was passed over", (unsigned)i);
		ck_assert(there[number]);
		at = number;
		there[gone] = false;
		roster_remove(&roster, gone);
		if (roster.last < MANY && gone % 3 == 0)
			there[add()] = true;
		for (uint64_t i = 1; i <= MANY; i += 97)
			ck_assert_ptr_eq(roster_find(&roster, i), there[i] ? &items[i] : NULL);
	}
	for (uint64_t i = at + 1; i <= MANY; i++)
		ck_assert(!there[i]);
	for (uint64_t i = 1; i <= MANY; i++)
		ck_assert_ptr_eq(roster_find(&roster, i), there[i] ? &items[i] : NULL);
	/* What has become small takes little. */
	for (uint64_t i = 1; i <= MANY; i++)
		roster_remove(&roster, i);
	ck_assert_uint_lt(roster.room, 64);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(an_empty_one),
	HARNESS_CASE(numbers_only_grow),
	HARNESS_CASE(all_others_stay),
	HARNESS_CASE(walked_while_others_come_and_go),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){
	                            .name = "daemon-roster", .cases = cases, .setup = setup, .teardown = teardown });
}
