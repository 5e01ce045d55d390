/* SPDX-License-Identifier: MIT */
/*
 * test_reader.c - posts, messages and gaps in the order in which they were made, own ones left out; and that neither
 * the dead nor large numbers swallow a post or make one up.
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
#include "reader.h"

#define MOST 100u
#define STRANGER 5u /* origins */
#define SELF 6u
#define HIDDEN 7u

static struct view *ours; /* whose own posts and messages are */

/* --- who reads ----------------------------------------------------------------------------------------------- */

struct view {
	struct reader reader;
	uint64_t own, own_rested, own_first; /* as the library counts them */
	uint64_t own_tickets[100000];
	unsigned n_own_tickets;
	bool echo, bad;
	uint64_t posts, messages, missed, gaps;
	uint64_t last; /* number of the last message */
	uint64_t n;    /* of the last event */
	void *buffer;
};

static enum reader_whose whose(void *arg, const struct ring_message *message)
{
	const struct view *view = arg;

	if (message->origin == SELF && !view->echo)
		return READER_OWN;
	return message->origin == HIDDEN ? READER_HIDDEN : READER_STRANGERS;
}

static uint64_t own_missed(void *arg, uint64_t from, uint64_t to)
{
	const struct view *view = arg;
	uint64_t n = 0;

	for (unsigned i = 0; i < view->n_own_tickets; i++)
		n += view->own_tickets[i] - from < to - from;
	return view->echo ? 0 : n;
}

static struct view *view_new(void)
{
	struct view *view = calloc(1, sizeof(*view));
	struct ring_cursor cursor;

	ck_assert_ptr_nonnull(view);
	view->buffer = malloc(RING_BUFFER_SIZE(memory.ring.max_message));
	ck_assert_ptr_nonnull(view->buffer);
	reader_start(&view->reader, atomic_load(&memory.page->generation));
	ring_baseline(&memory.ring, 0, &cursor);
	reader_start_ring(&view->reader, &cursor);
	return view;
}

static void view_free(struct view *view)
{
	free(view->buffer);
	free(view);
}

static struct reader_look look_at(const struct view *view)
{
	return (struct reader_look){
		.generation = atomic_load(&memory.page->generation),
		.own = view->echo ? 0 : view->own,
		.own_since = view->own - view->own_rested,
		.own_first = view->own_first,
		.ring = &memory.ring,
		.buffer = view->buffer,
		.whose = whose,
		.own_missed = own_missed,
		.arg = (void *)(uintptr_t)view,
	};
}

static enum reader_kind next_at(struct view *view, const struct reader_look *look)
{
	enum reader_kind kind = reader_next(&view->reader, look, &view->n);

	switch (kind) {
	case READER_POSTS:
		view->bad |= view->n == 0;
		view->posts += view->n;
		break;
	case READER_GAP:
		view->bad |= view->n == 0;
		view->missed += view->n;
		view->gaps++;
		break;
	case READER_MESSAGE:
		view->messages++;
		view->bad |= !lane_memory_is_whole(&view->reader.message, MOST) ||
			     view->reader.message.number <= view->last;
		view->last = view->reader.message.number;
		break;
	case READER_NOTHING:
		view->own_rested = view->own;
		break;
	case READER_AGAIN:
	case READER_STALLED:
		break;
	}
	return kind;
}

static enum reader_kind next(struct view *view)
{
	struct reader_look look = look_at(view);

	return next_at(view, &look);
}

static void read_all(struct view *view)
{
	uint64_t end = harness_deadline(harness_limit_ms);
	enum reader_kind kind;

	while ((kind = next(view)) != READER_NOTHING)
		if (kind == READER_STALLED)
			harness_await_more(end, __FILE__, __LINE__, "the end of the lane");
	ck_assert(!view->bad);
}

#define expect(view, n_posts, n_messages, n_missed)                                                                  \
	do {                                                                                                         \
		ck_assert(!(view)->bad);                                                                             \
		ck_assert_uint_eq((view)->posts, n_posts);                                                           \
		ck_assert_uint_eq((view)->messages, n_messages);                                                     \
		ck_assert_uint_eq((view)->missed, n_missed);                                                         \
	} while (0)

/* --- who writes ---------------------------------------------------------------------------------------------- */

