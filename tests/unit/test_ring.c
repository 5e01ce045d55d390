/* SPDX-License-Identifier: MIT */
/*
 * test_ring.c - the message ring: what is published is delivered or counted as missed, whoever stands still or dies
 * on the way. test_ring_random.c has what happens in any order.
 */
#include "harness/harness.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/process.h"
#include "lane_memory.h"
#include "os/os.h"
#include "state.h"

#define MOST 100u /* bytes of key and data of a checked message */
#define ORIGIN 77u

/* --- publishing and reading ---------------------------------------------------------------------------------- */

static uint64_t n_published; /* of publish */

static void publish(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct ring_message message = lane_memory_message(ORIGIN, ++n_published, MOST);
		int r = ring_publish(&memory.ring, 3, &message, NULL);

		if (r != 0)
			ck_abort_msg("message %u of %u: %d", i, n, r);
	}
}

struct tally {
	struct ring_cursor cursor;
	struct ring_message message; /* the last */
	uint64_t delivered, missed, gaps, stalls;
	uint64_t number; /* of ORIGIN's last */
	bool bad;        /* torn, twice, or out of order */
	void *buffer;
};

static void tally_begin(struct tally *tally, uint32_t last)
{
	*tally = (struct tally){ .buffer = malloc(RING_BUFFER_SIZE(memory.ring.max_message)) };
	ck_assert_ptr_nonnull(tally->buffer);
	ring_baseline(&memory.ring, last, &tally->cursor);
}

static void tally_end(struct tally *tally)
{
	free(tally->buffer);
}

static enum ring_read take(struct tally *tally)
{
	uint64_t missed = 0;
	enum ring_read r = ring_read(&memory.ring, &tally->cursor, &tally->message, tally->buffer, &missed);

	if (r == RING_GAP) {
		tally->gaps++;
		tally->missed += missed;
		tally->bad |= missed == 0;
	} else if (r == RING_MESSAGE) {
		tally->delivered++;
		tally->bad |= !lane_memory_is_whole(&tally->message, MOST);
		if (tally->message.origin == ORIGIN) {
			tally->bad |= tally->message.number <= tally->number;
			tally->number = tally->message.number;
		}
	} else if (r == RING_STALLED) {
		tally->stalls++;
	}
	return r;
}

/* To the end, past everybody who stands still. */
static void read_all(struct tally *tally)
{
	uint64_t end = harness_deadline(harness_limit_ms);

	for (;;) {
		enum ring_read r = take(tally);

		if (r == RING_EMPTY)
			break;
		if (r == RING_STALLED || r == RING_BUSY)
			harness_await_more(end, __FILE__, __LINE__, "the end of the ring");
	}
	ck_assert(!tally->bad);
}

/* To the end or to who stands still. */
static enum ring_read read_some(struct tally *tally)
{
	enum ring_read r;

	do
		r = take(tally);
	while (r == RING_MESSAGE || r == RING_GAP || r == RING_BUSY);
	ck_assert(!tally->bad);
	return r;
}

#define expect_tally(tally, n_delivered, n_missed)                                                                   \
	do {                                                                                                         \
		ck_assert_uint_eq((tally)->delivered, n_delivered);                                                  \
		ck_assert_uint_eq((tally)->missed, n_missed);                                                        \
	} while (0)

/* --- a writer that stops on its way -------------------------------------------------------------------------- */

struct writer {
	struct harness_process process;
	unsigned owner;
	uint64_t origin, number;
	enum ring_step step; /* RING_N_STEPS: none */
};

static enum ring_step stop_step;
static bool has_stopped;

static void seam(enum ring_step step)
{
	if (step != stop_step || has_stopped)
		return;
	has_stopped = true;
	kill(getpid(), SIGSTOP);
}

static int writer_run(struct harness_process *peer, void *arg)
{
	const struct writer *writer = arg;
	struct ring_message message = lane_memory_message(writer->origin, writer->number, MOST);

	(void)peer;
	stop_step = writer->step;
	ring_seam = seam;
	return ring_publish(&memory.ring, writer->owner, &message, NULL) == 0 ? 0 : 1;
}

/* Returns when it stands still. */
static void writer_start(struct writer *writer, unsigned owner, enum ring_step step)
{
	int status;

	*writer = (struct writer){ .owner = owner, .origin = 1000 + owner, .number = 1, .step = step };
	harness_spawn(&writer->process, writer_run, writer);
	ck_assert_int_eq(waitpid(writer->process.pid, &status, WUNTRACED), writer->process.pid);
	ck_assert(WIFSTOPPED(status));
}

static void writer_continue(struct writer *writer)
{
	harness_signal(&writer->process, SIGCONT);
	harness_expect_exit(&writer->process, 0);
}

static void writer_kill(struct writer *writer)
{
	harness_signal(&writer->process, SIGKILL);
	harness_expect_signal(&writer->process, SIGKILL);
}

/* --- what a message is --------------------------------------------------------------------------------------- */

static void roundtrip(uint32_t key_size, uint32_t data_size)
{
	/* From an odd address, in memory that ends there. */
	unsigned char *bytes = malloc(1 + key_size + data_size), *key = bytes + 1, *data = key + key_size;
	uint64_t buffer[RING_BUFFER_SIZE(LANE_MAX_MESSAGE) / 8], missed, ticket = 1;
	struct ring_message message = {
		.origin = UINT64_MAX - 1, .number = UINT64_MAX - 2, .before = UINT64_MAX - 3, .time_ns = UINT64_MAX - 4,
		.pid = UINT32_MAX - 5, .uid = UINT32_MAX - 6,
		.key = key_size ? key : NULL, .data = data_size ? data : NULL,
		.key_size = key_size, .data_size = data_size,
	}, got;
	struct ring_cursor cursor;

	for (uint32_t i = 0; i < 1 + key_size + data_size; i++)
		bytes[i] = (unsigned char)(i * 7 + i / 256 + 1);
	ring_baseline(&memory.ring, 0, &cursor);
	ck_assert_int_eq(ring_publish(&memory.ring, 1, &message, &ticket), 0);
	ck_assert_uint_eq(ticket, cursor.at);
	ck_assert_int_eq(ring_read(&memory.ring, &cursor, &got, buffer, &missed), RING_MESSAGE);
	ck_assert(got.origin == message.origin && got.number == message.number && got.before == message.before &&
		  got.time_ns == message.time_ns && got.pid == message.pid && got.uid == message.uid);
	ck_assert_uint_eq(got.key_size, key_size);
	ck_assert_uint_eq(got.data_size, data_size);
	if (key_size > 0)
		ck_assert_mem_eq(got.key, key, key_size);
	if (data_size > 0)
		ck_assert_mem_eq(got.data, data, data_size);
	ck_assert_int_eq(ring_read(&memory.ring, &cursor, &got, buffer, &missed), RING_EMPTY);
	free(bytes);
}

