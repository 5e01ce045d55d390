/* SPDX-License-Identifier: MIT */
/*
 * test_daemon_crossing.c - what crosses between the lanes of several users, without sockets: the members are made up, in the same
 * process.
 */
#include "harness/harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/context.h"
#include "daemon/crossing.h"
#include "daemon/limit.h"
#include "daemon/loop.h"
#include "daemon/topic.h"
#include "daemon/user.h"
#include "os/os.h"
#include "side.h"
#include "state.h"
#include "wire.h"

#define BOTH (WIRE_RIGHT_SUBSCRIBE | WIRE_RIGHT_POST)
#define N_USERS 3

static struct context context;
static struct users *users;
static struct user *user[N_USERS];
static struct topic_name *name;
static struct loop_event *stop;
static unsigned damaged = N_USERS; /* this user's lane */

/* A member, and what it has heard. */
struct peer {
	struct member *member;
	struct topic_lane *lane;
	struct side side;
	uint64_t origin, number;
	uint64_t posts, missed, messages, resyncs;
	uint64_t told[N_USERS]; /* the last message of each user, */
	uint64_t heard[N_USERS]; /* and how many */
	struct ring_message last;
};

/* --- around each case --------------------------------------------------------------------------------------------- */

static void stop_now(void *arg)
{
	(void)arg;
	loop_stop(context.loop);
}

static void setup(void)
{
	struct users_setting setting = { .offload_members = 8, .offload_message_members = 4 };
	struct topic_key key = { .dir_dev = 1, .dir_ino = 2, .name_size = 1, .name = "x" };

	for (unsigned i = 0; i < N_CHARGES; i++)
		setting.most[i] = UINT64_MAX;
	context.loop = loop_new();
	users = users_new(&setting);
	context.topics = topics_new();
	stop = loop_timer(context.loop, stop_now, NULL);
	ck_assert(users && context.loop && context.topics && stop);
	for (unsigned i = 0; i < N_USERS; i++)
		ck_assert_int_eq(users_get(users, 1000 + i, &user[i]), 0);
	ck_assert_int_eq(topics_add(context.topics, &key, &name), 0);
}

static void teardown(void)
{
	topics_free(context.topics);
	for (unsigned i = 0; i < N_USERS; i++)
		user_unref(user[i]);
	users_free(users);
	loop_event_free(stop);
	loop_free(context.loop);
}

static void run(unsigned rounds)
{
	for (unsigned i = 0; i < rounds; i++) {
		loop_call_soon(stop);
		loop_run(context.loop);
	}
}

/* --- members ------------------------------------------------------------------------------------------------------ */

static void come_with(struct peer *peer, unsigned whose, uint32_t rights, uint32_t max_message)
{
	const struct joining joining = {
		.user = user[whose], .pid = 4000 + (pid_t)whose, .rights = rights, .listens = true,
		.shape = { .ring_slots = 256, .max_message = max_message },
	};
	const char *limit;
	void *map;

	memset(peer, 0, sizeof(*peer));
	ck_assert_int_eq(topic_join(name, &joining, &peer->member, &limit), 0);
	ck_assert_int_eq(crossing_update(&context, name->topic), 0);
	peer->member->told = true;
	peer->lane = peer->member->lane;
	map = os_map(peer->lane->page_fd, lane_size(&peer->lane->shape), true, NULL);
	ck_assert_ptr_nonnull(map);
	peer->side.lane = (struct lane){ .bell = member_bell(peer->member), .carrier = -1 };
	peer->side.slot = peer->member->slot;
	peer->side.file = -1;
	ck_assert_int_eq(side_open(&peer->side, map, lane_size(&peer->lane->shape), &peer->lane->shape), 0);
	side_take_baseline(&peer->side);
	os_random(&peer->origin, sizeof(peer->origin));
}

static void come(struct peer *peer, unsigned whose, uint32_t rights)
{
	come_with(peer, whose, rights, LANE_DEFAULT_MESSAGE);
}

/* Its memory stays for a moment, as that of a process would. */
static void leave(struct peer *peer, enum leave how)
{
	topic_leave(peer->member, how);
	(void)crossing_update(&context, name->topic);
	side_close(&peer->side);
}

static void publish(struct peer *peer, const void *data, uint32_t size)
{
	struct ring_message message = {
		.origin = peer->origin, .number = ++peer->number, .time_ns = 7 * peer->number, .pid = (uint32_t)peer->member->pid,
		.uid = 4711, .key = "key", .key_size = 3, .data = data, .data_size = size,
	};

	ck_assert_int_eq(side_put_message(&peer->side, &message), 0);
}

