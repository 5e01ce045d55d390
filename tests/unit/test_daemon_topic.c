/* SPDX-License-Identifier: MIT */
/*
 * test_daemon_topic.c - the topic engine without sockets: names, members, slots, bells, offloading.
 */
#include "harness/harness.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "daemon/carrier.h"
#include "daemon/limit.h"
#include "daemon/table.h"
#include "daemon/share.h"
#include "daemon/topic.h"
#include "daemon/topic_counts.h"
#include "daemon/user.h"
#include "os/os.h"
#include "page.h"
#include "ring.h"
#include "wire.h"

#define OFFLOAD 8
#define OFFLOAD_MESSAGES 4
#define BOTH (WIRE_RIGHT_SUBSCRIBE | WIRE_RIGHT_POST)

static struct topics *topics;
static struct users *users;
static struct user *user;
static struct carrier *carrier; /* the user's */

static void setup(void)
{
	struct users_setting setting = { .offload_members = OFFLOAD, .offload_message_members = OFFLOAD_MESSAGES };

	for (unsigned i = 0; i < N_CHARGES; i++)
		setting.most[i] = UINT64_MAX;
	users = users_new(&setting);
	ck_assert_ptr_nonnull(users);
	ck_assert_int_eq(users_get(users, 1000, &user), 0);
	carrier = user_carrier(user);
	topics = topics_new();
	ck_assert_ptr_nonnull(topics);
}

static void teardown(void)
{
	topics = topics_free(topics);
	for (unsigned i = 0; i < N_CHARGES; i++)
		ck_assert_uint_eq(user_has(user, i), 0);
	user_unref(user);
	users = users_free(users);
}

static struct topic_key key_of(const char *name)
{
	struct topic_key key = { .dir_dev = 1, .dir_ino = 2, .name_size = (uint32_t)strlen(name) };

	strcpy(key.name, name);
	return key;
}

static const struct lane_shape shape = { .ring_slots = LANE_DEFAULT_SLOTS, .max_message = LANE_DEFAULT_MESSAGE };

static struct topic_name *add(const char *file)
{
	struct topic_key key = key_of(file);
	struct topic_name *name = NULL;

	ck_assert_int_eq(topics_add(topics, &key, &name), 0);
	return name;
}

/* `whose`: a user; `rights`: WIRE_RIGHT_*. */
static int try_join(struct topic_name *name, struct user *whose, uint32_t rights, struct member **ret)
{
	const struct joining joining = { .user = whose, .pid = 4711, .rights = rights, .listens = true, .shape = shape };
	const char *limit;

	return topic_join(name, &joining, ret, &limit);
}

static struct member *join_as(struct topic_name *name, struct user *whose, uint32_t rights)
{
	struct member *member = NULL;

	ck_assert_int_eq(try_join(name, whose, rights, &member), 0);
	member->told = true;
	return member;
}

static struct member *join(struct topic_name *name)
{
	return join_as(name, user, BOTH);
}

/* Its newest lane's. */
static struct page *map(const struct topic *topic)
{
	struct page *page = os_map(topic->lanes->page_fd, PAGE_SIZE_BYTES, true, NULL);

	ck_assert_ptr_nonnull(page);
	return page;
}

/* The same, for whoever joins in turn: once there is one. */
static void map_once(const struct topic *topic, struct page **page)
{
	if (!*page)
		*page = map(topic);
}

static bool is_rung(int bell)
{
	struct pollfd poll_fd = { .fd = bell, .events = POLLIN };
	bool rung = poll(&poll_fd, 1, 0) == 1;

	if (rung)
		os_bell_drain(bell);
	return rung;
}

/* --- names ------------------------------------------------------------------------------------------- */

START_TEST(found_by_key_and_runtime_name)
{
	char runtime[KEY_NAME_MAX + 1], file[32];

	for (int i = 0; i < 1000; i++) {
		snprintf(file, sizeof(file), "file%d", i);
		add(file);
	}
	ck_assert_uint_eq(topics_count(topics), 1000);
	for (int i = 0; i < 1000; i++) {
		struct topic_key key;
		struct topic_name *name;

		snprintf(file, sizeof(file), "file%d", i);
		key = key_of(file);
		name = topics_find(topics, &key);
		ck_assert_ptr_nonnull(name);
		ck_assert(key_equal(&name->key, &key));
		key_runtime_name(&key, runtime);
		ck_assert_ptr_eq(topics_find_runtime(topics, runtime), name);
		runtime[20] ^= 1; /* in the part that is no hash of the table */
		ck_assert_ptr_null(topics_find_runtime(topics, runtime));
	}
	ck_assert_ptr_null(topics_find_runtime(topics, "CACHEDIR.TAG"));
	ck_assert_ptr_null(topics_find_runtime(topics, ""));
}
END_TEST

