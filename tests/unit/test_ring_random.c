/* SPDX-License-Identifier: MIT */
/*
 * test_ring_random.c - the message ring in any order: writers that stop at any step of a message, go on, die and are
 * recovered, readers that come whenever they like; one thing at a time, in an order that is drawn. As nothing happens
 * at once, every ticket's fate is known: the counts are not only plausible but right.
 */
#include "harness/harness.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>

#include "lane_memory.h"

#define MOST 100u
enum { MAX_WRITERS = 12, N_READERS = 4, MAX_CLAIMS = 100000 };

static uint64_t seed;

static unsigned draw(unsigned n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(seed >> 33) % n;
}

/* --- writers: threads of which one at a time runs ------------------------------------------------------------ */

struct writer {
	pthread_t thread;
	sem_t go;
	unsigned owner;
	uint64_t origin, number;
	bool quits;   /* when it goes next, wherever it is */
	bool running; /* in the middle of a message */
	bool dead;    /* in the middle of a message: to be recovered */
	bool holds;   /* has claimed a ticket, and is not through */
	uint64_t ticket;
	int result;
};

/* Tickets that were claimed, in their order. */
static struct claim {
	uint64_t ticket, origin, number;
} claims[MAX_CLAIMS];
static unsigned n_claims;

static sem_t back;
static struct writer writers[MAX_WRITERS];
static unsigned n_writers;
static _Thread_local struct writer *self;

static void rest(void)
{
	sem_post(&back);
	sem_wait(&self->go);
	if (self->quits)
		pthread_exit(NULL);
}

static void seam(enum ring_step step)
{
	if (!self)
		return;
	if (step == RING_STEP_CLAIMED) {
		/* Nobody else has run since the exchange, so the head is still there. */
		self->ticket = atomic_load(&memory.page->head);
		self->holds = true;
		claims[n_claims++] = (struct claim){ self->ticket, self->origin, self->number };
	} else if (step == RING_STEP_COMMITTED) {
		self->holds = false;
	}
	rest();
}

static void *writer_run(void *arg)
{
	self = arg;
	sem_wait(&self->go);
	while (!self->quits) {
		struct ring_message message = lane_memory_message(self->origin, ++self->number, MOST);

		self->result = ring_publish(&memory.ring, self->owner, &message, NULL);
		self->running = false;
		rest();
	}
	return NULL;
}

static void writer_begin(unsigned number)
{
	static uint64_t n_origins;

	writers[number] = (struct writer){ .owner = number, .origin = ++n_origins };
	sem_init(&writers[number].go, 0, 0);
	ck_assert_int_eq(pthread_create(&writers[number].thread, NULL, writer_run, &writers[number]), 0);
}

static void writer_end(struct writer *writer)
{
	writer->quits = true;
	sem_post(&writer->go);
	ck_assert_int_eq(pthread_join(writer->thread, NULL), 0);
	sem_destroy(&writer->go);
}

static void writer_go(struct writer *writer)
{
	writer->running = true;
	sem_post(&writer->go);
	sem_wait(&back);
	/* Enough of them can hold all slots. */
	if (!writer->running && writer->result == -ENOBUFS && n_writers >= memory.ring.n_slots)
		return;
	if (!writer->running && writer->result != 0)
		ck_abort_msg("publishing: %d", writer->result);
}

/* --- readers ------------------------------------------------------------------------------------------------- */

struct reader {
	struct ring_cursor cursor;
	uint64_t first;     /* the first ticket that is owed */
	uint64_t delivered; /* of these */
	uint64_t missed;
	uint64_t last;      /* ticket of the last one delivered */
	bool any;
};

static struct reader readers[N_READERS];
static uint64_t buffer[RING_BUFFER_SIZE(LANE_MIN_MESSAGE) / 8 + 1];
static unsigned n_messages, n_gaps, n_voids, n_joins;

static bool is_before(uint64_t a, uint64_t b)
{
	return (int64_t)(a - b) < 0;
}

