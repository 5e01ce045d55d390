/* SPDX-License-Identifier: MIT */
/*
 * test_daemon_user.c - what users may have and do: their limits and those of all, the rate, their share of main's time. The clock
 * is the test's.
 */
#include "harness/harness.h"

#include <errno.h>
#include <string.h>

#include "daemon/bucket.h"
#include "daemon/limit.h"
#include "daemon/limits.h"
#include "daemon/loop.h"
#include "daemon/options.h"
#include "daemon/share.h"
#include "daemon/user.h"
#include "os/os.h"

#define SECOND UINT64_C(1000000000)

static uint64_t now = UINT64_C(1000000000000);

uint64_t __wrap_os_now_ns(void); /* instead of os_now_ns */
uint64_t __wrap_os_now_ns(void)
{
	return now;
}

static struct users_setting some(uint64_t most, uint64_t all)
{
	struct users_setting setting = { .offload_members = 8, .offload_message_members = 4, .is_shared = true };

	for (unsigned i = 0; i < N_CHARGES; i++) {
		setting.most[i] = most;
		setting.all[i] = all;
	}
	return setting;
}

/* --- limits ---------------------------------------------------------------------------------------------- */

START_TEST(a_limit_says_which_it_is)
{
	struct users_setting setting = some(5, 0);
	struct users *users = users_new(&setting);
	struct user *user;

	ck_assert_int_eq(users_get(users, 1000, &user), 0);
	for (unsigned i = 0; i < N_CHARGES; i++) {
		ck_assert_int_eq(user_charge(user, i, 5), 0);
		ck_assert_int_eq(user_charge(user, i, 1), -EDQUOT);
		ck_assert_int_eq(user_charge(user, i, UINT64_MAX), -EDQUOT);
		ck_assert_uint_eq(user_n_refused(user, i), 2);
		ck_assert_ptr_nonnull(strstr(user_refusal(user, i), " 5 (--"));
		ck_assert_ptr_nonnull(strstr(user_refusal(user, i), charge_option(i)));
		user_release(user, i, 5);
		ck_assert_uint_eq(user_has(user, i), 0);
	}
	user_unref(user);
	users_free(users);
}
END_TEST

/* However many there are who take what they can get: who has little gets it. */
START_TEST(the_last_part_is_for_those_who_have_little)
{
	enum { ALL = 6400, GREEDY = 5 };
	struct users_setting setting = some(ALL / 4, ALL);
	struct user *greedy[GREEDY], *modest;
	struct users *users = users_new(&setting);
	uint64_t n = 0;

	for (uid_t i = 0; i < GREEDY; i++) {
		ck_assert_int_eq(users_get(users, 1000 + i, &greedy[i]), 0);
		while (user_charge(greedy[i], CHARGE_ENDPOINTS, 1) == 0)
			n++;
	}
	ck_assert_uint_eq(n, ALL - ALL / LIMIT_KEPT_PART + ALL / LIMIT_LITTLE_PART); /* the last of them has little */
	ck_assert_int_eq(user_charge(greedy[0], CHARGE_ENDPOINTS, 1), -EDQUOT);
	ck_assert_int_eq(user_charge(greedy[4], CHARGE_ENDPOINTS, 1), -ENFILE);
	ck_assert_str_eq(user_refusal(greedy[4], CHARGE_ENDPOINTS),
	                 "all users together have as many endpoints, or names that are waited for, as there may be: 6400");
	ck_assert_int_eq(users_get(users, 2000, &modest), 0);
	for (unsigned i = 0; i < ALL / LIMIT_LITTLE_PART; i++)
		ck_assert_int_eq(user_charge(modest, CHARGE_ENDPOINTS, 1), 0);
	ck_assert_int_eq(user_charge(modest, CHARGE_ENDPOINTS, 1), -ENFILE);
	user_release(modest, CHARGE_ENDPOINTS, ALL / LIMIT_LITTLE_PART);
	for (unsigned i = 0; i < GREEDY; i++) {
		user_release(greedy[i], CHARGE_ENDPOINTS, user_has(greedy[i], CHARGE_ENDPOINTS));
		user_unref(greedy[i]);
	}
	ck_assert_uint_eq(users_all_have(users, CHARGE_ENDPOINTS), 0);
	user_unref(modest);
	users_free(users);
}
END_TEST

