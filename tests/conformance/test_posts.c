/* SPDX-License-Identifier: MIT */
/* test_posts.c - who hears of which posts, and what an event says. */
#include "conformance/transports.h"

#include <errno.h>

START_TEST(a_post_reaches_the_others)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;
	struct pathbus_event event;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	to = transport_open(listener, "data", 0);
	from = transport_open(poster, "data", 0);
	expect_quiet(listener);

	ck_assert_int_eq(pathbus_post(from), 0);
	take_soon(listener, &event);
	ck_assert_int_eq(event.kind, PATHBUS_EVENT_POST);
	ck_assert_int_eq(event.error, 0);
	ck_assert_ptr_eq(event.topic, to);
	ck_assert_ptr_null(event.userdata);
	ck_assert_uint_eq(event.count, 1);
	ck_assert_ptr_null(event.data);
	ck_assert_uint_eq(event.data_size, 0);
	ck_assert_int_eq(event.pid, 0);
	ck_assert_uint_eq(event.uid, (uid_t)-1);
	expect_quiet(listener);

	ck_assert_int_eq(pathbus_post(to), 0); /* and the other way */
	await_posts(poster, 1);
	expect_quiet(listener);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(posts_merge_and_are_counted)
{
	pathbus *poster, *listener;
	pathbus_topic *from;
	struct pathbus_event event;
	uint64_t generation = 0;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	transport_open(listener, "data", PATHBUS_SUBSCRIBE);
	from = transport_open(poster, "data", PATHBUS_POST);
	for (uint64_t n = 1; n <= 1000; n *= 10) {
		for (uint64_t i = 0; i < n; i++)
			ck_assert_int_eq(pathbus_post(from), 0);
		if (!transport_is_immediate()) {
			await_posts(listener, n); /* in as many pieces as they came */
			expect_quiet(listener);
			continue;
		}
		await_readable(listener);
		ck_assert_int_eq(take(listener, &event), 1);
		ck_assert_uint_eq(event.count, n);
		if (generation)
			ck_assert_uint_gt(event.generation, generation);
		generation = event.generation;
		expect_quiet(listener);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(who_opens_later_is_owed_nothing)
{
	pathbus *poster, *listener;
	pathbus_topic *from;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	from = transport_open(poster, "data", 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(pathbus_post(from), 0);
	transport_open(listener, "data", 0);
	expect_quiet(listener);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(listener, 1);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(own_posts_are_not_heard)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	of_b = transport_open(b, "data", 0);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(pathbus_post(of_a), 0);
	await_posts(b, 10);
	expect_quiet(a);
	/* Mixed with those of others: only theirs count. */
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(pathbus_post(of_a), 0);
		ck_assert_int_eq(pathbus_post(of_b), 0);
		ck_assert_int_eq(pathbus_post(of_a), 0);
	}
	await_posts(a, 10);
	await_posts(b, 20);
	expect_quiet(a);
	expect_quiet(b);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

START_TEST(echo_hears_them)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", PATHBUS_ECHO);
	of_b = transport_open(b, "data", 0);
	ck_assert_int_eq(pathbus_post(of_a), 0);
	await_posts(a, 1);
	await_posts(b, 1);
	for (int i = 0; i < 7; i++)
		ck_assert_int_eq(pathbus_post(i % 2 ? of_a : of_b), 0);
	await_posts(a, 7);
	await_posts(b, 3);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

START_TEST(a_file_opened_twice_has_two_members)
{
	pathbus *bus;
	pathbus_topic *first, *second;
	struct pathbus_event event;

	transport_begin(_i);
	bus = transport_new();
	first = transport_open(bus, "data", 0);
	second = transport_open(bus, "data", 0);
	ck_assert_ptr_ne(first, second);
	ck_assert_int_eq(pathbus_post(first), 0);
	take_soon(bus, &event);
	ck_assert_ptr_eq(event.topic, second);
	ck_assert_uint_eq(event.count, 1);
	expect_quiet(bus);
	pathbus_close(first);
	expect_quiet(bus);
	ck_assert_int_eq(pathbus_post(second), 0);
	first = transport_open(bus, "data", 0);
	expect_quiet(bus);
	ck_assert_int_eq(pathbus_post(second), 0);
	take_soon(bus, &event);
	ck_assert_ptr_eq(event.topic, first);
	pathbus_free(bus);
}
END_TEST

#define N_HANDLES 20

START_TEST(many_handles_all_hear)
{
	pathbus *buses[N_HANDLES];
	pathbus_topic *topics[N_HANDLES];

	transport_begin(_i);
	for (int i = 0; i < N_HANDLES; i++) {
		buses[i] = transport_new();
		topics[i] = transport_open(buses[i], "data", 0);
	}
	for (int i = 0; i < N_HANDLES; i++)
		ck_assert_int_eq(pathbus_post(topics[i]), 0);
	for (int i = 0; i < N_HANDLES; i++)
		await_posts(buses[i], N_HANDLES - 1);
	for (int i = 0; i < N_HANDLES; i++)
		expect_quiet(buses[i]);
	for (int i = N_HANDLES - 1; i > 0; i--) {
		pathbus_free(buses[i]);
		ck_assert_int_eq(pathbus_post(topics[0]), 0);
		for (int k = 1; k < i; k++)
			await_posts(buses[k], 1);
	}
	pathbus_free(buses[0]);
}
END_TEST

START_TEST(topics_are_apart)
{
	pathbus *poster, *listener;
	pathbus_topic *from[3], *to[3];
	struct pathbus_event event;
	char name[] = "data0";

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	for (int i = 0; i < 3; i++) {
		name[4] = (char)('0' + i);
		from[i] = transport_open(poster, name, 0);
		to[i] = transport_open(listener, name, 0);
	}
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k <= i; k++)
			ck_assert_int_eq(pathbus_post(from[i]), 0);
		for (uint64_t n = 0; n < (unsigned)i + 1; n += event.count) {
			take_soon(listener, &event);
			ck_assert_ptr_eq(event.topic, to[i]);
			ck_assert_uint_le(n + event.count, (unsigned)i + 1);
			ck_assert(event.count == (unsigned)i + 1 || !transport_is_immediate());
		}
		expect_quiet(listener);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(userdata_comes_back)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;
	struct pathbus_event event;
	int mine, other;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	from = transport_open(poster, "data", 0);
	to = transport_open(listener, "data", 0);
	pathbus_set_userdata(to, &mine);
	ck_assert_int_eq(pathbus_post(from), 0);
	take_soon(listener, &event);
	ck_assert_ptr_eq(event.userdata, &mine);
	ck_assert_int_eq(pathbus_post(from), 0);
	pathbus_set_userdata(to, &other); /* what it is when the event is taken */
	take_soon(listener, &event);
	ck_assert_ptr_eq(event.userdata, &other);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

START_TEST(flags_decide_who_hears)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;

	transport_begin(_i);
	poster = transport_new();
	listener = transport_new();
	from = transport_open(poster, "data", PATHBUS_POST);
	to = transport_open(listener, "data", PATHBUS_SUBSCRIBE);
	ck_assert_int_eq(pathbus_post(to), -EACCES);
	expect_quiet(poster);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(listener, 1);
	pathbus_close(to);
	to = transport_open(listener, "data", PATHBUS_SUBSCRIBE | PATHBUS_POST);
	/* Only posts: nothing ever makes it readable. */
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(pathbus_post(to), 0);
		ck_assert(!is_readable(pathbus_fd(poster)));
		ck_assert_int_eq(pathbus_post(from), 0);
	}
	await_posts(listener, 100);
	expect_quiet(poster);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(a_post_reaches_the_others, N_TRANSPORTS),
	HARNESS_CASE_EACH(posts_merge_and_are_counted, N_TRANSPORTS),
	HARNESS_CASE_EACH(who_opens_later_is_owed_nothing, N_TRANSPORTS),
	HARNESS_CASE_EACH(own_posts_are_not_heard, N_TRANSPORTS),
	HARNESS_CASE_EACH(echo_hears_them, N_TRANSPORTS),
	HARNESS_CASE_EACH(a_file_opened_twice_has_two_members, N_TRANSPORTS),
	HARNESS_CASE_EACH(many_handles_all_hear, N_TRANSPORTS),
	HARNESS_CASE_EACH(topics_are_apart, N_TRANSPORTS),
	HARNESS_CASE_EACH(userdata_comes_back, N_TRANSPORTS),
	HARNESS_CASE_EACH(flags_decide_who_hears, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "posts", .cases = cases, .teardown = transport_end });
}
