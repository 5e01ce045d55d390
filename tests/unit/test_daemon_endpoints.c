/* SPDX-License-Identifier: MIT */
/* test_daemon_endpoints.c - what a private daemon never has, or not for a minute: users of several kinds, and time. */
#include "harness/harness.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/connection.h"
#include "daemon/endpoint.h"
#include "daemon/limit.h"
#include "daemon/loop.h"
#include "os/os.h"

/* The clock is the test's. */
static uint64_t now = UINT64_C(1000000000000);

uint64_t __wrap_os_now_ns(void); /* instead of os_now_ns */
uint64_t __wrap_os_now_ns(void)
{
	return now;
}

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

/* --- with connections that nothing is sent on ------------------------------------------------------------- */

static struct context context;
static struct topic topic;
static struct topic_name name = { .topic = &topic };
static int pair[2];

static struct users *users;
static struct user *accounts[2]; /* of 1000 and 1001 */

static struct client client_of(uid_t uid)
{
	return (struct client){ .context = &context, .uid = uid, .socket = pair[0], .user = accounts[uid - 1000] };
}

static void begin(void)
{
	struct users_setting setting = { .offload_members = 8, .offload_message_members = 4 };

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	context.loop = loop_new();
	ck_assert_ptr_nonnull(context.loop);
	context.endpoints = endpoints_new(&context);
	ck_assert_ptr_nonnull(context.endpoints);
	setting.most[CHARGE_ENDPOINTS] = 2;
	setting.most[CHARGE_TOKENS] = 1;
	setting.most[CHARGE_CONNECTS] = 1;
	users = users_new(&setting);
	ck_assert_ptr_nonnull(users);
	for (uid_t i = 0; i < 2; i++)
		ck_assert_int_eq(users_get(users, 1000 + i, &accounts[i]), 0);
}

static void end(void)
{
	context.endpoints = endpoints_free(context.endpoints);
	for (unsigned i = 0; i < 2; i++)
		user_unref(accounts[i]); /* what is still charged ends the program */
	users_free(users);
	loop_free(context.loop);
	close(pair[0]);
	close(pair[1]);
}

START_TEST(whose_place_may_be_taken)
{
	const struct wire_listen plain = { .name = "a", .name_size = 1 };
	const struct wire_listen over = { .name = "a", .name_size = 1, .flags = WIRE_ENDPOINT_TAKE_OVER };
	struct client one, other;
	struct member member = { .name = &name, .rights = WIRE_RIGHT_POST }, reader = { .name = &name, .rights = WIRE_RIGHT_SUBSCRIBE };
	uint32_t number = 77;

	begin();
	one = client_of(1000);
	other = client_of(1001);
	endpoint_user_init(&one.endpoints);
	endpoint_user_init(&other.endpoints);
	ck_assert_int_eq(endpoint_listen(&one, &reader, &plain, &number), EACCES);
	ck_assert_int_eq(endpoint_listen(&one, &member, &plain, &number), 0);
	ck_assert_int_eq(endpoint_listen(&other, &member, &plain, &number), EADDRINUSE);
	ck_assert_int_eq(endpoint_listen(&other, &member, &over, &number), EPERM); /* another user's */
	one.ending = true; /* it does not listen any more, as far as others are concerned */
	ck_assert_int_eq(endpoint_listen(&other, &member, &plain, &number), 0);
	endpoints_client_ends(&one);
	endpoints_client_ends(&other);
	ck_assert_ptr_null(topic.endpoints);
	end();
}
END_TEST

START_TEST(tokens_end)
{
	const struct wire_listen listen_body = { .name = "a", .name_size = 1 };
	const struct wire_connect of = { .name = "a", .name_size = 1 };
	struct client one, other;
	struct member member = { .name = &name, .rights = WIRE_RIGHT_POST };
	struct wire_redeem redeem = { .timeout_ms = 0 };
	struct wire_token_made made;
	uint32_t number;

	begin();
	one = client_of(1000);
	other = client_of(1000);
	endpoint_user_init(&one.endpoints);
	endpoint_user_init(&other.endpoints);
	ck_assert_int_eq(endpoint_listen(&one, &member, &listen_body, &number), 0);
	topic.endpoints->n_untaken = LIMIT_ENDPOINT_UNTAKEN; /* so that nobody is introduced */
	ck_assert_int_eq(endpoint_make_token(&one, &member, &of, &made), 0);
	ck_assert_int_eq(endpoint_make_token(&other, &member, &of, &made), EDQUOT); /* of the same user */
	ck_assert_str_eq(endpoint_refusal(&other), "this user has as many tokens as it may have: 1 (--max-user-tokens)");
	memcpy(redeem.token, made.token, sizeof(redeem.token));
	now += LIMIT_TOKEN_MS * UINT64_C(1000000) - 1;
	ck_assert_int_eq(endpoint_redeem(&other, 5, &redeem), EAGAIN); /* it is still good */
	now++;
	ck_assert_int_eq(endpoint_redeem(&other, 5, &redeem), ENOENT);
	topic.endpoints->n_untaken = 0;
	endpoints_client_ends(&one);
	ck_assert_ptr_null(topic.endpoints);
	end();
}
END_TEST

/* A name belongs to who listens there, else to one who waits. */
START_TEST(whose_name_it_is)
{
	static const struct wire_listen listens[] = { { .name = "a", .name_size = 1 }, { .name = "b", .name_size = 1 },
		                                      { .name = "c", .name_size = 1 } };
	const struct wire_connect connect_a = { .name = "a", .name_size = 1, .timeout_ms = WIRE_NO_TIMEOUT };
	struct member member = { .name = &name, .rights = WIRE_RIGHT_POST };
	struct client one, other;
	uint32_t number;

	begin();
	one = client_of(1000);
	other = client_of(1001);
	endpoint_user_init(&one.endpoints);
	endpoint_user_init(&other.endpoints);
	ck_assert_int_eq(endpoint_connect(&one, &member, 1, &connect_a), 0);
	ck_assert_uint_eq(user_has(accounts[0], CHARGE_ENDPOINTS), 1);
	ck_assert_int_eq(endpoint_connect(&one, &member, 2, &connect_a), EDQUOT);
	ck_assert_str_eq(endpoint_refusal(&one), "this user has as many connects that wait as it may have: 1 (--max-user-connects)");
	for (unsigned i = 0; i < 2; i++)
		ck_assert_int_eq(endpoint_listen(&other, &member, &listens[i], &number), 0);
	ck_assert_int_eq(endpoint_listen(&other, &member, &listens[2], &number), EDQUOT);
	ck_assert_uint_eq(user_has(accounts[0], CHARGE_ENDPOINTS), 0);
	ck_assert_uint_eq(user_has(accounts[1], CHARGE_ENDPOINTS), 2);
	endpoints_client_ends(&other);
	ck_assert_uint_eq(user_has(accounts[0], CHARGE_ENDPOINTS), 1);
	ck_assert_uint_eq(user_has(accounts[1], CHARGE_ENDPOINTS), 0);
	endpoints_client_ends(&one);
	ck_assert_ptr_null(topic.endpoints);
	end();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(who_may_connect),
	HARNESS_CASE(whose_place_may_be_taken),
	HARNESS_CASE(tokens_end),
	HARNESS_CASE(whose_name_it_is),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-endpoints", .cases = cases });
}
