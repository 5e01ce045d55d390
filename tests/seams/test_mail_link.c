/* SPDX-License-Identifier: MIT */
/*
 * test_mail_link.c - messages between a daemon's lane and a sidecar: carried once each as they are, and RESYNC where the
 * link cannot.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/daemon.h"
#include "harness/harness.h"
#include "seams/agent.h"
#include "seams/letters.h"
#include "seams/listener.h"

static struct harness_daemon daemon_;
static const char *file;

static void setup(void)
{
	daemon_ = (struct harness_daemon){ 0 };
	file = harness_path("data");
	harness_write_file(file, "");
}

static void finish(void)
{
	listener_await_no_sidecar("data");
	harness_daemon_stop(&daemon_);
}

/* --- one side and the other ----------------------------------------------------------------------------------------- */

static void open_with(struct listener *listener, enum pathbus_transport_kind kind, unsigned flags, unsigned slots,
                      unsigned max)
{
	struct pathbus_options options = {
		.size = sizeof(options),
		.address = daemon_.address,
		.transport = kind,
		.timeout_ms = kind == PATHBUS_AUTO ? 0 : harness_limit_ms, /* a busy machine is no silent daemon */
	};
	struct pathbus_topic_options with = { .size = sizeof(with), .ring_slots = slots, .max_message = max };

	*listener = (struct listener){ 0 };
	ck_assert_int_eq(pathbus_new(&listener->bus, &options), 0);
	ck_assert_int_eq(pathbus_open_with(listener->bus, file, flags, &with, &listener->topic), 0);
}

static void open_side(struct listener *listener, enum pathbus_transport_kind kind)
{
	open_with(listener, kind, 0, 0, 0);
}

/* The next event that is not a post. */
static struct pathbus_event next(struct listener *listener)
{
	uint64_t end = harness_deadline(harness_limit_ms);
	struct pathbus_event event = { .size = sizeof(event) };

	for (;;) {
		struct pollfd one = { .fd = pathbus_fd(listener->bus), .events = POLLIN };
		int r = pathbus_next(listener->bus, &event);

		ck_assert_int_ge(r, 0);
		if (r == 1 && event.kind != PATHBUS_EVENT_POST)
			return event;
		if (r == 0 && poll(&one, 1, 1000) == 0 && harness_now_ns() > end)
			ck_abort_msg("nothing comes");
	}
}

static void expect(struct listener *listener, const char *text)
{
	struct pathbus_event event = next(listener);

	ck_assert_msg(event.kind == PATHBUS_EVENT_MESSAGE && event.data_size == strlen(text) &&
	                      memcmp(event.data, text, event.data_size) == 0,
	              "event %d, \"%.*s\" instead of \"%s\"", (int)event.kind, (int)event.data_size,
	              event.data ? (const char *)event.data : "", text);
}

static void say(struct listener *listener, const char *text)
{
	ck_assert_int_eq(pathbus_publish(listener->topic, text, strlen(text)), 0);
}

/* Until a message of the one reaches the other, and nothing else is on its way. A link that has just come tells RESYNC. */
static void expect_way(struct listener *from, struct listener *to)
{
	uint64_t end = harness_deadline(harness_limit_ms);
	char sent[32] = "";
	bool arrived = false;

	for (unsigned n = 0; !arrived; n++) {
		struct pollfd one = { .fd = pathbus_fd(to->bus), .events = POLLIN };
		struct pathbus_event event = { .size = sizeof(event) };

		snprintf(sent, sizeof(sent), "settled %u", n);
		say(from, sent);
		while (!arrived && poll(&one, 1, 500) > 0)
			while (pathbus_next(to->bus, &event) == 1)
				arrived |= event.kind == PATHBUS_EVENT_MESSAGE && event.data_size == strlen(sent) &&
				           memcmp(event.data, sent, event.data_size) == 0;
		if (harness_now_ns() > end)
			ck_abort_msg("they are not linked");
	}
}

static void settle(struct listener *a, struct listener *b)
{
	expect_way(a, b);
	expect_way(b, a);
	listener_drain(a);
	listener_drain(b);
}

/* Waits until there is something, and takes it. */
static void turn(struct listener *listener, struct letter_audit *audit)
{
	struct pollfd one = { .fd = pathbus_fd(listener->bus), .events = POLLIN };

	if (poll(&one, 1, 1000) > 0)
		letter_audit_drain(audit, listener->bus);
}

