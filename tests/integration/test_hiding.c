/* SPDX-License-Identifier: MIT */
/*
 * test_hiding.c - a stranger and one whose posts and messages are hidden, or heard as an echo, at once: of the stranger's
 * none is swallowed, and of the others' none shows.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance/transports.h"
#include "seams/letters.h"

enum { N_POSTS = 100000, N_FULL = 1000000, PER_LETTER = 5, SLOTS = 65536, N_AT_ONCE = 16 };

enum mode {
	OWN,           /* by the thread that reads */
	OWN_ELSEWHERE, /* by another thread, on the same topic */
	ECHO,          /* the same, and it is heard */
	OWN_PROCESS,   /* by another handle of the process */
	BY_ORIGIN,     /* by another process */
	N_MODES,
};

enum { STRANGER, HIDDEN };

static unsigned n_posts(void)
{
	return harness_full() ? N_FULL : N_POSTS;
}

/* The ring holds all letters there are, so that what is missing has been swallowed. */
static bool has_letter(unsigned i)
{
	return i % (harness_full() ? 10 * PER_LETTER : PER_LETTER) == 0;
}

static uint64_t n_letters(void)
{
	return n_posts() / (harness_full() ? 10 * PER_LETTER : PER_LETTER);
}

static pathbus_topic *open_with(pathbus *bus, unsigned flags)
{
	struct pathbus_topic_options options = { .size = sizeof(options), .ring_slots = SLOTS, .max_message = 256 };
	pathbus_topic *topic;
	int r = pathbus_open_with(bus, transport_path("data"), flags, &options, &topic);

	ck_assert_msg(r == 0, "opening: %s", strerror(-r));
	transport_expect(topic);
	return topic;
}

static void act(struct letter_book *book, pathbus_topic *topic, unsigned i)
{
	if (pathbus_post(topic) != 0 || (has_letter(i) && letter_write(book, topic) != 0))
		ck_abort_msg("it could not be posted");
}

static int be_active(struct harness_process *peer, void *arg)
{
	struct letter_book book = { .writer = *(unsigned *)arg };
	pathbus *bus = transport_new();
	pathbus_topic *topic = open_with(bus, PATHBUS_POST);

	harness_tell(peer, "%llu", (unsigned long long)pathbus_origin(topic));
	harness_expect_line(peer, "go");
	for (unsigned i = 0; i < n_posts(); i++)
		act(&book, topic, i);
	harness_tell(peer, "done");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

struct thread {
	pthread_t thread;
	pathbus_topic *topic;
	struct letter_book book;
};

static void *act_beside(void *arg)
{
	struct thread *thread = arg;

	for (unsigned i = 0; i < n_posts(); i++)
		act(&thread->book, thread->topic, i);
	return NULL;
}

static void read_some(struct letter_audit *audit, pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };
	int r = 0;

	for (int i = 0; i < N_AT_ONCE && (r = pathbus_next(bus, &event)) == 1; i++)
		letter_audit_take(audit, &event);
	ck_assert_int_ge(r, 0);
}

START_TEST(nothing_is_swallowed_and_nothing_shows)
{
	static unsigned stranger_number = STRANGER, hidden_number = HIDDEN;
	enum mode mode = (enum mode)(_i / 2);
	struct harness_process stranger, hidden = { .pid = 0 };
	struct letter_audit audit = { 0 };
	struct thread thread = { .book = { .writer = HIDDEN } };
	pathbus *bus, *other = NULL;
	pathbus_topic *topic;
	uint64_t limit, of_all = n_posts() * (mode == ECHO ? 2 : 1);
	unsigned own = 0;

	transport_begin(_i % 2 ? ON_PEER : ON_BUS);
	bus = transport_new();
	topic = open_with(bus, mode == ECHO ? PATHBUS_ECHO : mode == OWN_PROCESS ? PATHBUS_HIDE_PROCESS : 0);
	if (mode == OWN_PROCESS)
		other = transport_new();
	harness_spawn(&stranger, be_active, &stranger_number);
	ck_assert_ptr_nonnull(harness_hear(&stranger));
	if (mode == BY_ORIGIN) {
		const char *line;

		harness_spawn(&hidden, be_active, &hidden_number);
		line = harness_hear(&hidden);
		ck_assert_ptr_nonnull(line);
		ck_assert_int_eq(pathbus_hide(topic, strtoull(line, NULL, 10)), 0);
		harness_tell(&hidden, "go");
	} else if (mode != OWN) {
		thread.topic = mode == OWN_PROCESS ? open_with(other, PATHBUS_POST) : topic;
		ck_assert_int_eq(pthread_create(&thread.thread, NULL, act_beside, &thread), 0);
	}
	harness_tell(&stranger, "go");
	limit = harness_deadline(harness_limit_ms) + (harness_full() ? UINT64_C(30000000000) : 0);
	while (audit.n_posts < of_all || audit.last[STRANGER] < n_letters() || (mode == OWN && own < n_posts())) {
		struct pollfd one = { .fd = pathbus_fd(bus), .events = POLLIN };
		bool sleeps = mode != OWN || own == n_posts();

		for (int i = 0; !sleeps && i < N_AT_ONCE && own < n_posts(); i++)
			act(&thread.book, topic, own++);
		(void)poll(&one, 1, sleeps ? 100 : 0);
		read_some(&audit, bus);
		if (harness_now_ns() > limit)
			ck_abort_msg("%llu of %llu posts and %llu of %llu letters", (unsigned long long)audit.n_posts,
			             (unsigned long long)of_all, (unsigned long long)audit.last[STRANGER],
			             (unsigned long long)n_letters());
	}
	harness_expect_line(&stranger, "done");
	if (mode == BY_ORIGIN)
		harness_expect_line(&hidden, "done");
	else if (mode != OWN)
		ck_assert_int_eq(pthread_join(thread.thread, NULL), 0);
	if (mode == ECHO)
		harness_await((read_some(&audit, bus), audit.last[HIDDEN] == n_letters()));
	/* And not one more, now that nobody posts. */
	harness_await((read_some(&audit, bus), !is_readable(pathbus_fd(bus))));
	ck_assert_uint_eq(audit.n_posts, of_all);
	ck_assert_uint_eq(audit.last[STRANGER], n_letters());
	ck_assert_uint_eq(audit.last[HIDDEN], mode == ECHO ? n_letters() : 0);
	ck_assert_uint_eq(audit.n_letters, mode == ECHO ? 2 * n_letters() : n_letters());
	ck_assert_uint_eq(audit.n_gaps, 0);
	ck_assert_uint_eq(audit.n_resyncs, 0);
	harness_tell(&stranger, "end");
	harness_expect_exit(&stranger, 0);
	if (mode == BY_ORIGIN) {
		harness_tell(&hidden, "end");
		harness_expect_exit(&hidden, 0);
	}
	pathbus_free(bus);
	pathbus_free(other);
}
END_TEST