/* How many were claimed from this ticket on. */
static unsigned owed_from(uint64_t ticket)
{
	unsigned low = 0, high = n_claims;

	while (low < high) {
		unsigned middle = low + (high - low) / 2;

		if (is_before(claims[middle].ticket, ticket))
			low = middle + 1;
		else
			high = middle;
	}
	return n_claims - low;
}

static void reader_join(struct reader *reader)
{
	uint32_t last = draw(3) ? 0 : draw(2 * memory.ring.n_slots);

	*reader = (struct reader){ .any = false };
	ring_baseline(&memory.ring, last, &reader->cursor);
	reader->first = reader->cursor.counted;
	n_joins++;
	/* Who is in the middle of a message that is not given up yet will return later: it is owed. */
	for (unsigned i = 0; i < n_writers; i++) {
		const struct writer *writer = &writers[i];
		uint64_t slot = writer->ticket / RING_TICKET & (memory.ring.n_slots - 1);
		uint64_t tag = atomic_load(&memory.ring.slots[slot].tag);

		if (writer->holds && (tag & ~(RING_TICKET - 1)) == writer->ticket && (tag & 15) == RING_CLAIMED &&
		    is_before(writer->ticket, reader->first))
			ck_abort_msg("a message that is being written is not owed to who joins");
	}
}

static void expect_message(struct reader *reader, const struct ring_message *message)
{
	uint64_t ticket = reader->cursor.at - RING_TICKET;
	const struct claim *claim = &claims[n_claims - owed_from(ticket)];

	if (reader->any && !is_before(reader->last, ticket))
		ck_abort_msg("twice, or out of order");
	if (claim == &claims[n_claims] || claim->ticket != ticket || claim->origin != message->origin ||
	    claim->number != message->number || !lane_memory_is_whole(message, MOST))
		ck_abort_msg("not the message of this ticket");
	reader->any = true;
	reader->last = ticket;
	reader->delivered += !is_before(ticket, reader->first);
	n_messages++;
}

static enum ring_read reader_go(struct reader *reader)
{
	struct ring_message message;
	uint64_t missed = 0;
	enum ring_read r = ring_read(&memory.ring, &reader->cursor, &message, buffer, &missed);

	if (r == RING_MESSAGE)
		expect_message(reader, &message);
	if (r == RING_GAP) {
		reader->missed += missed;
		n_gaps++;
	}
	if (reader->delivered + reader->missed > owed_from(reader->first))
		ck_abort_msg("more than was published");
	return r;
}

static void let_lease_run_out(struct reader *reader)
{
	reader->cursor.stalled_ns -= RING_LEASE_NS;
	n_voids++;
}

static void reader_to_the_end(struct reader *reader)
{
	enum ring_read r;

	while ((r = reader_go(reader)) != RING_EMPTY)
		if (r == RING_STALLED)
			let_lease_run_out(reader);
	if (reader->delivered + reader->missed != owed_from(reader->first))
		ck_abort_msg("delivered %lu + missed %lu, published %u", (unsigned long)reader->delivered,
			     (unsigned long)reader->missed, owed_from(reader->first));
}

/* --- the order of things ------------------------------------------------------------------------------------- */

static void recover(unsigned number)
{
	bool holds = false;

	/* It may hold a slot that was taken from it, too. */
	for (uint32_t i = 0; i < memory.ring.n_slots; i++) {
		uint64_t tag = atomic_load(&memory.ring.slots[i].tag), state = tag & 15;

		holds |= (tag >> 4 & 255) == number &&
			 (state == RING_CLAIMED || state == RING_VOID_BUSY || state == RING_SKIPPED_BUSY);
	}
	if (holds != writers[number].holds || ring_recover(&memory.ring, number) != holds)
		ck_abort_msg("recovery");
	writer_begin(number);
}