START_TEST(sizes)
{
	static const uint32_t limits[] = { LANE_MIN_MESSAGE, 129, 4096, LANE_MAX_MESSAGE };
	uint32_t most = limits[_i];
	const uint32_t data_sizes[] = { 0,  1,  2,  7,  8,   9,   63,       64,       65,
					71, 72, 73, 74, 127, 128, most - 9, most - 1, most };
	const uint32_t key_sizes[] = { 0, 1, 7, 8, 9, 71, 72, 73, 254, 255 };

	lane_memory_make(8, most);
	for (size_t i = 0; i < sizeof(data_sizes) / sizeof(data_sizes[0]); i++)
		for (size_t j = 0; j < sizeof(key_sizes) / sizeof(key_sizes[0]); j++)
			roundtrip(key_sizes[j], data_sizes[i]);
	for (uint32_t key_size = 0; key_size <= RING_MAX_KEY; key_size++)
		roundtrip(key_size, key_size % 5);
}
END_TEST

START_TEST(too_large)
{
	static const unsigned char bytes[LANE_MAX_MESSAGE + 1];
	uint32_t most;
	uint64_t head, ticket = 5;

	lane_memory_make(8, 128);
	most = memory.ring.max_message;
	head = atomic_load(&memory.page->head);
	struct ring_message large = { .data = bytes, .data_size = most + 1 },
			    long_key = { .key = bytes, .key_size = RING_MAX_KEY + 1 },
			    both = { .key = bytes, .key_size = UINT32_MAX, .data = bytes, .data_size = UINT32_MAX };

	ck_assert_int_eq(ring_publish(&memory.ring, 1, &large, &ticket), -EMSGSIZE);
	ck_assert_int_eq(ring_publish(&memory.ring, 1, &long_key, &ticket), -EMSGSIZE);
	ck_assert_int_eq(ring_publish(&memory.ring, 1, &both, &ticket), -EMSGSIZE);
	ck_assert_uint_eq(ticket, 5);
	ck_assert_uint_eq(atomic_load(&memory.page->head), head);
}
END_TEST

START_TEST(shapes)
{
	struct lane_shape shape = { 0 };

	ck_assert_int_eq(lane_shape_make(0, 0, &shape), 0);
	ck_assert_uint_eq(shape.ring_slots, LANE_DEFAULT_SLOTS);
	ck_assert_uint_eq(shape.max_message, LANE_DEFAULT_MESSAGE);
	ck_assert_int_eq(lane_shape_make(1, 1, &shape), 0);
	ck_assert_uint_eq(shape.ring_slots, LANE_MIN_SLOTS);
	ck_assert_uint_eq(shape.max_message, LANE_MIN_MESSAGE);
	ck_assert_int_eq(lane_shape_make(257, 1000, &shape), 0);
	ck_assert_uint_eq(shape.ring_slots, 512);
	ck_assert_uint_eq(shape.max_message, 1000);
	ck_assert_int_eq(lane_shape_make(LANE_MAX_SLOTS, 128, &shape), 0);
	ck_assert_uint_eq(shape.ring_slots, LANE_MAX_SLOTS);
	ck_assert_int_eq(lane_shape_make(LANE_MAX_SLOTS + 1, 128, &shape), -EINVAL);
	ck_assert_int_eq(lane_shape_make(UINT32_MAX, 128, &shape), -EINVAL);
	ck_assert_int_eq(lane_shape_make(8, LANE_MAX_MESSAGE + 1, &shape), -EINVAL);
	ck_assert_int_eq(lane_shape_make(LANE_MAX_SLOTS, LANE_MAX_MESSAGE, &shape), -EINVAL);
	ck_assert_int_eq(lane_shape_make(16384, 65537, &shape), -EINVAL);
	ck_assert_int_eq(lane_shape_make(32768, 32769, &shape), -EINVAL);
	ck_assert_uint_eq(shape.ring_slots, LANE_MAX_SLOTS); /* untouched */
	/* 1 GiB of messages, however it is divided. */
	for (uint32_t slots = LANE_MAX_SLOTS; slots >= 16384; slots /= 2) {
		ck_assert_int_eq(lane_shape_make(slots, (1u << 30) / slots, &shape), 0);
		ck_assert_uint_eq((uint64_t)shape.ring_slots * shape.max_message, UINT64_C(1) << 30);
		ck_assert_uint_ge(lane_size(&shape), UINT64_C(1) << 30);
	}

	lane_memory_make(8, 128);
	ck_assert_int_eq(page_shape(memory.page, &shape), 0);
	ck_assert_uint_eq(shape.ring_slots, 8);
	for (uint32_t slots = 0; slots < 20; slots++) {
		memory.page->shape.ring_slots = slots;
		ck_assert_int_eq(page_shape(memory.page, &shape), slots == 8 || slots == 16 ? 0 : -EBADMSG);
	}
	memory.page->shape = (struct lane_shape){ .ring_slots = LANE_MAX_SLOTS, .max_message = LANE_MAX_MESSAGE };
	ck_assert_int_eq(page_shape(memory.page, &shape), -EBADMSG);
	memory.page->shape = (struct lane_shape){ .ring_slots = 8, .max_message = LANE_MAX_MESSAGE + 1 };
	ck_assert_int_eq(page_shape(memory.page, &shape), -EBADMSG);
}
END_TEST

