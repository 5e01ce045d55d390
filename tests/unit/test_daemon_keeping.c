/* SPDX-License-Identifier: MIT */
/*
 * test_daemon_keeping.c - topics that stay without members, without sockets and workers: what a worker would answer is made up.
 */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "daemon/context.h"
#include "daemon/crossing.h"
#include "daemon/folders.h"
#include "daemon/keeping.h"
#include "daemon/limit.h"
#include "daemon/loop.h"
#include "daemon/rights_watch.h"
#include "daemon/topic.h"
#include "daemon/topic_rules.h"
#include "daemon/user.h"
#include "os/os.h"
#include "state.h"
#include "wire.h"

#define BOTH (WIRE_RIGHT_SUBSCRIBE | WIRE_RIGHT_POST)
#define N_USERS 3
#define MOST 4u

static struct context context;
static struct user *user[N_USERS];
static struct loop_event *tick;
static unsigned ticks;
static int watch; /* of the folder that all topics here are in */

/* --- around each case ----------------------------------------------------------------------------------------- */

static void on_tick(void *arg)
{
	(void)arg;
	ticks++;
	loop_stop(context.loop);
}

static void on_appeared(void *arg, struct topic_name *name)
{
	(void)arg;
	keeping_folder_gone(&context, name);
}

static void on_touched(void *arg, struct topic_name *name, const char *entry)
{
	(void)arg;
	(void)name;
	(void)entry;
}

static void on_asked(void *arg, uint64_t *ret_last, uint64_t *ret_open)
{
	(void)arg;
	*ret_last = *ret_open = 0;
}

static void run(unsigned ms)
{
	loop_set(tick, ms);
	loop_run(context.loop);
}

static void setup_with(enum charge charge, uint64_t most)
{
	struct users_setting setting = { .offload_members = 8, .offload_message_members = 4 };
	int fd;

	for (unsigned i = 0; i < N_CHARGES; i++)
		setting.most[i] = UINT64_MAX;
	setting.most[charge] = most;
	context.loop = loop_new();
	context.users = users_new(&setting);
	context.topics = topics_new();
	context.rights_watch = rights_watch_new(&context);
	context.keeper = keeper_new(&context);
	tick = loop_timer(context.loop, on_tick, NULL);
	ck_assert_int_eq(folders_new(&(struct folders_setting){ .loop = context.loop, .appeared = on_appeared, .touched = on_touched,
	                                                        .asked = on_asked },
	                             &context.folders),
	                 0);
	ck_assert_int_eq(mkdir(harness_path("folder"), 0700), 0);
	fd = open(harness_path("folder"), O_PATH | O_CLOEXEC);
	watch = os_watch_add(folders_descriptor(context.folders), fd);
	ck_assert_int_gt(watch, 0);
	close(fd);
	for (unsigned i = 0; i < N_USERS; i++)
		ck_assert_int_eq(users_get(context.users, 1000 + i, &user[i]), 0);
}

static void setup(void)
{
	setup_with(CHARGE_KEPT, MOST);
}

static void teardown(void)
{
	rights_watch_free(context.rights_watch);
	topics_free(context.topics);
	keeper_free(context.keeper);
	for (unsigned i = 0; i < N_USERS; i++)
		user_unref(user[i]); /* which ends the program if anything is charged */
	users_free(context.users);
	folders_free(context.folders);
	loop_event_free(tick);
	loop_free(context.loop);
	rmdir(harness_path("folder"));
}

/* --- who comes and goes ----------------------------------------------------------------------------------------- */

static struct topic_name *find_or_add(const char *file)
{
	struct topic_key key = { .dir_dev = 1, .dir_ino = 2 };
	struct topic_name *name;

	key.name_size = (uint32_t)strlen(file);
	memcpy(key.name, file, key.name_size);
	name = topics_find(context.topics, &key);
	if (!name)
		ck_assert_int_eq(topics_add(context.topics, &key, &name), 0);
	return name;
}

/* As an opening does it. */
static struct member *come_to(const char *file, unsigned whose, uint32_t rights, uint64_t keep_s, int as_watch)
{
	const struct joining joining = {
		.user = user[whose], .pid = 4000 + (pid_t)whose, .rights = rights, .listens = true,
		.shape = { .ring_slots = 8, .max_message = 128 },
	};
	struct files_reply reply = { .watch = as_watch };
	struct topic_name *name = find_or_add(file);
	struct member *member;
	const char *limit;