START_TEST(one_topic_with_two_names)
{
	struct topic_name *one = add("one"), *two = NULL;
	struct topic_key key = key_of("two");

	topic_name_set_file(one, true, 7, 8);
	ck_assert_ptr_eq(topics_find_file(topics, 7, 8), one);
	ck_assert_ptr_null(topics_find_file(topics, 8, 7));
	ck_assert_int_eq(topic_add_name(one->topic, &key, &two), 0);
	ck_assert_ptr_eq(topics_find(topics, &key)->topic, one->topic);
	ck_assert_uint_eq(topics_count(topics), 1);
	topic_name_set_file(one, true, 7, 9);
	ck_assert_ptr_null(topics_find_file(topics, 7, 8));
	ck_assert_ptr_eq(topics_find_file(topics, 7, 9), one);
	topic_free(one->topic);
	ck_assert_ptr_null(topics_find_file(topics, 7, 9));
	ck_assert_ptr_null(topics_find(topics, &key));
	ck_assert_uint_eq(topics_count(topics), 0);
}
END_TEST

START_TEST(a_page_says_whose_it_is)
{
	struct topic_name *name = add("file"), *other = add("other");
	struct page *page, *second;

	join(name);
	join(other);
	page = map(name->topic);
	second = map(other->topic);
	ck_assert_int_eq(page_check(page, &name->key, page->inode), 0);
	ck_assert_int_eq(memcmp(second->id, page->id, PAGE_ID_SIZE) != 0, 1);
	ck_assert_uint_ne(page->inode, second->inode);
	munmap(page, PAGE_SIZE_BYTES);
	munmap(second, PAGE_SIZE_BYTES);
}
END_TEST

/* --- members ------------------------------------------------------------------------------------------ */

START_TEST(slots_are_given_out_lowest_first)
{
	struct topic_name *name = add("file");
	struct member *members[PAGE_SLOTS + 2], *again;
	struct page *page = NULL;

	for (unsigned i = 0; i < PAGE_SLOTS + 2; i++) {
		members[i] = join(name);
		map_once(name->topic, &page);
		ck_assert_uint_eq(members[i]->slot, i < PAGE_SLOTS ? i : WIRE_NO_SLOT);
	}
	atomic_store(&page->slots[5].posts, 99);
	topic_leave(members[5], LEAVE_CLOSED);
	ck_assert_uint_eq(atomic_load(&page->slots[5].pid), 0);
	ck_assert_uint_eq(atomic_load(&page->slots[6].pid), 4711);
	topic_leave(members[PAGE_SLOTS], LEAVE_CLOSED); /* has none */
	again = join(name);
	ck_assert_uint_eq(again->slot, 5);
	ck_assert_uint_eq(atomic_load(&page->slots[5].posts), 0);
	munmap(page, PAGE_SIZE_BYTES);
}
END_TEST

START_TEST(a_death_is_told_to_the_others)
{
	struct topic_name *name = add("file");
	struct member *witness = join(name), *reader, *untold;
	struct page *page = map(name->topic);
	uint64_t generation = atomic_load(&page->generation);

	topic_leave(join(name), LEAVE_CLOSED);
	ck_assert_uint_eq(atomic_load(&page->resync), 0);
	reader = join_as(name, user, WIRE_RIGHT_SUBSCRIBE);
	topic_leave(reader, LEAVE_DIED); /* could not have posted */
	untold = join(name);
	untold->told = false;
	topic_leave(untold, LEAVE_DIED); /* never had the lane */
	ck_assert_uint_eq(atomic_load(&page->resync), 0);
	ck_assert_uint_eq(atomic_load(&page->generation), generation);
	topic_leave(join(name), LEAVE_DIED);
	ck_assert_uint_eq(atomic_load(&page->resync), 1);
	ck_assert_uint_eq(atomic_load(&page->generation), generation + GENERATION_POST);
	topic_leave(witness, LEAVE_DIED); /* nobody is left to be told */
	ck_assert_uint_eq(atomic_load(&page->resync), 1);
	ck_assert_ptr_null(name->topic->members);
	munmap(page, PAGE_SIZE_BYTES);
}
END_TEST