START_TEST(carried_once_and_as_they_are)
{
	static char large[4096];
	struct listener beside, lane;
	struct pathbus_event event;

	harness_daemon_start(&daemon_, NULL);
	open_side(&beside, PATHBUS_PEER);
	open_side(&lane, PATHBUS_BUS);
	settle(&beside, &lane);
	memset(large, 'x', sizeof(large));
	for (int i = 0; i < 6; i++) {
		struct listener *from = i % 2 ? &lane : &beside, *to = i % 2 ? &beside : &lane;
		const char *data = i < 2 ? "short" : large;
		size_t size = i < 2 ? 5 : i < 4 ? sizeof(large) : 73;
		uint64_t before = harness_now_ns();

		ck_assert_int_eq(pathbus_publish_keyed(from->topic, "key", i < 4 ? 3 : 0, data, size), 0);
		event = next(to);
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		ck_assert_uint_eq(event.count, 1);
		ck_assert_uint_eq(event.data_size, size);
		ck_assert_int_eq(memcmp(event.data, data, size), 0);
		ck_assert(i < 4 ? event.key_size == 3 && memcmp(event.key, "key", 3) == 0 : !event.key);
		ck_assert_int_eq(event.pid, getpid());
		ck_assert_uint_eq(event.uid, geteuid());
		ck_assert_uint_eq(event.origin, pathbus_origin(from->topic));
		ck_assert_uint_ge(event.time_ns, before);
		ck_assert_uint_le(event.time_ns, harness_now_ns());
	}
	/* Each once, and none comes back: an answer comes after anything that its cause may have sent back. */
	say(&lane, "last of the lane");
	expect(&beside, "last of the lane");
	say(&beside, "last beside");
	expect(&lane, "last beside");
	ck_assert_uint_eq(listener_drain(&beside), 0);
	ck_assert_uint_eq(listener_drain(&lane), 0);
	listener_close(&beside);
	listener_close(&lane);
	finish();
}
END_TEST

enum { N_PAIRS = 2, N_EACH = 2000 };

/* Two on each side; each hears the three others, each in order and once. */
START_TEST(two_on_each_side)
{
	struct listener all[2 * N_PAIRS];
	struct letter_book books[2 * N_PAIRS] = { { 0 } };
	struct letter_audit audits[2 * N_PAIRS] = { { .n_letters = 0 } };
	uint64_t end;
	bool done = false;

	harness_daemon_start(&daemon_, NULL);
	for (unsigned i = 0; i < 2 * N_PAIRS; i++) {
		open_with(&all[i], i % 2 ? PATHBUS_BUS : PATHBUS_PEER, 0, 2 * N_EACH * N_PAIRS, 0);
		books[i].writer = i;
	}
	settle(&all[0], &all[1]);
	for (unsigned i = 0; i < 2 * N_PAIRS; i++)
		listener_drain(&all[i]);
	for (unsigned n = 0; n < N_EACH; n++)
		for (unsigned i = 0; i < 2 * N_PAIRS; i++) {
			ck_assert_int_eq(letter_write(&books[i], all[i].topic), 0);
			if (n % 7 == i)
				letter_audit_drain(&audits[i], all[i].bus);
		}
	for (end = harness_deadline(harness_limit_ms); !done;) {
		done = true;
		for (unsigned i = 0; i < 2 * N_PAIRS; i++) {
			letter_audit_drain(&audits[i], all[i].bus);
			done &= audits[i].n_letters == N_EACH * (2 * N_PAIRS - 1);
		}
		if (harness_now_ns() > end)
			ck_abort_msg("only %llu, %llu, %llu and %llu letters came", (unsigned long long)audits[0].n_letters,
			             (unsigned long long)audits[1].n_letters, (unsigned long long)audits[2].n_letters,
			             (unsigned long long)audits[3].n_letters);
	}
	for (unsigned i = 0; i < 2 * N_PAIRS; i++) {
		ck_assert_uint_eq(audits[i].n_gaps, 0);
		ck_assert_uint_eq(audits[i].n_resyncs, 0);
		ck_assert_uint_eq(audits[i].n_missed, 0);
		ck_assert_uint_eq(audits[i].last[i], 0); /* not its own */
		listener_close(&all[i]);
	}
	finish();
}
END_TEST