static uint64_t n_posts, n_messages; /* strangers' */
static uint64_t number;

static void post(void)
{
	atomic_fetch_add(&memory.page->generation, GENERATION_POST);
	n_posts++;
}

/* Without its unit of the generation. */
static uint64_t put(uint64_t origin)
{
	struct ring_message message = lane_memory_message(origin, ++number, MOST);
	uint64_t ticket;

	message.before = atomic_load(&memory.page->generation);
	if (ring_publish(&memory.ring, (unsigned)origin, &message, &ticket) != 0)
		ck_abort_msg("publishing");
	return ticket;
}

static void publish(void)
{
	put(STRANGER);
	atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
	n_messages++;
}

static void own(uint64_t units)
{
	uint64_t generation;

	ours->own += units; /* before the generation */
	if (units == GENERATION_MESSAGE)
		ours->own_tickets[ours->n_own_tickets++] = put(SELF);
	generation = atomic_fetch_add(&memory.page->generation, units) + units;
	if (ours->own - units == ours->own_rested)
		ours->own_first = generation;
}

static void lane_make(uint32_t slots)
{
	lane_memory_make(slots, LANE_MIN_MESSAGE);
	ours = view_new();
}

static void teardown(void)
{
	if (ours)
		view_free(ours);
	ours = NULL;
	lane_memory_unmake();
}

/* --- posts --------------------------------------------------------------------------------------------------- */

START_TEST(posts_merge)
{
	lane_make(8);
	ck_assert_int_eq(next(ours), READER_NOTHING);
	for (unsigned i = 1; i < 100; i++) {
		for (unsigned j = 0; j < i; j++)
			post();
		ck_assert_int_eq(next(ours), READER_POSTS);
		ck_assert_uint_eq(ours->n, i);
		ck_assert_int_eq(next(ours), READER_NOTHING);
	}
}
END_TEST

START_TEST(own_posts_are_no_news)
{
	lane_make(8);
	ours->echo = _i;
	for (unsigned i = 1; i < 100; i++) {
		for (unsigned j = 0; j < i % 3; j++)
			own(GENERATION_POST);
		for (unsigned j = 0; j < i % 5; j++)
			own(GENERATION_MESSAGE);
		if (i % 2)
			post();
		read_all(ours);
		ck_assert_uint_eq(ours->posts, n_posts + (_i ? ours->own / GENERATION_POST : 0));
		ck_assert_uint_eq(ours->messages, _i ? ours->n_own_tickets : 0);
		ck_assert_uint_eq(ours->missed, 0);
	}
}
END_TEST

/* A post of our own that is counted and not made yet hides nothing for longer than until it is made. */
START_TEST(own_post_on_its_way)
{
	lane_make(8);
	ours->own += GENERATION_POST;
	post();
	read_all(ours); /* ours and theirs cannot be told apart now */
	atomic_fetch_add(&memory.page->generation, GENERATION_POST);
	read_all(ours);
	expect(ours, 1, 0, 0);
	ours->own += GENERATION_POST;
	read_all(ours);
	expect(ours, 1, 0, 0);
	atomic_fetch_add(&memory.page->generation, GENERATION_POST);
	read_all(ours);
	expect(ours, 1, 0, 0);
}
END_TEST

/* --- order --------------------------------------------------------------------------------------------------- */

START_TEST(in_order)
{
	lane_make(16);
	post();
	publish();
	publish();
	post();
	post();
	publish();
	post();
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_uint_eq(ours->n, 1);
	ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_uint_eq(ours->n, 2);
	ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_uint_eq(ours->n, 1);
	ck_assert_int_eq(next(ours), READER_NOTHING);
	expect(ours, 4, 3, 0);
}
END_TEST

/* What comes between the look at the generation and the look at the ring: the message is there, its writer's earlier
 * post is not in the generation that was loaded. */
