/* SPDX-License-Identifier: MIT */
/* user.c - accounts of users. */
#include "user.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "carrier.h"
#include "log.h"
#include "table.h"

struct users {
	struct users_setting set;
	struct table by_uid;
	struct log_limit failures;
};

struct user {
	struct users *users;
	struct table_entry by_uid;
	uid_t uid;
	unsigned n_refs;
	struct carrier *carrier;
	uint64_t has[N_CHARGES];
	uint64_t n_refused[N_CHARGES];
};

static const struct {
	const char *option, *text;
} charges[N_CHARGES] = {
	[CHARGE_CONNECTIONS] = { "max-user-connections", "this user has as many connections as it may have (--max-user-connections)" },
	[CHARGE_MEMBERS] = { "max-user-topics", "this user has as many topics open as it may have (--max-user-topics)" },
	[CHARGE_LANES] = { "max-user-lanes", "this user has as many topics as it may have (--max-user-lanes)" },
	[CHARGE_LANE_BYTES] = { "max-user-lane-bytes", "this user's topics have as much memory as they may have (--max-user-lane-bytes)" },
};

/* --- accounts ---------------------------------------------------------------------------------------- */

int user_charge(struct user *user, enum charge charge, uint64_t amount)
{
	uint64_t most = user->users->set.most[charge];

	if (user->has[charge] <= most && amount <= most - user->has[charge]) {
		user->has[charge] += amount;
		return 0;
	}
	user->n_refused[charge]++;
	if (log_allows(&user->users->failures, "limits that users have reached"))
		log_warning("user %u has reached --%s %" PRIu64, (unsigned)user->uid, charges[charge].option, most);
	return -EDQUOT;
}

void user_release(struct user *user, enum charge charge, uint64_t amount)
{
	user->has[charge] -= amount;
}

uint64_t user_has(const struct user *user, enum charge charge)
{
	return user->has[charge];
}

const char *charge_text(enum charge charge)
{
	return charges[charge].text;
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

int users_get(struct users *users, uid_t uid, struct user **ret)
{
	uint64_t hash = table_mix(uid);
	struct table_entry *entry = table_first(&users->by_uid, hash);
	struct user *user;
	int r;

	/* table_mix maps no two numbers to one. */
	if (entry) {
		*ret = user_ref(table_container(entry, struct user, by_uid));
		return 0;
	}
	user = calloc(1, sizeof(*user));
	if (!user)
		return -ENOMEM;
	*user = (struct user){ .users = users, .uid = uid, .n_refs = 1 };
	r = carrier_new(users->set.loop, users->set.offload_members, users->set.offload_message_members, &user->carrier);
	if (r < 0) {
		free(user);
		return r;
	}
	table_add(&users->by_uid, &user->by_uid, hash);
	*ret = user;
	return 0;
}

struct user *user_ref(struct user *user)
{
	user->n_refs++;
	return user;
}

void user_unref(struct user *user)
{
	if (!user || --user->n_refs > 0)
		return;
	table_remove(&user->users->by_uid, &user->by_uid);
	carrier_free(user->carrier);
	free(user);
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

struct users *users_free(struct users *users)
{
	if (users) {
		table_deinit(&users->by_uid);
		free(users);
	}
	return NULL;
}
