/* SPDX-License-Identifier: MIT */
/*
 * test_mail.c - messages while the daemon comes and goes: what lay unread in a lane that died, and a storm of writers and
 * readers through deaths and returns. What is claimed is said in letters.h.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "harness/daemon.h"
#include "harness/harness.h"
#include "seams/letters.h"
#include "seams/listener.h"

static struct harness_daemon daemon_;
static const char *file;

static void setup(void)
{
	daemon_ = (struct harness_daemon){ .address = harness_path("socket") };
	file = harness_path("data");
	harness_write_file(file, "");
}

/* --- what lay unread ---------------------------------------------------------------------------------------------- */

struct reader_of_letters {
	struct listener of; /* its counts are not used */
	struct letter_audit audit;
};

static void turn(struct reader_of_letters *reader)
{
	struct pollfd one = { .fd = pathbus_fd(reader->of.bus), .events = POLLIN };

	if (poll(&one, 1, 1000) > 0)
		letter_audit_drain(&reader->audit, reader->of.bus);
}

#define AWAIT_LETTER(reader, number_)                                                                                \
	for (uint64_t end_ = harness_deadline(harness_limit_ms); (reader)->audit.last[0] < (number_); turn(reader))   \
		if (harness_now_ns() > end_)                                                                          \
	ck_abort_msg("letter %llu did not come, only %llu", (unsigned long long)(number_),                            \
	             (unsigned long long)(reader)->audit.last[0])

static struct pathbus_event take_one(pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };

	harness_await(pathbus_next(bus, &event) == 1);
	return event;
}

/* Around the ring's 256 slots. */
static const unsigned unread[] = { 1, 7, 200, 256, 257, 1000 };

enum { N_UNREAD = sizeof(unread) / sizeof(unread[0]) };

START_TEST(what_was_unread_is_told_before_resync)
{
	unsigned n = unread[_i];
	struct letter_book book = { 0 };
	struct reader_of_letters reader = { 0 };
	struct listener writer;
	struct pathbus_event event;
	uint64_t told = 0, last = 0;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&reader.of, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&writer, daemon_.address, PATHBUS_AUTO, file, PATHBUS_POST);
	ck_assert_int_eq(pathbus_post(writer.topic), 0);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(letter_write(&book, writer.topic), 0);
	harness_daemon_kill(&daemon_);
	/* Letters and gaps that add up, then RESYNC; the post is told before or by it. */
	for (;;) {
		event = take_one(reader.of.bus);
		letter_audit_take(&reader.audit, &event);
		if (event.kind == PATHBUS_EVENT_RESYNC)
			break;
		told += event.kind == PATHBUS_EVENT_POST ? 0 : event.count;
	}
	ck_assert_uint_eq(told, n);
	ck_assert_uint_eq(reader.audit.n_letters + reader.audit.n_gaps, n);
	if (n <= 200)
		ck_assert_uint_eq(reader.audit.n_gaps, 0);
	ck_assert_int_eq(listener_transport(&reader.of), PATHBUS_PEER);
	last = reader.audit.last[0];
	ck_assert_uint_eq(last, n);
	/* It goes on beside the file, and nothing comes again. */
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(letter_write(&book, writer.topic), 0);
	AWAIT_LETTER(&reader, n + 10);
	ck_assert_uint_eq(reader.audit.n_letters + reader.audit.n_gaps, n + 10);
	listener_close(&writer);
	listener_close(&reader.of);
}
END_TEST

/* Who answers a message by another finds its lane dead by that, and moves: the message in hand stays as it is. */
START_TEST(the_letter_in_hand_stays)
{
	static char texts[3][2000];
	struct listener reader, writer;
	struct pathbus_event event;

	harness_daemon_start(&daemon_, NULL);
	listener_open(&reader, daemon_.address, PATHBUS_AUTO, file, 0);
	listener_open(&writer, daemon_.address, PATHBUS_AUTO, file, PATHBUS_POST);
	for (int i = 0; i < 3; i++) {
		memset(texts[i], 'a' + i, sizeof(texts[i]));
		ck_assert_int_eq(pathbus_publish_keyed(writer.topic, texts[i], 100, texts[i], sizeof(texts[i])), 0);
	}
	event = take_one(reader.bus);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
	harness_daemon_kill(&daemon_);
	ck_assert_int_eq(pathbus_publish(reader.topic, "answer", 6), 0);
	ck_assert_int_eq(listener_transport(&reader), PATHBUS_PEER);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		ck_assert_uint_eq(event.data_size, sizeof(texts[i]));
		ck_assert_int_eq(memcmp(event.data, texts[i], sizeof(texts[i])), 0);
		ck_assert_uint_eq(event.key_size, 100);
		ck_assert_int_eq(memcmp(event.key, texts[i], 100), 0);
		event = take_one(reader.bus);
	}
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_RESYNC);
	listener_close(&writer);
	listener_close(&reader);
	listener_await_no_sidecar("data");
}
END_TEST