/* One at all its limits: each other one gets all of its own. */
START_TEST(one_at_all_limits_leaves_others_theirs)
{
	struct options options = { .system = true, .user_burst = 1, .user_most = { [CHARGE_REGIONS] = 4096,
	                           [CHARGE_REGION_BYTES] = 1 << 30, [CHARGE_LANE_BYTES] = 1 << 30, [CHARGE_SYNCS] = 100,
	                           [CHARGE_CONNECTS] = 100 } };
	static const uint64_t descriptors[] = { 1024, 4096, 65536, 524288 };

	for (unsigned d = 0; d < 4; d++) {
		struct users_setting setting = { .offload_members = 8, .offload_message_members = 4 };
		struct users *users;
		struct user *two[2];

		limits_make(&options, descriptors[d], &setting);
		users = users_new(&setting);
		for (unsigned i = 0; i < N_CHARGES; i++) {
			ck_assert_uint_gt(setting.most[i], 0);
			if (setting.all[i] > 0)
				ck_assert_uint_le(setting.most[i], setting.all[i] / 2);
		}
		for (unsigned j = 0; j < 2; j++) {
			ck_assert_int_eq(users_get(users, 1000 + j, &two[j]), 0);
			for (unsigned i = 0; i < N_CHARGES; i++) {
				ck_assert_int_eq(user_charge(two[j], i, user_may_most(two[j], i)), 0);
				ck_assert_int_eq(user_charge(two[j], i, 1), -EDQUOT);
			}
		}
		for (unsigned j = 0; j < 2; j++) {
			for (unsigned i = 0; i < N_CHARGES; i++)
				user_release(two[j], i, user_has(two[j], i));
			user_unref(two[j]);
		}
		users_free(users);
	}
}
END_TEST

/* Where there is one user only, that one may have what there is; but what is set is a limit there as well. */
START_TEST(of_ones_own)
{
	struct options options = { .user_burst = 1, .user_most = { [CHARGE_ENDPOINTS] = 3 } };
	struct users_setting setting = { .offload_members = 8 };

	limits_make(&options, 1024, &setting);
	ck_assert(!setting.is_shared);
	ck_assert_uint_eq(setting.most[CHARGE_CONNECTIONS], UINT64_MAX);
	ck_assert_uint_eq(setting.all[CHARGE_CONNECTIONS], LIMIT_CLIENTS);
	ck_assert_uint_eq(setting.all[CHARGE_DESCRIPTORS], 0);
	ck_assert_uint_eq(setting.most[CHARGE_ENDPOINTS], 3);
}
END_TEST

static void count_refused(const struct user *user, void *arg)
{
	*(uint64_t *)arg += user_n_refused(user, CHARGE_TOKENS);
}

START_TEST(counts_of_all_users)
{
	struct users_setting setting = some(1, 0);
	struct users *users = users_new(&setting);
	struct user *two[2];
	uint64_t n = 0;

	for (unsigned j = 0; j < 2; j++) {
		ck_assert_int_eq(users_get(users, 1000 + j, &two[j]), 0);
		for (unsigned i = 0; i <= j; i++)
			ck_assert_int_eq(user_charge(two[j], CHARGE_TOKENS, 2), -EDQUOT);
	}
	users_each(users, count_refused, &n);
	ck_assert_uint_eq(n, 3);
	user_unref(two[0]);
	n = 0;
	users_each(users, count_refused, &n);
	ck_assert_uint_eq(n, 2);
	user_unref(two[1]);
	users_free(users);
}
END_TEST

/* --- the rate -------------------------------------------------------------------------------------------- */

START_TEST(so_many_a_second)
{
	static const uint64_t rates[] = { 1, 3, 7, 1000, 100000, 999999937, 1000000000 }, bursts[] = { 1, 2, 5, 50000, 1000000000 };

	for (unsigned i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		for (unsigned j = 0; j < sizeof(bursts) / sizeof(bursts[0]); j++) {
			struct bucket bucket = { .rate = rates[i], .burst = bursts[j] };
			uint64_t at = 5 * SECOND, again = 0, total;

			ck_assert_uint_eq(bucket_take(&bucket, UINT32_MAX, at, &again), bursts[j]);
			ck_assert_uint_gt(again, at);
			ck_assert_uint_eq(bucket_take(&bucket, 1, again - 1, &again), 0);
			total = 0;
			/* Whoever comes when it is told to gets one each time, and no more than the rate. */
			for (unsigned n = 0; n < 1000; n++) {
				uint64_t end;
				unsigned got = bucket_take(&bucket, 1, again, &end);

				ck_assert_uint_eq(got, 1);
				total += got;
				ck_assert_uint_eq(bucket_take(&bucket, UINT32_MAX, again, &end), 0);
				ck_assert_uint_gt(end, again);
				again = end;
			}
			ck_assert_uint_le((total - 1) * SECOND / rates[i], again - at + 1000);
		}
	}
}
END_TEST

