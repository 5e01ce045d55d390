/* SPDX-License-Identifier: MIT */
/* test_told.c - what of a lane was told already, and which of the missed ones are own. */
#include "told.h"

#include "harness/harness.h"
#include "lane_memory.h"
#include "own_tickets.h"

enum { SLOTS = 16 };

static struct told told;
static uint64_t at; /* ticket of the last message */

static void setup(void)
{
	lane_memory_make(SLOTS, 128);
}

static void teardown(void)
{
	known_deinit(&told.known);
	lane_memory_unmake();
}

/* Published, and read at once. */
static enum told_before take(uint64_t origin, uint64_t number)
{
	const struct ring_message message = { .origin = origin, .number = number };

	ck_assert_int_eq(ring_publish(&memory.ring, RING_NO_OWNER, &message, &at), 0);
	return told_take(&told, &memory.ring, at, &message);
}

START_TEST(a_lane_that_is_not_linked_is_told_as_it_is)
{
	ck_assert_int_eq(take(5, 1), TOLD_NEVER);
	ck_assert_int_eq(take(5, 3), TOLD_NEVER);
	ck_assert_int_eq(take(5, 2), TOLD_NEVER);
	ck_assert_int_eq(take(5, 3), TOLD_NEVER);
	ck_assert_uint_eq(told.known.recent.size, 0);
	/* What came over another lane before is no news here either. */
	ck_assert(known_add(&told.known, 5, 4));
	ck_assert_int_eq(take(5, 4), TOLD_ONCE);
	ck_assert_int_eq(take(5, 5), TOLD_NEVER);
	ck_assert_int_eq(take(5, 5), TOLD_NEVER);
}
END_TEST

START_TEST(once_and_in_order_on_a_linked_one)
{
	atomic_store(&memory.page->linked, 1);
	ck_assert_int_eq(take(5, 1), TOLD_NEVER);
	ck_assert_int_eq(take(5, 1), TOLD_ONCE);
	ck_assert_int_eq(take(5, 4), TOLD_NEVER);
	ck_assert_int_eq(take(5, 2), TOLD_LATER);
	ck_assert_int_eq(take(5, 2), TOLD_ONCE);
	ck_assert_int_eq(take(6, 2), TOLD_NEVER); /* another writer */
	ck_assert_int_eq(take(5, 1000), TOLD_NEVER);
	ck_assert_int_eq(take(5, 4), TOLD_LATER); /* too long ago to tell: RESYNC is never wrong */
	ck_assert_int_eq(take(5, 1001), TOLD_NEVER);
	ck_assert_int_eq(take(0, 1), TOLD_NEVER); /* nobody's */
	ck_assert_int_eq(take(0, 1), TOLD_NEVER);
}
END_TEST

/* What was told before it was linked is known as far as the ring has it, and what is not told yet is not. */
START_TEST(a_lane_that_is_linked_later)
{
	struct ring_message ahead = { .origin = 9, .number = 1 };
	uint64_t ticket;

	for (uint64_t i = 1; i <= 2 * SLOTS; i++)
		ck_assert_int_eq(take(i % 2 ? 5 : 6, i), TOLD_NEVER);
	ck_assert_int_eq(take(7, 10), TOLD_NEVER);
	atomic_store(&memory.page->linked, 1);
	ck_assert_int_eq(take(5, 2 * SLOTS - 1), TOLD_ONCE);
	ck_assert_int_eq(take(5, 2), TOLD_LATER);
	ck_assert_int_eq(take(7, 9), TOLD_LATER);
	ck_assert_int_eq(take(7, 11), TOLD_NEVER);

	known_deinit(&told.known);
	told.is_linked = false;
	ck_assert_int_eq(ring_publish(&memory.ring, RING_NO_OWNER, &ahead, &ticket), 0);
	told_note_ring(&told, &memory.ring, ticket);
	ck_assert(!known_has(&told.known, 9, 1));
	ck_assert(known_has(&told.known, 7, 11));
	told_note_ring(&told, &memory.ring, ticket + RING_TICKET);
	ck_assert(known_has(&told.known, 9, 1));
}
END_TEST

START_TEST(own_tickets_among_the_missed)
{
	struct own_tickets own = { 0 };
	uint64_t counted = 0, first = UINT64_MAX - 20 * RING_TICKET + 1; /* they wrap */

	ck_assert_uint_eq(own_tickets_missed(&own, first, &counted), 0);
	for (uint64_t i = 0; i < 40; i += 2)
		own_tickets_add(&own, 64, first + i * RING_TICKET);
	for (uint64_t i = 0; i < 42; i++)
		ck_assert(own_tickets_has(&own, first + i * RING_TICKET) == (i % 2 == 0 && i < 40));
	ck_assert(!own_tickets_has(&own, first - RING_TICKET));
	ck_assert_uint_eq(own_tickets_missed(&own, first, &counted), 0);
	ck_assert_uint_eq(own_tickets_missed(&own, first + RING_TICKET, &counted), 1);
	counted++; /* one that was read: the third ticket */
	ck_assert_uint_eq(own_tickets_missed(&own, first + 10 * RING_TICKET, &counted), 3);
	own_tickets_pass(&own, first + 10 * RING_TICKET);
	ck_assert_uint_eq(own.used, 15);
	ck_assert_uint_eq(own_tickets_missed(&own, first + 10 * RING_TICKET, &counted), 0);
	ck_assert_uint_eq(own_tickets_missed(&own, first + 40 * RING_TICKET, &counted), 15);
	ck_assert_uint_eq(counted, 20);
	own_tickets_reset(&own);
	counted = 0;
	ck_assert_uint_eq(own_tickets_missed(&own, first + 40 * RING_TICKET, &counted), 0);
	own_tickets_deinit(&own);
	/* No more than the ring has slots are kept; the others are counted all the same. */
	for (uint64_t i = 0; i < 100; i++)
		own_tickets_add(&own, 16, i * RING_TICKET);
	ck_assert_uint_eq(own.size, 16);
	ck_assert_uint_eq(own_tickets_missed(&own, 90 * RING_TICKET, &counted), 90);
	own_tickets_deinit(&own);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(a_lane_that_is_not_linked_is_told_as_it_is),
	HARNESS_CASE(once_and_in_order_on_a_linked_one),
	HARNESS_CASE(a_lane_that_is_linked_later),
	HARNESS_CASE(own_tickets_among_the_missed),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){
		.name = "told", .cases = cases, .setup = setup, .teardown = teardown });
}