/* --- order and overrun --------------------------------------------------------------------------------------- */

START_TEST(in_order)
{
	struct tally tally;

	lane_memory_make(16, 0);
	tally_begin(&tally, 0);
	ck_assert_int_eq(take(&tally), RING_EMPTY);
	for (unsigned i = 0; i < 1000; i++) {
		publish(i % 16 + 1);
		for (unsigned j = 0; j < i % 16 + 1; j++)
			ck_assert_int_eq(take(&tally), RING_MESSAGE);
		ck_assert_int_eq(take(&tally), RING_EMPTY);
		ck_assert_uint_eq(tally.number, n_published);
	}
	ck_assert(!tally.bad);
	expect_tally(&tally, n_published, 0);
	ck_assert_uint_eq(lane_memory_skips(), 0);
	tally_end(&tally);
}
END_TEST

START_TEST(overrun)
{
	struct tally tally;

	lane_memory_make(16, 0);
	for (unsigned n = 0; n < 100; n++) {
		for (unsigned before = 0; before <= 16; before += 4) {
			tally_begin(&tally, 0);
			publish(before);
			for (unsigned i = 0; i < before / 2; i++)
				ck_assert_int_eq(take(&tally), RING_MESSAGE);
			publish(n);
			read_all(&tally);
			ck_assert_uint_eq(tally.delivered + tally.missed, before + n);
			ck_assert_uint_eq(tally.number, before + n ? n_published : 0); /* the newest are there */
			if (before - before / 2 + n <= 16)
				expect_tally(&tally, before + n, 0);
			else
				ck_assert_uint_ge(tally.delivered, before / 2 + 16 - 16 / 8);
			ck_assert_uint_le(tally.gaps, 1);
			tally_end(&tally);
		}
	}
}
END_TEST

/* A message that goes while its gap is told is part of the next gap. */
START_TEST(overrun_again_and_again)
{
	struct tally tally;
	uint64_t first;

	lane_memory_make(8, 0);
	tally_begin(&tally, 0);
	first = n_published;
	for (unsigned i = 0; i < 1000; i++) {
		publish(i % 40);
		take(&tally);
		ck_assert_uint_le(tally.delivered + tally.missed, n_published - first);
	}
	read_all(&tally);
	ck_assert_uint_eq(tally.delivered + tally.missed, n_published - first);
	tally_end(&tally);
}
END_TEST

START_TEST(tickets_that_are_lost)
{
	static const uint64_t counts[] = { 1, 2, 15, 16, 17, 100, 1000000, UINT64_C(1) << 40 };
	struct tally tally, late;

	lane_memory_make(16, 0);
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		for (unsigned after = 0; after <= 20; after += 5) {
			tally_begin(&tally, 0);
			publish(3);
			ring_lose(&memory.ring, counts[i]);
			tally_begin(&late, 3);
			publish(after);
			read_all(&tally);
			ck_assert_uint_eq(tally.delivered + tally.missed, 3 + counts[i] + after);
			read_all(&late);
			/* Of the three before the loss those that are there, and as many as were asked for. */
			ck_assert_uint_ge(late.delivered + late.missed, after);
			ck_assert_uint_le(late.delivered + late.missed, after + 3);
			tally_end(&tally);
			tally_end(&late);
		}
	}
	/* Nothing but loss. */
	tally_begin(&tally, 0);
	ring_lose(&memory.ring, 5);
	ck_assert_int_eq(take(&tally), RING_GAP);
	ck_assert_int_eq(take(&tally), RING_EMPTY);
	expect_tally(&tally, 0, 5);
	tally_end(&tally);
}
END_TEST

/* Of the last skipped ticket the page knows 32 bits: those of a ticket that comes much later are the same. */
START_TEST(skip_of_an_earlier_round)
{
	struct tally tally;
	uint64_t head = (UINT64_C(5) << 32) * RING_TICKET + 40 * RING_TICKET;

	lane_memory_make(16, 0);
	lane_memory_start_at(head, 5);
	atomic_store(&memory.page->skips, head / RING_TICKET << 32 | 5);
	tally_begin(&tally, 0);
	ck_assert_int_eq(take(&tally), RING_EMPTY);
	publish(50);
	read_all(&tally);
	ck_assert_uint_eq(tally.delivered + tally.missed, 50);
	ck_assert_uint_eq(lane_memory_skips(), 5);
	tally_end(&tally);
}
END_TEST

/* --- late joiners -------------------------------------------------------------------------------------------- */

START_TEST(late_joiner)
{
	struct tally tally;

	lane_memory_make(16, 0);
	for (unsigned published = 0; published < 40; published++) {
		for (uint32_t last = 0; last < 24; last++) {
			unsigned expected = last < published ? last : published;

			memory.page->head = 0;
			memset(memory.ring.slots, 0, ring_slots_size(&memory.page->shape));
			ring_init(memory.page, 16);
			publish(published);
			tally_begin(&tally, last);
			read_all(&tally);
			expect_tally(&tally, expected < 16 ? expected : 16, 0);
			ck_assert_uint_eq(tally.number, expected ? n_published : 0);
			publish(4);
			read_all(&tally);
			expect_tally(&tally, (expected < 16 ? expected : 16) + 4, 0);
			tally_end(&tally);
		}
	}
}
END_TEST

/* What was before it is not owed, so it is no gap when it goes before it is read; the rest is. */
START_TEST(late_joiner_overrun)
{
	struct tally tally;

	lane_memory_make(16, 0);
	for (unsigned after = 0; after < 50; after++) {
		publish(20);
		tally_begin(&tally, 6);
		ck_assert_int_eq(take(&tally), RING_MESSAGE);
		publish(after);
		read_all(&tally);
		ck_assert_uint_ge(tally.delivered + tally.missed, after + 1);
		ck_assert_uint_le(tally.delivered + tally.missed, after + 6);
		if (after >= 16)
			ck_assert_uint_eq(tally.delivered - 1 + tally.missed, after);
		if (after <= 10)
			expect_tally(&tally, after + 6, 0);
		tally_end(&tally);
	}
}
END_TEST