START_TEST(post_and_message_after_the_look)
{
	struct reader_look look;

	lane_make(16);
	for (unsigned i = 0; i < 10; i++) {
		look = look_at(ours);
		post();
		publish();
		ck_assert_int_eq(next_at(ours, &look), READER_AGAIN);
		ck_assert_int_eq(next(ours), READER_POSTS);
		publish();
		post();
		ck_assert_int_eq(next(ours), READER_MESSAGE);
		ck_assert_int_eq(next(ours), READER_MESSAGE);
		ck_assert_int_eq(next(ours), READER_POSTS);
		ck_assert_uint_eq(ours->n, 1);
		ck_assert_int_eq(next(ours), READER_NOTHING);
	}
	expect(ours, 20, 20, 0);

	/* Of a damaged message any number can be expected: it is told all the same. */
	struct ring_message message = lane_memory_message(STRANGER, ++number, MOST);

	message.before = atomic_load(&memory.page->generation) + (UINT64_C(1) << 62);
	ck_assert_int_eq(ring_publish(&memory.ring, 1, &message, NULL), 0);
	atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
	post();
	ck_assert_int_eq(next(ours), READER_AGAIN);
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_NOTHING);
}
END_TEST

/* A single writer, and a reader who looks at any moment: with each message exactly those posts that came before it. */
static void random_order(unsigned n_steps, unsigned random)
{
	uint64_t *before = calloc(n_steps + 1, sizeof(*before)); /* posts before each message */

	for (unsigned i = 0; i < n_steps; i++) {
		random = random * 1664525 + 1013904223;
		if (random >> 30 == 0) {
			post();
			continue;
		}
		if (random >> 30 == 1) {
			publish();
			before[n_messages] = n_posts;
			continue;
		}
		if (next(ours) == READER_MESSAGE && ours->posts != before[ours->last])
			ck_abort_msg("step %u: %lu posts before a message, not %lu", i, (unsigned long)ours->posts,
				     (unsigned long)before[ours->last]);
		if (ours->posts > n_posts || ours->messages + ours->missed > n_messages)
			ck_abort_msg("step %u: more than there was", i);
	}
	read_all(ours);
	ck_assert_uint_eq(ours->posts, n_posts);
	ck_assert_uint_eq(ours->messages + ours->missed, n_messages);
	free(before);
}

START_TEST(any_order)
{
	lane_make(_i % 2 ? 8 : 256);
	random_order(20000, (unsigned)_i);
	ck_assert_uint_gt(ours->messages, 100);
}
END_TEST

START_TEST(generation_wraps)
{
	lane_make(_i ? 8 : 64);
	atomic_store(&memory.page->generation, 0 - 30 * GENERATION_POST - 5);
	reader_start(&ours->reader, atomic_load(&memory.page->generation));
	ring_baseline(&memory.ring, 0, &ours->reader.cursor);
	ours->reader.has_ring = true;
	random_order(2000, 1);
	ck_assert_uint_gt(n_posts, 31);
}
END_TEST

/* Own posts and messages on one side of a message leave the order as it is. On both sides: nothing is lost. */
START_TEST(own_posts_around_a_message)
{
	lane_make(64);
	for (unsigned sides = 0; sides < 4; sides++) {
		for (unsigned n_own = 1; n_own < 5; n_own++) {
			uint64_t units = n_own % 2 ? GENERATION_POST : GENERATION_MESSAGE, posts = ours->posts;

			for (unsigned i = 0; i < n_own && (sides & 1); i++)
				own(units);
			post();
			publish();
			post();
			for (unsigned i = 0; i < n_own && (sides & 2); i++)
				own(units);
			if (sides < 3) {
				ck_assert_int_eq(next(ours), READER_POSTS);
				ck_assert_uint_eq(ours->posts, posts + 1);
				ck_assert_int_eq(next(ours), READER_MESSAGE);
				ck_assert_int_eq(next(ours), READER_POSTS);
			}
			read_all(ours);
			expect(ours, n_posts, n_messages, 0);
		}
	}
}
END_TEST

START_TEST(any_order_with_own)
{
	unsigned random = (unsigned)_i + 1;

	lane_make(_i % 2 ? 8 : 64);
	for (unsigned i = 0; i < 20000; i++) {
		random = random * 1664525 + 1013904223;
		switch (random >> 29) {
		case 0:
			post();
			break;
		case 1:
			publish();
			break;
		case 2:
			own(random >> 28 & 1 ? GENERATION_MESSAGE : GENERATION_POST);
			break;
		default:
			next(ours);
			if (ours->bad || ours->posts > n_posts || ours->messages + ours->missed > n_messages)
				ck_abort_msg("step %u: more than there was", i);
		}
	}
	read_all(ours);
	ck_assert_uint_eq(ours->posts, n_posts);
	ck_assert_uint_eq(ours->messages + ours->missed, n_messages);
	ck_assert_uint_eq(ours->own, ours->own_rested);
}
END_TEST