	name->topic->keep_s = keep_s;
	keeping_look(name, &reply);
	ck_assert_int_eq(topic_join(name, &joining, &member, &limit), 0);
	ck_assert_int_eq(crossing_update(&context, name->topic), 0);
	keeping_begin(name, user[whose]);
	if (as_watch > 0)
		ck_assert_int_ge(folders_attach(context.folders, name, as_watch, 0), 0);
	return member;
}

static struct member *come(const char *file, unsigned whose, uint32_t rights)
{
	return come_to(file, whose, rights, TOPIC_KEEP_EVER, watch);
}

static void leave(struct member *member)
{
	struct topic *topic = member->name->topic;
	struct user *whose = user_ref(member->lane->user);

	topic_leave(member, LEAVE_CLOSED);
	(void)crossing_update(&context, topic);
	if (topic->n_members == 0)
		keeping_end(&context, topic, whose);
	user_unref(whose);
}

static void put(const struct member *member, uint64_t value, uint64_t version)
{
	struct page *page = topic_lane_borrow(member->lane);
	struct state state = { .value = value, .version = version };

	ck_assert(page && state_put(page, member->slot, NULL, &state));
	topic_lane_return(member->lane, page);
}

static void expect(const struct member *member, uint64_t value, uint64_t version)
{
	struct page *page = topic_lane_borrow(member->lane);
	struct state state = state_get(page);

	topic_lane_return(member->lane, page);
	ck_assert_uint_eq(state.value, value);
	ck_assert_uint_eq(state.version, version);
}

static void expect_kept(const char *file, uint64_t value, uint64_t version)
{
	struct member *member = come(file, 2, WIRE_RIGHT_SUBSCRIBE);

	expect(member, value, version);
	leave(member);
}

static void leave_state(const char *file, unsigned whose, uint64_t value, uint64_t version)
{
	struct member *member = come(file, whose, BOTH);

	put(member, value, version);
	leave(member);
}

static void expect_charges(unsigned whose, uint64_t kept, uint64_t watches, uint64_t descriptors)
{
	ck_assert_uint_eq(user_has(user[whose], CHARGE_KEPT), kept);
	ck_assert_uint_eq(user_has(user[whose], CHARGE_WATCHES), watches);
	ck_assert_uint_eq(user_has(user[whose], CHARGE_DESCRIPTORS), descriptors);
	ck_assert_uint_eq(user_has(user[whose], CHARGE_LANES), 0);
	ck_assert_uint_eq(user_has(user[whose], CHARGE_LANE_BYTES), 0);
	ck_assert_uint_eq(user_has(user[whose], CHARGE_MEMBERS), 0);
}

/* --- cases -------------------------------------------------------------------------------------------------------- */

START_TEST(what_is_charged)
{
	struct member *member;

	setup();
	leave_state("a", 0, 7, 1);
	ck_assert_uint_eq(topics_n_kept(context.topics), 1);
	ck_assert_uint_eq(topics_count(context.topics), 1);
	ck_assert(topic_is_kept(find_or_add("a")->topic));
	expect_charges(0, 1, 1, 1); /* its bell stays as long as it has something kept */
	leave_state("b", 0, 8, 1);
	expect_charges(0, 2, 2, 1);
	/* Somebody has come: nothing is kept, but that it was he is not forgotten. */
	member = come("a", 1, WIRE_RIGHT_SUBSCRIBE);
	ck_assert_uint_eq(topics_n_kept(context.topics), 1);
	ck_assert(!topic_is_kept(member->name->topic));
	ck_assert_uint_eq(user_has(user[0], CHARGE_KEPT), 1);
	ck_assert_uint_eq(user_has(user[1], CHARGE_WATCHES), 1);
	leave(member);
	expect_charges(0, 2, 2, 1);
	expect_charges(1, 0, 0, 0);
	/* Another has set it: it is that one's. The value decides, not who says it again. */
	leave_state("a", 1, 7, 2);
	expect_charges(0, 2, 2, 1);
	leave_state("a", 1, 9, 3);
	expect_charges(0, 1, 1, 1);
	expect_charges(1, 1, 1, 1);
	topic_forget(&context, find_or_add("a")->topic);
	expect_charges(1, 0, 0, 0);
	ck_assert_uint_eq(topics_count(context.topics), 1);
	topic_forget(&context, find_or_add("b")->topic);
	expect_charges(0, 0, 0, 0);
	/* What nobody has set is not kept. */
	leave(come("c", 0, BOTH));
	ck_assert_uint_eq(topics_count(context.topics), 0);
	/* And what is kept to the end goes then. */
	leave_state("d", 0, 1, 1);
	teardown();
}
END_TEST