/* What is too large for the other side cannot be counted there. */
START_TEST(too_large_for_the_other_side)
{
	static char data[1000];
	struct listener beside, lane;

	harness_daemon_start(&daemon_, NULL);
	open_with(&beside, PATHBUS_PEER, 0, 0, 256);
	open_with(&lane, PATHBUS_BUS, 0, 0, 4096);
	settle(&beside, &lane);
	say(&lane, "before");
	expect(&beside, "before");
	ck_assert_int_eq(pathbus_publish(lane.topic, data, sizeof(data)), 0);
	say(&lane, "after");
	ck_assert_int_eq(next(&beside).kind, PATHBUS_EVENT_RESYNC);
	expect(&beside, "after");
	ck_assert_int_eq(pathbus_publish(beside.topic, data, sizeof(data)), -EMSGSIZE);
	say(&beside, "and back");
	expect(&lane, "and back");
	listener_close(&beside);
	listener_close(&lane);
	finish();
}
END_TEST

/* The link stands still while the lane goes round several times; _i: which side is overrun. */
START_TEST(a_link_that_is_overrun)
{
	enum { SLOTS = 16, N = 5 * SLOTS };
	struct letter_book book = { 0 };
	struct letter_audit audit = { .reach = SLOTS };
	struct listener sides[2], *from = &sides[_i], *to = &sides[1 - _i];
	uint64_t end = harness_deadline(harness_limit_ms);
	pid_t link;

	harness_daemon_start(&daemon_, NULL);
	open_with(&sides[0], PATHBUS_PEER, 0, _i == 0 ? SLOTS : 256, 0);
	open_with(&sides[1], PATHBUS_BUS, 0, _i == 1 ? SLOTS : 256, 0);
	settle(&sides[0], &sides[1]);
	link = agent_of(&daemon_);
	ck_assert_int_gt(link, 0);
	for (int i = 0; i < SLOTS / 2; i++)
		ck_assert_int_eq(letter_write(&book, from->topic), 0);
	while (audit.last[0] < SLOTS / 2) {
		turn(to, &audit);
		ck_assert_uint_lt(harness_now_ns(), end);
	}
	ck_assert_uint_eq(audit.n_resyncs, 0);
	agent_stop(link);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(letter_write(&book, from->topic), 0);
	kill(link, SIGCONT);
	while (audit.last[0] < SLOTS / 2 + N) {
		turn(to, &audit);
		ck_assert_uint_lt(harness_now_ns(), end);
	}
	ck_assert_uint_ge(audit.n_resyncs, 1);
	ck_assert_uint_gt(audit.n_missed, 0);
	ck_assert_uint_ge(audit.n_letters, SLOTS / 2 + 1);
	listener_close(&sides[0]);
	listener_close(&sides[1]);
	finish();
}
END_TEST

/* Killed with messages that it has not carried: RESYNC on the side that misses them, then they go on. */
START_TEST(a_link_that_is_killed)
{
	struct listener sides[2], *from = &sides[_i], *to = &sides[1 - _i];
	pid_t link;

	harness_daemon_start(&daemon_, NULL);
	open_side(&sides[0], PATHBUS_PEER);
	open_side(&sides[1], PATHBUS_BUS);
	settle(&sides[0], &sides[1]);
	say(from, "first");
	expect(to, "first");
	link = agent_of(&daemon_);
	agent_stop(link);
	say(from, "lost");
	kill(link, SIGKILL);
	ck_assert_int_eq(next(to).kind, PATHBUS_EVENT_RESYNC);
	harness_await(agent_of(&daemon_) != 0 && agent_of(&daemon_) != link);
	settle(&sides[0], &sides[1]);
	say(from, "again");
	expect(to, "again");
	say(to, "and back");
	expect(from, "and back");
	listener_close(&sides[0]);
	listener_close(&sides[1]);
	finish();
}
END_TEST

/* A sidecar with messages before it is linked: nobody on the lane has heard them, so they are told to look. */
START_TEST(what_came_before_the_link_is_told_as_resync)
{
	struct listener beside, lane;

	harness_daemon_start(&daemon_, NULL);
	open_side(&lane, PATHBUS_BUS);
	for (int i = 0; i < 20; i++) {
		open_side(&beside, PATHBUS_PEER);
		say(&beside, "early");
		/* Carried, if the link was there already; else RESYNC. */
		for (;;) {
			struct pathbus_event event = next(&lane);

			if (event.kind == PATHBUS_EVENT_RESYNC)
				break;
			ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
			if (event.data_size == 5 && memcmp(event.data, "early", 5) == 0)
				break;
		}
		listener_close(&beside);
		listener_await_no_sidecar("data");
		listener_drain(&lane);
	}
	listener_close(&lane);
	finish();
}
END_TEST