/* The last letter is in the dead lane and, since its writer found that out, in the sidecar too. */
START_TEST(a_letter_in_two_lanes_comes_once)
{
	struct letter_book book = { 0 };
	struct reader_of_letters quick = { 0 }, late = { 0 };
	struct listener writer;

	for (int i = 0; i < 5; i++) {
		harness_daemon_start(&daemon_, NULL);
		if (!quick.of.bus) {
			listener_open(&quick.of, daemon_.address, PATHBUS_AUTO, file, 0);
			listener_open(&late.of, daemon_.address, PATHBUS_AUTO, file, 0);
			listener_open(&writer, daemon_.address, PATHBUS_AUTO, file, 0);
		}
		listener_await_transport(&writer, PATHBUS_BUS);
		harness_await((letter_audit_drain(&quick.audit, quick.of.bus), listener_transport(&quick.of) == PATHBUS_BUS));
		harness_await((letter_audit_drain(&late.audit, late.of.bus), listener_transport(&late.of) == PATHBUS_BUS));
		for (int j = 0; j < 50; j++)
			ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		harness_daemon_kill(&daemon_);
		/* Into the dead lane first, then beside the file. */
		ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		ck_assert_int_eq(listener_transport(&writer), PATHBUS_PEER);
		AWAIT_LETTER(&quick, atomic_load(&book.begun));
		letter_audit_drain(&late.audit, late.of.bus);
		for (int j = 0; j < 50; j++)
			ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		AWAIT_LETTER(&quick, atomic_load(&book.begun));
		AWAIT_LETTER(&late, atomic_load(&book.begun));
		/* All of them were on one lane or the other together: nothing may be missing. */
		ck_assert_uint_eq(quick.audit.n_letters, atomic_load(&book.begun));
		ck_assert_uint_eq(late.audit.n_letters, atomic_load(&book.begun));
	}
	listener_close(&writer);
	listener_close(&quick.of);
	listener_close(&late.of);
}
END_TEST

/* --- the storm ------------------------------------------------------------------------------------------------------ */

enum { N_SEATS = 8, SHORT_S = 8, FULL_S = 60, SLOTS = 1024 };

enum phase { GATHER, STORM, CALM, END };

enum habit {
	WRITES_AND_READS, /* an event loop */
	ONLY_WRITES,      /* PATHBUS_POST, and never looks: moves only when it has to */
	ONLY_READS,
	READS_SLOWLY, /* some at a time, so that it is behind when a lane dies */
};

struct seat {
	enum habit habit;
	enum pathbus_transport_kind kind;
	_Atomic bool ready, calm;
	_Atomic int transport;
	_Atomic uint64_t since_ns; /* when it joined that */
	struct letter_book book;
	_Atomic uint64_t last[LETTERS_WRITERS]; /* what it has heard of each writer */
	_Atomic uint64_t n_letters, n_gaps, n_resyncs, n_missed;
};

static struct storm {
	_Atomic int phase;
	_Atomic bool fresh; /* one more letter from each writer */
	uint64_t struck_ns; /* when the daemon was killed last */
	int n;
	struct seat seats[N_SEATS];
} *storm;

static bool writes(const struct seat *seat)
{
	return seat->habit == WRITES_AND_READS || seat->habit == ONLY_WRITES;
}

static bool reads(const struct seat *seat)
{
	return seat->habit != ONLY_WRITES;
}

static void report(struct seat *seat, const struct letter_audit *audit, const struct listener *me)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	for (int i = 0; i < LETTERS_WRITERS; i++)
		atomic_store(&seat->last[i], audit->last[i]);
	atomic_store(&seat->n_letters, audit->n_letters);
	atomic_store(&seat->n_gaps, audit->n_gaps);
	atomic_store(&seat->n_resyncs, audit->n_resyncs);
	atomic_store(&seat->n_missed, audit->n_missed);
	ck_assert_int_eq(pathbus_transport(me->topic, &transport), 0);
	atomic_store(&seat->since_ns, transport.since_ns);
	atomic_store(&seat->transport, (int)transport.kind);
}