/* Whoever gives a topic names charges nobody else for them. */
START_TEST(one_name_is_kept)
{
	struct topic_key key = { .dir_dev = 1, .dir_ino = 2, .name_size = 2, .name = "x" };
	struct member *member, *others[5];

	setup();
	for (unsigned i = 0; i < 2; i++) {
		member = come("a", i, BOTH);
		for (unsigned n = 0; n < 5; n++) {
			struct topic_name *name;

			key.name[1] = (char)('0' + n);
			ck_assert_int_eq(topic_add_name(member->name->topic, &key, &name), 0);
			others[n] = come(name->key.name, 1, BOTH);
			ck_assert_ptr_eq(others[n]->name->topic, member->name->topic);
		}
		put(i == 0 ? member : others[2], 7 + i, 1 + i);
		leave(member);
		for (unsigned n = 0; n < 5; n++)
			leave(others[n]);
		expect_charges(0, i == 0, i == 0, i == 0);
		expect_charges(1, i == 1, i == 1, i == 1);
		ck_assert_uint_eq(topics_count(context.topics), 1);
		if (i == 0)
			expect_kept("a", 7, 1);
	}
	teardown();
}
END_TEST

/* Nor is it kept if there is no room for its watch. */
START_TEST(no_room_for_its_watch)
{
	struct member *member, *other;

	setup_with(CHARGE_WATCHES, 1);
	member = come("a", 0, BOTH);
	other = come("a", 1, BOTH);
	put(member, 7, 1);
	leave(member);
	member = come("b", 0, BOTH);
	leave(other);
	ck_assert_uint_eq(topics_count(context.topics), 1);
	ck_assert_uint_eq(user_n_refused(user[0], CHARGE_WATCHES), 1);
	expect_charges(1, 0, 0, 0);
	leave(member);
	expect_charges(0, 0, 0, 0);
	teardown();
}
END_TEST

START_TEST(no_more_than_may_be)
{
	char file[2] = "a";

	setup();
	for (unsigned i = 0; i < MOST + 2; i++, file[0]++)
		leave_state(file, 0, 1, 1);
	ck_assert_uint_eq(topics_n_kept(context.topics), MOST);
	ck_assert_uint_eq(topics_count(context.topics), MOST);
	ck_assert_uint_eq(user_n_refused(user[0], CHARGE_KEPT), 2);
	expect_charges(0, MOST, MOST, 1);
	leave_state(file, 1, 1, 1);
	ck_assert_uint_eq(topics_n_kept(context.topics), MOST + 1);
	teardown();
}
END_TEST

START_TEST(versions_do_not_go_back)
{
	struct member *member, *other;

	setup();
	leave_state("a", 0, 7, 10);
	/* Alone and without the right to see what is kept, it begins at nothing. */
	member = come("a", 1, WIRE_RIGHT_POST);
	expect(member, 0, 0);
	put(member, 8, 1);
	leave(member);
	expect_kept("a", 8, 11);
	/* The same with a crossing. */
	member = come("a", 1, WIRE_RIGHT_POST);
	put(member, 9, 1);
	other = come("a", 2, WIRE_RIGHT_SUBSCRIBE);
	expect(other, 9, 12);
	leave(member);
	expect(other, 9, 12);
	leave(other);
	expect_kept("a", 9, 12);
	/* A number that leads nowhere. */
	leave_state("a", 1, 10, STATE_LAST_VERSION);
	expect_kept("a", 10, 13);
	/* The same value said again, by a newer number. */
	leave_state("a", 1, 10, 20);
	expect_kept("a", 10, 20);
	leave_state("a", 1, 10, 3);
	expect_kept("a", 10, 20);
	teardown();
}
END_TEST

START_TEST(readers_are_not_believed)
{
	struct member *member, *other;

	setup();
	leave_state("a", 0, 7, 1);
	member = come("a", 1, WIRE_RIGHT_SUBSCRIBE);
	expect(member, 7, 1);
	put(member, 666, 2);
	/* It is alone with a lane; then not; then alone again. */
	other = come("a", 0, BOTH);
	expect(other, 7, 1);
	put(member, 667, 100);
	put(other, 8, 2);
	leave(other);
	put(member, 668, 101);
	leave(member);
	expect_kept("a", 8, 2);
	teardown();
}
END_TEST