START_TEST(a_death_is_told_to_a_link)
{
	struct topic_name *name = add("file");
	struct member *member = join(name);
	struct page *page = map(name->topic);
	unsigned group;
	uint32_t slot;
	int bell = topic_link_join(name->topic->lanes, 4711, &group, &slot);

	ck_assert_int_ge(bell, 0);
	atomic_store(&page->want, atomic_load(&page->generation));
	topic_leave(member, LEAVE_DIED);
	ck_assert_uint_eq(atomic_load(&page->resync), 1);
	ck_assert(is_rung(bell));
	topic_link_leave(name->topic->lanes, group, slot, false);
	munmap(page, PAGE_SIZE_BYTES);
}
END_TEST

START_TEST(a_lane_for_each_user_and_its_rights)
{
	struct topic_name *name = add("file");
	struct user *other;
	struct member *ours = join(name), *readers, *theirs;

	ck_assert_int_eq(users_get(users, 1001, &other), 0);
	theirs = join_as(name, other, BOTH);
	readers = join_as(name, user, WIRE_RIGHT_SUBSCRIBE);
	ck_assert_ptr_ne(ours->lane, theirs->lane);
	ck_assert_ptr_ne(ours->lane, readers->lane);
	ck_assert_ptr_eq(join(name)->lane, ours->lane);
	ck_assert_ptr_eq(topic_find_lane(name->topic, other, BOTH), theirs->lane);
	ck_assert_ptr_null(topic_find_lane(name->topic, other, WIRE_RIGHT_SUBSCRIBE));
	ck_assert_uint_eq(user_has(user, CHARGE_LANES), 2);
	ck_assert_uint_eq(user_has(user, CHARGE_MEMBERS), 3);
	ck_assert_uint_eq(user_has(other, CHARGE_LANE_BYTES), lane_size(&shape));

	/* A lane goes with the last who is in it, and what was charged for it. */
	topic_leave(theirs, LEAVE_CLOSED);
	topic_drop_empty_lanes(name->topic);
	ck_assert_ptr_null(topic_find_lane(name->topic, other, BOTH));
	ck_assert_uint_eq(user_has(other, CHARGE_LANE_BYTES), 0);
	ck_assert_uint_eq(user_has(other, CHARGE_MEMBERS), 0);

	/* Nobody joins one whose members are leaving it for another. */
	readers->lane->retired = true;
	ck_assert_ptr_ne(join_as(name, user, WIRE_RIGHT_SUBSCRIBE)->lane, readers->lane);
	user_unref(other);
}
END_TEST

START_TEST(what_a_user_may_have_is_charged_first)
{
	const struct users_setting setting = { .offload_members = OFFLOAD, .offload_message_members = OFFLOAD_MESSAGES,
	                                       .most = { [CHARGE_CONNECTIONS] = 1, [CHARGE_MEMBERS] = 3, [CHARGE_LANES] = 2,
	                                                 [CHARGE_LANE_BYTES] = 2 * lane_size(&shape) - 1,
	                                                 [CHARGE_DESCRIPTORS] = 2, [CHARGE_WATCHES] = 1 } };
	struct users *limited = users_new(&setting);
	struct topic_name *name = add("file");
	struct member *member = NULL;
	struct user *poor;

	ck_assert_int_eq(users_get(limited, 7, &poor), 0);
	ck_assert_int_eq(try_join(name, poor, BOTH, &member), 0);
	ck_assert_int_eq(try_join(name, poor, WIRE_RIGHT_SUBSCRIBE, &member), -EDQUOT); /* its memory */
	ck_assert_int_eq(try_join(name, poor, BOTH, &member), 0);
	ck_assert_int_eq(try_join(name, poor, BOTH, &member), 0);
	ck_assert_int_eq(try_join(name, poor, BOTH, &member), -EDQUOT);
	ck_assert_uint_eq(user_has(poor, CHARGE_MEMBERS), 3);
	ck_assert_uint_eq(user_has(poor, CHARGE_LANES), 1);
	ck_assert_int_eq(user_charge(poor, CHARGE_CONNECTIONS, UINT64_MAX), -EDQUOT);
	ck_assert_int_eq(try_join(name, user, BOTH, &member), 0); /* another's are its own */
	topic_free(name->topic);
	ck_assert_uint_eq(user_has(poor, CHARGE_LANE_BYTES), 0);
	user_unref(poor);
	users_free(limited);
}
END_TEST