static void read_some(struct seat *seat, struct letter_audit *audit, struct listener *me, int timeout_ms)
{
	struct pollfd one = { .fd = pathbus_fd(me->bus), .events = POLLIN };
	struct pathbus_event event = { .size = sizeof(event) };

	if (poll(&one, 1, timeout_ms) <= 0)
		return;
	for (int i = 0; i < 100 && pathbus_next(me->bus, &event) == 1; i++)
		letter_audit_take(audit, &event);
	if (seat->habit == READS_SLOWLY && atomic_load(&storm->phase) == STORM)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL); /* what it takes to deal with them */
}

static void write_some(struct seat *seat, struct listener *me)
{
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(letter_write(&seat->book, me->topic), 0);
	if (seat->habit == ONLY_WRITES)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL); /* the rate, not a condition */
}

static int sit(struct harness_process *peer, void *arg)
{
	struct seat *seat = arg;
	struct pathbus_topic_options with = { .size = sizeof(with), .ring_slots = SLOTS };
	struct pathbus_options options = {
		.size = sizeof(options),
		.address = daemon_.address,
		.transport = seat->kind,
		.timeout_ms = seat->kind == PATHBUS_AUTO ? 0 : harness_limit_ms, /* a busy machine is no silent daemon */
	};
	/* There are links for moments, too. A socket's reader has a lane of its own behind the daemon's. */
	struct letter_audit audit = { .reach = seat->kind == PATHBUS_SOCKET ? 2 * SLOTS : SLOTS };
	struct listener me = { 0 };
	bool fresh = false;

	(void)peer;
	ck_assert_int_eq(pathbus_new(&me.bus, &options), 0);
	ck_assert_int_eq(pathbus_open_with(me.bus, file, seat->habit == ONLY_WRITES ? PATHBUS_POST : 0, &with, &me.topic), 0);
	if (reads(seat))
		letter_audit_drain(&audit, me.bus);
	atomic_store(&seat->ready, true);
	while (atomic_load(&storm->phase) != END) {
		bool calm = atomic_load(&storm->phase) == CALM;

		if (atomic_load(&storm->phase) == STORM && writes(seat))
			write_some(seat, &me);
		if (atomic_load(&storm->fresh) && !fresh && writes(seat)) {
			fresh = true;
			ck_assert_int_eq(letter_write(&seat->book, me.topic), 0);
		}
		atomic_store(&seat->calm, calm);
		if (reads(seat))
			read_some(seat, &audit, &me, calm || !writes(seat) ? 20 : 1);
		report(seat, &audit, &me);
	}
	listener_close(&me);
	return 0;
}

static bool all_ready(void)
{
	for (int i = 0; i < storm->n; i++)
		if (!atomic_load(&storm->seats[i].ready))
			return false;
	return true;
}

static bool all_calm(bool with_daemon)
{
	for (int i = 0; i < storm->n; i++) {
		struct seat *seat = &storm->seats[i];
		enum pathbus_transport_kind kind = with_daemon && seat->kind == PATHBUS_AUTO ? PATHBUS_BUS : PATHBUS_PEER;

		if (seat->kind == PATHBUS_SOCKET)
			kind = with_daemon ? PATHBUS_SOCKET : PATHBUS_AUTO;
		if (!atomic_load(&seat->calm) || (reads(seat) && atomic_load(&seat->transport) != (int)kind))
			return false;
		/* Not the dead one's, which it may not have noticed yet. */
		if (with_daemon && reads(seat) && seat->kind != PATHBUS_PEER && atomic_load(&seat->since_ns) < storm->struck_ns)
			return false;
	}
	return true;
}

static bool all_have_heard(bool with_daemon)
{
	for (int i = 0; i < storm->n; i++)
		for (int j = 0; j < storm->n; j++)
			if (i != j && (with_daemon || storm->seats[i].kind != PATHBUS_SOCKET) && reads(&storm->seats[i]) &&
			    writes(&storm->seats[j]) &&
			    atomic_load(&storm->seats[i].last[j]) != atomic_load(&storm->seats[j].book.begun))
				return false;
	return true;
}

static void explain(void)
{
	for (int i = 0; i < storm->n; i++) {
		const struct seat *seat = &storm->seats[i];

		printf("seat %d: habit %d, transport %d, wrote %llu, took %llu letters, %llu in gaps, %llu missed, %llu resyncs;"
		       " last",
		       i, (int)seat->habit, atomic_load(&seat->transport), (unsigned long long)atomic_load(&seat->book.begun),
		       (unsigned long long)atomic_load(&seat->n_letters), (unsigned long long)atomic_load(&seat->n_gaps),
		       (unsigned long long)atomic_load(&seat->n_missed), (unsigned long long)atomic_load(&seat->n_resyncs));
		for (int j = 0; j < storm->n; j++)
			printf(" %llu", (unsigned long long)atomic_load(&seat->last[j]));
		printf("\n");
	}
}

