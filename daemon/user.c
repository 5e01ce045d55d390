/* SPDX-License-Identifier: MIT */
/* user.c - accounts of users. */
#include "user.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bucket.h"
#include "carrier.h"
#include "counts.h"
#include "happening.h"
#include "limit.h"
#include "log.h"
#include "share.h"
#include "table.h"

#define TEXT_SIZE 192u

struct users {
	struct users_setting set;
	struct table by_uid;
	uint64_t has[N_CHARGES]; /* all of them together */
};

struct user {
	struct users *users;
	struct table_entry by_uid;
	uid_t uid;
	unsigned n_refs;
	struct carrier *carrier;
	struct share share;
	struct bucket carries, logged;
	uint64_t looked_ns;
	uint64_t has[N_CHARGES];
	uint64_t n_refused[N_CHARGES], n_told[N_CHARGES];
	bool by_all[N_CHARGES]; /* it was refused last because of what all have together */
	struct log_limit refusals[N_CHARGES];
};

static const struct {
	enum log_reason reason;
	const char *option, *what; /* "... as many WHAT as" */
	int all_error;
	bool is_bytes;
} charges[N_CHARGES] = {
	[CHARGE_CONNECTIONS] = { REASON_LIMIT_CONNECTIONS, "max-user-connections", "connections", -EUSERS, false },
	[CHARGE_DESCRIPTORS] = { REASON_LIMIT_DESCRIPTORS, "max-user-descriptors",
	                            "of pathbusd's descriptors", -EMFILE, false },
	[CHARGE_IN_FLIGHT] = { REASON_LIMIT_IN_FLIGHT, "max-user-descriptors",
	                            "descriptors that were sent and not taken", -EMFILE, false },
	[CHARGE_MEMBERS] = { REASON_LIMIT_OPEN, "max-user-open", "openings of topics", -ENFILE, false },
	[CHARGE_LANES] = { REASON_LIMIT_TOPICS, "max-user-topics", "topics", -ENFILE, false },
	[CHARGE_LANE_BYTES] = { REASON_LIMIT_TOPIC_BYTES, "max-user-topic-bytes", "bytes of topics", -ENFILE, true },
	[CHARGE_WATCHES] = { REASON_LIMIT_WATCHES, "max-user-watches",
	                            "names of files whose folders are watched", -ENFILE, false },
	[CHARGE_REGIONS] = { REASON_LIMIT_REGIONS, "max-regions", "regions", -ENFILE, false },
	[CHARGE_REGION_BYTES] = { REASON_LIMIT_REGION_BYTES, "max-region-bytes", "bytes of regions", -ENFILE, true },
	[CHARGE_HOLDERS] = { REASON_LIMIT_HOLDERS, "max-user-holders", "openings of regions", -ENFILE, false },
	[CHARGE_ENDPOINTS] = { REASON_LIMIT_ENDPOINTS, "max-user-endpoints",
	                            "endpoints, or names that are waited for,", -ENFILE, false },
	[CHARGE_CONNECTS] = { REASON_LIMIT_CONNECTS, "max-user-connects", "connects that wait", -ENFILE, false },
	[CHARGE_TOKENS] = { REASON_LIMIT_TOKENS, "max-user-tokens", "tokens", -ENOBUFS, false },
	[CHARGE_SYNCS] = { REASON_LIMIT_SYNCS, "max-user-syncs", "syncs that wait", -ENFILE, false },
	[CHARGE_REQUESTS] = { REASON_LIMIT_REQUESTS, "max-user-requests", "paths to be looked at", -ENFILE, false },
	[CHARGE_QUEUE_BYTES] = { REASON_LIMIT_QUEUE_BYTES, "max-user-queue-bytes", "bytes waiting", -ENOBUFS, true },
	[CHARGE_HISTORY_BYTES] = { REASON_LIMIT_HISTORY_BYTES, "max-user-history-bytes",
	                            "bytes of what was told", -ENOBUFS, true },
	[CHARGE_KEPT] = { REASON_LIMIT_KEPT, "max-user-kept", "topics whose state is kept", -ENFILE, false },
	[CHARGE_CARRIED] = { REASON_LIMIT_RATE, "max-user-rate", "posts and messages a second", -ENOBUFS, false },
};