/* Nobody has published: nothing in the ring is looked at. */
START_TEST(late_joiner_in_a_quiet_lane)
{
	struct tally tally;

	lane_memory_make(16, 0);
	publish(5);
	atomic_store(&memory.page->messages, 0);
	tally_begin(&tally, 5);
	ck_assert_int_eq(take(&tally), RING_EMPTY);
	tally_end(&tally);
}
END_TEST

/*
 * Somebody joins while a message is being written: its writer may return after the joiner has, so it is owed. In turn:
 * it is finished; it is too late; it is overrun; it dies.
 */
START_TEST(joiner_during_a_message)
{
	struct writer writer, holder;
	struct tally tally;

	lane_memory_make(16, 0);
	/* A skip on either side of it, which is no message. */
	writer_start(&holder, 1, RING_STEP_CLAIMED);
	publish(20);
	writer_start(&writer, 2, RING_STEP_FILLED);
	publish(12);
	ck_assert_uint_eq(lane_memory_skips(), 2);
	tally_begin(&tally, 0);
	switch (_i) {
	case 0:
		writer_continue(&writer);
		read_all(&tally);
		expect_tally(&tally, 13, 0);
		break;
	case 1:
		read_all(&tally);
		expect_tally(&tally, 12, 1);
		writer_continue(&writer);
		break;
	case 2:
		publish(100);
		read_all(&tally);
		ck_assert_uint_eq(tally.delivered + tally.missed, 1 + 12 + 100);
		writer_continue(&writer);
		break;
	case 3:
		writer_kill(&writer);
		ck_assert(ring_recover(&memory.ring, 2));
		read_all(&tally);
		expect_tally(&tally, 12, 1);
		break;
	}
	writer_kill(&holder);
	ck_assert(ring_recover(&memory.ring, 1));
	read_all(&tally);
	tally_end(&tally);
}
END_TEST

/* --- writers that stand still, at every step ----------------------------------------------------------------- */

enum fate { CONTINUES, DIES };

/* Everything of the ring works again, and every ticket is a message. */
static void expect_well(struct tally *tally)
{
	uint64_t delivered = tally->delivered, missed = tally->missed;
	uint32_t skips = lane_memory_skips();

	for (unsigned i = 0; i < 10; i++) {
		publish(memory.ring.n_slots / 2);
		read_all(tally);
	}
	expect_tally(tally, delivered + 5 * memory.ring.n_slots, missed);
	ck_assert_uint_eq(lane_memory_skips(), skips);
}

START_TEST(writer_stands_still)
{
	enum ring_step step = (enum ring_step)(_i % RING_N_STEPS);
	enum fate fate = _i / RING_N_STEPS % 2 ? DIES : CONTINUES;
	bool lapped = _i / RING_N_STEPS / 2 % 2;
	bool marks = step == RING_STEP_MARKED || step == RING_STEP_RECORDED;
	bool claimed = step != RING_STEP_LOADED && !marks;
	struct writer writer, holder;
	struct tally tally, other;
	uint64_t first = n_published, claims;

	lane_memory_make(8, 0);
	tally_begin(&tally, 0);
	if (marks) { /* needs a slot to mark */
		writer_start(&holder, 1, RING_STEP_CLAIMED);
		publish(7);
	}
	writer_start(&writer, 2, step);
	publish(lapped ? 43 : 3); /* the others go on */
	read_all(&tally);         /* and readers get past it */
	claims = n_published - first + marks + claimed;
	ck_assert_uint_eq(tally.delivered + tally.missed, claims);
	if (!lapped && step < RING_STEP_COMMITTED)
		expect_tally(&tally, claims - claimed, claimed);

	if (fate == CONTINUES) {
		writer_continue(&writer);
		claims += !claimed;
	} else {
		bool holds = claimed && step != RING_STEP_COMMITTED;

		writer_kill(&writer);
		ck_assert_int_eq(ring_recover(&memory.ring, 2), holds);
		ck_assert(!ring_recover(&memory.ring, 2));
	}
	if (marks && fate == CONTINUES) {
		writer_continue(&holder);
	} else if (marks) {
		writer_kill(&holder);
		ck_assert(ring_recover(&memory.ring, 1));
	}
	read_all(&tally);
	ck_assert_uint_eq(tally.delivered + tally.missed, claims);
	tally_begin(&other, 0);
	expect_well(&tally);
	read_all(&other);
	ck_assert_uint_eq(other.delivered + other.missed, 40);
	tally_end(&tally);
	tally_end(&other);
}
END_TEST

/* Readers that saw it stand still at different times agree; one that did not wait for it gets the message. */
START_TEST(late_writer_and_its_readers)
{
	struct tally patient, impatient;
	struct writer writer;

	lane_memory_make(8, 0);
	tally_begin(&impatient, 0);
	tally_begin(&patient, 0);
	writer_start(&writer, 2, RING_STEP_FILLED);
	publish(2);
	ck_assert_int_eq(read_some(&patient), RING_STALLED);
	writer_continue(&writer); /* in time */
	read_all(&patient);
	read_all(&impatient);
	expect_tally(&patient, 3, 0);
	expect_tally(&impatient, 3, 0);

	writer_start(&writer, 2, RING_STEP_FILLED);
	publish(2);
	read_all(&impatient);
	expect_tally(&impatient, 5, 1);
	writer_continue(&writer); /* too late, for both */
	read_all(&patient);
	expect_tally(&patient, 5, 1);
	expect_well(&patient);
	tally_end(&patient);
	tally_end(&impatient);
}
END_TEST