/* Whoever has the topic open by a name pays for its watch, and nobody for a name that only others have asked for. */
START_TEST(a_name_is_charged_to_one_who_uses_it)
{
	struct topic_name *name = add("file"), *link = NULL;
	struct topic_key key = key_of("link");
	struct member *first, *second, *third;
	struct user *other;

	ck_assert_int_eq(users_get(users, 1001, &other), 0);
	ck_assert_int_eq(topic_add_name(name->topic, &key, &link), 0);
	first = join(name);
	second = join_as(name, other, BOTH);
	third = join_as(link, other, BOTH);
	ck_assert_uint_eq(user_has(user, CHARGE_WATCHES), 1);
	ck_assert_uint_eq(user_has(other, CHARGE_WATCHES), 1);
	topic_leave(first, LEAVE_CLOSED);
	ck_assert_uint_eq(user_has(user, CHARGE_WATCHES), 0);
	ck_assert_uint_eq(user_has(other, CHARGE_WATCHES), 2);
	first = join(name);
	topic_leave(second, LEAVE_CLOSED);
	topic_leave(third, LEAVE_CLOSED);
	ck_assert_uint_eq(user_has(user, CHARGE_WATCHES), 1);
	ck_assert_uint_eq(user_has(other, CHARGE_WATCHES), 1);
	topic_free(name->topic);
	for (unsigned i = 0; i < N_CHARGES; i++)
		ck_assert_uint_eq(user_has(other, i), 0);
	user_unref(other);
}
END_TEST

/* Who lost its connection may write into its place in the ring for ever. */
START_TEST(the_slot_of_a_lost_member_is_not_given_out_again)
{
	struct topic_name *name = add("file");
	struct member *witness = join(name), *lost = join(name), *dead = join(name);
	struct page *page = map(name->topic);

	topic_leave(lost, LEAVE_LOST);
	ck_assert_uint_eq(atomic_load(&page->slots[1].pid), 0);
	ck_assert_uint_eq(atomic_load(&page->resync), 1);
	topic_leave(dead, LEAVE_DIED);
	ck_assert_uint_eq(atomic_load(&page->resync), 2);
	ck_assert_uint_eq(join(name)->slot, 2);
	ck_assert_uint_eq(join(name)->slot, 3);
	ck_assert_uint_eq(witness->slot, 0);
	munmap(page, PAGE_SIZE_BYTES);
}
END_TEST

START_TEST(what_a_dead_member_held_in_the_ring_is_given_back)
{
	struct topic_name *name = add("file");
	struct member *members[2] = { join(name), join(name) };
	size_t size = lane_size(&shape);
	unsigned char *lane = os_map(name->topic->lanes->page_fd, size, true, NULL);
	struct ring_slot *slots = (struct ring_slot *)(void *)(lane + PAGE_SIZE_BYTES);

	for (unsigned i = 0; i < 2; i++)
		atomic_store(&slots[i].tag, (uint64_t)members[i]->slot << 4 | RING_CLAIMED);
	atomic_store(&((struct page *)(void *)lane)->messages, 1);
	topic_leave(members[0], LEAVE_LOST);
	ck_assert_uint_eq(atomic_load(&slots[0].tag) & 0xf, RING_CLAIMED);
	topic_leave(members[1], LEAVE_DIED);
	ck_assert_uint_eq(atomic_load(&slots[1].tag) & 0xf, RING_VOID);
	munmap(lane, size);
}
END_TEST

/* --- bells and offloading ------------------------------------------------------------------------------- */