/* --- what it has --------------------------------------------------------------------------------------- */

static bool fits(uint64_t has, uint64_t amount, uint64_t most)
{
	return has <= most && amount <= most - has;
}

/* The last part of what there is for all is for users who have little. */
static bool fits_all(const struct user *user, enum charge charge, uint64_t amount)
{
	const struct users *users = user->users;
	uint64_t all = users->set.all[charge];

	if (all == 0)
		return true;
	if (!fits(users->has[charge], amount, all))
		return false;
	return !users->set.is_shared || fits(users->has[charge], amount, all - all / LIMIT_KEPT_PART) ||
	       fits(user->has[charge], amount, all / LIMIT_LITTLE_PART);
}

/* 0, or -errno; nothing is noted. */
static int check(const struct user *user, enum charge charge, uint64_t amount)
{
	if (!fits(user->has[charge], amount, user->users->set.most[charge]))
		return -EDQUOT;
	return fits_all(user, charge, amount) ? 0 : charges[charge].all_error;
}

bool user_may_have(const struct user *user, enum charge charge, uint64_t amount)
{
	return check(user, charge, amount) == 0;
}

static void tell_refusal(struct user *user, enum charge charge)
{
	char whose[24];

	snprintf(whose, sizeof(whose), "user %u", (unsigned)user->uid);
	log_event_of(&user->refusals[charge], whose, charges[charge].reason, "%s", user_refusal(user, charge));
	happening_note(HAPPENING_LIMIT, .uid = user->uid, .has_uid = true, .name = log_reason_name(charges[charge].reason),
	               .text = user_refusal(user, charge));
}

void user_note_refusal(struct user *user, enum charge charge, int error)
{
	user->n_refused[charge]++;
	user->by_all[charge] = error != -EDQUOT;
	counts.refused[charge]++;
	tell_refusal(user, charge);
}

int user_charge(struct user *user, enum charge charge, uint64_t amount)
{
	int r = check(user, charge, amount);

	if (r < 0)
		user_note_refusal(user, charge, r);
	else
		user_charge_anyway(user, charge, amount);
	return r;
}

void user_charge_anyway(struct user *user, enum charge charge, uint64_t amount)
{
	user->has[charge] += amount;
	user->users->has[charge] += amount;
}

/* Those that wait go on once an eighth is free, and what each of them asks for: so each release does not cost all of them a look,
 * nor the looks themselves another one. */
static uint64_t mark_of(const struct user *user, enum charge charge)
{
	uint64_t most = user->users->set.most[charge], room = charge == CHARGE_QUEUE_BYTES ? LIMIT_USER_QUEUE_ROOM : 1;

	room = most / 8 > room ? most / 8 : room;
	return most > room ? most - room : 0;
}

void user_release(struct user *user, enum charge charge, uint64_t amount)
{
	uint64_t before = user->has[charge];

	assert(before >= amount);
	user->has[charge] -= amount;
	user->users->has[charge] -= amount;
	if ((charge == CHARGE_QUEUE_BYTES || charge == CHARGE_REQUESTS) && before > mark_of(user, charge) &&
	    user->has[charge] <= mark_of(user, charge))
		share_room(&user->share);
}

int user_charge_costs(struct user *user, const struct cost *costs, unsigned n, const char **ret_limit)
{
	for (unsigned i = 0; i < n; i++) {
		int r = user_charge(user, costs[i].charge, costs[i].amount);

		if (r < 0) {
			*ret_limit = user_refusal(user, costs[i].charge);
			user_release_costs(user, costs, i);
			return r;
		}
	}
	return 0;
}

void user_release_costs(struct user *user, const struct cost *costs, unsigned n)
{
	while (n-- > 0)
		user_release(user, costs[n].charge, costs[n].amount);
}