START_TEST(another_folder_of_the_same_number)
{
	struct member *member;
	int fd, other;

	setup();
	ck_assert_int_eq(mkdir(harness_path("other"), 0700), 0);
	fd = open(harness_path("other"), O_PATH | O_CLOEXEC);
	other = os_watch_add(folders_descriptor(context.folders), fd);
	close(fd);
	leave_state("a", 0, 7, 1);
	member = come_to("a", 1, BOTH, TOPIC_KEEP_EVER, other);
	expect(member, 0, 0);
	leave(member);
	expect_charges(0, 0, 0, 0);
	/* One that is not watched may be any. */
	leave_state("b", 0, 7, 1);
	member = come_to("b", 1, BOTH, TOPIC_KEEP_EVER, -ENOSPC);
	expect(member, 0, 0);
	leave(member);
	member = come_to("c", 0, BOTH, TOPIC_KEEP_EVER, -ENOSPC);
	put(member, 7, 1);
	leave(member);
	ck_assert_uint_eq(topics_count(context.topics), 0);
	/* The folder goes, and what is kept with it; what comes to its end afterwards is not kept any more. */
	leave_state("d", 0, 7, 1);
	leave_state("e", 0, 7, 1);
	member = come("f", 0, BOTH);
	put(member, 7, 1);
	ck_assert_uint_eq(topics_n_kept(context.topics), 2);
	ck_assert_int_eq(rmdir(harness_path("folder")), 0);
	while (topics_count(context.topics) > 1)
		run(1);
	leave(member);
	ck_assert_uint_eq(topics_count(context.topics), 0);
	expect_charges(0, 0, 0, 0);
	rmdir(harness_path("other"));
	teardown();
}
END_TEST

START_TEST(it_is_not_to_be_kept_any_more)
{
	struct member *member;

	setup();
	leave_state("a", 0, 7, 1);
	member = come_to("a", 1, BOTH, 0, watch);
	expect(member, 0, 0);
	put(member, 7, 1);
	leave(member);
	ck_assert_uint_eq(topics_count(context.topics), 0);
	expect_charges(0, 0, 0, 0);
	/* While others have it open. */
	leave_state("a", 0, 7, 1);
	member = come("a", 0, WIRE_RIGHT_SUBSCRIBE);
	leave(come_to("a", 1, WIRE_RIGHT_SUBSCRIBE, 0, watch));
	leave(member);
	ck_assert_uint_eq(topics_count(context.topics), 0);
	teardown();
}
END_TEST

/* More than are looked at in a row. */
#define MANY (3 * LIMIT_KEPT_IN_A_ROW + 1)

START_TEST(many_at_once)
{
	unsigned n = 0;

	setup();
	for (unsigned i = 0; i < MANY; i++) {
		struct user *own;
		struct member *member;
		char file[16];

		/* Each of another user, but for a few that stay. */
		ck_assert_int_eq(users_get(context.users, 5000 + i, &own), 0);
		user_unref(user[1]);
		user[1] = own;
		snprintf(file, sizeof(file), "%u", i);
		member = come_to(file, 1, BOTH, i % 100 == 0 ? TOPIC_KEEP_EVER : 1, watch);
		put(member, i, 1);
		leave(member);
	}
	ck_assert_uint_eq(topics_n_kept(context.topics), MANY);
	while (topics_n_kept(context.topics) > (MANY + 99) / 100) {
		run(20);
		n++;
	}
	ck_assert_uint_ge(n, 10); /* not before a second has passed since they were left */
	for (unsigned i = 0; i < MANY; i += 100) {
		char file[16];

		snprintf(file, sizeof(file), "%u", i);
		expect_kept(file, i, 1);
	}
	teardown();
}
END_TEST

START_TEST(forgotten_while_it_is_open)
{
	struct member *one, *other;
	struct topic *topic;

	setup();
	leave_state("a", 0, 7, 1);
	one = come("a", 0, BOTH);
	other = come("a", 1, WIRE_RIGHT_SUBSCRIBE);
	topic = one->name->topic;
	topic_forget(&context, topic);
	ck_assert(one->lane->retired && other->lane->retired);
	ck_assert_ptr_null(keeping_state(topic));
	/* They join anew. */
	put(one, 8, 2);
	leave(one);
	leave(other);
	ck_assert_uint_eq(topics_count(context.topics), 0);
	expect_charges(0, 0, 0, 0);
	teardown();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(what_is_charged),
	HARNESS_CASE(one_name_is_kept),
	HARNESS_CASE(no_room_for_its_watch),
	HARNESS_CASE(no_more_than_may_be),
	HARNESS_CASE(versions_do_not_go_back),
	HARNESS_CASE(readers_are_not_believed),
	HARNESS_CASE(another_folder_of_the_same_number),
	HARNESS_CASE(it_is_not_to_be_kept_any_more),
	HARNESS_CASE(many_at_once),
	HARNESS_CASE(forgotten_while_it_is_open),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-keeping", .cases = cases });
}
