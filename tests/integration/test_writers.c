/* SPDX-License-Identifier: MIT */
/*
 * test_writers.c - a writer that is stopped, or killed, at each step of publishing: nobody waits for it longer than the
 * lease, its message is delivered or counted, and its place in the ring can be used again.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/ring.h"
#include "conformance/transports.h"
#include "seams/letters.h"

enum { SLOTS = 8, N_ROUNDS = 3 };

/* How long may a call of a writer, or the way to a reader, take while another stands still? The lease is 100 ms. */
#define CALL_NS UINT64_C(2000000000)

/* --- the one that is stopped ------------------------------------------------------------------------------------------ */

static enum ring_step stop_at = RING_N_STEPS;

static void seam(enum ring_step step)
{
	if (step != stop_at)
		return;
	stop_at = RING_N_STEPS;
	raise(SIGSTOP);
}

struct member {
	pathbus *bus;
	pathbus_topic *topic;
};

static struct member join(unsigned flags, unsigned last)
{
	struct pathbus_topic_options options = { .size = sizeof(options), .ring_slots = SLOTS, .last = last };
	struct member member = { .bus = transport_new() };
	int r = pathbus_open_with(member.bus, transport_path("data"), flags, &options, &member.topic);

	ck_assert_msg(r == 0, "opening: %s", strerror(-r));
	transport_expect(member.topic);
	return member;
}

/* "write" or "stop N": publishes, in the latter case with a stop at that step; says what came of it. */
static int be_writer(struct harness_process *peer, void *arg)
{
	struct letter_book *book = arg;
	struct member me = join(PATHBUS_POST, 0);
	const char *line;

	ring_seam = seam;
	harness_tell(peer, "ready");
	while ((line = harness_hear(peer)) && strcmp(line, "end") != 0) {
		if (strncmp(line, "stop", 4) == 0)
			stop_at = (enum ring_step)atoi(line + 4);
		harness_tell(peer, "%d", letter_write(book, me.topic));
	}
	pathbus_free(me.bus);
	return 0;
}

struct writer {
	struct harness_process process;
	struct letter_book book;
};

static void start(struct writer *writer, unsigned number)
{
	*writer = (struct writer){ .book = { .writer = number } };
	harness_spawn(&writer->process, be_writer, &writer->book);
	harness_expect_line(&writer->process, "ready");
}

static void write_one(struct writer *writer)
{
	harness_tell(&writer->process, "write");
	harness_expect_line(&writer->process, "0");
}

static bool stands_still(pid_t pid)
{
	int status;

	return waitpid(pid, &status, WNOHANG | WUNTRACED) == pid && WIFSTOPPED(status);
}

static void stop_it_at(struct writer *writer, enum ring_step step)
{
	harness_tell(&writer->process, "stop %d", (int)step);
	harness_await(stands_still(writer->process.pid));
}

static void go_on(struct writer *writer)
{
	harness_signal(&writer->process, SIGCONT);
	harness_expect_line(&writer->process, "0");
}

static void end(struct writer *writer)
{
	harness_tell(&writer->process, "end");
	harness_expect_exit(&writer->process, 0);
}

static void kill_it(struct writer *writer)
{
	harness_signal(&writer->process, SIGKILL);
	harness_expect_signal(&writer->process, SIGKILL);
}

/* --- the others --------------------------------------------------------------------------------------------------------- */

enum { VICTIM, HOLDER, OTHER, SUCCESSOR };

static struct {
	struct member reader, idler, other; /* hears at once; only in the end; writes */
	struct letter_audit read, idled;
	struct letter_book book;
	uint64_t published;                 /* or begun, and counted as missed */
} all;

static void take_what_comes(void)
{
	struct pollfd one = { .fd = pathbus_fd(all.reader.bus), .events = POLLIN };

	if (poll(&one, 1, 100) > 0)
		letter_audit_drain(&all.read, all.reader.bus);
}

/* Only what the descriptor says: who stands still must not keep the reader asleep. */
static void await_all_told(void)
{
	for (uint64_t limit = harness_now_ns() + CALL_NS; all.read.n_letters + all.read.n_gaps < all.published;) {
		if (harness_now_ns() > limit)
			ck_abort_msg("%llu letters and %llu in gaps of %llu", (unsigned long long)all.read.n_letters,
			             (unsigned long long)all.read.n_gaps, (unsigned long long)all.published);
		take_what_comes();
	}
	ck_assert_uint_eq(all.read.n_letters + all.read.n_gaps, all.published);
}

/* `taking`: the reader takes each, so that it is not overrun. */
static void others_write(unsigned n, bool taking)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t start_ns = harness_now_ns();

		ck_assert_int_eq(letter_write(&all.book, all.other.topic), 0);
		ck_assert_uint_lt(harness_now_ns() - start_ns, CALL_NS);
		all.published++;
		if (taking)
			letter_audit_drain(&all.read, all.reader.bus);
	}
}

static void gather(void)
{
	memset(&all, 0, sizeof(all));
	all.book.writer = OTHER;
	all.other = join(PATHBUS_POST, 0);
	all.reader = join(PATHBUS_SUBSCRIBE, 0);
	all.idler = join(PATHBUS_SUBSCRIBE, 0);
	letter_audit_drain(&all.read, all.reader.bus);
	letter_audit_drain(&all.idled, all.idler.bus);
}