void user_move_charge(struct user *from, struct user *to, enum charge charge, uint64_t amount)
{
	user_charge_anyway(to, charge, amount);
	user_release(from, charge, amount);
}

uint64_t user_has(const struct user *user, enum charge charge)
{
	return user->has[charge];
}

uint64_t user_may_most(const struct user *user, enum charge charge)
{
	return user->users->set.most[charge];
}

uint64_t user_n_refused(const struct user *user, enum charge charge)
{
	return user->n_refused[charge];
}

uint64_t users_all_have(const struct users *users, enum charge charge)
{
	return users->has[charge];
}

/* --- what it is told ----------------------------------------------------------------------------------- */

const char *charge_limit_name(enum charge charge)
{
	return log_reason_name(charges[charge].reason);
}

const char *charge_option(enum charge charge)
{
	return charges[charge].option;
}

int charge_all_error(enum charge charge)
{
	return charges[charge].all_error;
}

const char *user_refusal(const struct user *user, enum charge charge)
{
	static char text[TEXT_SIZE];
	const struct users_setting *set = &user->users->set;

	if (user->by_all[charge])
		snprintf(text, sizeof(text), "all users together have as many %s as there may be: %" PRIu64 "%s",
		         charges[charge].what, set->all[charge], charges[charge].is_bytes ? " bytes" : "");
	else
		snprintf(text, sizeof(text), "this user has as many %s as it may have: %" PRIu64 " (--%s)", charges[charge].what,
		         set->most[charge], charges[charge].option);
	return text;
}

void user_tell_refused(struct user *user)
{
	char text[640];
	size_t used = 0;

	text[0] = '\0';
	for (unsigned i = 0; i < N_CHARGES; i++) {
		uint64_t n = user->n_refused[i] - user->n_told[i];
		int more;

		user->n_told[i] = user->n_refused[i];
		if (n == 0 || used >= sizeof(text))
			continue;
		more = snprintf(text + used, sizeof(text) - used, "%s%s %" PRIu64 " times", used > 0 ? ", " : "",
		                charges[i].option, n);
		used += more > 0 ? (size_t)more : 0;
	}
	if (used > 0)
		log_event(REASON_LIMITS_REACHED, "user %u has gone; it had reached: %s", (unsigned)user->uid, text);
}

/* --- what it does -------------------------------------------------------------------------------------- */

unsigned user_carry(struct user *user, unsigned wanted, uint64_t now_ns, uint64_t *ret_again_ns)
{
	unsigned n = bucket_take(&user->carries, wanted, now_ns, ret_again_ns);

	if (n < wanted)
		user_note_refusal(user, CHARGE_CARRIED, -EDQUOT);
	return n;
}

bool user_may_be_logged(struct user *user, uint64_t now_ns)
{
	uint64_t again_ns;

	return bucket_take(&user->logged, 1, now_ns, &again_ns) == 1;
}

bool user_may_look(struct user *user, uint64_t now_ns)
{
	if (user->looked_ns != 0 && now_ns - user->looked_ns < LIMIT_IN_FLIGHT_REST_MS * UINT64_C(1000000))
		return false;
	user->looked_ns = now_ns;
	return true;
}

/* --- users --------------------------------------------------------------------------------------------- */

uid_t user_uid(const struct user *user)
{
	return user->uid;
}

struct carrier *user_carrier(const struct user *user)
{
	return user->carrier;
}

struct share *user_share(struct user *user)
{
	return &user->share;
}

static void user_free(struct user *user)
{
	for (unsigned i = 0; i < N_CHARGES; i++)
		log_limit_end(&user->refusals[i]);
	carrier_free(user->carrier);
	share_deinit(&user->share);
	free(user);
}