/* The lease runs from when a reader first met it, for each reader and each claim. */
START_TEST(lease)
{
	struct tally tally;
	struct writer writer;
	uint64_t before, after;

	lane_memory_make(8, 0);
	tally_begin(&tally, 0);
	writer_start(&writer, 2, RING_STEP_CLAIMED);
	before = os_now_ns();
	ck_assert_int_eq(take(&tally), RING_STALLED);
	after = os_now_ns();
	ck_assert_uint_ge(tally.cursor.stalled_ns, before);
	ck_assert_uint_le(tally.cursor.stalled_ns, after);
	harness_await(os_now_ns() >= before + RING_LEASE_NS);
	harness_await(take(&tally) != RING_STALLED);
	ck_assert_uint_ge(os_now_ns(), before + RING_LEASE_NS);
	expect_tally(&tally, 0, 1);
	writer_kill(&writer);

	/* Another one begins anew. */
	writer_start(&writer, 2, RING_STEP_CLAIMED);
	ck_assert_int_eq(take(&tally), RING_STALLED);
	ck_assert_uint_ge(tally.cursor.stalled_ns, before + RING_LEASE_NS);
	writer_kill(&writer);
	ck_assert(ring_recover(&memory.ring, 2));
	read_all(&tally);
	expect_tally(&tally, 0, 2);
	tally_end(&tally);
}
END_TEST

/* 8 slots, up to 7 of them held: lapped thousands of times, with readers that come now and then. */
START_TEST(lapped_with_slots_held)
{
	unsigned n_held = (unsigned)_i + 1, n_free = 8 - n_held;
	struct writer writers[8];
	struct tally often, seldom;
	uint32_t skips;

	lane_memory_make(8, 0);
	tally_begin(&often, 0);
	tally_begin(&seldom, 0);
	for (unsigned i = 0; i < n_held; i++) {
		writer_start(&writers[i], i + 10, i % 2 ? RING_STEP_CLAIMED : RING_STEP_FILLED);
		publish(i % 3);
	}
	for (unsigned i = 0; i < 3000; i++) {
		publish(i % 7);
		if (i % 3 == 0)
			read_all(&often);
	}
	read_all(&seldom);
	read_all(&often);
	ck_assert_uint_eq(often.delivered + often.missed, n_published + n_held);
	ck_assert_uint_eq(seldom.delivered + seldom.missed, n_published + n_held);

	/* One lap is n_held skips and n_free messages. */
	skips = lane_memory_skips();
	publish(n_free * 1000);
	ck_assert_uint_eq(lane_memory_skips() - skips, n_held * 1000);
	for (unsigned i = 0; i < n_held; i++) {
		if (i % 3 == 0) {
			writer_continue(&writers[i]);
			continue;
		}
		writer_kill(&writers[i]);
		ck_assert(ring_recover(&memory.ring, i + 10));
	}
	read_all(&seldom);
	read_all(&often);
	ck_assert_uint_eq(often.delivered + often.missed, n_published + n_held);
	ck_assert_uint_eq(seldom.delivered + seldom.missed, n_published + n_held);
	expect_well(&often);
	tally_end(&often);
	tally_end(&seldom);
}
END_TEST

/* No slot is left: told at once, however often; no ticket is used up by trying; and it is over with the first that
 * goes on. */
START_TEST(all_slots_held)
{
	struct ring_message message = lane_memory_message(ORIGIN, 1, MOST);
	struct writer writers[8];
	struct tally tally;
	uint64_t head = 0;

	lane_memory_make(8, 0);
	tally_begin(&tally, 0);
	for (unsigned i = 0; i < 8; i++)
		writer_start(&writers[i], i + 10, RING_STEP_CLAIMED);
	for (unsigned i = 0; i < 1000; i++) {
		if (i == 10)
			head = atomic_load(&memory.page->head);
		ck_assert_int_eq(ring_publish(&memory.ring, 3, &message, NULL), -ENOBUFS);
	}
	ck_assert_uint_eq(atomic_load(&memory.page->head), head);
	read_all(&tally);
	expect_tally(&tally, 0, 8);
	ck_assert_int_eq(ring_publish(&memory.ring, 3, &message, NULL), -ENOBUFS);

	writer_continue(&writers[5]);
	publish(100);
	writer_kill(&writers[6]);
	publish(100);
	ck_assert(ring_recover(&memory.ring, 16));
	publish(100);
	for (unsigned i = 0; i < 8; i++)
		if (i != 5 && i != 6)
			writer_continue(&writers[i]);
	read_all(&tally);
	ck_assert_uint_eq(tally.delivered + tally.missed, 8 + n_published);
	expect_well(&tally);
	tally_end(&tally);
}
END_TEST

START_TEST(recovery_takes_its_own)
{
	struct writer first, second, nobody;
	struct tally tally;

	lane_memory_make(8, 0);
	tally_begin(&tally, 0);
	writer_start(&first, 4, RING_STEP_CLAIMED);
	writer_start(&second, 5, RING_STEP_CLAIMED);
	writer_start(&nobody, RING_NO_OWNER, RING_STEP_CLAIMED);
	ck_assert(!ring_recover(&memory.ring, 6));
	ck_assert(!ring_recover(&memory.ring, RING_NO_OWNER));
	writer_kill(&first);
	atomic_store(&memory.page->messages, 0); /* cannot be, unless it is damaged */
	ck_assert(!ring_recover(&memory.ring, 4));
	atomic_store(&memory.page->messages, 1);
	ck_assert(ring_recover(&memory.ring, 4));
	publish(2);
	/* Its place in the order is a void one, without a wait. The others are not touched. */
	ck_assert_int_eq(read_some(&tally), RING_STALLED);
	writer_continue(&second);
	writer_continue(&nobody);
	read_all(&tally);
	expect_tally(&tally, 4, 1);
	expect_well(&tally);
	tally_end(&tally);
}
END_TEST

/* --- crowds -------------------------------------------------------------------------------------------------- */

enum { N_WRITERS = 3, N_READERS = 2 };

struct crowd {
	_Atomic unsigned n_over;                /* writers that are through */
	_Atomic uint64_t published[N_WRITERS];  /* acknowledged */
	_Atomic uint64_t started[N_WRITERS];
	_Atomic uint64_t delivered[N_READERS], missed[N_READERS];
	_Atomic bool bad[N_READERS];
	_Atomic int failed;
	_Atomic bool end;
};

