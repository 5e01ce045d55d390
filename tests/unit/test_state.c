/* SPDX-License-Identifier: MIT */
/*
 * test_state.c - the 64-bit state of a lane: no update is lost, a value and its version belong together, whoever dies.
 */
#include "harness/harness.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "harness/process.h"
#include "lane_memory.h"
#include "os/os.h"
#include "state.h"

#define VERSION_MAX ((UINT64_C(1) << 48) - 1)

static void setup(void)
{
	lane_memory_make(8, 0);
}

#define expect_state(v, n)                                                                                           \
	do {                                                                                                         \
		struct state is_ = state_get(memory.page);                                                           \
		ck_assert_uint_eq(is_.value, v);                                                                     \
		ck_assert_uint_eq(is_.version, n);                                                                   \
	} while (0)

/* --- one after the other ------------------------------------------------------------------------------------- */

START_TEST(set_and_get)
{
	struct state ret = { 1, 1, 0 };

	expect_state(0, 0);
	for (uint64_t i = 1; i < 1000; i++) {
		unsigned owner = i % 7 ? (unsigned)(i * i % PAGE_SLOTS) : PAGE_SLOTS - 1;

		ck_assert_int_eq(state_set(memory.page, owner, NULL, ~i, i % 2 ? &ret : NULL), 0);
		if (i % 2) {
			ck_assert_uint_eq(ret.value, ~i);
			ck_assert_uint_eq(ret.version, i);
		}
		expect_state(~i, i);
	}
	/* The same again is a change, too. */
	ck_assert_int_eq(state_set(memory.page, 3, NULL, 5, NULL), 0);
	ck_assert_int_eq(state_set(memory.page, 3, NULL, 5, NULL), 0);
	expect_state(5, 1001);
}
END_TEST

START_TEST(exchange)
{
	struct state known, put, expected = { 0 }, ret = { 8, 9, 0 };

	ck_assert_int_eq(state_set(memory.page, 1, &expected, 10, &ret), 0);
	ck_assert(ret.value == 10 && ret.version == 1);
	ck_assert_int_eq(state_set(memory.page, 2, &expected, 20, &ret), -EAGAIN);
	ck_assert(ret.value == 10 && ret.version == 1);
	expect_state(10, 1);
	expected = ret;
	ck_assert_int_eq(state_set(memory.page, 2, &expected, 20, NULL), 0);
	expect_state(20, 2);
	/* Back to the old value: still another version. */
	ck_assert_int_eq(state_set(memory.page, 3, NULL, 10, NULL), 0);
	ck_assert_int_eq(state_set(memory.page, 2, &expected, 30, NULL), -EAGAIN);
	/* The version of another lane, by chance: another value. */
	ck_assert_int_eq(state_set(memory.page, 2, &(struct state){ .value = 10, .version = 3 }, 30, NULL), -EAGAIN);
	known = state_get(memory.page);
	put = known;
	ck_assert(state_put(memory.page, 5, &known, &put));
	ck_assert(!state_put(memory.page, 5, &known, &put));
	ck_assert(!state_is_still(memory.page, &known));
	ck_assert_int_eq(state_set(memory.page, 2, &known, 30, NULL), -EAGAIN);
	ck_assert(state_look(memory.page, &known));
	ck_assert_int_eq(state_set(memory.page, 2, &known, 30, NULL), 0);
	expect_state(30, 4);
}
END_TEST

START_TEST(without_a_slot)
{
	struct state ret = { 8, 9, 0 };

	ck_assert_int_eq(state_set(memory.page, PAGE_SLOTS, NULL, 1, &ret), -EUSERS);
	ck_assert_int_eq(state_set(memory.page, UINT32_MAX, NULL, 1, &ret), -EUSERS);
	ck_assert_int_eq(state_offer(memory.page, PAGE_SLOTS, &(struct state){ .value = 1, .version = 1 }), -EUSERS);
	ck_assert(ret.value == 8 && ret.version == 9);
	expect_state(0, 0);
}
END_TEST

START_TEST(offers)
{
	ck_assert_int_eq(state_offer(memory.page, 1, &(struct state){ .value = 7, .version = 0 }), 0);
	expect_state(0, 0);
	ck_assert_int_eq(state_offer(memory.page, 1, &(struct state){ .value = 7, .version = 50 }), 1);
	expect_state(7, 50);
	ck_assert_int_eq(state_offer(memory.page, 2, &(struct state){ .value = 8, .version = 50 }), 0);
	ck_assert_int_eq(state_offer(memory.page, 2, &(struct state){ .value = 8, .version = 49 }), 0);
	expect_state(7, 50);
	ck_assert_int_eq(state_set(memory.page, 2, NULL, 9, NULL), 0);
	expect_state(9, 51);
	ck_assert_int_eq(state_offer(memory.page, 1, &(struct state){ .value = 6, .version = 52 }), 1);
	expect_state(6, 52);
	/* What no lane can have: cut off it would be an older one. */
	ck_assert_int_eq(state_offer(memory.page, 1, &(struct state){ .value = 5, .version = VERSION_MAX + 1 }), 0);
	ck_assert_int_eq(state_offer(memory.page, 1, &(struct state){ .value = 5, .version = VERSION_MAX + 60 }), 0);
	ck_assert_int_eq(state_offer(memory.page, 1, &(struct state){ .value = 5, .version = UINT64_MAX }), 0);
	expect_state(6, 52);
}
END_TEST

