/* SPDX-License-Identifier: MIT */
/* test_messages.c - messages: what arrives, in which order, and what is told of those that do not. */
#include "conformance/transports.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "harness/process.h"

/* --- small helpers ----------------------------------------------------------------------------------------- */

static pathbus_topic *open_with(pathbus *bus, unsigned flags, unsigned slots, unsigned max, unsigned last)
{
	struct pathbus_topic_options options = {
		.size = sizeof(options), .ring_slots = slots, .max_message = max, .last = last
	};
	pathbus_topic *topic;
	int r = pathbus_open_with(bus, transport_path("data"), flags, &options, &topic);

	ck_assert_msg(r == 0, "opening: %s", strerror(-r));
	transport_expect(topic);
	return topic;
}

static void say(pathbus_topic *topic, const char *text)
{
	int r = pathbus_publish(topic, text, strlen(text));

	ck_assert_msg(r == 0, "publishing: %s", strerror(-r));
}

static void say_keyed(pathbus_topic *topic, const char *key, const char *text)
{
	ck_assert_int_eq(pathbus_publish_keyed(topic, key, strlen(key), text, strlen(text)), 0);
}

/* Waits for the next event. */
static struct pathbus_event next(pathbus *bus)
{
	struct pathbus_event event = { 0 };

	do
		await_readable(bus);
	while (!take(bus, &event));
	return event;
}

static void expect_message(pathbus *bus, const char *text)
{
	struct pathbus_event event = next(bus);

	ck_assert_msg(event.kind == PATHBUS_EVENT_MESSAGE, "event %d (count %llu) instead of \"%s\"", (int)event.kind,
	              (unsigned long long)event.count, text);
	ck_assert_uint_eq(event.data_size, strlen(text));
	ck_assert_msg(memcmp(event.data, text, event.data_size) == 0, "\"%.*s\" instead of \"%s\"", (int)event.data_size,
	              (const char *)event.data, text);
}

static void expect_count(pathbus *bus, enum pathbus_event_kind kind, uint64_t count)
{
	struct pathbus_event event = next(bus);

	ck_assert_int_eq(event.kind, kind);
	ck_assert_uint_eq(event.count, count);
}

/* --- one message -------------------------------------------------------------------------------------------- */