/* --- gaps ---------------------------------------------------------------------------------------------------- */

START_TEST(gap_between_posts)
{
	lane_make(8);
	post();
	for (unsigned i = 0; i < 100; i++)
		publish();
	post();
	ck_assert_int_eq(next(ours), READER_GAP);
	read_all(ours);
	ck_assert_uint_eq(ours->gaps, 1);
	expect(ours, 2, ours->messages, 100 - ours->messages);
	ck_assert_uint_ge(ours->messages, 7);
}
END_TEST

START_TEST(gap_without_own)
{
	lane_make(8);
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 60; i++) {
			if (i % 3 < round % 4)
				own(GENERATION_MESSAGE);
			else
				publish();
		}
		read_all(ours);
		ck_assert_uint_eq(ours->messages + ours->missed, n_messages);
		ck_assert_uint_eq(ours->posts, 0);
	}
	ck_assert_uint_gt(ours->missed, 0);
	post();
	read_all(ours);
	ck_assert_uint_eq(ours->posts, 1);
}
END_TEST

/* More messages than make up the unit of a post, unseen: they are missed, and there is no post among them. */
START_TEST(more_messages_than_a_post_counts)
{
	lane_make(8);
	for (unsigned round = 0; round < 2; round++) {
		uint64_t n = GENERATION_POST + GENERATION_POST / 2 + 1000;

		ring_lose(&memory.ring, n);
		atomic_fetch_add(&memory.page->generation, n);
		n_messages += n;
		publish();
		read_all(ours);
		expect(ours, n_posts, round + 1, n_messages - round - 1);
		post();
		read_all(ours);
		expect(ours, n_posts, round + 1, n_messages - round - 1);
	}
}
END_TEST

/* A reader that never comes to the end, where it would begin anew. */
START_TEST(never_at_the_end)
{
	unsigned n = GENERATION_POST / 2 + 1000;

	lane_make(8);
	publish();
	for (unsigned i = 0; i < n; i++) {
		if (_i) {
			put(HIDDEN);
			atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
		}
		publish();
		if (next(ours) != READER_MESSAGE)
			ck_abort_msg("%u: not a message", i);
	}
	post();
	read_all(ours);
	expect(ours, 1, n + 1, 0);
}
END_TEST

/* --- the dead ------------------------------------------------------------------------------------------------ */

/* Writers that die between their message and its unit: far from a post for a long time. And that count one that could
 * not be published: for ever. */
START_TEST(drift)
{
	lane_make(64);
	for (unsigned round = 0; round < 20; round++) {
		bool dies = round % 2 == 0;

		for (unsigned i = 0; i < (dies ? 20000 : 60000); i++) {
			if (dies) {
				put(STRANGER);
				n_messages++;
			} else {
				atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
			}
			if (i % 50 == 0)
				read_all(ours);
		}
		read_all(ours);
		ck_assert_uint_eq(ours->posts, n_posts);
		post();
		ck_assert_int_eq(next(ours), READER_POSTS);
		ck_assert_uint_eq(ours->n, 1);
		publish();
		post();
		ck_assert_int_eq(next(ours), READER_MESSAGE);
		ck_assert_int_eq(next(ours), READER_POSTS);
		ck_assert_int_eq(next(ours), READER_NOTHING);
		expect(ours, n_posts, n_messages, 0);
	}
}
END_TEST

/* RESYNC stands for the posts before it, and for no other, however many messages are unread. */
START_TEST(resync_stands_for_posts_before_it)
{
	static const unsigned counts[] = { 0, 1, 3, 600000, 3000000 };
	struct reader_look look;
	unsigned n_told;

	lane_make(8);
	for (unsigned i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint64_t before = ours->posts;

		post();
		for (unsigned j = 0; j < counts[i]; j++)
			publish();
		post();
		look = look_at(ours);
		reader_absorb_posts(&ours->reader, look.generation - look.own);
		post(); /* after it has been told: this one is owed */
		read_all(ours);
		n_told = (unsigned)(ours->posts - before);
		ck_assert_uint_ge(n_told, 1);
		ck_assert_uint_le(n_told, counts[i] < 500000 ? 1 : 3); /* some may come twice where there is much */
		for (unsigned j = 0; j < 5; j++) {
			post();
			ck_assert_int_eq(next(ours), READER_POSTS);
			ck_assert_uint_eq(ours->n, 1);
			ck_assert_int_eq(next(ours), READER_NOTHING);
		}
	}
}
END_TEST

