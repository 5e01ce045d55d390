/* SPDX-License-Identifier: MIT */
/*
 * test_unarmed.c - a daemon whose death word the kernel does not mark, as on other systems than Linux: what is posted asks
 * the socket, and is not repeated because of that.
 *
 * The daemon of this test is linked without os_death_arm (unarmed.c, --wrap, see CMakeLists.txt).
 */
#include "conformance/transports.h"

#include <string.h>

static void setup(void)
{
	transport_daemon()->program = PATHBUS_UNARMED;
}

static pathbus *new_auto(void)
{
	struct pathbus_options options = transport_options();
	pathbus *bus;

	options.transport = PATHBUS_AUTO;
	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	return bus;
}

START_TEST(everything_comes_once)
{
	struct pathbus_event event;
	pathbus *poster, *listener;
	pathbus_topic *from;
	uint64_t value, version;

	transport_begin(ON_BUS);
	poster = transport_new();
	listener = transport_new();
	from = transport_open(poster, "data", PATHBUS_POST);
	transport_open(listener, "data", 0);
	expect_quiet(listener);
	for (uint64_t i = 1; i <= 10; i++) {
		ck_assert_int_eq(pathbus_post(from), 0);
		await_posts(listener, 1);
		ck_assert_int_eq(pathbus_publish(from, "m", 1), 0);
		take_soon(listener, &event);
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_MESSAGE);
		ck_assert_int_eq(take(listener, &event), 0);
		ck_assert_int_eq(pathbus_exchange_state(from, i - 1, i), 0);
		ck_assert_int_eq(pathbus_get_state(from, &value, &version), 0);
		ck_assert_uint_eq(value, i);
		ck_assert_uint_eq(version, i);
	}
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

/* It ends: who posts next finds that out by itself. */
START_TEST(its_end_is_noticed)
{
	pathbus *poster, *listener;
	pathbus_topic *from, *to;
	uint64_t seen = 0;

	transport_begin(ON_BUS);
	poster = new_auto();
	listener = new_auto();
	from = transport_open(poster, "data", PATHBUS_POST);
	to = transport_open(listener, "data", 0);
	while (pathbus_check(to, &seen) == 1)
		;
	harness_daemon_kill(transport_daemon());
	harness_await((drain(listener), pathbus_transport(to, &(struct pathbus_transport){ .size = sizeof(struct pathbus_transport) }) == 0) &&
	              pathbus_check(to, &seen) == 1);
	while (pathbus_check(to, &seen) == 1)
		;
	ck_assert_int_eq(pathbus_post(from), 0);
	ck_assert_int_eq(pathbus_check(to, &seen), 1);
	pathbus_free(poster);
	pathbus_free(listener);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(everything_comes_once),
	HARNESS_CASE(its_end_is_noticed),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "unarmed", .cases = cases, .setup = setup,
								 .teardown = transport_end });
}