START_TEST(a_rest_fills_it)
{
	struct bucket bucket = { .rate = 1000, .burst = 10 };
	uint64_t again = 0;

	ck_assert_uint_eq(bucket_take(&bucket, 4, SECOND, &again), 4);
	ck_assert_uint_eq(bucket_take(&bucket, 10, SECOND, &again), 6);
	ck_assert_uint_eq(again, SECOND + 1000000);
	ck_assert_uint_eq(bucket_take(&bucket, 10, SECOND + 5000000, &again), 5);
	ck_assert_uint_eq(bucket_take(&bucket, 100, 10 * SECOND, &again), 10);
	/* A clock that goes back leaves it empty, not for ever. */
	ck_assert_uint_eq(bucket_take(&bucket, 100, SECOND, &again), 0);
	ck_assert_uint_le(again, SECOND + 10000000);
	ck_assert_uint_eq(bucket_take(&bucket, 100, 2 * SECOND, &again), 10);
	bucket.rate = 0;
	ck_assert_uint_eq(bucket_take(&bucket, UINT32_MAX, 2 * SECOND, &again), UINT32_MAX);
}
END_TEST

START_TEST(what_is_over_is_counted)
{
	struct users_setting setting = some(10, 0);
	struct users *users = users_new(&setting);
	struct user *one, *other;
	uint64_t again;

	users_free(users);
	setting.carry_burst = 5;
	users = users_new(&setting);
	ck_assert_int_eq(users_get(users, 1000, &one), 0);
	ck_assert_int_eq(users_get(users, 1001, &other), 0);
	ck_assert_uint_eq(user_carry(one, 5, now, &again), 5);
	ck_assert_uint_eq(user_n_refused(one, CHARGE_CARRIED), 0);
	ck_assert_uint_eq(user_carry(one, 2, now, &again), 0);
	ck_assert_uint_eq(again, now + SECOND / 10);
	ck_assert_uint_eq(user_n_refused(one, CHARGE_CARRIED), 1);
	ck_assert_uint_eq(user_carry(other, 5, now, &again), 5);
	user_unref(one);
	user_unref(other);
	users_free(users);
}
END_TEST

/* --- turns ------------------------------------------------------------------------------------------------- */

enum { WORKERS = 40 };

struct worker {
	struct share_place place;
	struct share *share;
	unsigned left;
	uint64_t takes_ns;
};

static struct loop *loop;
static struct loop_event *stop;

static void stop_now(void *arg)
{
	(void)arg;
	loop_stop(loop);
}

/* One of many connections that have much to be done. */
static void work(void *arg)
{
	struct worker *worker = arg;

	now += worker->takes_ns;
	if (--worker->left > 0)
		(void)share_run(worker->share, &worker->place);
}

static uint64_t longest_ns, last_ns;
static unsigned n_looks;

/* Another user's: called in each round. */
static void bystander(void *arg)
{
	struct loop_event **event = arg;

	if (last_ns > 0 && now - last_ns > longest_ns)
		longest_ns = now - last_ns;
	last_ns = now;
	if (++n_looks < 500)
		loop_call_soon(*event);
	else
		loop_call_soon(stop);
}

START_TEST(many_connections_have_one_share)
{
	struct loop_event *other = NULL;
	struct worker workers[WORKERS] = { 0 };
	struct share share;
	unsigned n_left = 0;

	loop = loop_new();
	stop = loop_timer(loop, stop_now, NULL);
	ck_assert_int_eq(share_init(&share, loop, LIMIT_USER_TURN_NS), 0);
	last_ns = now;
	for (unsigned i = 0; i < WORKERS; i++) {
		workers[i] = (struct worker){ .share = &share, .left = 100, .takes_ns = LIMIT_USER_TURN_NS / 10 };
		workers[i].place.fn = work;
		workers[i].place.arg = &workers[i];
		(void)share_run(&share, &workers[i].place);
	}
	other = loop_timer(loop, bystander, &other);
	loop_call_soon(other);
	loop_run(loop);
	ck_assert_uint_le(longest_ns, 2 * LIMIT_USER_TURN_NS);
	/* All of them get on alike, and time is not wasted. */
	for (unsigned i = 0; i < WORKERS; i++) {
		n_left += workers[i].left;
		share_leave(&workers[i].place);
	}
	ck_assert_uint_eq(n_left, 0);
	share_deinit(&share);
	loop_event_free(other);
	loop_event_free(stop);
	loop_free(loop);
}
END_TEST

static void note(void *arg)
{
	++*(unsigned *)arg;
}