static struct crowd *crowd;

struct role {
	struct harness_process process;
	unsigned number;
	uint64_t until_ns;
	struct ring_cursor cursor;
};

static void crowd_make(uint32_t slots)
{
	lane_memory_make(slots, 256);
	crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(crowd, MAP_FAILED);
}

static int writer_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;

	(void)peer;
	while (os_now_ns() < role->until_ns && !atomic_load(&crowd->end)) {
		uint64_t number = atomic_fetch_add(&crowd->started[role->number], 1) + 1;
		struct ring_message message = lane_memory_message(role->number + 1, number, MOST);
		int r = ring_publish(&memory.ring, role->number, &message, NULL);

		if (r < 0) {
			atomic_store(&crowd->failed, r);
			return 1;
		}
		atomic_fetch_add(&crowd->published[role->number], 1);
	}
	atomic_fetch_add(&crowd->n_over, 1);
	return 0;
}

static int reader_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;
	struct tally tally;
	uint64_t last[N_WRITERS + 1] = { 0 };
	bool over = false, bad = false;

	(void)peer;
	tally_begin(&tally, 0);
	tally.cursor = role->cursor;
	for (;;) {
		enum ring_read r = take(&tally);

		if (r == RING_MESSAGE) {
			uint64_t origin = tally.message.origin;

			bad |= origin < 1 || origin > N_WRITERS || tally.message.number <= last[origin];
			if (bad)
				break;
			last[origin] = tally.message.number;
		}
		if (r == RING_EMPTY && over)
			break;
		if (r == RING_EMPTY)
			over = atomic_load(&crowd->n_over) == N_WRITERS; /* and then look once more */
	}
	atomic_store(&crowd->bad[role->number], bad || tally.bad);
	atomic_store(&crowd->delivered[role->number], tally.delivered);
	atomic_store(&crowd->missed[role->number], tally.missed);
	tally_end(&tally);
	return 0;
}

static const uint32_t crowd_slots[] = { 8, 64, 1024 };

static uint64_t crowd_end(unsigned ms)
{
	return harness_deadline(harness_full() ? 10 * ms : ms);
}