START_TEST(many_members_have_several_bells)
{
	enum { N = 2 * LIMIT_BELL_MEMBERS + 1 };
	struct topic_name *name = add("file");
	struct member *members[N];
	struct page *page = NULL;
	int bells[3];

	for (unsigned i = 0; i < N; i++) {
		members[i] = join(name);
		map_once(name->topic, &page);
		ck_assert_uint_eq(members[i]->group, i / LIMIT_BELL_MEMBERS);
		ck_assert_int_eq((int)atomic_load(&page->offload), i >= OFFLOAD);
		bells[members[i]->group] = member_bell(members[i]);
	}
	ck_assert_int_ne(bells[0], bells[1]);
	ck_assert_int_ne(bells[1], bells[2]);

	/* Posters ring the carrier only, and that rings all, once for each time. */
	atomic_store(&page->want, atomic_load(&page->generation));
	topic_resync(name->topic);
	ck_assert(is_rung(carrier_bell(carrier)));
	for (int i = 0; i < 3; i++)
		ck_assert(!is_rung(bells[i]));
	ck_assert(!carrier_carry(carrier, true));
	for (int i = 0; i < 3; i++)
		ck_assert(is_rung(bells[i]));
	ck_assert(!carrier_carry(carrier, true));
	for (int i = 0; i < 3; i++)
		ck_assert(!is_rung(bells[i]));

	/* A place that is free again is taken before another bell is made; bells at the end go with their members. */
	topic_leave(members[3], LEAVE_CLOSED);
	members[3] = join(name);
	ck_assert_uint_eq(members[3]->group, 0);
	topic_leave(members[N - 1], LEAVE_CLOSED);
	ck_assert_uint_eq(name->topic->lanes->n_groups, 2);

	/* Still offloaded while anybody has the second bell, however few there are. */
	for (unsigned i = 0; i < LIMIT_BELL_MEMBERS; i++)
		topic_leave(members[i], LEAVE_CLOSED);
	for (unsigned i = LIMIT_BELL_MEMBERS; i < N - 2; i++)
		topic_leave(members[i], LEAVE_CLOSED);
	ck_assert_uint_eq(name->topic->n_members, 1);
	ck_assert_uint_eq(atomic_load(&page->offload), 1);
	topic_leave(members[N - 2], LEAVE_CLOSED);
	ck_assert_uint_eq(atomic_load(&page->offload), 0);
	ck_assert_uint_eq(name->topic->lanes->n_groups, 1);
	munmap(page, PAGE_SIZE_BYTES);
}
END_TEST

/* Who stays is met once, wherever the walk stands when others go; and with the topic it ends. */
START_TEST(walks_go_on_when_members_leave)
{
	struct topic_name *name = add("file");
	struct member *members[12];
	struct topic_walk walk = { 0 }, other = { 0 }, of_one_that_ends = { 0 };
	unsigned n = 0;

	topic_walk_end(&walk); /* it has not begun */
	for (unsigned i = 0; i < 12; i++)
		members[i] = join(name);
	topic_walk_begin(&walk, name->topic);
	topic_walk_begin(&other, name->topic);
	topic_leave(members[11], LEAVE_CLOSED); /* the first of the walk */
	ck_assert_ptr_eq(walk.member, members[10]);
	topic_leave(members[9], LEAVE_CLOSED); /* not reached yet */
	while (walk.member) {
		struct member *member = walk.member;

		walk.member = member->next;
		n++;
		if (member == members[6])
			topic_leave(members[5], LEAVE_CLOSED); /* the next one */
		if (member == members[3])
			topic_leave(members[4], LEAVE_CLOSED); /* one that has been */
		if (member == members[1])
			topic_leave(member, LEAVE_CLOSED); /* this one */
	}
	ck_assert_uint_eq(n, 9); /* 10, 8 to 6, 4 to 0 */
	ck_assert_ptr_eq(other.member, members[10]);
	topic_walk_end(&other);
	topic_walk_begin(&of_one_that_ends, name->topic);
	topic_free(name->topic);
	ck_assert(!of_one_that_ends.topic && !of_one_that_ends.member && !walk.topic);
	topic_walk_end(&of_one_that_ends);
}
END_TEST

START_TEST(found_by_numbers_that_are_not_used_again)
{
	struct topic *one = add("one")->topic, *two = add("two")->topic, *three;

	ck_assert_ptr_eq(topics_find_number(topics, one->number), one);
	ck_assert_ptr_eq(topics_after(topics, 0), one);
	ck_assert_ptr_eq(topics_after(topics, one->number), two);
	ck_assert_ptr_null(topics_after(topics, two->number));
	topic_free(two);
	three = add("two")->topic;
	ck_assert_uint_gt(three->number, one->number + 1);
	ck_assert_ptr_null(topics_find_number(topics, one->number + 1));
	ck_assert_ptr_eq(topics_after(topics, one->number), three);
}
END_TEST