/* A message behind a RESYNC does not bring the posts that it stands for. */
START_TEST(resync_before_a_message)
{
	struct reader_look look;

	lane_make(8);
	post();
	post();
	look = look_at(ours);
	reader_absorb_posts(&ours->reader, look.generation - look.own);
	publish();
	ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_NOTHING);
	post();
	look = look_at(ours);
	reader_absorb_posts(&ours->reader, look.generation - look.own);
	post();
	publish();
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_uint_eq(ours->n, 1);
	ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_NOTHING);
}
END_TEST

/* Thousands of own posts between the loading of the generation and of their count: nothing of them is told. */
START_TEST(many_own_posts_during_a_look)
{
	struct reader_look look;

	lane_make(8);
	for (unsigned round = 0; round < 3; round++) {
		look = look_at(ours);
		for (unsigned i = 0; i < 10000; i++) {
			atomic_fetch_add(&memory.page->generation, GENERATION_POST);
			ours->own += GENERATION_POST;
		}
		look.own = ours->own;
		look.own_since = 0;
		ck_assert_int_eq(next_at(ours, &look), READER_AGAIN);
		ck_assert_int_eq(next(ours), READER_NOTHING);
		post();
		ck_assert_int_eq(next(ours), READER_POSTS);
		ck_assert_uint_eq(ours->n, 1);
	}
}
END_TEST

/* A gap that only a damaged ring can tell does not swallow posts for ever. */
START_TEST(absurd_gap)
{
	lane_make(8);
	publish();
	read_all(ours);
	ring_lose(&memory.ring, UINT64_C(1) << 45);
	read_all(ours);
	ck_assert_uint_eq(ours->missed, UINT64_C(1) << 45);
	for (unsigned i = 1; i < 10; i++) {
		post();
		ck_assert_int_eq(next(ours), READER_POSTS);
		ck_assert_uint_eq(ours->n, 1);
		ck_assert_int_eq(next(ours), READER_NOTHING);
	}
}
END_TEST

static void stop_here(enum ring_step step)
{
	if (step == RING_STEP_FILLED)
		kill(getpid(), SIGSTOP);
}

static int stalled_run(struct harness_process *peer, void *arg)
{
	(void)peer;
	(void)arg;
	atomic_fetch_add(&memory.page->generation, GENERATION_POST);
	ring_seam = stop_here;
	put(STRANGER);
	atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
	atomic_fetch_add(&memory.page->generation, GENERATION_POST);
	return 0;
}

/* What comes after a message that is being written waits for it, for as long as the lease; what came before too. */
START_TEST(stalled_writer)
{
	struct harness_process process;
	uint64_t begin, n_before;
	int status;

	lane_make(8);
	for (unsigned round = 0; round < 2; round++) {
		n_before = ours->posts;
		harness_spawn(&process, stalled_run, NULL); /* a post, a message, a post */
		number++;                                   /* its message's */
		ck_assert_int_eq(waitpid(process.pid, &status, WUNTRACED), process.pid);
		ck_assert(WIFSTOPPED(status));
		publish();
		post();
		begin = os_now_ns();
		ck_assert_int_eq(next(ours), READER_STALLED);
		ck_assert_uint_ge(reader_lease_ns(&ours->reader), begin + RING_LEASE_NS);
		ck_assert_uint_le(reader_lease_ns(&ours->reader), os_now_ns() + RING_LEASE_NS);
		if (round == 0) {
			harness_signal(&process, SIGCONT);
			harness_expect_exit(&process, 0);
			ck_assert_int_eq(next(ours), READER_POSTS);
			ck_assert_uint_eq(ours->posts, 1);
			ck_assert_int_eq(next(ours), READER_MESSAGE);
			ck_assert_int_eq(next(ours), READER_MESSAGE);
			read_all(ours);
			expect(ours, 3, 2, 0);
			continue;
		}
		harness_await(next(ours) != READER_STALLED);
		ck_assert_uint_ge(os_now_ns(), begin + RING_LEASE_NS);
		ck_assert_uint_eq(ours->missed, 1);
		read_all(ours);
		expect(ours, n_before + 2, 3, 1);
		harness_signal(&process, SIGCONT); /* too late */
		harness_expect_exit(&process, 0);
		read_all(ours);
		expect(ours, n_before + 3, 3, 1);
	}
}
END_TEST