static void say(struct peer *peer)
{
	publish(peer, "hello", 5);
}

static void take_message(struct peer *peer)
{
	const struct ring_message *message = &peer->side.reader.message;
	unsigned whose = message->uid - 1000;

	peer->messages++;
	peer->last = *message;
	ck_assert_uint_lt(whose, N_USERS);
	ck_assert_msg(message->number > peer->told[whose] || whose == damaged, "message %llu of user %u after %llu",
	              (unsigned long long)message->number, whose, (unsigned long long)peer->told[whose]);
	peer->told[whose] = message->number;
	peer->heard[whose]++;
}

/* All there is; false: the memory is damaged. */
static bool listen(struct peer *peer)
{
	uint64_t n = 0;

	side_look(&peer->side);
	for (unsigned turns = 0; turns < 10000; turns++) {
		switch (side_next(&peer->side, &n)) {
		case SIDE_NOTHING:
			if (lane_arm(&peer->side.lane, peer->side.generation))
				return true;
			side_look(&peer->side);
			break;
		case SIDE_STALLED:
			return true;
		case SIDE_AGAIN:
			side_look(&peer->side);
			break;
		case SIDE_POSTS:
			peer->posts += n;
			break;
		case SIDE_GAP:
			peer->missed += n;
			break;
		case SIDE_RESYNC:
			peer->resyncs++;
			break;
		case SIDE_MESSAGE:
			take_message(peer);
			break;
		}
	}
	return false;
}

static void expect(struct peer *peer, uint64_t posts, uint64_t messages, uint64_t missed, uint64_t resyncs)
{
	ck_assert(listen(peer));
	ck_assert_uint_eq(peer->posts, posts);
	ck_assert_uint_eq(peer->messages, messages);
	ck_assert_uint_eq(peer->missed, missed);
	ck_assert_uint_eq(peer->resyncs, resyncs);
}

/* --- posts and messages ------------------------------------------------------------------------------------------- */

START_TEST(posts_cross_and_are_counted)
{
	struct peer a, b, c;

	come(&a, 0, BOTH);
	side_post(&a.side, 1); /* before anybody else: nobody hears of it */
	come(&b, 1, BOTH);
	come(&c, 2, WIRE_RIGHT_SUBSCRIBE);
	ck_assert_ptr_ne(a.lane, b.lane);
	side_post(&a.side, 1);
	run(3);
	expect(&b, 1, 0, 0, 0);
	expect(&c, 1, 0, 0, 0);
	side_post(&a.side, 5);
	side_post(&b.side, 2);
	run(3);
	expect(&a, 2, 0, 0, 0);
	expect(&b, 6, 0, 0, 0);
	expect(&c, 8, 0, 0, 0);
	leave(&a, LEAVE_CLOSED);
	side_post(&b.side, 1);
	run(3);
	expect(&c, 9, 0, 0, 0);
	leave(&b, LEAVE_CLOSED);
	leave(&c, LEAVE_CLOSED);
}
END_TEST

/* Whatever it writes into its lane. */
START_TEST(who_may_only_listen_says_nothing)
{
	struct peer a, b;

	come(&a, 0, BOTH);
	come(&b, 1, WIRE_RIGHT_SUBSCRIBE);
	side_post(&b.side, 1);
	say(&b);
	side_resync(&b.side);
	ck_assert_int_eq(state_set(b.side.lane.page, b.member->slot, NULL, 666, NULL), 0);
	lane_ring(&b.side.lane);
	run(3);
	expect(&a, 0, 0, 0, 0);
	ck_assert_uint_eq(state_get(a.side.lane.page).version, 0);
	leave(&b, LEAVE_DIED);
	run(3);
	expect(&a, 0, 0, 0, 0);
	leave(&a, LEAVE_CLOSED);
}
END_TEST

/* And who may only post hears nothing. */
START_TEST(who_may_only_post_hears_nothing)
{
	struct peer a, b;

	come(&a, 0, BOTH);
	come(&b, 1, WIRE_RIGHT_POST);
	side_post(&a.side, 1);
	say(&a);
	ck_assert_int_eq(state_set(a.side.lane.page, a.member->slot, NULL, 5, NULL), 0);
	lane_ring(&a.side.lane);
	run(3);
	expect(&b, 0, 0, 0, 0);
	ck_assert_uint_eq(state_get(b.side.lane.page).version, 0);
	say(&b);
	run(3);
	expect(&a, 0, 1, 0, 0);
	leave(&b, LEAVE_CLOSED);
	leave(&a, LEAVE_CLOSED);
}
END_TEST