static int be_there(struct harness_process *peer, void *arg)
{
	(void)arg;
	transport_open(transport_new(), "data", 0);
	harness_tell(peer, "ready");
	harness_expect_line(peer, "never");
	return 0;
}

/* Somebody is killed, and so RESYNC comes: it stands for no post that a stranger makes afterwards. */
START_TEST(resync_does_not_swallow_what_follows)
{
	pathbus *bus, *hidden, *stranger;
	pathbus_topic *to, *from_hidden, *from;
	struct harness_process victim;
	struct pathbus_event event;

	transport_begin(ON_BUS);
	bus = transport_new();
	hidden = transport_new();
	stranger = transport_new();
	to = transport_open(bus, "data", 0);
	from_hidden = transport_open(hidden, "data", PATHBUS_POST);
	from = transport_open(stranger, "data", PATHBUS_POST);
	ck_assert_int_eq(pathbus_hide(to, pathbus_origin(from_hidden)), 0);
	expect_quiet(bus);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(pathbus_post(from_hidden), 0);
	expect_quiet(bus);
	harness_spawn(&victim, be_there, NULL);
	harness_expect_line(&victim, "ready");
	harness_signal(&victim, SIGKILL);
	harness_expect_signal(&victim, SIGKILL);
	await_event(bus, PATHBUS_EVENT_RESYNC);
	drain(bus);
	for (int i = 0; i < 7; i++) {
		ck_assert_int_eq(pathbus_post(from_hidden), 0);
		ck_assert_int_eq(pathbus_post(from), 0);
		take_soon(bus, &event);
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_POST);
		ck_assert_uint_eq(event.count, 1);
		expect_quiet(bus);
	}
	pathbus_free(bus);
	pathbus_free(hidden);
	pathbus_free(stranger);
}
END_TEST

static int post_all_the_time(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);
	struct pollfd word = { .fd = peer->in, .events = POLLIN };

	(void)arg;
	harness_tell(peer, "%llu", (unsigned long long)pathbus_origin(topic));
	harness_expect_line(peer, "go");
	while (poll(&word, 1, 0) == 0)
		for (int i = 0; i < 100; i++)
			ck_assert_int_eq(pathbus_post(topic), 0);
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

/* Who lives is never taken for one that died in the middle of a post, however seldom one looks: each time it is in the
 * middle of another. */
START_TEST(who_lives_stays_hidden)
{
	uint64_t end = harness_now_ns() + (harness_full() ? 20 : 3) * UINT64_C(1000000000);
	struct harness_process hidden;
	struct pathbus_event event;
	pathbus_topic *topic;
	const char *line;
	pathbus *bus;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	harness_spawn(&hidden, post_all_the_time, NULL);
	line = harness_hear(&hidden);
	ck_assert_ptr_nonnull(line);
	ck_assert_int_eq(pathbus_hide(topic, strtoull(line, NULL, 10)), 0);
	expect_quiet(bus);
	harness_tell(&hidden, "go");
	while (harness_now_ns() < end) {
		(void)poll(NULL, 0, 110); /* longer than the lease */
		for (int i = 0; i < 3; i++)
			if (take(bus, &event) != 0)
				ck_abort_msg("%llu shown, event %d", (unsigned long long)event.count, (int)event.kind);
	}
	harness_tell(&hidden, "end");
	harness_expect_exit(&hidden, 0);
	expect_quiet(bus);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(resync_does_not_swallow_what_follows),
	HARNESS_CASE_EACH(who_lives_stays_hidden, ON_PEER + 1),
	HARNESS_CASE_EACH(nothing_is_swallowed_and_nothing_shows, N_MODES * 2),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "hiding", .cases = cases, .teardown = transport_end });
}
