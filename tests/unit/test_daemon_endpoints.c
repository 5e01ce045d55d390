/* SPDX-License-Identifier: MIT */
/* test_daemon_endpoints.c - who may connect to whose endpoint: users that one private daemon never has together. */
#include "harness/harness.h"

#include "daemon/connection.h"
#include "daemon/endpoint.h"

START_TEST(who_may_connect)
{
	struct client listener = { .uid = 1000 }, same = { .uid = 1000 }, other = { .uid = 1001 };
	static const uint32_t rights[] = { 0, WIRE_RIGHT_SUBSCRIBE, WIRE_RIGHT_POST, WIRE_RIGHT_SUBSCRIBE | WIRE_RIGHT_POST };
	/* For each of the rights: may the other user? */
	static const struct {
		uint32_t flags;
		bool may[4];
	} endpoints[] = {
		{ 0, { false, false, false, false } },
		{ WIRE_ENDPOINT_SEQPACKET, { false, false, false, false } },
		{ WIRE_ENDPOINT_READERS, { false, true, false, true } },
		{ WIRE_ENDPOINT_WRITERS, { false, false, true, true } },
		{ WIRE_ENDPOINT_READERS | WIRE_ENDPOINT_WRITERS, { false, true, true, true } },
	};

	for (size_t i = 0; i < sizeof(endpoints) / sizeof(endpoints[0]); i++) {
		const struct endpoint endpoint = { .client = &listener, .flags = endpoints[i].flags };

		for (int j = 0; j < 4; j++) {
			const struct member member = { .rights = rights[j] };

			ck_assert_int_eq(endpoint_allows(&endpoint, &other, &member), endpoints[i].may[j]);
			ck_assert(endpoint_allows(&endpoint, &same, &member));
		}
	}
}
END_TEST

static const struct harness_case cases[] = { HARNESS_CASE(who_may_connect), { 0 } };

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-endpoints", .cases = cases });
}