START_TEST(messages_come_with_their_true_sender)
{
	struct peer a, b;
	struct ring_message forged = { .number = 9, .pid = 1, .uid = 0, .data = "x", .data_size = 1 };

	come(&a, 0, BOTH);
	come(&b, 1, BOTH);
	/* As one that has not said anything yet, but is known to be there. */
	page_name_slot(&a.side.lane.page->slots[a.member->slot], a.origin, 0);
	forged.origin = a.origin;
	ck_assert_int_eq(side_put_message(&b.side, &forged), 0);
	run(3);
	expect(&a, 0, 1, 0, 0);
	ck_assert_uint_eq(a.last.origin, 0);
	say(&a);
	run(3);
	expect(&b, 0, 1, 0, 0);
	ck_assert_uint_eq(b.last.uid, 1000);
	ck_assert_uint_eq(b.last.pid, 4000);
	ck_assert_uint_eq(b.last.origin, a.origin);
	ck_assert_uint_eq(b.last.number, 1);
	ck_assert_uint_eq(b.last.time_ns, 7);
	ck_assert(b.last.key_size == 3 && memcmp(b.last.key, "key", 3) == 0);
	ck_assert(b.last.data_size == 5 && memcmp(b.last.data, "hello", 5) == 0);
	/* Somebody else's process, user and handle: the other one would be taken for told. */
	forged.number = 10;
	ck_assert_int_eq(side_put_message(&b.side, &forged), 0);
	run(3);
	expect(&a, 0, 2, 0, 0);
	ck_assert_uint_eq(a.last.uid, 1001);
	ck_assert_uint_eq(a.last.pid, 0);
	ck_assert_uint_eq(a.last.origin, 0);
	for (int i = 0; i < 10; i++)
		say(&a);
	run(3);
	expect(&b, 0, 11, 0, 0);
	leave(&a, LEAVE_CLOSED);
	leave(&b, LEAVE_CLOSED);
}
END_TEST

/* Published again, since its sender does not know whether it was carried. */
START_TEST(what_comes_again_is_told_once)
{
	struct peer a, again, b, c;

	come(&a, 0, BOTH);
	come(&b, 1, BOTH);
	come(&c, 2, WIRE_RIGHT_SUBSCRIBE); /* else there is nobody to carry to meanwhile, and readers tell */
	say(&a);
	say(&a);
	run(3);
	leave(&a, LEAVE_DIED);
	run(3);
	expect(&b, 0, 2, 0, 1);
	come(&again, 0, BOTH);
	again.origin = a.origin;
	say(&again);
	say(&again);
	say(&again);
	run(3);
	expect(&b, 0, 3, 0, 1);
	leave(&again, LEAVE_CLOSED);
	leave(&b, LEAVE_CLOSED);
	leave(&c, LEAVE_CLOSED);
}
END_TEST

/* What the daemon has missed others miss, too. */
START_TEST(gaps_cross_with_their_count)
{
	struct peer a, b;

	come(&a, 0, BOTH);
	come_with(&b, 1, BOTH, 128);
	for (int i = 0; i < 300; i++) /* a ring has 256 */
		say(&a);
	run(20);
	ck_assert(listen(&b));
	ck_assert_uint_gt(b.missed, 0);
	ck_assert_uint_gt(b.messages, 0);
	ck_assert_uint_eq(b.missed + b.messages, 300);
	ck_assert_uint_eq(b.resyncs, 0);
	/* One that does not fit there. */
	b.missed = b.messages = 0;
	publish(&a, (char[200]){ 0 }, 200);
	say(&a);
	run(3);
	expect(&b, 0, 1, 1, 0);
	/* Back from there: its own gaps are none of the daemon's. */
	say(&b);
	run(3);
	expect(&a, 0, 1, 0, 0);
	leave(&a, LEAVE_CLOSED);
	leave(&b, LEAVE_CLOSED);
}
END_TEST

/* A post before a message is told before it, whatever is put into the lane in between. */
START_TEST(order_is_kept)
{
	struct peer a, b;
	uint64_t n;

	come(&a, 0, BOTH);
	come(&b, 1, BOTH);
	for (int i = 0; i < 50; i++) {
		side_post(&b.side, 1);
		side_post(&a.side, 1);
		say(&a);
		run(1);
		side_post(&b.side, 1);
		side_post(&a.side, 1);
		say(&a);
		run(3);
		side_look(&b.side);
		ck_assert_int_eq(side_next(&b.side, &n), SIDE_POSTS);
		ck_assert_int_eq(side_next(&b.side, &n), SIDE_MESSAGE);
		while (side_next(&b.side, &n) != SIDE_NOTHING)
			;
		(void)lane_arm(&b.side.lane, b.side.generation);
	}
	ck_assert(listen(&a));
	ck_assert_uint_eq(a.posts, 100);
	leave(&a, LEAVE_CLOSED);
	leave(&b, LEAVE_CLOSED);
}
END_TEST