START_TEST(a_message_reaches_the_others)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;
	struct pathbus_event event;
	struct timespec now;
	uint64_t before = harness_now_ns();

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	to = transport_open(listener, "data", PATHBUS_WALL_CLOCK);
	from = transport_open(poster, "data", 0);
	say(from, "hello");
	event = next(listener);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
	ck_assert_ptr_eq(event.topic, to);
	ck_assert_uint_eq(event.count, 1);
	ck_assert_uint_eq(event.data_size, 5);
	ck_assert_int_eq(memcmp(event.data, "hello", 5), 0);
	ck_assert_ptr_null(event.key);
	ck_assert_int_eq(event.pid, getpid());
	ck_assert_uint_eq(event.uid, geteuid());
	ck_assert_uint_eq(event.origin, pathbus_origin(from));
	ck_assert_uint_ne(event.origin, 0);
	ck_assert_uint_ge(event.time_ns, before);
	ck_assert_uint_le(event.time_ns, harness_now_ns());
	clock_gettime(CLOCK_REALTIME, &now);
	ck_assert_uint_le(event.wall_ns / 1000000000, (uint64_t)now.tv_sec + 1);
	ck_assert_uint_ge(event.wall_ns / 1000000000 + 120, (uint64_t)now.tv_sec);
	expect_quiet(listener);
	expect_quiet(poster);

	say(to, "and back");
	expect_message(poster, "and back");
	expect_quiet(listener);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(any_size_up_to_the_limit)
{
	static const size_t sizes[] = { 0, 1, 7, 8, 64, 71, 72, 73, 100, 1000, 4095, 4096 };
	static const size_t key_sizes[] = { 0, 1, 8, 72, 255 };
	static unsigned char data[4097], key[256];
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;
	struct pathbus_limits limits = { .size = sizeof(limits) };

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	transport_open(listener, "data", 0);
	from = transport_open(poster, "data", 0);
	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = (unsigned char)(i * 7 + i / 256);
	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (unsigned char)(255 - i);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		for (size_t k = 0; k < sizeof(key_sizes) / sizeof(key_sizes[0]); k++) {
			ck_assert_int_eq(pathbus_publish_keyed(from, key_sizes[k] ? key : NULL, key_sizes[k], data, sizes[i]), 0);
			event = next(listener);
			ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
			ck_assert_uint_eq(event.data_size, sizes[i]);
			ck_assert_ptr_nonnull(event.data);
			ck_assert_int_eq(memcmp(event.data, data, sizes[i]), 0);
			ck_assert_uint_eq(event.key_size, key_sizes[k]);
			ck_assert(key_sizes[k] ? memcmp(event.key, key, key_sizes[k]) == 0 : !event.key);
		}
	ck_assert_int_eq(pathbus_get_limits(from, &limits), 0);
	ck_assert_uint_eq(limits.max_message, 4096);
	ck_assert_uint_eq(limits.ring_slots, 256);
	ck_assert_int_eq(pathbus_publish(from, data, 4097), -EMSGSIZE);
	ck_assert_int_eq(pathbus_publish_keyed(from, key, 256, data, 1), -EMSGSIZE);
	ck_assert_int_eq(pathbus_publish(from, NULL, 1), -EINVAL);
	ck_assert_int_eq(pathbus_publish_keyed(from, NULL, 1, data, 1), -EINVAL);
	ck_assert_int_eq(pathbus_publish(NULL, data, 1), -EINVAL);
	expect_quiet(listener);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(the_largest)
{
	size_t size = 65536;
	unsigned char *data = malloc(size);
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	open_with(listener, 0, 8, 65536, 0);
	from = open_with(poster, 0, 0, 0, 0); /* what the first has chosen */
	ck_assert_ptr_nonnull(data);
	for (size_t i = 0; i < size; i++)
		data[i] = (unsigned char)(i / 3);
	ck_assert_int_eq(pathbus_publish_keyed(from, "key", 3, data, size), 0);
	event = next(listener);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
	ck_assert_uint_eq(event.data_size, size);
	ck_assert_int_eq(memcmp(event.data, data, size), 0);
	free(data);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(without_the_right_to_post)
{
	pathbus *listener;
	pathbus_topic *topic;

	transport_begin(_i);
	listener = transport_new();
	topic = transport_open(listener, "data", PATHBUS_SUBSCRIBE);
	if (pathbus_post(topic) == 0)
		ck_assert_int_eq(pathbus_publish(topic, "x", 1), 0);
	else
		ck_assert_int_eq(pathbus_publish(topic, "x", 1), -EACCES);
	pathbus_free(listener);
}
END_TEST

/* --- order ----------------------------------------------------------------------------------------------------- */

START_TEST(posts_and_messages_in_order)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	to = transport_open(listener, "data", 0);
	from = transport_open(poster, "data", 0);
	for (int round = 0; round < 20; round++) {
		ck_assert_int_eq(pathbus_post(from), 0);
		ck_assert_int_eq(pathbus_post(from), 0);
		say(from, "one");
		say(from, "two");
		ck_assert_int_eq(pathbus_post(from), 0);
		say(from, "three");
		ck_assert_int_eq(pathbus_post(from), 0);
		if (round % 2)
			ck_assert_int_eq(pathbus_post(to), 0); /* own ones do not count */
		expect_count(listener, PATHBUS_EVENT_POST, 2);
		expect_message(listener, "one");
		expect_message(listener, "two");
		expect_count(listener, PATHBUS_EVENT_POST, 1);
		expect_message(listener, "three");
		expect_count(listener, PATHBUS_EVENT_POST, 1);
		expect_quiet(listener);
		drain(poster);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(own_messages_are_not_heard)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b, *second;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	of_b = transport_open(b, "data", 0);
	for (int i = 0; i < 10; i++) {
		say(of_a, "of a");
		say(of_b, "of b");
	}
	for (int i = 0; i < 10; i++) {
		expect_message(a, "of b");
		expect_message(b, "of a");
	}
	expect_quiet(a);
	expect_quiet(b);
	/* Another topic of the same handle is another member. */
	second = transport_open(a, "data", 0);
	say(second, "of the second");
	expect_message(a, "of the second");
	expect_message(b, "of the second");
	expect_quiet(a);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

START_TEST(echo_hears_them)
{
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", PATHBUS_ECHO);
	ck_assert_int_eq(pathbus_post(topic), 0);
	say(topic, "myself");
	expect_count(bus, PATHBUS_EVENT_POST, 1);
	expect_message(bus, "myself");
	expect_quiet(bus);
	pathbus_free(bus);
}
END_TEST

/* --- overrun, late joiners ------------------------------------------------------------------------------------------ */

START_TEST(who_is_behind_is_told_how_much)
{
	enum { N_SLOTS = 8, N = 1000 };
	pathbus *poster, *listener;
	pathbus_topic *from, *to;
	uint64_t got = 0, missed = 0;
	int last = -1;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	to = open_with(listener, 0, N_SLOTS, 0, 0);
	from = open_with(poster, 0, 0, 0, 0);
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(pathbus_publish(from, &i, sizeof(i)), 0);
		if (i % 3 == 0)
			ck_assert_int_eq(pathbus_publish(to, &i, sizeof(i)), 0); /* own ones are not missed */
	}
	while (got + missed < N) {
		struct pathbus_event event = next(listener);

		if (event.kind == PATHBUS_EVENT_GAP) {
			missed += event.count;
			continue;
		}
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		int number;

		memcpy(&number, event.data, sizeof(number));
		ck_assert_int_gt(number, last);
		last = number;
		got++;
	}
	ck_assert_uint_eq(got + missed, N);
	ck_assert_int_eq(last, N - 1);
	ck_assert_uint_gt(got, 0);
	ck_assert_uint_gt(missed, 0);
	expect_quiet(listener);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(the_last_ones_for_who_comes_late)
{
	pathbus *poster, *late;
	pathbus_topic *from;

	transport_begin(_i);
	poster = transport_new();
	from = transport_open(poster, "data", 0);
	say(from, "1");
	say(from, "2");
	say(from, "3");
	ck_assert_int_eq(pathbus_post(from), 0);
	late = transport_new();
	open_with(late, 0, 0, 0, 2);
	expect_message(late, "2");
	expect_message(late, "3");
	expect_quiet(late);
	say(from, "4");
	expect_message(late, "4");
	expect_quiet(late);
	pathbus_free(late);

	late = transport_new();
	open_with(late, 0, 0, 0, 1000); /* more than there are */
	for (int i = 1; i <= 4; i++)
		expect_message(late, (char[]){ (char)('0' + i), '\0' });
	expect_quiet(late);
	pathbus_free(late);

	late = transport_new();
	open_with(late, 0, 0, 0, 0);
	expect_quiet(late);
	pathbus_free(late);
	pathbus_free(poster);
}
END_TEST

/* --- keys --------------------------------------------------------------------------------------------------------------- */

START_TEST(the_newest_of_each_key)
{
	pathbus *poster, *newest, *all;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	newest = transport_new();
	all = transport_new();
	transport_open(newest, "data", PATHBUS_NEWEST);
	transport_open(all, "data", 0);
	from = transport_open(poster, "data", 0);
	for (int round = 0; round < 3; round++) {
		say_keyed(from, "a", "a1");
		say_keyed(from, "b", "b1");
		say(from, "plain");
		say_keyed(from, "a", "a2");
		say_keyed(from, "a", "a3");
		if (!transport_is_immediate()) {
			/* It depends on what comes together. */
			uint64_t n = 0;

			while (n < 5) {
				event = next(newest);
				n += event.count;
			}
			ck_assert_uint_eq(n, 5);
			ck_assert_int_eq(memcmp(event.data, "a3", 2), 0);
			expect_quiet(newest);
			for (int i = 0; i < 5; i++)
				(void)next(all);
			expect_quiet(all);
			continue;
		}
		event = next(newest);
		ck_assert_int_eq(memcmp(event.data, "b1", 2), 0);
		ck_assert_uint_eq(event.count, 1);
		expect_message(newest, "plain");
		event = next(newest);
		ck_assert_int_eq(memcmp(event.data, "a3", 2), 0);
		ck_assert_uint_eq(event.key_size, 1);
		ck_assert_int_eq(memcmp(event.key, "a", 1), 0);
		ck_assert_uint_eq(event.count, 3); /* it stands for those it replaces, too */
		expect_quiet(newest);
		expect_message(all, "a1");
		expect_message(all, "b1");
		expect_message(all, "plain");
		expect_message(all, "a2");
		expect_message(all, "a3");
		expect_quiet(all);
	}
	/* Who keeps up gets every one. */
	say_keyed(from, "a", "x");
	expect_message(newest, "x");
	say_keyed(from, "a", "y");
	expect_message(newest, "y");
	expect_quiet(newest);
	pathbus_free(poster);
	pathbus_free(newest);
	pathbus_free(all);
}
END_TEST

/* A newer one that the subscriber does not want replaces nothing. */
START_TEST(what_is_hidden_replaces_nothing)
{
	pathbus *newest, *stranger, *hidden;
	pathbus_topic *to, *from, *from_hidden;

	transport_begin(_i);
	newest = transport_new();
	stranger = transport_new();
	hidden = transport_new();
	to = transport_open(newest, "data", PATHBUS_NEWEST);
	from = transport_open(stranger, "data", 0);
	from_hidden = transport_open(hidden, "data", 0);
	expect_quiet(newest);
	ck_assert_int_eq(pathbus_hide(to, pathbus_origin(from_hidden)), 0);
	for (int i = 0; i < 3; i++) {
		say_keyed(from, "k", "stranger");
		say_keyed(from_hidden, "k", "hidden");
		expect_message(newest, "stranger");
		expect_quiet(newest);
	}
	pathbus_free(newest);
	pathbus_free(stranger);
	pathbus_free(hidden);
}
END_TEST

/* What was replaced by a newer one that is not told after all, since it was overrun or is hidden by now, is missed. */
START_TEST(what_replaced_others_and_is_not_told_is_counted_for_them)
{
	enum { SLOTS = 8 };
	struct pathbus_topic_options options = { .size = sizeof(options), .ring_slots = SLOTS };
	pathbus *newest, *poster, *other;
	pathbus_topic *to, *from, *from_other;
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t published = 0, told = 0;

	transport_begin(_i);
	newest = transport_new();
	poster = transport_new();
	other = transport_new();
	ck_assert_int_eq(pathbus_open_with(newest, transport_path("data"), PATHBUS_NEWEST, &options, &to), 0);
	ck_assert_int_eq(pathbus_open_with(poster, transport_path("data"), 0, &options, &from), 0);
	ck_assert_int_eq(pathbus_open_with(other, transport_path("data"), 0, &options, &from_other), 0);
	expect_quiet(newest);
	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 3; i++, published++)
			say_keyed(from, "k", "old");
		say(from, "plain");
		say_keyed(round % 2 ? from_other : from, "k", "new");
		published += 2;
		/* Those of the key have been looked at, and passed over. */
		take_soon(newest, &event);
		told += event.count;
		if (round % 2)
			ck_assert_int_eq(pathbus_hide(to, pathbus_origin(from_other)), 0);
		for (int i = 0; round % 2 == 0 && i < 5 * SLOTS; i++, published++)
			say(from, "filling");
		published -= (unsigned)round % 2; /* the one that is hidden now */
		while (told < published) {
			take_soon(newest, &event);
			ck_assert(event.kind == PATHBUS_EVENT_MESSAGE || event.kind == PATHBUS_EVENT_GAP);
			told += event.count;
		}
		expect_quiet(newest);
		ck_assert_uint_eq(told, published);
		if (round % 2) { /* another handle is not hidden */
			pathbus_free(other);
			other = transport_new();
			ck_assert_int_eq(pathbus_open_with(other, transport_path("data"), 0, &options, &from_other), 0);
			ck_assert_uint_eq(published, told);
		}
	}
	pathbus_free(newest);
	pathbus_free(poster);
	pathbus_free(other);
}
END_TEST

/* --- many at once ------------------------------------------------------------------------------------------------------- */

enum { N_WRITERS = 3, N_EACH = 2000 };

struct number {
	int writer, number;
};

static int write_numbers(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);

	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	for (int i = 0; i < N_EACH; i++) {
		struct number number = { *(int *)arg, i };

		ck_assert_int_eq(pathbus_publish(topic, &number, sizeof(number)), 0);
	}
	harness_tell(peer, "done");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(every_writers_in_its_order)
{
	static const int numbers[N_WRITERS] = { 0, 1, 2 };
	struct harness_process writers[N_WRITERS];
	pathbus *bus;
	int last[N_WRITERS] = { -1, -1, -1 };
	uint64_t got = 0, missed = 0;

	transport_begin(_i);
	bus = transport_new();
	open_with(bus, PATHBUS_SUBSCRIBE, 256, 0, 0);
	for (int i = 0; i < N_WRITERS; i++)
		harness_spawn(&writers[i], write_numbers, (void *)(uintptr_t)&numbers[i]);
	for (int i = 0; i < N_WRITERS; i++)
		harness_expect_line(&writers[i], "ready");
	for (int i = 0; i < N_WRITERS; i++)
		harness_tell(&writers[i], "go");
	while (got + missed < N_WRITERS * N_EACH) {
		struct pathbus_event event = next(bus);
		struct number number;

		if (event.kind == PATHBUS_EVENT_GAP) {
			missed += event.count;
			continue;
		}
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		memcpy(&number, event.data, sizeof(number));
		if (number.writer < 0 || number.writer >= N_WRITERS || number.number <= last[number.writer])
			ck_abort_msg("writer %d: %d after %d", number.writer, number.number, last[number.writer]);
		last[number.writer] = number.number;
		got++;
	}
	ck_assert_uint_eq(got + missed, N_WRITERS * N_EACH);
	expect_quiet(bus);
	for (int i = 0; i < N_WRITERS; i++) {
		harness_expect_line(&writers[i], "done");
		harness_tell(&writers[i], "end");
		harness_expect_exit(&writers[i], 0);
	}
	pathbus_free(bus);
}
END_TEST

static void *publish_from_thread(void *arg)
{
	for (int i = 0; i < N_EACH; i++)
		if (pathbus_publish(arg, &i, sizeof(i)) < 0)
			return arg;
	return NULL;
}

START_TEST(any_thread_publishes)
{
	pthread_t threads[2];
	pathbus *poster, *listener;
	pathbus_topic *topic;
	uint64_t n = 0;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	open_with(listener, 0, 16384, 0, 0);
	topic = open_with(poster, 0, 0, 0, 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, publish_from_thread, topic), 0);
	while (n < 2 * N_EACH) {
		struct pathbus_event event = next(listener);

		n += event.count;
	}
	for (int i = 0; i < 2; i++) {
		void *failed;

		pthread_join(threads[i], &failed);
		ck_assert_ptr_null(failed);
	}
	expect_quiet(listener);
	expect_quiet(poster);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* --- hiding --------------------------------------------------------------------------------------------------------------- */

/* As large as there may be, and many of them unread: each is whole. */
START_TEST(large_ones_in_a_row)
{
	enum { N = 12 };
	static unsigned char bytes[4096];
	pathbus *listener, *writer;
	pathbus_topic *from;
	struct pathbus_event event;

	transport_begin(_i);
	listener = transport_new();
	writer = transport_new();
	transport_open(listener, "data", 0);
	from = transport_open(writer, "data", 0);
	drain(listener);
	for (unsigned i = 0; i < N; i++) {
		memset(bytes, (int)i + 1, sizeof(bytes));
		ck_assert_int_eq(pathbus_publish_keyed(from, bytes, i % 256, bytes, sizeof(bytes) - i % 3), 0);
	}
	for (unsigned i = 0; i < N; i++) {
		take_soon(listener, &event);
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		memset(bytes, (int)i + 1, sizeof(bytes));
		ck_assert_uint_eq(event.key_size, i % 256);
		ck_assert_uint_eq(event.data_size, sizeof(bytes) - i % 3);
		ck_assert_int_eq(memcmp(event.data, bytes, event.data_size), 0);
		ck_assert(!event.key || memcmp(event.key, bytes, event.key_size) == 0);
	}
	expect_quiet(listener);
	pathbus_free(listener);
	pathbus_free(writer);
}
END_TEST

/* Several messages are taken from the lane at a time, and given one by one: that does not show. */
START_TEST(what_is_taken_ahead_does_not_show)
{
	enum { N = 60 };
	pathbus *listener, *writer, *other;
	pathbus_topic *to, *second, *from, *from_other;
	struct pathbus_event event;
	char text[16];

	transport_begin(_i);
	listener = transport_new();
	writer = transport_new();
	other = transport_new();
	to = transport_open(listener, "data", 0);
	second = transport_open(listener, "data", 0);
	from = transport_open(writer, "data", 0);
	from_other = transport_open(other, "data", 0);
	drain(listener);
	for (int i = 0; i < N; i++) {
		snprintf(text, sizeof(text), "%d", i);
		ck_assert_int_eq(pathbus_publish(i % 2 ? from : from_other, text, strlen(text)), 0);
	}
	/* Two of `to`; the descriptor says that there is more; then one writer is hidden, and the other topic closed. */
	for (int i = 0; i < 2;) {
		await_readable(listener);
		take_soon(listener, &event);
		if (event.topic != to)
			continue;
		snprintf(text, sizeof(text), "%d", i++);
		ck_assert_uint_eq(event.data_size, strlen(text));
		ck_assert_int_eq(memcmp(event.data, text, event.data_size), 0);
		ck_assert(is_readable(pathbus_fd(listener)));
	}
	ck_assert_int_eq(pathbus_hide(to, pathbus_origin(from)), 0);
	pathbus_close(second);
	for (int i = 2; i < N; i += 2) {
		take_soon(listener, &event);
		ck_assert_ptr_eq(event.topic, to);
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		snprintf(text, sizeof(text), "%d", i);
		ck_assert_uint_eq(event.data_size, strlen(text));
		ck_assert_int_eq(memcmp(event.data, text, event.data_size), 0);
	}
	expect_quiet(listener);
	/* Closed with some of its own taken. */
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(pathbus_publish(from_other, "more", 4), 0);
	take_soon(listener, &event);
	pathbus_close(to);
	expect_quiet(listener);
	pathbus_free(listener);
	pathbus_free(writer);
	pathbus_free(other);
}
END_TEST

START_TEST(a_process_and_an_origin_can_be_hidden)
{
	pathbus *a, *b, *c;
	pathbus_topic *of_a, *of_b, *of_c;
	uint64_t posts = 0;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	c = transport_new();
	of_a = transport_open(a, "data", PATHBUS_HIDE_PROCESS);
	of_b = transport_open(b, "data", 0);
	of_c = transport_open(c, "data", 0);
	ck_assert_int_eq(pathbus_hide(of_c, pathbus_origin(of_b)), 0);
	ck_assert_int_eq(pathbus_hide(of_c, 0), -EINVAL);
	ck_assert_int_eq(pathbus_hide(NULL, 1), -EINVAL);
	ck_assert_int_eq(pathbus_hide_process(of_c, 0), -EINVAL);
	for (int i = 0; i < 5; i++) {
		if (transport_is_immediate()) /* over the socket a post does not say whose it is */
			ck_assert_int_eq(pathbus_post(of_b), 0);
		say(of_b, "of b");
		if (transport_is_immediate())
			ck_assert_int_eq(pathbus_post(of_a), 0);
		say(of_a, "of a");
	}
	expect_quiet(a);
	/* Of a's, each post before the message that followed it. */
	for (int i = 0; i < 5; i++) {
		struct pathbus_event event = next(c);

		while (event.kind == PATHBUS_EVENT_POST) {
			posts += event.count;
			event = next(c);
		}
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		ck_assert_int_eq(memcmp(event.data, "of a", 4), 0);
	}
	ck_assert_uint_eq(posts, transport_is_immediate() ? 5 : 0);
	expect_quiet(c);
	pathbus_free(a);
	pathbus_free(b);
	pathbus_free(c);
}
END_TEST

static int post_and_say(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);

	(void)arg;
	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	for (int i = 0; i < N_EACH; i++) {
		ck_assert_int_eq(pathbus_post(topic), 0);
		if (i % 4 == 0)
			ck_assert_int_eq(pathbus_publish(topic, &i, sizeof(i)), 0);
	}
	harness_tell(peer, "done");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

/* A stranger and a hidden member at once: of the stranger's nothing is swallowed. */
START_TEST(hiding_swallows_nothing)
{
	struct harness_process stranger;
	pathbus *hidden, *bus;
	pathbus_topic *of_hidden;
	uint64_t posts = 0, messages = 0;

	transport_begin(_i);
	if (!transport_is_immediate())
		harness_skip("over the socket posts are not hidden");
	bus = transport_new();
	hidden = transport_new();
	open_with(bus, PATHBUS_HIDE_PROCESS, 4096, 0, 0);
	of_hidden = transport_open(hidden, "data", 0);
	harness_spawn(&stranger, post_and_say, NULL);
	harness_expect_line(&stranger, "ready");
	harness_tell(&stranger, "go");
	while (posts < N_EACH || messages < N_EACH / 4) {
		struct pathbus_event event;

		ck_assert_int_eq(pathbus_post(of_hidden), 0);
		if (posts % 3 == 0)
			say(of_hidden, "hidden");
		while (take(bus, &event)) {
			if (event.kind == PATHBUS_EVENT_POST)
				posts += event.count;
			else if (event.kind == PATHBUS_EVENT_MESSAGE || event.kind == PATHBUS_EVENT_GAP)
				messages += event.count;
			else
				ck_abort_msg("event %d", (int)event.kind);
			if (event.kind == PATHBUS_EVENT_MESSAGE && event.pid == getpid())
				ck_abort_msg("it was hidden");
		}
	}
	ck_assert_uint_eq(posts, N_EACH);
	ck_assert_uint_eq(messages, N_EACH / 4);
	expect_quiet(bus);
	harness_expect_line(&stranger, "done");
	harness_tell(&stranger, "end");
	harness_expect_exit(&stranger, 0);
	pathbus_free(hidden);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_message_reaches_the_others, N_TRANSPORTS),
	HARNESS_CASE_EACH(any_size_up_to_the_limit, N_TRANSPORTS),
	HARNESS_CASE_EACH(the_largest, N_TRANSPORTS),
	HARNESS_CASE_EACH(without_the_right_to_post, N_TRANSPORTS),
	HARNESS_CASE_EACH(posts_and_messages_in_order, N_TRANSPORTS),
	HARNESS_CASE_EACH(own_messages_are_not_heard, N_TRANSPORTS),
	HARNESS_CASE_EACH(echo_hears_them, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_is_behind_is_told_how_much, N_TRANSPORTS),
	HARNESS_CASE_EACH(the_last_ones_for_who_comes_late, N_TRANSPORTS),
	HARNESS_CASE_EACH(the_newest_of_each_key, N_TRANSPORTS),
	HARNESS_CASE_EACH(what_is_hidden_replaces_nothing, N_TRANSPORTS),
	HARNESS_CASE_EACH(what_replaced_others_and_is_not_told_is_counted_for_them, ON_SOCKET),
	HARNESS_CASE_EACH(every_writers_in_its_order, N_TRANSPORTS),
	HARNESS_CASE_EACH(any_thread_publishes, N_TRANSPORTS),
	HARNESS_CASE_EACH(large_ones_in_a_row, N_TRANSPORTS),
	HARNESS_CASE_EACH(what_is_taken_ahead_does_not_show, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_process_and_an_origin_can_be_hidden, N_TRANSPORTS),
	HARNESS_CASE_EACH(hiding_swallows_nothing, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){
						.name = "messages", .cases = cases, .teardown = transport_end });
}
