/* SPDX-License-Identifier: MIT */
/* test_topic_state.c - the value that is kept with a topic. */
#include "conformance/transports.h"

#include <errno.h>

#include "harness/process.h"

struct value {
	uint64_t value, version;
};

static struct value get(pathbus_topic *topic)
{
	struct value got;

	ck_assert_int_eq(pathbus_get_state(topic, &got.value, &got.version), 0);
	return got;
}

START_TEST(set_and_get)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;
	uint64_t value;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", 0);
	of_b = transport_open(b, "data", 0);
	ck_assert_uint_eq(get(of_b).value, 0);
	ck_assert_uint_eq(get(of_b).version, 0);
	for (uint64_t i = 1; i <= 10; i++) {
		pathbus_topic *setter = i % 3 ? of_a : of_b, *other = i % 3 ? of_b : of_a;

		ck_assert_int_eq(pathbus_set_state(setter, UINT64_MAX - i), 0);
		ck_assert_uint_eq(get(setter).value, UINT64_MAX - i);
		ck_assert_uint_eq(get(other).value, UINT64_MAX - i);
		ck_assert_uint_eq(get(other).version, i);
	}
	ck_assert_int_eq(pathbus_get_state(of_a, &value, NULL), 0);
	ck_assert_uint_eq(value, UINT64_MAX - 10);
	ck_assert_int_eq(pathbus_get_state(of_a, NULL, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_get_state(NULL, &value, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_set_state(NULL, 1), -EINVAL);
	expect_quiet(a); /* setting does not post */
	expect_quiet(b);
	pathbus_free(a);
	ck_assert_uint_eq(get(of_b).value, UINT64_MAX - 10); /* outlives who set it */
	pathbus_free(b);
}
END_TEST

START_TEST(posts_if_asked_to)
{
	pathbus *a, *b;
	pathbus_topic *of_a, *of_b;

	transport_begin(_i);
	a = transport_new();
	b = transport_new();
	of_a = transport_open(a, "data", PATHBUS_STATE_POSTS);
	of_b = transport_open(b, "data", 0);
	ck_assert_int_eq(pathbus_set_state(of_a, 7), 0);
	await_posts(b, 1);
	ck_assert_int_eq(pathbus_exchange_state(of_a, 7, 8), 0);
	await_posts(b, 1);
	ck_assert_int_eq(pathbus_exchange_state(of_a, 7, 9), -EAGAIN);
	expect_quiet(b);
	ck_assert_uint_eq(get(of_b).value, 8);
	pathbus_free(a);
	pathbus_free(b);
}
END_TEST

enum { N_PROCESSES = 3, N_ADDS = 500 };

static int add(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", 0);
	int r;

	(void)arg;
	harness_tell(peer, "ready");
	harness_expect_line(peer, "go");
	for (int i = 0; i < N_ADDS; i++) {
		do {
			uint64_t value = get(topic).value;

			r = pathbus_exchange_state(topic, value, value + 1);
		} while (r == -EAGAIN);
		ck_assert_int_eq(r, 0);
	}
	harness_tell(peer, "done");
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(no_update_is_lost)
{
	struct harness_process processes[N_PROCESSES];
	pathbus *bus;
	pathbus_topic *topic;

	transport_begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	for (int i = 0; i < N_PROCESSES; i++)
		harness_spawn(&processes[i], add, NULL);
	for (int i = 0; i < N_PROCESSES; i++)
		harness_expect_line(&processes[i], "ready");
	for (int i = 0; i < N_PROCESSES; i++)
		harness_tell(&processes[i], "go");
	for (int i = 0; i < N_PROCESSES; i++)
		harness_expect_line(&processes[i], "done");
	ck_assert_uint_eq(get(topic).value, N_PROCESSES * N_ADDS);
	ck_assert_uint_eq(get(topic).version, N_PROCESSES * N_ADDS);
	for (int i = 0; i < N_PROCESSES; i++) {
		harness_tell(&processes[i], "end");
		harness_expect_exit(&processes[i], 0);
	}
	ck_assert_uint_eq(get(topic).value, N_PROCESSES * N_ADDS);
	pathbus_free(bus);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(set_and_get, N_TRANSPORTS),
	HARNESS_CASE_EACH(posts_if_asked_to, N_TRANSPORTS),
	HARNESS_CASE_EACH(no_update_is_lost, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "topic state", .cases = cases, .teardown = transport_end });
}