START_TEST(crowd_of_processes)
{
	struct role writers[N_WRITERS], readers[N_READERS];
	uint64_t published = 0, until = crowd_end(800);
	struct ring_cursor cursor;

	crowd_make(crowd_slots[_i]);
	ring_baseline(&memory.ring, 0, &cursor);
	for (unsigned i = 0; i < N_READERS; i++) {
		readers[i] = (struct role){ .number = i, .cursor = cursor };
		harness_spawn(&readers[i].process, reader_role, &readers[i]);
	}
	for (unsigned i = 0; i < N_WRITERS; i++) {
		writers[i] = (struct role){ .number = i, .until_ns = until };
		harness_spawn(&writers[i].process, writer_role, &writers[i]);
	}
	for (unsigned i = 0; i < N_WRITERS; i++) {
		harness_expect_exit(&writers[i].process, 0);
		published += atomic_load(&crowd->published[i]);
	}
	for (unsigned i = 0; i < N_READERS; i++) {
		harness_expect_exit(&readers[i].process, 0);
		ck_assert(!atomic_load(&crowd->bad[i]));
		ck_assert_uint_eq(atomic_load(&crowd->delivered[i]) + atomic_load(&crowd->missed[i]), published);
	}
	ck_assert_uint_gt(published, 1000);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

/* A reader that is stopped for many laps at a time. */
START_TEST(reader_is_stopped)
{
	struct role writer, reader = { .number = 0 };
	uint64_t published = 0;

	crowd_make(64);
	atomic_store(&crowd->n_over, N_WRITERS - 1);
	ring_baseline(&memory.ring, 0, &reader.cursor);
	harness_spawn(&reader.process, reader_role, &reader);
	writer = (struct role){ .number = 0, .until_ns = UINT64_MAX };
	harness_spawn(&writer.process, writer_role, &writer);
	for (unsigned i = 0; i < 30; i++) {
		harness_signal(&reader.process, SIGSTOP);
		published = atomic_load(&crowd->published[0]);
		harness_await(atomic_load(&crowd->published[0]) > published + 64 * 5);
		harness_signal(&reader.process, SIGCONT);
		published = atomic_load(&crowd->published[0]);
		harness_await(atomic_load(&crowd->published[0]) > published + 64 * 5);
	}
	atomic_store(&crowd->end, true);
	harness_expect_exit(&writer.process, 0);
	harness_expect_exit(&reader.process, 0);
	ck_assert(!atomic_load(&crowd->bad[0]));
	ck_assert_uint_ge(atomic_load(&crowd->missed[0]), 30 * 64 * 4);
	ck_assert_uint_eq(atomic_load(&crowd->delivered[0]) + atomic_load(&crowd->missed[0]),
			  atomic_load(&crowd->published[0]));
	munmap(crowd, sizeof(*crowd));
}
END_TEST

/*
 * Writers are killed wherever they happen to be, and others take their numbers. What was acknowledged is delivered or
 * missed; of each that was killed one message more may be.
 */
START_TEST(crowd_that_is_killed)
{
	struct role writers[N_WRITERS], readers[N_READERS];
	uint64_t published = 0, until = crowd_end(1500);
	struct ring_cursor cursor;
	unsigned n_killed = 0, random = 1;

	crowd_make(crowd_slots[_i]);
	ring_baseline(&memory.ring, 0, &cursor);
	for (unsigned i = 0; i < N_READERS; i++) {
		readers[i] = (struct role){ .number = i, .cursor = cursor };
		harness_spawn(&readers[i].process, reader_role, &readers[i]);
	}
	for (unsigned i = 0; i < N_WRITERS; i++) {
		writers[i] = (struct role){ .number = i, .until_ns = UINT64_MAX };
		harness_spawn(&writers[i].process, writer_role, &writers[i]);
	}
	while (os_now_ns() < until) {
		unsigned i = (random = random * 1664525 + 1013904223) >> 16, n = i / N_WRITERS % 500;
		uint64_t now;

		i %= N_WRITERS;
		now = atomic_load(&crowd->published[i]);
		harness_await(atomic_load(&crowd->published[i]) >= now + n);
		harness_signal(&writers[i].process, SIGKILL);
		harness_expect_signal(&writers[i].process, SIGKILL);
		ring_recover(&memory.ring, i);
		n_killed++;
		harness_spawn(&writers[i].process, writer_role, &writers[i]);
	}
	atomic_store(&crowd->end, true);
	for (unsigned i = 0; i < N_WRITERS; i++) {
		harness_expect_exit(&writers[i].process, 0);
		published += atomic_load(&crowd->published[i]);
	}
	for (unsigned i = 0; i < N_READERS; i++) {
		uint64_t total;

		harness_expect_exit(&readers[i].process, 0);
		ck_assert(!atomic_load(&crowd->bad[i]));
		total = atomic_load(&crowd->delivered[i]) + atomic_load(&crowd->missed[i]);
		ck_assert_uint_ge(total, published);
		ck_assert_uint_le(total, published + n_killed);
		ck_assert_uint_eq(total, atomic_load(&crowd->delivered[0]) + atomic_load(&crowd->missed[0]));
	}
	ck_assert_uint_gt(n_killed, 3);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

/* --- looking ahead ------------------------------------------------------------------------------------------- */

START_TEST(peeking)
{
	static const unsigned char bytes[255] = { 1, 2, 3 };
	struct ring_message message = { .origin = 9, .number = 4, .pid = 7, .key = bytes, .key_size = 0, .data = bytes };
	struct ring_cursor cursor;
	struct writer writer;
	struct ring_peek peek;
	uint64_t origin, number, at;
	uint32_t index;

	lane_memory_make(8, 300);
	ring_baseline(&memory.ring, 0, &cursor);
	ck_assert(!ring_peek(&memory.ring, cursor.at, &peek));
	at = cursor.at;
	for (unsigned key_size = 0; key_size <= 255; key_size++) {
		message.key_size = key_size;
		message.data_size = key_size % 3 ? 0 : 200;
		ck_assert_int_eq(ring_publish(&memory.ring, 1, &message, NULL), 0);
		ck_assert(ring_peek(&memory.ring, at, &peek));
		ck_assert_uint_eq(peek.origin, 9);
		ck_assert_uint_eq(peek.number, 4);
		ck_assert_uint_eq(peek.pid, 7);
		ck_assert_uint_eq(peek.key, key_size ? ring_hash_key(bytes, key_size) : 0);
		index = (uint32_t)(at / RING_TICKET) & 7;
		ck_assert(ring_latest(&memory.ring, index, &origin, &number));
		ck_assert_uint_eq(origin, 9);
		ck_assert_uint_eq(number, 4);
		at += RING_TICKET;
	}
	ck_assert(!ring_peek(&memory.ring, cursor.at, &peek)); /* long gone */
	writer_start(&writer, 2, RING_STEP_FILLED);
	ck_assert(!ring_peek(&memory.ring, at, &peek));
	ck_assert(!ring_latest(&memory.ring, (uint32_t)(at / RING_TICKET) & 7, &origin, &number));
	writer_kill(&writer);
	ring_recover(&memory.ring, 2);
	ck_assert(ring_peek(&memory.ring, at, &peek)); /* void: none, and on */
	ck_assert_uint_eq(peek.key, 0);
	ck_assert(!ring_latest(&memory.ring, (uint32_t)(at / RING_TICKET) & 7, &origin, &number));
}
END_TEST

/* --- damage -------------------------------------------------------------------------------------------------- */

/* Words of the lane are overwritten: with anything, with something near, with another word. */
static int vandal_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;
	_Atomic uint64_t *words = (_Atomic uint64_t *)(void *)memory.page;
	uint64_t n_words = memory.size / 8, random = role->number + 1, n = 0;

	(void)peer;
	while (n++ % 64 != 0 || os_now_ns() < role->until_ns) {
		uint64_t at, value;

		random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
		at = random >> 33;
		/* Half of them in the lane's words, the ring's words and the tags; the rest is large and dull. */
		switch (random >> 30 & 7) {
		case 0:
			at = (offsetof(struct page, generation) + at % 64) / 8;
			break;
		case 1:
			at = (offsetof(struct page, head) + at % 16) / 8;
			break;
		case 2:
		case 3:
			at = (PAGE_SIZE_BYTES + at % memory.ring.n_slots * RING_SLOT_SIZE) / 8;
			break;
		default:
			at %= n_words;
		}
		value = atomic_load_explicit(&words[at], memory_order_relaxed);
		switch (random >> 27 & 7) {
		case 0:
			value = random * UINT64_C(0x9e3779b97f4a7c15);
			break;
		case 1:
			value ^= UINT64_C(1) << (random >> 20 & 63);
			break;
		case 2:
			at = (at + (random >> 35) % 64) % n_words;
			value = atomic_load_explicit(&words[at], memory_order_relaxed);
			break;
		case 3:
			value += (random >> 22 & 15) * RING_TICKET;
			break;
		case 4:
			value = (value & ~UINT64_C(15)) | (random >> 22 & 15);
			break;
		case 5:
			value = random >> 63 ? UINT64_MAX : 0;
			break;
		default:
			value += (random >> 22 & 15) - 8;
		}
		atomic_store_explicit(&words[at], value, memory_order_relaxed);
		/* Now and then it is whole again, so that there is something to break. */
		if (n % 4096 == 0) {
			atomic_store(&memory.page->head, memory.ring.n_slots * RING_TICKET);
			for (uint32_t i = 0; i < memory.ring.n_slots; i++)
				atomic_store(&memory.ring.slots[i].tag, 0);
		}
	}
	return 0;
}

static bool is_documented(int r)
{
	return r == 0 || r == -ENOBUFS || r == -EIO;
}

/* Everything that touches the lane, each call of which has to end. */
static int user_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;
	struct tally tally;
	uint64_t number = 0, missed, hash, origin;
	struct ring_peek peek;

	(void)peer;
	tally_begin(&tally, 5);
	while (os_now_ns() < role->until_ns) {
		struct ring_message message = lane_memory_message(role->number + 1, ++number, MOST);
		enum ring_read r;
		struct state state;

		if (!is_documented(ring_publish(&memory.ring, role->number, &message, NULL)))
			return 1;
		for (unsigned i = 0; i < 4; i++) {
			r = ring_read(&memory.ring, &tally.cursor, &tally.message, tally.buffer, &missed);
			if ((unsigned)r > RING_MESSAGE)
				return 2;
			if (r == RING_MESSAGE && (tally.message.key_size > RING_MAX_KEY ||
						  tally.message.data_size > memory.ring.max_message))
				return 3;
		}
		ring_peek(&memory.ring, tally.cursor.at + number % 9 * RING_TICKET, &peek);
		ring_latest(&memory.ring, (uint32_t)number & (memory.ring.n_slots - 1), &hash, &origin);
		state = state_get(memory.page);
		state_set(memory.page, role->number, number % 3 ? &state : NULL, number, NULL);
		state_offer(memory.page, role->number, &(struct state){ .value = 1, .version = number });
		if (number % 64 == 0)
			ring_recover(&memory.ring, role->number);
		if (number % 256 == 0)
			ring_baseline(&memory.ring, (uint32_t)number % 20, &tally.cursor);
	}
	tally_end(&tally);
	return 0;
}