/* What shared memory says is shown, however much of it is nonsense. */
START_TEST(counts_of_a_lane_and_its_members)
{
	struct topic_name *name = add("file");
	struct member *member = join(name);
	struct page *page = map(name->topic);
	struct page_slot *slot = &page->slots[member->slot];
	struct lane lane = topic_lane_view(member->lane, page);
	struct member_counts counts;

	ck_assert_uint_eq(lane_counts_of(page).posts, 0);
	ck_assert(!member_counts_of(member, page).knows_behind);
	atomic_store(&slot->flags, SLOT_SUBSCRIBES);
	atomic_store(&slot->seen, atomic_load(&page->generation));
	for (unsigned i = 0; i < 3; i++)
		lane_post(&lane);
	ck_assert_uint_eq(lane_counts_of(page).posts, 3);
	ck_assert_uint_eq(lane_counts_of(page).messages, 0);
	counts = member_counts_of(member, page);
	ck_assert(counts.knows_behind && counts.behind_posts == 3 && counts.behind_messages == 0);
	atomic_store(&slot->seen, atomic_load(&page->generation));
	ck_assert_uint_eq(member_counts_of(member, page).behind_posts, 0);
	/* Ahead of all that has happened. */
	atomic_fetch_add(&slot->seen, 7 * GENERATION_POST);
	ck_assert_uint_eq(member_counts_of(member, page).behind_posts, 0);
	memset((char *)page + 512, 0xff, 128);
	memset(slot, 0xff, sizeof(*slot));
	(void)lane_counts_of(page);
	(void)member_counts_of(member, page);
	member->slot = WIRE_NO_SLOT;
	ck_assert_uint_eq(member_counts_of(member, page).posts, 0);
	member->slot = 0;
	munmap(page, PAGE_SIZE_BYTES);
	topic_free(name->topic);
}
END_TEST

START_TEST(offloading_ends_at_half)
{
	struct topic_name *name = add("file");
	struct member *members[OFFLOAD + 1];
	struct page *page = NULL;
	int bell;

	for (unsigned i = 0; i <= OFFLOAD; i++)
		members[i] = join(name);
	page = map(name->topic);
	bell = member_bell(members[0]);
	for (unsigned i = OFFLOAD; i >= OFFLOAD / 2; i--) {
		ck_assert_uint_eq(atomic_load(&page->offload), 1);
		topic_leave(members[i], LEAVE_CLOSED);
	}
	ck_assert_uint_eq(atomic_load(&page->offload), 0);

	/* A poster that saw the flag before rings the carrier: that is not lost. */
	atomic_fetch_add(&page->generation, 1);
	ck_assert(!carrier_carry(carrier, true));
	ck_assert(is_rung(bell));

	/* Now posters ring for themselves. */
	atomic_store(&page->want, atomic_load(&page->generation));
	topic_resync(name->topic);
	ck_assert(is_rung(bell));
	ck_assert(!is_rung(carrier_bell(carrier)));
	munmap(page, PAGE_SIZE_BYTES);
}
END_TEST

START_TEST(lanes_with_messages_are_offloaded_sooner)
{
	struct topic_name *name = add("file"), *others[3];
	struct member *members[OFFLOAD_MESSAGES + 2];
	struct page *page;

	for (int i = 0; i < 3; i++) {
		others[i] = add((const char *[]){ "a", "b", "c" }[i]);
		for (unsigned j = 0; j <= OFFLOAD_MESSAGES; j++)
			join(others[i]);
	}
	for (unsigned i = 0; i <= OFFLOAD_MESSAGES; i++)
		members[i] = join(name);
	page = map(name->topic);
	ck_assert(!carrier_look_for_messages(carrier, true));
	ck_assert_uint_eq(atomic_load(&page->offload), 0);

	/* The first message: whoever publishes rings the carrier. */
	atomic_store(&page->messages, 1);
	ck_assert(!carrier_look_for_messages(carrier, true));
	ck_assert_uint_eq(atomic_load(&page->offload), 1);
	topic_free(others[1]->topic);
	ck_assert(!carrier_look_for_messages(carrier, true));

	/* And no longer with half of them. */
	for (unsigned i = OFFLOAD_MESSAGES; i >= OFFLOAD_MESSAGES / 2; i--) {
		ck_assert_uint_eq(atomic_load(&page->offload), 1);
		topic_leave(members[i], LEAVE_CLOSED);
	}
	ck_assert_uint_eq(atomic_load(&page->offload), 0);

	/* Who comes to a lane that has messages already finds the limit in force. */
	for (unsigned i = OFFLOAD_MESSAGES / 2; i <= OFFLOAD_MESSAGES; i++) {
		ck_assert_uint_eq(atomic_load(&page->offload), 0);
		members[i] = join(name);
	}
	ck_assert_uint_eq(atomic_load(&page->offload), 1);
	munmap(page, PAGE_SIZE_BYTES);
}
END_TEST