/* Its lane goes with it, but not what was in there; more than is carried at once. */
START_TEST(who_leaves_at_once_is_heard)
{
	struct peer a, b;

	come(&b, 1, BOTH);
	for (int i = 1; i <= 20; i++) {
		come(&a, 0, BOTH);
		for (int j = 0; j < 200; j++)
			say(&a);
		side_post(&a.side, 1);
		leave(&a, i % 2 ? LEAVE_CLOSED : LEAVE_DIED);
		run(5);
		b.told[0] = 0;
		ck_assert(listen(&b));
		ck_assert_uint_eq(b.messages, 200 * (uint64_t)i);
		ck_assert_uint_ge(b.posts + b.resyncs, (uint64_t)i);
		ck_assert_uint_eq(b.resyncs, (uint64_t)i / 2);
		ck_assert_ptr_null(name->topic->lanes->next);
		ck_assert_ptr_null(name->topic->crossing);
		b.told[0] = 0;
	}
	ck_assert_uint_eq(b.missed, 0);
	leave(&b, LEAVE_CLOSED);
}
END_TEST

/* --- the state ---------------------------------------------------------------------------------------------------- */

static void expect_state(const struct peer *peer, uint64_t value)
{
	ck_assert_uint_eq(state_get(peer->side.lane.page).value, value);
}

START_TEST(one_state_for_all)
{
	struct peer a, b, c;
	struct state before, now;

	come(&a, 0, BOTH);
	ck_assert_int_eq(state_set(a.side.lane.page, a.member->slot, NULL, 10, NULL), 0);
	before = state_get(a.side.lane.page);
	come(&b, 1, BOTH);
	expect_state(&b, 10);
	ck_assert_uint_eq(atomic_load(&a.side.lane.page->divided), 1);
	/* Who had compared before there were others is too late. */
	ck_assert_int_eq(state_set(a.side.lane.page, a.member->slot, &before, 11, NULL), -EAGAIN);
	expect_state(&a, 10);
	/* Set all the same, and then posted: who is woken by the post sees it. */
	ck_assert_int_eq(state_set(a.side.lane.page, a.member->slot, NULL, 20, NULL), 0);
	side_post(&a.side, 1);
	while (b.posts == 0) {
		run(1);
		ck_assert(listen(&b));
	}
	expect_state(&b, 20);
	/* By the daemon. */
	ck_assert_int_eq(crossing_set_state(b.lane->crossing, 30, &(uint64_t){ 10 }), -EAGAIN);
	ck_assert_int_eq(crossing_set_state(b.lane->crossing, 30, &(uint64_t){ 20 }), 0);
	expect_state(&a, 30);
	expect_state(&b, 30);
	/* What is set in a lane counts before what is compared later. */
	ck_assert_int_eq(state_set(a.side.lane.page, a.member->slot, NULL, 40, NULL), 0);
	ck_assert_int_eq(crossing_set_state(b.lane->crossing, 50, &(uint64_t){ 30 }), -EAGAIN);
	expect_state(&b, 40);
	come(&c, 2, WIRE_RIGHT_SUBSCRIBE);
	expect_state(&c, 40);
	now = crossing_get_state(c.lane->crossing);
	ck_assert_uint_eq(now.value, 40);
	/* Numbers of a lane that numbers as it likes are its own. */
	ck_assert_int_eq(state_offer(a.side.lane.page, a.member->slot,
	                             &(struct state){ .value = 60, .version = STATE_LAST_VERSION }), 1);
	run(1);
	lane_ring(&a.side.lane);
	run(2);
	expect_state(&b, 60);
	ck_assert_uint_eq(state_get(b.side.lane.page).version, now.version + 1);
	ck_assert_int_eq(crossing_set_state(b.lane->crossing, 70, NULL), 0);
	expect_state(&a, 70);
	expect_state(&c, 70);
	leave(&a, LEAVE_CLOSED);
	leave(&b, LEAVE_CLOSED);
	leave(&c, LEAVE_CLOSED);
}
END_TEST

/* --- damage ------------------------------------------------------------------------------------------------------- */

/* One user writes over its lane at random. The other two hear each other, in order, and each thing once; what is missing was
 * told. */