START_TEST(who_waits_is_called_when_there_is_room)
{
	unsigned n[3] = { 0 };
	struct share_place places[3] = { { .fn = note, .arg = &n[0] }, { .fn = note, .arg = &n[1] }, { .fn = note, .arg = &n[2] } };
	struct share share;

	loop = loop_new();
	stop = loop_timer(loop, stop_now, NULL);
	ck_assert_int_eq(share_init(&share, loop, 0), 0);
	for (unsigned i = 0; i < 3; i++)
		share_wait(&share, &places[i], OS_NEVER);
	share_leave(&places[1]);
	loop_set(stop, 1);
	loop_run(loop);
	ck_assert_uint_eq(n[0] + n[1] + n[2], 0);
	share_room(&share);
	loop_set(stop, 1);
	loop_run(loop);
	ck_assert_uint_eq(n[0], 1);
	ck_assert_uint_eq(n[1], 0);
	ck_assert_uint_eq(n[2], 1);
	share_wait(&share, &places[1], now + 1000000);
	loop_set(stop, 20);
	loop_run(loop);
	ck_assert_uint_eq(n[1], 1);
	share_deinit(&share);
	loop_event_free(stop);
	loop_free(loop);
}
END_TEST

enum { WAITING = 3 * LIMIT_WAITING_IN_A_ROW };

static struct share *waited_for;
static struct share_place crowd[WAITING];
static unsigned n_called;

/* There is still none. */
static void wait_again(void *arg)
{
	n_called++;
	share_wait(waited_for, arg, OS_NEVER);
}

static void wait_all(struct share *share)
{
	waited_for = share;
	n_called = 0;
	for (unsigned i = 0; i < WAITING; i++) {
		crowd[i] = (struct share_place){ .fn = wait_again, .arg = &crowd[i] };
		share_wait(share, &crowd[i], OS_NEVER);
	}
}

START_TEST(many_who_wait_are_called_once)
{
	struct share share;

	loop = loop_new();
	stop = loop_timer(loop, stop_now, NULL);
	ck_assert_int_eq(share_init(&share, loop, 0), 0);
	wait_all(&share);
	share_room(&share);
	loop_set(stop, 20);
	loop_run(loop);
	ck_assert_uint_eq(n_called, WAITING);
	for (unsigned i = 0; i < WAITING; i++)
		share_leave(&crowd[i]);
	share_deinit(&share);
	loop_event_free(stop);
	loop_free(loop);
}
END_TEST

/* Those who wait for something else, their rate for one, are not called by each byte that their user gives back: to be called may
 * be to give some back. */
START_TEST(room_is_told_when_there_is_some_again)
{
	static const enum charge kinds[] = { CHARGE_QUEUE_BYTES, CHARGE_REQUESTS };
	struct users_setting setting = some(LIMIT_USER_QUEUE_MIN, 0);
	struct users *users;
	struct user *one;

	loop = loop_new();
	stop = loop_timer(loop, stop_now, NULL);
	setting.loop = loop;
	users = users_new(&setting);
	ck_assert_int_eq(users_get(users, 1000, &one), 0);
	for (unsigned i = 0; i < 2; i++) {
		wait_all(user_share(one));
		user_charge_anyway(one, kinds[i], 100);
		user_release(one, kinds[i], 50);
		user_release(one, kinds[i], 0);
		loop_set(stop, 5);
		loop_run(loop);
		ck_assert_uint_eq(n_called, 0);
		/* And now it had as much as it may have. */
		user_charge_anyway(one, kinds[i], LIMIT_USER_QUEUE_MIN - 50);
		user_release(one, kinds[i], LIMIT_USER_QUEUE_MIN / 2);
		loop_set(stop, 5);
		loop_run(loop);
		ck_assert_uint_eq(n_called, WAITING);
		user_release(one, kinds[i], LIMIT_USER_QUEUE_MIN / 2);
		for (unsigned j = 0; j < WAITING; j++)
			share_leave(&crowd[j]);
	}
	user_unref(one);
	users_free(users);
	loop_event_free(stop);
	loop_free(loop);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(a_limit_says_which_it_is),
	HARNESS_CASE(the_last_part_is_for_those_who_have_little),
	HARNESS_CASE(one_at_all_limits_leaves_others_theirs),
	HARNESS_CASE(of_ones_own),
	HARNESS_CASE(counts_of_all_users),
	HARNESS_CASE(so_many_a_second),
	HARNESS_CASE(a_rest_fills_it),
	HARNESS_CASE(what_is_over_is_counted),
	HARNESS_CASE(many_connections_have_one_share),
	HARNESS_CASE(who_waits_is_called_when_there_is_room),
	HARNESS_CASE(many_who_wait_are_called_once),
	HARNESS_CASE(room_is_told_when_there_is_some_again),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-user", .cases = cases });
}