static void part(void)
{
	/* The one that never looked until now, laps behind, comes to the same sum. */
	letter_audit_drain(&all.idled, all.idler.bus);
	harness_await((letter_audit_drain(&all.idled, all.idler.bus), all.idled.n_letters + all.idled.n_gaps >= all.published));
	ck_assert_uint_eq(all.idled.n_letters + all.idled.n_gaps, all.published);
	ck_assert_uint_eq(all.read.n_letters + all.read.n_gaps, all.published);
	pathbus_free(all.reader.bus);
	pathbus_free(all.idler.bus);
	pathbus_free(all.other.bus);
}

/* Does each slot of the ring take a message? In a sidecar what a dead member held is given back when its place is given to
 * another: so `n` others come. */
static bool ring_is_whole(unsigned n)
{
	struct letter_audit audit = { 0 };
	struct member late[SLOTS];

	for (unsigned i = 1; i < n; i++)
		late[i] = join(PATHBUS_SUBSCRIBE, 0);
	others_write(SLOTS, true);
	letter_audit_late(&audit);
	late[0] = join(PATHBUS_SUBSCRIBE, SLOTS);
	letter_audit_drain(&audit, late[0].bus);
	for (unsigned i = 0; i < n; i++)
		pathbus_free(late[i].bus);
	return audit.n_letters == SLOTS;
}

/* --- the cases ------------------------------------------------------------------------------------------------------------ */

/* _i: transport, step, and whether it is killed. */
enum { N_CASES = 2 * RING_N_STEPS * 2 };

static int transport_of(int i)
{
	return i & 1 ? ON_PEER : ON_BUS;
}

/* What of the message on which the writer stands still, if that goes no further? */
static bool is_begun(enum ring_step step)
{
	return step == RING_STEP_CLAIMED || step == RING_STEP_MOVED || step == RING_STEP_FILLED || step == RING_STEP_COMMITTED;
}

START_TEST(a_writer_that_stands_still)
{
	enum ring_step step = (enum ring_step)(_i / 4);
	bool killed = _i & 2, held = step == RING_STEP_MARKED || step == RING_STEP_RECORDED;
	struct writer victim, holder, successor;

	if (transport_of(_i) == ON_PEER)
		harness_allow_sidecars();
	transport_begin(transport_of(_i));
	gather();
	start(&victim, VICTIM);
	write_one(&victim);
	all.published++;
	others_write(3, true);
	if (held) {
		/* Who marks a slot has come round to one that somebody else keeps. */
		start(&holder, HOLDER);
		stop_it_at(&holder, RING_STEP_CLAIMED);
		all.published++; /* it will be missed */
		others_write(SLOTS - 1, true);
	}
	stop_it_at(&victim, step);
	if (is_begun(step))
		all.published++;
	/* Less than a lap, then some laps. */
	others_write(3, true);
	await_all_told();
	others_write(N_ROUNDS * SLOTS, true);
	await_all_told();
	if (killed) {
		kill_it(&victim);
		start(&successor, SUCCESSOR); /* gets what was the victim's, sooner or later */
		write_one(&successor);
		all.published++;
	} else {
		go_on(&victim);
		if (!is_begun(step))
			all.published++;
		write_one(&victim);
		all.published++;
	}
	await_all_told();
	if (held) {
		go_on(&holder);
		write_one(&holder);
		all.published++;
	}
	others_write(2 * SLOTS, true);
	await_all_told();
	harness_await(ring_is_whole(1));
	await_all_told();
	/* Overrun while all is well again. */
	others_write(N_ROUNDS * SLOTS, false);
	await_all_told();
	end(killed ? &successor : &victim);
	if (held)
		end(&holder);
	part();
}
END_TEST

/* All slots but one are held: it goes on; all are: it is told so, and nobody hangs. Then they come back. */
START_TEST(many_writers_that_stand_still)
{
	struct writer writers[SLOTS];
	uint64_t missed = 0;

	if (_i == ON_PEER)
		harness_allow_sidecars();
	transport_begin(_i);
	gather();
	for (unsigned i = 0; i < SLOTS; i++) {
		start(&writers[i], LETTERS_WRITERS - 1);
		if (i == SLOTS - 1)
			others_write(2 * SLOTS, true);
		stop_it_at(&writers[i], i % 2 ? RING_STEP_FILLED : RING_STEP_CLAIMED);
		missed++;
	}
	all.published += missed;
	ck_assert_int_eq(letter_write(&all.book, all.other.topic), -ENOBUFS);
	await_all_told();
	for (unsigned i = 0; i < SLOTS; i++) {
		if (i % 3 == 0) {
			kill_it(&writers[i]);
			continue;
		}
		go_on(&writers[i]);
		end(&writers[i]);
	}
	harness_await(letter_write(&all.book, all.other.topic) == 0);
	all.published++;
	harness_await(ring_is_whole(SLOTS));
	await_all_told();
	part();
}
END_TEST

/* Continued within the lease: its message is as good as any. */
START_TEST(a_short_stop_loses_nothing)
{
	struct writer victim;

	transport_begin(_i);
	gather();
	start(&victim, VICTIM);
	for (int i = 0; i < 20; i++) {
		stop_it_at(&victim, i % 2 ? RING_STEP_FILLED : RING_STEP_CLAIMED);
		others_write(2, false);
		go_on(&victim);
		all.published += 1;
		await_all_told();
	}
	/* Nobody looked in between, so no lease ran out. */
	ck_assert_uint_eq(all.read.n_gaps, 0);
	ck_assert_uint_eq(all.read.n_resyncs, 0);
	end(&victim);
	part();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_writer_that_stands_still, N_CASES),
	HARNESS_CASE_EACH(many_writers_that_stand_still, ON_PEER + 1),
	HARNESS_CASE_EACH(a_short_stop_loses_nothing, ON_PEER + 1),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "writers", .cases = cases, .teardown = transport_end });
}