/* --- hidden messages ----------------------------------------------------------------------------------------- */

START_TEST(hidden_messages)
{
	lane_make(64);
	for (unsigned i = 0; i < 1000; i++) {
		put(HIDDEN);
		atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
		if (i % 10 == 0)
			publish();
		if (i % 100 == 0)
			post();
		if (i % 37 == 0)
			read_all(ours);
	}
	read_all(ours);
	expect(ours, n_posts, n_messages, 0);
}
END_TEST

/* However fast others add what is not told: one call ends, and says that there is more. */
START_TEST(flood_of_hidden_messages)
{
	lane_make(64);
	for (unsigned i = 0; i < 64; i++) {
		put(HIDDEN);
		atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
	}
	post();
	/* As many as there are slots: it cannot know yet that it was the last. The post waits for those before it. */
	ck_assert_int_eq(next(ours), READER_AGAIN);
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_int_eq(next(ours), READER_NOTHING);
	expect(ours, 1, 0, 0);
}
END_TEST

/* --- without a ring, and late -------------------------------------------------------------------------------- */

START_TEST(without_a_ring)
{
	struct reader_look look;
	struct ring_cursor cursor;

	lane_make(8);
	ours->reader.has_ring = false;
	for (unsigned i = 0; i < 1000; i++) {
		publish(); /* not looked at, and no post either */
		look = look_at(ours);
		if (i % 2)
			look.ring = NULL;
		ck_assert_int_eq(next_at(ours, &look), READER_NOTHING);
	}
	post();
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_uint_eq(ours->n, 1);
	ring_baseline(&memory.ring, 3, &cursor); /* from now on, and the last three */
	reader_start_ring(&ours->reader, &cursor);
	publish();
	post();
	read_all(ours);
	expect(ours, 2, 4, 0);
}
END_TEST

/* The last n are told first; they count for nothing that is told later. */
START_TEST(with_the_last_messages)
{
	lane_make(64);
	for (unsigned i = 0; i < 50; i++) {
		post();
		publish();
	}
	reader_start(&ours->reader, atomic_load(&memory.page->generation));
	ring_baseline(&memory.ring, 40, &ours->reader.cursor);
	ours->reader.has_ring = true;
	post();
	publish();
	post();
	for (unsigned i = 0; i < 40; i++)
		ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_int_eq(next(ours), READER_MESSAGE);
	ck_assert_int_eq(next(ours), READER_POSTS);
	ck_assert_int_eq(next(ours), READER_NOTHING);
	expect(ours, 2, 41, 0);
}
END_TEST

/* --- at once ------------------------------------------------------------------------------------------------- */

struct crowd {
	_Atomic uint64_t posts[3], messages[3]; /* finished */
	_Atomic unsigned n_over;
	struct trail {
		_Atomic uint64_t number, posts;
	} before[3][1 << 16]; /* by the number of the message, modulo */
};

static struct crowd *crowd;
static unsigned n_writers;

struct role {
	struct harness_process process;
	unsigned number;
	uint64_t until_ns;
};

static int writer_role(struct harness_process *peer, void *arg)
{
	const struct role *role = arg;
	unsigned me = role->number, random = me + 1;
	uint64_t posts = 0, messages = 0;

	(void)peer;
	while (os_now_ns() < role->until_ns) {
		random = random * 1664525 + 1013904223;
		for (unsigned n = random >> 28; n > 0; n--) {
			atomic_fetch_add(&memory.page->generation, GENERATION_POST);
			posts++;
		}
		for (unsigned n = random >> 24 & 15; n > 0; n--) {
			struct ring_message message = lane_memory_message(me + 10, ++messages, MOST);
			struct trail *trail = &crowd->before[me][messages % (1 << 16)];

			atomic_store(&trail->number, 0);
			atomic_store(&trail->posts, posts);
			atomic_store(&trail->number, messages);
			message.before = atomic_load(&memory.page->generation);
			if (ring_publish(&memory.ring, me, &message, NULL) != 0)
				return 1;
			atomic_fetch_add(&memory.page->generation, GENERATION_MESSAGE);
		}
	}
	atomic_store(&crowd->posts[me], posts);
	atomic_store(&crowd->messages[me], messages);
	atomic_fetch_add(&crowd->n_over, 1);
	return 0;
}