/* It is rested then. */
static void set_rate(struct user *user)
{
	const struct users_setting *set = &user->users->set;
	struct bucket carries = { .burst = 1 };

	if (set->most[CHARGE_CARRIED] <= BUCKET_NS)
		carries.rate = set->most[CHARGE_CARRIED];
	if (set->carry_burst > 0 && set->carry_burst <= BUCKET_NS)
		carries.burst = set->carry_burst;
	if (carries.rate != user->carries.rate || carries.burst != user->carries.burst)
		user->carries = carries;
}

static int user_new(struct users *users, uid_t uid, struct user **ret)
{
	const struct users_setting *set = &users->set;
	struct user *user = calloc(1, sizeof(*user));
	int r;

	if (!user)
		return -ENOMEM;
	*user = (struct user){ .users = users, .uid = uid, .n_refs = 1 };
	set_rate(user);
	user->logged = (struct bucket){ .rate = LIMIT_TOPIC_LOG_RATE, .burst = LIMIT_TOPIC_LOG_BURST };
	r = share_init(&user->share, set->loop, set->is_shared ? LIMIT_USER_TURN_NS : 0);
	if (r == 0)
		r = carrier_new(set->loop, &user->share, set->offload_members, set->offload_message_members, &user->carrier);
	if (r < 0) {
		user_free(user);
		return r;
	}
	table_add(&users->by_uid, &user->by_uid, table_mix(uid));
	*ret = user;
	return 0;
}

int users_get(struct users *users, uid_t uid, struct user **ret)
{
	struct table_entry *entry = table_first(&users->by_uid, table_mix(uid));

	/* table_mix maps no two numbers to one. */
	if (!entry)
		return user_new(users, uid, ret);
	*ret = user_ref(table_container(entry, struct user, by_uid));
	return 0;
}

struct user *user_ref(struct user *user)
{
	user->n_refs++;
	return user;
}

/* Who has nothing any more has nothing charged: to the byte. */
static void check_released(const struct user *user)
{
	bool is_clean = true;

	for (unsigned i = 0; i < N_CHARGES; i++) {
		if (user->has[i] == 0)
			continue;
		is_clean = false;
		log_event(REASON_DEFECT, "user %u has gone, and is charged for %" PRIu64 " (%s)", (unsigned)user->uid, user->has[i],
		          charges[i].option);
	}
	assert(is_clean);
	(void)is_clean;
}

void user_unref(struct user *user)
{
	if (!user || --user->n_refs > 0)
		return;
	check_released(user);
	table_remove(&user->users->by_uid, &user->by_uid);
	for (unsigned i = 0; i < N_CHARGES; i++)
		user->users->has[i] -= user->has[i];
	user_free(user);
}

void users_each(const struct users *users, void (*fn)(const struct user *user, void *arg), void *arg)
{
	for (size_t i = 0; i < users->by_uid.n_buckets; i++)
		for (struct table_entry *entry = users->by_uid.buckets[i]; entry; entry = entry->next)
			fn(table_container(entry, struct user, by_uid), arg);
}

struct users *users_new(const struct users_setting *setting)
{
	struct users *users = calloc(1, sizeof(*users));

	if (!users)
		return NULL;
	users->set = *setting;
	if (table_init(&users->by_uid) < 0) {
		free(users);
		return NULL;
	}
	return users;
}

void users_set(struct users *users, const struct users_setting *setting)
{
	struct loop *loop = users->set.loop;
	bool is_shared = users->set.is_shared;

	users->set = *setting;
	users->set.loop = loop;
	users->set.is_shared = is_shared;
	for (size_t i = 0; i < users->by_uid.n_buckets; i++) {
		for (struct table_entry *entry = users->by_uid.buckets[i]; entry; entry = entry->next) {
			struct user *user = table_container(entry, struct user, by_uid);

			set_rate(user);
			carrier_set(user->carrier, setting->offload_members, setting->offload_message_members);
			share_room(&user->share); /* there may be more of it */
		}
	}
}

struct users *users_free(struct users *users)
{
	if (users) {
		table_deinit(&users->by_uid);
		free(users);
	}
	return NULL;
}