START_TEST(looking_for_messages_lets_others_have_their_turn)
{
	enum { N = 2 * LIMIT_CANDIDATES_IN_A_ROW };
	static struct topic_name *names[N];
	char file[16];
	struct page *page;
	int turns = 1;

	for (int i = 0; i < N; i++) {
		snprintf(file, sizeof(file), "file%d", i);
		names[i] = add(file);
		for (unsigned j = 0; j <= OFFLOAD_MESSAGES; j++)
			join(names[i]);
	}
	page = map(names[0]->topic); /* the last in the list */
	ck_assert(carrier_look_for_messages(carrier, true));
	atomic_store(&page->messages, 1);
	while (carrier_look_for_messages(carrier, false))
		turns++;
	ck_assert_int_le(turns, 3);
	ck_assert_uint_eq(atomic_load(&page->offload), 1);
	/* Rung in the middle of a look, with what is looked at gone. */
	munmap(page, PAGE_SIZE_BYTES);
	ck_assert(carrier_look_for_messages(carrier, true));
	ck_assert(carrier_look_for_messages(carrier, true));
	for (int i = 0; i < N; i++)
		topic_free(names[i]->topic);
	while (carrier_look_for_messages(carrier, false))
		;
	ck_assert(!carrier_look_for_messages(carrier, true));
}
END_TEST

/* Each bell takes all the time of its user's turn; meanwhile lanes come and go. */
START_TEST(ringing_lets_others_have_their_turn)
{
	enum { N = 2 * LIMIT_BELL_MEMBERS + 1 };
	struct topic_name *large, *gone = add("gone"), *other = add("other"), *late;
	struct share *share = user_share(user);
	struct member *member = NULL;
	struct page *page;
	int bells[3], bell, turns = 1;

	for (unsigned i = 0; i <= OFFLOAD; i++)
		member = join(other);
	bell = member_bell(member);
	for (unsigned i = 0; i <= OFFLOAD; i++)
		join(gone);
	large = add("large");
	for (unsigned i = 0; i < N; i++) {
		member = join(large);
		bells[member->group] = member_bell(member);
	}
	ck_assert(!carrier_carry(carrier, true));
	for (int i = 0; i < 3; i++)
		ck_assert(is_rung(bells[i]));
	ck_assert(is_rung(bell));
	page = map(large->topic);
	atomic_fetch_add(&page->generation, 1);
	munmap(page, PAGE_SIZE_BYTES);
	page = map(other->topic);
	atomic_fetch_add(&page->generation, 1);
	munmap(page, PAGE_SIZE_BYTES);
	*share = (struct share){ .turn_ns = 1, .is_running = true, .parked = share->parked, .waiting = share->waiting };
	ck_assert(carrier_carry(carrier, true));
	ck_assert(is_rung(bells[0]) && !is_rung(bells[1]));
	late = add("late");
	for (unsigned i = 0; i <= OFFLOAD; i++)
		join(late);
	topic_free(gone->topic);
	while (carrier_carry(carrier, false))
		turns++;
	ck_assert_int_ge(turns, 2);
	ck_assert(is_rung(bells[1]) && is_rung(bells[2]) && is_rung(bell));
	/* The one that is being rung goes. */
	page = map(large->topic);
	atomic_fetch_add(&page->generation, 1);
	munmap(page, PAGE_SIZE_BYTES);
	page = map(other->topic);
	atomic_fetch_add(&page->generation, 1);
	munmap(page, PAGE_SIZE_BYTES);
	ck_assert(carrier_carry(carrier, true));
	topic_free(large->topic);
	while (carrier_carry(carrier, false))
		;
	ck_assert(is_rung(bell));
	share->is_running = false;
}
END_TEST