/* It is gone before it can be linked: what was in it is not known, so they are told to look. */
START_TEST(who_publishes_once_and_leaves)
{
	struct listener beside, lane;

	harness_daemon_start(&daemon_, NULL);
	open_side(&lane, PATHBUS_BUS);
	for (int i = 0; i < 30; i++) {
		struct pathbus_event event;

		open_side(&beside, PATHBUS_PEER);
		say(&beside, "once");
		listener_close(&beside);
		event = next(&lane);
		ck_assert(event.kind == PATHBUS_EVENT_RESYNC || event.kind == PATHBUS_EVENT_MESSAGE);
		listener_await_no_sidecar("data");
		listener_drain(&lane);
	}
	listener_close(&lane);
	finish();
}
END_TEST

/* What was published on the lane while the daemon lived is carried although it dies, however the link is held up. */
START_TEST(the_link_outlives_the_daemon_with_messages)
{
	enum { N = 100 };
	struct letter_book book = { 0 };
	struct letter_audit audit = { 0 };
	struct listener beside, lane;
	uint64_t end;

	/* The leak check at a program's end stops it by a signal, which a continuing one would take away. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	for (int i = 0; i < 5; i++) {
		pid_t link;

		harness_daemon_start(&daemon_, NULL);
		open_side(&beside, PATHBUS_PEER);
		open_side(&lane, PATHBUS_BUS);
		settle(&beside, &lane);
		link = agent_of(&daemon_);
		agent_stop(link);
		audit = (struct letter_audit){ 0 };
		letter_audit_late(&audit);
		for (int j = 0; j < N; j++)
			ck_assert_int_eq(letter_write(&book, lane.topic), 0);
		harness_daemon_kill(&daemon_);
		kill(link, SIGCONT);
		for (end = harness_deadline(harness_limit_ms); audit.n_letters < N;) {
			turn(&beside, &audit);
			ck_assert_uint_lt(harness_now_ns(), end);
		}
		ck_assert_uint_eq(audit.n_gaps + audit.n_resyncs, 0);
		harness_await(kill(link, 0) < 0 && errno == ESRCH);
		listener_close(&beside);
		listener_close(&lane);
		listener_await_no_sidecar("data");
	}
}
END_TEST

/* A writer that goes from one side to the other does not overtake what the link has of it. */
START_TEST(a_writer_that_changes_sides_keeps_its_order)
{
	enum { N = 200, ROUNDS = 6 };
	struct letter_book book = { 0 };
	struct letter_audit beside_audit = { 0 }, lane_audit = { 0 };
	struct pathbus_options options = { .size = sizeof(options), .address = harness_path("socket") };
	struct listener beside, lane, writer = { 0 };
	uint64_t end;

	daemon_.address = options.address;
	open_with(&beside, PATHBUS_PEER, 0, 4096, 0);
	ck_assert_int_eq(pathbus_new(&writer.bus, &options), 0);
	ck_assert_int_eq(pathbus_open(writer.bus, file, PATHBUS_POST, &writer.topic), 0);
	for (int round = 0; round < ROUNDS; round++) {
		ck_assert_int_eq(listener_transport(&writer), PATHBUS_PEER);
		harness_daemon_start(&daemon_, NULL);
		open_with(&lane, PATHBUS_BUS, 0, 4096, 0);
		lane_audit = (struct letter_audit){ 0 };
		letter_audit_late(&lane_audit);
		/* It publishes until it finds itself on the daemon, and a while on. */
		end = harness_deadline(harness_limit_ms);
		for (int after = 0; after < N; after += listener_transport(&writer) == PATHBUS_BUS) {
			ck_assert_int_eq(letter_write(&book, writer.topic), 0);
			listener_drain(&writer);
			if (atomic_load(&book.begun) % 50 == 0) {
				letter_audit_drain(&beside_audit, beside.bus);
				letter_audit_drain(&lane_audit, lane.bus);
			}
			ck_assert_uint_lt(harness_now_ns(), end);
		}
		while (beside_audit.last[0] < atomic_load(&book.begun) || lane_audit.last[0] < atomic_load(&book.begun)) {
			letter_audit_drain(&beside_audit, beside.bus);
			letter_audit_drain(&lane_audit, lane.bus);
			ck_assert_uint_lt(harness_now_ns(), end);
		}
		listener_close(&lane);
		harness_daemon_kill(&daemon_);
		for (int i = 0; i < N; i++)
			ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		while (beside_audit.last[0] < atomic_load(&book.begun)) {
			letter_audit_drain(&beside_audit, beside.bus);
			ck_assert_uint_lt(harness_now_ns(), end);
		}
	}
	printf("%llu letters, %llu missed, %llu in gaps, %llu resyncs\n", (unsigned long long)beside_audit.n_letters,
	       (unsigned long long)beside_audit.n_missed, (unsigned long long)beside_audit.n_gaps,
	       (unsigned long long)beside_audit.n_resyncs);
	listener_close(&writer);
	listener_close(&beside);
	listener_await_no_sidecar("data");
}
END_TEST

/* The link stands still while a writer goes over: what it carries then is late, and RESYNC in its place. _i: how the
 * lane's reader is there. */
START_TEST(a_writer_that_overtakes_the_link)
{
	enum { N = 5, ROUNDS = 3 };
	static const enum pathbus_transport_kind kinds[] = { PATHBUS_BUS, PATHBUS_SOCKET };
	struct pathbus_options options = { .size = sizeof(options), .address = harness_path("socket") };
	struct letter_book book = { 0 };
	struct listener beside, lane, writer;
	struct letter_audit audit;
	uint64_t end = harness_deadline(harness_limit_ms);

	daemon_.address = options.address;
	open_side(&beside, PATHBUS_PEER);
	listener_open(&writer, options.address, PATHBUS_AUTO, file, PATHBUS_POST);
	for (int round = 0; round < ROUNDS; round++) {
		struct pathbus_event event;
		pid_t link;

		/* It does not look for the daemon until it is asked to. */
		ck_assert_int_eq(listener_transport(&writer), PATHBUS_PEER);
		harness_daemon_start(&daemon_, NULL);
		open_side(&lane, kinds[_i]);
		expect_way(&beside, &lane);
		listener_drain(&lane);
		ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		audit = (struct letter_audit){ 0 };
		letter_audit_late(&audit);
		while (audit.last[0] < atomic_load(&book.begun)) {
			turn(&lane, &audit);
			ck_assert_uint_lt(harness_now_ns(), end);
		}
		link = agent_of(&daemon_);
		agent_stop(link);
		for (int i = 0; i < N; i++)
			ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		listener_await_transport(&writer, PATHBUS_BUS);
		letter_audit_late(&audit); /* the hole is told once what is in it comes late */
		for (int i = 0; i < N; i++)
			ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		while (audit.last[0] < atomic_load(&book.begun)) {
			turn(&lane, &audit);
			ck_assert_uint_lt(harness_now_ns(), end);
		}
		ck_assert_uint_eq(audit.n_resyncs, 0);
		kill(link, SIGCONT);
		event = next(&lane);
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_RESYNC);
		ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		while (audit.last[0] < atomic_load(&book.begun)) {
			turn(&lane, &audit);
			ck_assert_uint_lt(harness_now_ns(), end);
		}
		ck_assert_uint_eq(audit.n_letters, N + 2);
		ck_assert_uint_eq(audit.n_missed, atomic_load(&book.begun) - N - 2);
		listener_close(&lane);
		harness_daemon_kill(&daemon_);
		ck_assert_int_eq(letter_write(&book, writer.topic), 0);
		harness_await((listener_drain(&writer), listener_transport(&writer) == PATHBUS_PEER));
		listener_drain(&beside);
	}
	listener_close(&writer);
	listener_close(&beside);
	listener_await_no_sidecar("data");
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(carried_once_and_as_they_are),
	HARNESS_CASE(two_on_each_side),
	HARNESS_CASE(too_large_for_the_other_side),
	HARNESS_CASE_EACH(a_link_that_is_overrun, 2),
	HARNESS_CASE_EACH(a_link_that_is_killed, 2),
	HARNESS_CASE(what_came_before_the_link_is_told_as_resync),
	HARNESS_CASE(who_publishes_once_and_leaves),
	HARNESS_CASE(the_link_outlives_the_daemon_with_messages),
	HARNESS_CASE(a_writer_that_changes_sides_keeps_its_order),
	HARNESS_CASE_EACH(a_writer_that_overtakes_the_link, 2),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "mail over a link", .cases = cases, .setup = setup });
}