START_TEST(a_damaged_lane_is_its_users_own)
{
	enum { ROUNDS = 3000 };
	struct peer a, b, c;
	uint64_t seed, longest = 0;

	os_random(&seed, sizeof(seed));
	srand((unsigned)seed);
	damaged = 2;
	come(&a, 0, BOTH);
	come(&b, 1, BOTH);
	come(&c, 2, BOTH);
	for (int round = 0; round < ROUNDS; round++) {
		uint64_t *words = c.side.map, begin;
		size_t n_words = 16384 / 8 + 256 * RING_SLOT_SIZE / 8;

		for (int i = rand() % 8; i > 0; i--) {
			size_t at = (size_t)rand() % n_words;
			uint64_t value = (uint64_t)rand() << (rand() % 40);

			switch (rand() % 4) {
			case 0:
				words[512 / 8 + (size_t)rand() % 20] = value;
				break;
			case 1:
				words[at] += value;
				break;
			case 2:
				words[PAGE_SIZE_BYTES / 8 + (size_t)(rand() % 256) * 16] = (value & ~UINT64_C(0xfff)) | (value % 6);
				break;
			default:
				words[at] = value;
				break;
			}
		}
		lane_ring(&c.side.lane);
		if (rand() % 8 == 0)
			ck_assert_int_eq(crossing_set_state(a.lane->crossing, (uint64_t)round, NULL), 0);
		say(&a);
		side_post(&a.side, 1);
		say(&b);
		begin = os_now_ns();
		run(2);
		if (os_now_ns() - begin > longest)
			longest = os_now_ns() - begin;
		ck_assert(listen(&a));
		ck_assert(listen(&b));
		ck_assert(a.told[1] <= b.number && b.told[0] <= a.number);
	}
	run(10);
	ck_assert(listen(&a) && listen(&b));
	ck_assert_uint_ge(a.heard[1] + a.missed, b.number);
	ck_assert_uint_ge(b.heard[0] + b.missed, a.number);
	printf("seed %u, longest turn %llu us; %llu and %llu resyncs, %llu and %llu missed\n", (unsigned)seed,
	       (unsigned long long)longest / 1000, (unsigned long long)a.resyncs, (unsigned long long)b.resyncs,
	       (unsigned long long)a.missed, (unsigned long long)b.missed);
	side_close(&c.side);
	topic_leave(c.member, LEAVE_CLOSED);
	(void)crossing_update(&context, name->topic);
	run(1000);
	ck_assert(listen(&a) && listen(&b));
	a.messages = b.messages = a.posts = b.posts = a.missed = b.missed = a.resyncs = b.resyncs = 0;
	for (int i = 0; i < 100; i++) {
		say(&a);
		side_post(&b.side, 1);
	}
	run(5);
	expect(&b, 0, 100, 0, 0);
	expect(&a, 100, 0, 0, 0);
	leave(&a, LEAVE_CLOSED);
	leave(&b, LEAVE_CLOSED);
}
END_TEST

/* More comes all the time than is carried in a turn. What was there before is seen to be carried all the same. */
START_TEST(a_lane_that_is_never_empty_gets_on)
{
	struct peer a, b;
	uint64_t goal;

	come(&a, 0, BOTH);
	come(&b, 1, BOTH);
	for (unsigned i = 0; i < LIMIT_CARRIED_IN_A_ROW / 2; i++)
		say(&a);
	side_post(&a.side, 1);
	goal = lane_generation(&a.side.lane);
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 2 * LIMIT_CARRIED_IN_A_ROW; i++)
			say(&a);
		run(1);
		ck_assert(listen(&b));
	}
	ck_assert(lane_is_later(lane_generation(&a.side.lane), crossing_carried(a.lane->crossing)));
	ck_assert(!lane_is_later(goal, crossing_carried(a.lane->crossing)));
	ck_assert_uint_ge(b.posts + b.resyncs, 1); /* who has missed much is told to look again */
	leave(&a, LEAVE_CLOSED);
	leave(&b, LEAVE_CLOSED);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(posts_cross_and_are_counted),
	HARNESS_CASE(who_may_only_listen_says_nothing),
	HARNESS_CASE(who_may_only_post_hears_nothing),
	HARNESS_CASE(messages_come_with_their_true_sender),
	HARNESS_CASE(what_comes_again_is_told_once),
	HARNESS_CASE(gaps_cross_with_their_count),
	HARNESS_CASE(order_is_kept),
	HARNESS_CASE(who_leaves_at_once_is_heard),
	HARNESS_CASE(one_state_for_all),
	HARNESS_CASE(a_damaged_lane_is_its_users_own),
	HARNESS_CASE(a_lane_that_is_never_empty_gets_on),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){
				    .name = "daemon-crossing", .cases = cases, .setup = setup, .teardown = teardown });
}
