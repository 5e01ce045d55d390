/* SPDX-License-Identifier: MIT */
/* test_daemon_turns.c - how much of what is to be told is done in one turn; subscribers and connections are made up. */
#include "harness/harness.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/connection.h"
#include "daemon/limit.h"
#include "daemon/relay.h"
#include "daemon/turns.h"
#include "os/os.h"

#define MANY (4 * LIMIT_LOOKS_IN_A_ROW)

struct subscriber {
	struct turn turn;
	unsigned news;  /* events that it has */
	unsigned told;
	bool stalls;    /* with the next one */
};

static struct context context;
static struct relay relay;
static struct client clients[3];
static struct subscriber *subscribers;
static struct loop_event *stop;
static unsigned n_told, most_in_a_row;

/* --- made up ------------------------------------------------------------------------------------------------------ */

enum turn_end subscriber_take_turn(struct subscriber *subscriber, unsigned *budget, uint64_t *ret_lease_ns)
{
	while (*budget > 0) {
		--*budget;
		if (subscriber->stalls) {
			subscriber->stalls = false; /* the lease voids it */
			*ret_lease_ns = os_now_ns() + 1000000;
			return TURN_STALLED;
		}
		if (subscriber->news == 0)
			return TURN_RESTS;
		subscriber->news--;
		subscriber->told++;
		n_told++;
	}
	return TURN_GOES_ON;
}

bool client_has_room(const struct client *client)
{
	return !client->ending;
}

/* Its user has all the time and room that there are. */
struct share *user_share(struct user *user)
{
	(void)user;
	return NULL;
}

bool share_is_over(const struct share *share)
{
	(void)share;
	return false;
}

bool share_run(struct share *share, struct share_place *place)
{
	(void)share;
	place->fn(place->arg);
	return true;
}

void client_wait_for_room(struct client *client, struct share_place *place)
{
	(void)client;
	(void)place;
}

void client_flush(struct client *client)
{
	if (n_told > most_in_a_row)
		most_in_a_row = n_told;
	(void)client;
	n_told = 0;
}

/* --- around each case ---------------------------------------------------------------------------------------------- */

static void stop_now(void *arg)
{
	(void)arg;
	loop_stop(context.loop);
}

static void setup(void)
{
	context.loop = loop_new();
	ck_assert_ptr_nonnull(context.loop);
	queue_init(&relay.resting);
	queue_init(&relay.looked_at);
	relay.loop = context.loop;
	relay.looking = loop_timer(context.loop, turns_looking, &relay);
	relay.lease = loop_timer(context.loop, turns_lease_is_over, &relay);
	for (unsigned i = 0; i < 3; i++) {
		clients[i].context = &context;
		queue_init(&clients[i].due);
	}
	stop = loop_timer(context.loop, stop_now, NULL);
	ck_assert(relay.looking && relay.lease && stop);
}

static void teardown(void)
{
	for (unsigned i = 0; i < 3; i++)
		loop_event_free(clients[i].pump);
	loop_event_free(relay.looking);
	loop_event_free(relay.lease);
	loop_event_free(stop);
	loop_free(context.loop);
	free(subscribers);
}

static void join(unsigned i, struct client *client)
{
	subscribers[i].turn = (struct turn){ .subscriber = &subscribers[i], .relay = &relay, .client = client };
	ck_assert_int_eq(turns_join(&subscribers[i].turn), 0);
}

/* So many, of one client; all rest. */
static void join_many(unsigned n)
{
	subscribers = calloc(n, sizeof(*subscribers));
	ck_assert_ptr_nonnull(subscribers);
	for (unsigned i = 0; i < n; i++)
		join(i, &clients[0]);
}

/* What is ready, and what was to be called again. */
static void run_once(void)
{
	loop_call_soon(stop);
	loop_run(context.loop);
}

static unsigned count(const struct queue *queue)
{
	unsigned n = 0;

	for (const struct queue *place = queue->next; place != queue; place = place->next)
		n++;
	return n;
}

static void run_until_all_rest(unsigned n)
{
	for (unsigned turns = 0; count(&relay.resting) < n; turns++) {
		ck_assert_uint_lt(turns, 10 * MANY);
		run_once();
	}
}