/* Nobody gets there by setting. It is not taken for a state that was never set. */
START_TEST(last_version)
{
	ck_assert_int_eq(state_offer(memory.page, 1, &(struct state){ .value = 5, .version = VERSION_MAX - 1 }), 1);
	ck_assert_int_eq(state_set(memory.page, 2, NULL, 6, NULL), 0);
	expect_state(6, VERSION_MAX);
	ck_assert_int_eq(state_set(memory.page, 2, NULL, 7, NULL), 0);
	expect_state(7, 1);
}
END_TEST

/* --- writers that die ---------------------------------------------------------------------------------------- */

/* Between its cell and the word: it has written the cell that is not in force. */
START_TEST(dies_between_cell_and_word)
{
	_Atomic uint64_t *cells = memory.page->slots[4].state;

	ck_assert_int_eq(state_set(memory.page, 4, NULL, 100, NULL), 0);
	for (uint64_t i = 1; i < 20; i++) {
		unsigned in_force = (unsigned)atomic_load(&memory.page->state) & 1;

		ck_assert_uint_eq(atomic_load(&cells[in_force]), 99 + i);
		atomic_store(&cells[!in_force], 666);
		expect_state(99 + i, i);
		/* The next one who has the slot. */
		ck_assert_int_eq(state_set(memory.page, 4, NULL, 100 + i, NULL), 0);
		expect_state(100 + i, i + 1);
	}
	/* Another's is in force: both cells are free. */
	ck_assert_int_eq(state_set(memory.page, 5, NULL, 1, NULL), 0);
	atomic_store(&cells[0], 666);
	atomic_store(&cells[1], 667);
	expect_state(1, 21);
}
END_TEST

/* --- at once ------------------------------------------------------------------------------------------------- */

enum { N = 3 };

/* The value that belongs to a version. */
static uint64_t value_of(uint64_t version)
{
	return version * UINT64_C(0x9e3779b97f4a7c15);
}

static struct crowd {
	_Atomic uint64_t done[N];
	_Atomic bool end;
} *crowd;

struct role {
	struct harness_process process;
	unsigned number;
	unsigned owner;
};

static void crowd_make(void)
{
	crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(crowd, MAP_FAILED);
}

/* Counts, by exchanging: the value says how often. */
static int counter_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;
	struct state now = state_get(memory.page);

	(void)peer;
	while (!atomic_load(&crowd->end)) {
		int r = state_set(memory.page, role->owner, &now, value_of(now.version + 1), &now);

		if (now.value != value_of(now.version) || (r != 0 && r != -EAGAIN))
			return 1;
		if (r == 0)
			atomic_fetch_add(&crowd->done[role->number], 1);
	}
	return 0;
}

static int setter_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;

	(void)peer;
	for (uint64_t i = 0; !atomic_load(&crowd->end); i++) {
		if (state_set(memory.page, role->owner, NULL, (uint64_t)role->number << 32 | i, NULL) != 0)
			return 1;
		atomic_fetch_add(&crowd->done[role->number], 1);
	}
	return 0;
}

static uint64_t n_done(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < N; i++)
		n += atomic_load(&crowd->done[i]);
	return n;
}