/* One writer: with each message exactly its posts. Several: at least those of its writer. */
START_TEST(crowd_of_processes)
{
	struct role roles[3];
	uint64_t posts = 0, messages = 0, last[3] = { 0 }, until = harness_deadline(harness_full() ? 10000 : 1000);
	bool over = false;

	n_writers = _i ? 3 : 1;
	lane_make(_i == 1 ? 8 : 4096);
	crowd = mmap(NULL, sizeof(*crowd), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(crowd, MAP_FAILED);
	for (unsigned i = 0; i < n_writers; i++) {
		roles[i] = (struct role){ .number = i, .until_ns = until };
		harness_spawn(&roles[i].process, writer_role, &roles[i]);
	}
	for (;;) {
		enum reader_kind kind;
		const struct ring_message *message = &ours->reader.message;
		const struct trail *trail;
		uint64_t before, from;

		ours->last = 0; /* several count */
		kind = next(ours);
		if (kind == READER_NOTHING && over)
			break;
		if (kind == READER_NOTHING)
			over = atomic_load(&crowd->n_over) == n_writers;
		if (kind != READER_MESSAGE)
			continue;
		from = message->origin - 10;
		if (from >= n_writers || message->number <= last[from])
			ck_abort_msg("out of order");
		last[from] = message->number;
		trail = &crowd->before[from][message->number % (1 << 16)];
		before = atomic_load(&trail->posts);
		if (atomic_load(&trail->number) != message->number)
			continue; /* we have been asleep, and it is another one's */
		if (n_writers == 1 ? ours->posts != before : ours->posts < before)
			ck_abort_msg("message %lu: %lu posts before it, not %lu", (unsigned long)message->number,
				     (unsigned long)ours->posts, (unsigned long)before);
	}
	for (unsigned i = 0; i < n_writers; i++) {
		harness_expect_exit(&roles[i].process, 0);
		posts += atomic_load(&crowd->posts[i]);
		messages += atomic_load(&crowd->messages[i]);
	}
	ck_assert(!ours->bad);
	ck_assert_uint_eq(ours->posts, posts);
	ck_assert_uint_eq(ours->messages + ours->missed, messages);
	ck_assert_uint_gt(ours->messages, 100);
	munmap(crowd, sizeof(*crowd));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(posts_merge),
	HARNESS_CASE_EACH(own_posts_are_no_news, 2),
	HARNESS_CASE(own_post_on_its_way),
	HARNESS_CASE(in_order),
	HARNESS_CASE(post_and_message_after_the_look),
	HARNESS_CASE_EACH(any_order, 6),
	HARNESS_CASE_EACH(generation_wraps, 2),
	HARNESS_CASE(own_posts_around_a_message),
	HARNESS_CASE_EACH(any_order_with_own, 6),
	HARNESS_CASE(gap_between_posts),
	HARNESS_CASE(gap_without_own),
	HARNESS_CASE(more_messages_than_a_post_counts),
	HARNESS_CASE_EACH(never_at_the_end, 2),
	HARNESS_CASE(drift),
	HARNESS_CASE(absurd_gap),
	HARNESS_CASE(resync_stands_for_posts_before_it),
	HARNESS_CASE(resync_before_a_message),
	HARNESS_CASE(many_own_posts_during_a_look),
	HARNESS_CASE(stalled_writer),
	HARNESS_CASE(hidden_messages),
	HARNESS_CASE(flood_of_hidden_messages),
	HARNESS_CASE(without_a_ring),
	HARNESS_CASE(with_the_last_messages),
	HARNESS_CASE_EACH(crowd_of_processes, 3),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "reader", .cases = cases, .teardown = teardown });
}