static void happen(void)
{
	unsigned number = draw(n_writers), what = draw(1000);
	struct writer *writer = &writers[number];
	struct reader *reader = &readers[draw(N_READERS)];

	if (what < 2) {
		reader_join(reader);
	} else if (what < 8 && writer->running && !writer->dead) {
		writer_end(writer);
		writer->dead = true;
	} else if (what < 60 && writer->dead) {
		recover(number);
	} else if (what < 700) {
		/* Some are slow: these are lapped. */
		if (!writer->dead && (number % 3 != 0 || draw(50) == 0))
			writer_go(writer);
	} else {
		/* And some readers seldom come. */
		unsigned n = reader == &readers[0] ? 1 : draw(100) ? 0 : draw(40);

		while (n-- > 0)
			if (reader_go(reader) == RING_STALLED && draw(20) == 0)
				let_lease_run_out(reader);
	}
}

struct setting {
	uint32_t slots;
	unsigned n_writers;
	uint64_t head;    /* 0: a new ring */
	uint32_t n_skips; /* before */
};

#define BEFORE(tickets, n) ((tickets) * RING_TICKET - (n) * RING_TICKET)

static const struct setting settings[] = {
	{ 8, 3, 0, 0 },
	{ 8, 6, 0, 0 },
	{ 8, 12, 0, 0 }, /* more than slots */
	{ 16, 12, 0, 0 },
	{ 64, 12, 0, 0 },
	{ 8, 6, BEFORE(UINT64_C(0), 50), 3 },                     /* the ticket wraps, with the word */
	{ 16, 9, BEFORE(UINT64_C(0), 1), UINT32_MAX - 1 },        /* ... and the skips */
	{ 8, 6, BEFORE(UINT64_C(1) << 32, 50), UINT32_MAX - 20 }, /* the last skipped ticket wraps, and the skips */
	{ 8, 9, BEFORE(UINT64_C(1) << 32, 3), 0 },
	{ 8, 6, BEFORE(UINT64_C(1) << 51, 100), UINT32_MAX },
};
#define N_SETTINGS (int)(sizeof(settings) / sizeof(settings[0]))

START_TEST(any_order)
{
	const struct setting *setting = &settings[_i];
	unsigned n_steps = harness_full() ? 500000 : 20000;
	uint64_t head, n_tickets;
	uint32_t skips;

	seed = (uint64_t)_i + 1;
	lane_memory_make(setting->slots, LANE_MIN_MESSAGE);
	if (setting->head)
		lane_memory_start_at(setting->head, setting->n_skips);
	head = atomic_load(&memory.page->head);
	skips = lane_memory_skips();
	n_writers = setting->n_writers;
	sem_init(&back, 0, 0);
	ring_seam = seam;
	for (unsigned i = 0; i < N_READERS; i++)
		reader_join(&readers[i]);
	for (unsigned i = 0; i < n_writers; i++)
		writer_begin(i);

	for (unsigned i = 0; i < n_steps && n_claims < MAX_CLAIMS - MAX_WRITERS; i++)
		happen();

	/* Everybody goes on to the end, and then nothing is left that anybody holds. */
	for (unsigned i = 0; i < n_writers; i++) {
		if (writers[i].dead)
			recover(i);
		while (writers[i].running)
			writer_go(&writers[i]);
		writer_end(&writers[i]);
	}
	for (unsigned i = 0; i < N_READERS; i++)
		reader_to_the_end(&readers[i]);
	for (uint32_t i = 0; i < setting->slots; i++) {
		uint64_t state = atomic_load(&memory.ring.slots[i].tag) & 15;

		ck_assert(state == RING_VOID || state == RING_COMMITTED || state == RING_SKIPPED);
	}
	/* Every ticket was a message or a skip. */
	n_tickets = (atomic_load(&memory.page->head) - head) / RING_TICKET;
	ck_assert_uint_eq(n_tickets, n_claims + (lane_memory_skips() - skips));
	ck_assert_uint_gt(n_claims, n_steps / 50);
	ck_assert(n_messages > 100 && n_gaps > 10 && n_voids > 10 && n_joins > 10);
	ring_seam = NULL;
	sem_destroy(&back);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(any_order, N_SETTINGS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "ring-random", .cases = cases,
								 .teardown = lane_memory_unmake });
}