START_TEST(no_update_is_lost)
{
	uint64_t until = harness_deadline(harness_full() ? 8000 : 800), version = 0;
	struct role roles[N];

	crowd_make();
	for (unsigned i = 0; i < N; i++) {
		roles[i] = (struct role){ .number = i, .owner = i * 100 };
		harness_spawn(&roles[i].process, _i ? setter_role : counter_role, &roles[i]);
	}
	while (os_now_ns() < until) {
		struct state state = state_get(memory.page);

		if (state.version < version || (!_i && state.value != value_of(state.version)))
			ck_abort_msg("version %lu", (unsigned long)state.version);
		version = state.version;
	}
	atomic_store(&crowd->end, true);
	for (unsigned i = 0; i < N; i++)
		harness_expect_exit(&roles[i].process, 0);
	ck_assert_uint_eq(state_get(memory.page).version, n_done());
	ck_assert_uint_gt(n_done(), 1000);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

/* Counters are killed wherever they are, and others get their slots. Each may have counted once more than it said. */
START_TEST(counters_are_killed)
{
	uint64_t until = harness_deadline(harness_full() ? 10000 : 1000);
	unsigned n_killed = 0, random = 1;
	struct role roles[N];

	crowd_make();
	for (unsigned i = 0; i < N; i++) {
		roles[i] = (struct role){ .number = i, .owner = i };
		harness_spawn(&roles[i].process, counter_role, &roles[i]);
	}
	while (os_now_ns() < until) {
		unsigned i = (random = random * 1664525 + 1013904223) >> 16, n = i / N % 300;
		uint64_t now;

		i %= N;
		now = atomic_load(&crowd->done[i]);
		harness_await(atomic_load(&crowd->done[i]) >= now + n);
		harness_signal(&roles[i].process, SIGKILL);
		harness_expect_signal(&roles[i].process, SIGKILL);
		n_killed++;
		harness_spawn(&roles[i].process, counter_role, &roles[i]);
	}
	atomic_store(&crowd->end, true);
	for (unsigned i = 0; i < N; i++)
		harness_expect_exit(&roles[i].process, 0);
	expect_state(value_of(state_get(memory.page).version), state_get(memory.page).version);
	ck_assert_uint_ge(state_get(memory.page).version, n_done());
	ck_assert_uint_le(state_get(memory.page).version, n_done() + n_killed);
	ck_assert_uint_gt(n_killed, 3);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

/* Two that move over at once, and one that sets: the newest of what was offered wins, or what was set upon it. */
static int offer_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;

	(void)peer;
	for (uint64_t i = 1; i <= 20000; i++) {
		struct state state = { .version = i * N + role->number };

		state.value = value_of(state.version);
		state_offer(memory.page, role->owner, &state);
	}
	return 0;
}

START_TEST(offers_at_once)
{
	struct role roles[N];
	uint64_t version = 0;

	for (unsigned i = 0; i < N; i++) {
		roles[i] = (struct role){ .number = i, .owner = i };
		harness_spawn(&roles[i].process, offer_role, &roles[i]);
	}
	while (version < 20000 * N) {
		struct state state = state_get(memory.page);

		if (state.version < version || state.value != value_of(state.version))
			ck_abort_msg("version %lu", (unsigned long)state.version);
		version = state.version;
	}
	for (unsigned i = 0; i < N; i++)
		harness_expect_exit(&roles[i].process, 0);
	expect_state(value_of(20000 * N + N - 1), 20000 * N + N - 1);
}
END_TEST

/* --- damage -------------------------------------------------------------------------------------------------- */

START_TEST(damaged_word)
{
	uint64_t random = 1, words[] = { 0xffff, UINT64_MAX, PAGE_SLOTS << 1, PAGE_SLOTS << 1 | 1, 0xffff0000, 1 };

	for (unsigned i = 0; i < 10000; i++) {
		struct state state;
		int r;

		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		atomic_store(&memory.page->state, i < 6 ? words[i] : random >> (i % 40));
		state = state_get(memory.page);
		r = state_set(memory.page, i % PAGE_SLOTS, i % 2 ? &state : NULL, i, NULL);
		ck_assert_int_eq(r, 0);
		ck_assert_uint_eq(state_get(memory.page).value, i);
	}
}
END_TEST

static int vandal_role(struct harness_process *peer, void *arg)
{
	uint64_t random = 1;

	(void)peer;
	(void)arg;
	while (!atomic_load(&crowd->end)) {
		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		atomic_store(&memory.page->state, random >> (random & 31));
	}
	return 0;
}

/* The word never rests: every call ends all the same. */
START_TEST(word_that_never_rests)
{
	uint64_t until = harness_deadline(500);
	struct role vandal;

	crowd_make();
	harness_spawn(&vandal.process, vandal_role, NULL);
	for (unsigned i = 0; os_now_ns() < until; i++) {
		struct state state = state_get(memory.page);
		int r = state_set(memory.page, i % PAGE_SLOTS, i % 2 ? &state : NULL, i, &state);

		if (r != 0 && r != -EAGAIN)
			ck_abort_msg("setting: %d", r);
		state_offer(memory.page, 1, &state);
	}
	atomic_store(&crowd->end, true);
	harness_expect_exit(&vandal.process, 0);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(set_and_get),
	HARNESS_CASE(exchange),
	HARNESS_CASE(without_a_slot),
	HARNESS_CASE(offers),
	HARNESS_CASE(last_version),
	HARNESS_CASE(dies_between_cell_and_word),
	HARNESS_CASE_EACH(no_update_is_lost, 2),
	HARNESS_CASE(counters_are_killed),
	HARNESS_CASE(offers_at_once),
	HARNESS_CASE(damaged_word),
	HARNESS_CASE(word_that_never_rests),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "state", .cases = cases, .setup = setup,
								 .teardown = lane_memory_unmake });
}