START_TEST(damage)
{
	struct role users[2], vandal = { .number = (unsigned)_i, .until_ns = crowd_end(1000) };

	/* 129: so that the lane is whole pages, and there is a guard right before it as well. */
	lane_memory_make(_i % 2 ? 64 : 8, 129);
	for (unsigned i = 0; i < 2; i++) {
		users[i] = (struct role){ .number = i, .until_ns = vandal.until_ns + 100000000 };
		harness_spawn(&users[i].process, user_role, &users[i]);
	}
	harness_spawn(&vandal.process, vandal_role, &vandal);
	harness_expect_exit(&vandal.process, 0);
	for (unsigned i = 0; i < 2; i++)
		harness_expect_exit(&users[i].process, 0);
}
END_TEST

/* At rest whatever is there ends, too: a reader comes to the end, a writer gets an answer. */
START_TEST(damage_at_rest)
{
	struct ring_message message = lane_memory_message(1, 1, MOST);
	uint64_t random = 1, missed;
	struct tally tally;

	lane_memory_make(8, 129);
	for (unsigned round = 0; round < 3000; round++) {
		unsigned n = 0;

		tally_begin(&tally, 0);
		for (unsigned i = 0; i < 16; i++) {
			_Atomic uint64_t *words = (_Atomic uint64_t *)(void *)memory.page;
			size_t at = offsetof(struct page, head) / 8 + i % 2;

			if (i < 8)
				at = (PAGE_SIZE_BYTES + i * RING_SLOT_SIZE) / 8;

			random = random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
			atomic_store(&words[at], round % 2 ? random : (random >> 40) << 8);
		}
		ck_assert(is_documented(ring_publish(&memory.ring, 1, &message, NULL)));
		for (;;) {
			enum ring_read r;

			r = ring_read(&memory.ring, &tally.cursor, &tally.message, tally.buffer, &missed);
			if (r == RING_EMPTY)
				break;
			if (r == RING_STALLED)
				tally.cursor.stalled_ns -= RING_LEASE_NS;
			if (++n > 1000)
				ck_abort_msg("round %u: no end", round);
		}
		tally_end(&tally);
	}
}
END_TEST

/* Who has seen a head that was wrong for a moment hears what comes afterwards, whichever way it was wrong. */
START_TEST(damage_that_passes)
{
	struct tally tally;

	lane_memory_make(8, 0);
	tally_begin(&tally, 0);
	for (unsigned bit = 12; bit < 64; bit++) {
		uint64_t head = atomic_load(&memory.page->head), delivered;

		atomic_store(&memory.page->head, head ^ UINT64_C(1) << bit);
		for (unsigned i = 0; i < 100; i++)
			take(&tally);
		atomic_store(&memory.page->head, head);
		tally.bad = false; /* it may have begun again with what it has read */
		tally.number = 0;
		read_some(&tally);
		delivered = tally.delivered;
		for (unsigned i = 0; i < 5; i++) {
			publish(1);
			read_some(&tally);
		}
		ck_assert_uint_eq(tally.delivered, delivered + 5);
		ck_assert_uint_eq(tally.number, n_published);
	}
	tally_end(&tally);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(sizes, 4),
	HARNESS_CASE(too_large),
	HARNESS_CASE(shapes),
	HARNESS_CASE(in_order),
	HARNESS_CASE(overrun),
	HARNESS_CASE(overrun_again_and_again),
	HARNESS_CASE(tickets_that_are_lost),
	HARNESS_CASE(skip_of_an_earlier_round),
	HARNESS_CASE(late_joiner),
	HARNESS_CASE(late_joiner_overrun),
	HARNESS_CASE(late_joiner_in_a_quiet_lane),
	HARNESS_CASE_EACH(joiner_during_a_message, 4),
	HARNESS_CASE_EACH(writer_stands_still, RING_N_STEPS * 4),
	HARNESS_CASE(late_writer_and_its_readers),
	HARNESS_CASE(lease),
	HARNESS_CASE_EACH(lapped_with_slots_held, 7),
	HARNESS_CASE(all_slots_held),
	HARNESS_CASE(recovery_takes_its_own),
	HARNESS_CASE_EACH(crowd_of_processes, 3),
	HARNESS_CASE(reader_is_stopped),
	HARNESS_CASE_EACH(crowd_that_is_killed, 2),
	HARNESS_CASE(peeking),
	HARNESS_CASE_EACH(damage, 2),
	HARNESS_CASE(damage_at_rest),
	HARNESS_CASE(damage_that_passes),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "ring", .cases = cases,
								 .teardown = lane_memory_unmake });
}