static void bring_news(unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		subscribers[i].news++;
}

static unsigned total(unsigned n)
{
	unsigned sum = 0;

	for (unsigned i = 0; i < n; i++)
		sum += subscribers[i].told;
	return sum;
}

/* --- cases --------------------------------------------------------------------------------------------------------- */

START_TEST(a_change_makes_only_some_due_at_once)
{
	join_many(MANY);
	run_until_all_rest(MANY);
	bring_news(MANY);
	turns_look(&relay);
	ck_assert_uint_eq(count(&clients[0].due), LIMIT_LOOKS_IN_A_ROW);
	run_once();
	ck_assert_uint_gt(count(&relay.looked_at), 0);
	run_until_all_rest(MANY);
	ck_assert_uint_eq(total(MANY), MANY);
	ck_assert_uint_le(most_in_a_row, LIMIT_EVENTS_IN_A_ROW);
}
END_TEST

START_TEST(posts_of_one_turn_deliver_only_so_much)
{
	join_many(MANY);
	run_until_all_rest(MANY);
	clients[1].deliveries = LIMIT_DELIVERIES_IN_A_ROW;
	for (unsigned posts = 0; posts < LIMIT_FRAMES_IN_A_ROW; posts++) {
		bring_news(MANY);
		turns_deliver(&relay, &clients[1]);
	}
	ck_assert_uint_eq(clients[1].deliveries, 0);
	ck_assert_uint_le(total(MANY), LIMIT_DELIVERIES_IN_A_ROW);
	ck_assert_uint_le(count(&clients[0].due), LIMIT_DELIVERIES_IN_A_ROW);
	run_until_all_rest(MANY);
	ck_assert_uint_eq(total(MANY), MANY * LIMIT_FRAMES_IN_A_ROW);
}
END_TEST

START_TEST(a_few_are_told_before_a_post_is_answered)
{
	subscribers = calloc(3, sizeof(*subscribers));
	ck_assert_ptr_nonnull(subscribers);
	for (unsigned i = 0; i < 3; i++)
		join(i, &clients[i]);
	run_until_all_rest(3);
	clients[1].ending = true; /* nothing is said to this one */
	clients[0].deliveries = LIMIT_DELIVERIES_IN_A_ROW;
	bring_news(3);
	turns_deliver(&relay, &clients[0]);
	ck_assert_uint_eq(subscribers[0].told, 1);
	ck_assert_uint_eq(subscribers[1].told, 0);
	ck_assert_uint_eq(subscribers[2].told, 1);
	ck_assert_uint_eq(count(&relay.resting), 2);
}
END_TEST

START_TEST(one_that_stalls_looks_again)
{
	join_many(3);
	run_until_all_rest(3);
	for (unsigned i = 0; i < 3; i++)
		subscribers[i].stalls = true;
	bring_news(3);
	turns_look(&relay);
	run_once();
	ck_assert_uint_eq(total(3), 0);
	ck_assert_uint_eq(count(&relay.resting), 3);
	/* Nothing else brings them to look. */
	while (total(3) < 3)
		run_once();
	ck_assert_uint_eq(relay.lease_ns, 0);
}
END_TEST

START_TEST(one_that_leaves_is_nowhere)
{
	join_many(MANY);
	run_until_all_rest(MANY);
	turns_look(&relay);
	for (unsigned i = 0; i < MANY; i++)
		turns_leave(&subscribers[i].turn);
	turns_leave(&subscribers[0].turn);
	ck_assert_uint_eq(count(&clients[0].due) + count(&relay.looked_at) + count(&relay.resting), 0);
	run_once();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(a_change_makes_only_some_due_at_once),
	HARNESS_CASE(posts_of_one_turn_deliver_only_so_much),
	HARNESS_CASE(a_few_are_told_before_a_post_is_answered),
	HARNESS_CASE(one_that_stalls_looks_again),
	HARNESS_CASE(one_that_leaves_is_nowhere),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(
	        argc, argv,
	        &(struct harness_suite){ .name = "daemon-turns", .cases = cases, .setup = setup, .teardown = teardown });
}