static unsigned roll(unsigned *random, unsigned sides)
{
	*random = *random * 1103515245u + 12345u;
	return (*random >> 16) % sides;
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = (long)ms * 1000000 }, NULL);
}

/* Kills it and starts it again; now and then so soon that nobody gets to the sidecar in between. */
static void strike(unsigned *random)
{
	pause_ms(50 + roll(random, 400)); /* the rate of disaster, not a condition */
	storm->struck_ns = harness_now_ns();
	harness_daemon_kill(&daemon_);
	if (roll(random, 3) != 0)
		pause_ms(20 + roll(random, 300));
	harness_daemon_start(&daemon_, NULL);
}

static void weather(const struct seat *seats, int n)
{
	uint64_t end = harness_now_ns() + (harness_full() ? FULL_S : SHORT_S) * UINT64_C(1000000000);
	const char *seed = getenv("PATHBUS_CHAOS_SEED");
	unsigned random = seed ? (unsigned)atoi(seed) : (unsigned)getpid(), n_deaths = 0;
	struct harness_process members[N_SEATS];
	bool with_daemon;

	printf("seed %u\n", random);
	storm = mmap(NULL, sizeof(*storm), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(storm, MAP_FAILED);
	storm->n = n;
	harness_daemon_start(&daemon_, NULL);
	for (int i = 0; i < n; i++) {
		storm->seats[i].habit = seats[i].habit;
		storm->seats[i].kind = seats[i].kind;
		storm->seats[i].book.writer = (unsigned)i;
	}
	for (int i = 0; i < n; i++)
		harness_spawn(&members[i], sit, &storm->seats[i]);
	harness_await(all_ready()); /* and linked: they hear the first letters */
	atomic_store(&storm->phase, STORM);
	while (harness_now_ns() < end) {
		strike(&random);
		n_deaths++;
	}
	with_daemon = roll(&random, 4) != 0;
	if (!with_daemon)
		harness_daemon_kill(&daemon_);
	atomic_store(&storm->phase, CALM);
	for (uint64_t limit = harness_deadline(harness_limit_ms); !all_calm(with_daemon); pause_ms(1))
		if (harness_now_ns() > limit) {
			explain();
			ck_abort_msg("they do not all come to rest %s the daemon", with_daemon ? "with" : "without");
		}
	atomic_store(&storm->fresh, true);
	for (uint64_t limit = harness_deadline(harness_limit_ms); !all_have_heard(with_daemon); pause_ms(1))
		if (harness_now_ns() > limit) {
			explain();
			ck_abort_msg("a fresh letter did not reach everybody");
		}
	explain();
	printf("the daemon died %u times\n", n_deaths);
	atomic_store(&storm->phase, END);
	for (int i = 0; i < n; i++)
		harness_expect_exit(&members[i], 0);
	if (with_daemon)
		harness_daemon_stop(&daemon_);
	listener_await_no_sidecar("data");
	munmap(storm, sizeof(*storm));
}

/* All of them reach the daemon. */
START_TEST(storm_over_one_daemon)
{
	static const struct seat seats[] = {
		{ .habit = WRITES_AND_READS },
		{ .habit = ONLY_WRITES },
		{ .habit = ONLY_READS },
		{ .habit = READS_SLOWLY },
		{ .habit = ONLY_READS, .kind = PATHBUS_SOCKET },
	};

	weather(seats, 5);
}
END_TEST

/* Some never do, so that there is a link whenever there is a daemon. */
START_TEST(storm_over_a_link)
{
	static const struct seat seats[] = {
		{ .habit = WRITES_AND_READS },
		{ .habit = ONLY_WRITES, .kind = PATHBUS_PEER },
		{ .habit = WRITES_AND_READS, .kind = PATHBUS_PEER },
		{ .habit = ONLY_WRITES },
		{ .habit = ONLY_READS },
		{ .habit = READS_SLOWLY },
		{ .habit = ONLY_READS, .kind = PATHBUS_PEER },
		{ .habit = ONLY_READS, .kind = PATHBUS_SOCKET },
	};

	weather(seats, 8);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(what_was_unread_is_told_before_resync, N_UNREAD),
	HARNESS_CASE(the_letter_in_hand_stays),
	HARNESS_CASE(a_letter_in_two_lanes_comes_once),
	HARNESS_CASE_LONG(storm_over_one_daemon, 110),
	HARNESS_CASE_LONG(storm_over_a_link, 110),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "mail", .cases = cases, .setup = setup });
}