START_TEST(offloaded_topics_leave_the_carriers_list)
{
	struct topic_name *names[3];
	char file[2] = "a";

	for (int i = 0; i < 3; i++, file[0]++) {
		names[i] = add(file);
		for (int j = 0; j <= OFFLOAD; j++)
			join(names[i]);
	}
	topic_free(names[1]->topic);
	ck_assert(!carrier_carry(carrier, true));
	topic_free(names[2]->topic);
	topic_free(names[0]->topic);
	ck_assert(!carrier_carry(carrier, true));
	ck_assert_uint_eq(topics_count(topics), 0);
}
END_TEST

START_TEST(without_descriptors_nothing_is_left_behind)
{
	struct topic_name *name = add("file");
	struct member *member = NULL;
	int fds[64], n_fds = 0;

	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 64, 64 }); /* of this case's process only */
	while ((fds[n_fds] = dup(0)) >= 0)
		n_fds++;
	ck_assert_int_eq(try_join(name, user, BOTH, &member), -EMFILE);
	close(fds[--n_fds]);
	ck_assert_int_eq(try_join(name, user, BOTH, &member), -EMFILE); /* enough for the page, not for the bell */
	ck_assert_ptr_null(member);
	ck_assert_ptr_null(name->topic->lanes);
	ck_assert_uint_eq(name->topic->n_members, 0);
	ck_assert_uint_eq(user_has(user, CHARGE_LANE_BYTES), 0);
	while (n_fds > 0)
		close(fds[--n_fds]);
}
END_TEST

/* --- the table ------------------------------------------------------------------------------------------ */

START_TEST(a_table_of_equal_hashes)
{
	struct table table;
	struct table_entry entries[300], *entry;
	unsigned n = 0;

	ck_assert_int_eq(table_init(&table), 0);
	for (unsigned i = 0; i < 300; i++)
		table_add(&table, &entries[i], i % 3);
	for (entry = table_first(&table, 1); entry; entry = table_next(entry))
		n++;
	ck_assert_uint_eq(n, 100);
	ck_assert_ptr_null(table_first(&table, 3));
	for (unsigned i = 1; i < 300; i += 3)
		table_remove(&table, &entries[i]);
	ck_assert_ptr_null(table_first(&table, 1));
	while ((entry = table_any(&table)))
		table_remove(&table, entry);
	ck_assert_uint_eq(table.n, 0);
	table_deinit(&table);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(found_by_key_and_runtime_name),
	HARNESS_CASE(one_topic_with_two_names),
	HARNESS_CASE(a_page_says_whose_it_is),
	HARNESS_CASE(slots_are_given_out_lowest_first),
	HARNESS_CASE(a_death_is_told_to_the_others),
	HARNESS_CASE(a_death_is_told_to_a_link),
	HARNESS_CASE(many_members_have_several_bells),
	HARNESS_CASE(walks_go_on_when_members_leave),
	HARNESS_CASE(found_by_numbers_that_are_not_used_again),
	HARNESS_CASE(counts_of_a_lane_and_its_members),
	HARNESS_CASE(offloading_ends_at_half),
	HARNESS_CASE(the_slot_of_a_lost_member_is_not_given_out_again),
	HARNESS_CASE(what_a_dead_member_held_in_the_ring_is_given_back),
	HARNESS_CASE(a_lane_for_each_user_and_its_rights),
	HARNESS_CASE(what_a_user_may_have_is_charged_first),
	HARNESS_CASE(a_name_is_charged_to_one_who_uses_it),
	HARNESS_CASE(lanes_with_messages_are_offloaded_sooner),
	HARNESS_CASE(looking_for_messages_lets_others_have_their_turn),
	HARNESS_CASE(ringing_lets_others_have_their_turn),
	HARNESS_CASE(offloaded_topics_leave_the_carriers_list),
	HARNESS_CASE(without_descriptors_nothing_is_left_behind),
	HARNESS_CASE(a_table_of_equal_hashes),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){
	                            .name = "daemon-topic", .cases = cases, .setup = setup, .teardown = teardown });
}
