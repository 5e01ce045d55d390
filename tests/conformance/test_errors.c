/* SPDX-License-Identifier: MIT */
/* test_errors.c - wrong arguments: each has its error, changes nothing, and leaves the handle as it was. */
#include "conformance/transports.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static pathbus *bus;
static pathbus_topic *topic;

static void begin(int transport)
{
	transport_begin(transport);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
}

static void end(void)
{
	pathbus *other = transport_new();
	pathbus_topic *from = transport_open(other, "data", 0);

	/* Nothing has come of it. */
	expect_quiet(bus);
	ck_assert_int_eq(pathbus_post(from), 0);
	await_posts(bus, 1);
	pathbus_free(other);
	pathbus_free(bus);
}

START_TEST(of_new)
{
	struct pathbus_options options;
	pathbus *another = NULL;

	begin(_i);
	options = transport_options();
	ck_assert_int_eq(pathbus_new(NULL, &options), -EINVAL);
	options.size = 0;
	ck_assert_int_eq(pathbus_new(&another, &options), -EINVAL);
	options.size = sizeof(options) - 1;
	ck_assert_int_eq(pathbus_new(&another, &options), -EINVAL);
	options.size = sizeof(options) + 8;
	ck_assert_int_eq(pathbus_new(&another, &options), -EINVAL);
	options = transport_options();
	options.transport = (enum pathbus_transport_kind)4;
	ck_assert_int_eq(pathbus_new(&another, &options), -EINVAL);
	options.transport = (enum pathbus_transport_kind)-1;
	ck_assert_int_eq(pathbus_new(&another, &options), -EINVAL);
	ck_assert_ptr_null(another);
	end();
}
END_TEST

START_TEST(of_addresses)
{
	struct pathbus_options options;
	pathbus *another = NULL;
	char address[300];

	begin(_i);
	options = transport_options();
	options.transport = PATHBUS_BUS;
	memset(address, 'x', sizeof(address));
	address[0] = '/';
	address[sizeof(address) - 1] = '\0';
	options.address = address; /* longer than a socket's name can be */
	ck_assert_int_eq(pathbus_new(&another, &options), -EINVAL);
	options.address = harness_path("nobody");
	ck_assert_int_eq(pathbus_new(&another, &options), -ENOTCONN);
	harness_write_file(harness_path("file"), "");
	options.address = harness_path("file");
	ck_assert_int_eq(pathbus_new(&another, &options), -ENOTCONN);
	ck_assert_ptr_null(another);
	end();
}
END_TEST

START_TEST(of_open)
{
	pathbus_topic *another = NULL;

	begin(_i);
	ck_assert_int_eq(pathbus_open(NULL, transport_path("data"), 0, &another), -EINVAL);
	ck_assert_int_eq(pathbus_open(bus, NULL, 0, &another), -EINVAL);
	ck_assert_int_eq(pathbus_open(bus, transport_path("data"), 0, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_open(bus, "", 0, &another), -EINVAL);
	for (unsigned bit = 8; bit < 32; bit++)
		ck_assert_int_eq(pathbus_open(bus, transport_path("data"), 1u << bit, &another), -EINVAL);
	ck_assert_int_eq(pathbus_open_fd(NULL, 0, 0, &another), -EINVAL);
	ck_assert_ptr_null(another);
	end();
}
END_TEST

START_TEST(of_open_fd)
{
	pathbus_topic *another = NULL;
	FILE *file;

	begin(_i);
	harness_write_file(transport_edit("data"), "");
	file = fopen(transport_path("data"), "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(pathbus_open_fd(bus, fileno(file), 0, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_open_fd(bus, fileno(file), 1u << 8, &another), -EINVAL);
	ck_assert_ptr_null(another);
	fclose(file);
	end();
}
END_TEST

START_TEST(of_next)
{
	struct pathbus_event event = { .size = sizeof(event) };

	begin(_i);
	ck_assert_int_eq(pathbus_next(NULL, &event), -EINVAL);
	ck_assert_int_eq(pathbus_next(bus, NULL), -EINVAL);
	event.size = 0;
	ck_assert_int_eq(pathbus_next(bus, &event), -EINVAL);
	event.size = sizeof(event) - 8;
	ck_assert_int_eq(pathbus_next(bus, &event), -EINVAL);
	event.size = sizeof(event) + 8;
	ck_assert_int_eq(pathbus_next(bus, &event), -EINVAL);
	end();
}
END_TEST

START_TEST(of_the_rest)
{
	struct pathbus_transport transport = { .size = sizeof(transport) - 1 };

	begin(_i);
	ck_assert_ptr_null(pathbus_free(NULL));
	ck_assert_ptr_null(pathbus_close(NULL));
	ck_assert_int_eq(pathbus_fd(NULL), -EINVAL);
	ck_assert_int_eq(pathbus_post(NULL), -EINVAL);
	ck_assert_int_eq(pathbus_transport(topic, NULL), -EINVAL);
	ck_assert_int_eq(pathbus_transport(topic, &transport), -EINVAL);
	transport.size = sizeof(transport);
	ck_assert_int_eq(pathbus_transport(NULL, &transport), -EINVAL);
	ck_assert_int_eq(pathbus_ping(NULL, NULL), -EINVAL);
	ck_assert_ptr_null(pathbus_address(NULL));
	pathbus_set_userdata(NULL, bus);
	end();
}
END_TEST

START_TEST(ping_and_address)
{
	uint64_t ns = 0;

	begin(_i);
	if (_i == ON_BUS || _i == ON_SOCKET) {
		ck_assert_int_eq(pathbus_ping(bus, &ns), 0);
		ck_assert_uint_gt(ns, 0);
		ck_assert_int_eq(pathbus_ping(bus, NULL), 0);
		ck_assert_str_eq(pathbus_address(bus), transport_daemon()->address);
	} else {
		ck_assert_int_eq(pathbus_ping(bus, &ns), -ENOTCONN);
		ck_assert_uint_eq(ns, 0);
		ck_assert_ptr_null(pathbus_address(bus));
	}
	ck_assert_str_eq(pathbus_version(), PATHBUS_VERSION);
	end();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(of_new, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_addresses, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_open, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_open_fd, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_next, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_the_rest, N_TRANSPORTS),
	HARNESS_CASE_EACH(ping_and_address, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "errors", .cases = cases, .teardown = transport_end });
}
