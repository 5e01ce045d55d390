/* SPDX-License-Identifier: MIT */
/* limits.c - what each user may have, and all together. */
#include "limits.h"

#include <inttypes.h>

#include "limit.h"
#include "log.h"
#include "options.h"
#include "user.h"

/* What a user of several may have, if nothing is set and there is no limit for all of which it could be a part. */
static const uint64_t normal[N_CHARGES] = {
	[CHARGE_MEMBERS] = LIMIT_USER_OPEN,
	[CHARGE_WATCHES] = LIMIT_USER_WATCHES,
	[CHARGE_REQUESTS] = LIMIT_USER_REQUESTS,
	[CHARGE_QUEUE_BYTES] = LIMIT_USER_QUEUE_BYTES,
	[CHARGE_HISTORY_BYTES] = LIMIT_USER_HISTORY_BYTES,
	[CHARGE_CARRIED] = LIMIT_USER_RATE,
};

static bool may_be_none(enum charge charge)
{
	return charge == CHARGE_REGIONS || charge == CHARGE_REGION_BYTES || charge == CHARGE_LANE_BYTES ||
	       charge == CHARGE_CONNECTS || charge == CHARGE_SYNCS;
}

static uint64_t most_of(const struct users_setting *setting, enum charge charge, uint64_t set)
{
	if (set > 0 || may_be_none(charge))
		return set;
	if (!setting->is_shared)
		return UINT64_MAX;
	return normal[charge] > 0 ? normal[charge] : setting->all[charge] / LIMIT_USER_PART;
}

void limits_make(const struct options *options, uint64_t n_descriptors, struct users_setting *ret)
{
	uint64_t own = n_descriptors / 4 < LIMIT_OWN_DESCRIPTORS ? n_descriptors / 4 : LIMIT_OWN_DESCRIPTORS;

	ret->is_shared = options->system;
	ret->carry_burst = options->user_burst;
	ret->all[CHARGE_CONNECTIONS] = LIMIT_CLIENTS;
	ret->all[CHARGE_LANES] = LIMIT_TOPICS;
	ret->all[CHARGE_HOLDERS] = LIMIT_HOLDERS;
	ret->all[CHARGE_ENDPOINTS] = LIMIT_ENDPOINTS;
	ret->all[CHARGE_TOKENS] = LIMIT_TOKENS;
	ret->all[CHARGE_KEPT] = LIMIT_KEPT;
	if (ret->is_shared) {
		ret->all[CHARGE_DESCRIPTORS] = n_descriptors - own;
		/* The kernel allows its user as many as one process may have. */
		ret->all[CHARGE_IN_FLIGHT] = n_descriptors - own;
		ret->all[CHARGE_QUEUE_BYTES] = LIMIT_QUEUE_BYTES;
		ret->all[CHARGE_HISTORY_BYTES] = LIMIT_HISTORY_BYTES;
	}
	for (unsigned i = 0; i < N_CHARGES; i++)
		ret->most[i] = most_of(ret, i, options->user_most[i]);
	if (ret->most[CHARGE_QUEUE_BYTES] < LIMIT_USER_QUEUE_MIN)
		ret->most[CHARGE_QUEUE_BYTES] = LIMIT_USER_QUEUE_MIN;
	ret->most[CHARGE_IN_FLIGHT] = ret->most[CHARGE_DESCRIPTORS];
}

uint64_t limits_descriptors(const struct users_setting *setting)
{
	return setting->most[CHARGE_CONNECTIONS] + 2 * setting->most[CHARGE_LANES] + setting->most[CHARGE_REGIONS];
}

/* Those that need descriptors, by somebody who wants them so. */
static bool was_set(const struct options *options)
{
	return options->user_most[CHARGE_CONNECTIONS] > 0 || options->user_most[CHARGE_LANES] > 0 ||
	       options->user_most[CHARGE_REGIONS] > LIMIT_REGIONS;
}

void limits_tell(const struct options *options, const struct users_setting *setting, uint64_t n_descriptors)
{
	static uint64_t told_needed, told_most; /* a reload that changes none of it says nothing of it */
	uint64_t needed = limits_descriptors(setting);

	if (!setting->is_shared || needed <= setting->most[CHARGE_DESCRIPTORS] ||
	    (needed == told_needed && setting->most[CHARGE_DESCRIPTORS] == told_most))
		return;
	told_needed = needed;
	told_most = setting->most[CHARGE_DESCRIPTORS];
	if (was_set(options))
		log_event(REASON_DESCRIPTORS_FEW,
		          "the limits that are set let a user need %" PRIu64 " descriptors, and it may have %" PRIu64 " of the %" PRIu64
		          " that there are: it reaches that limit first; raise the limit of open files (LimitNOFILE), or lower "
		          "--max-user-topics",
		          needed, setting->most[CHARGE_DESCRIPTORS], n_descriptors);
	else
		log_event(REASON_DESCRIPTORS_SHARED,
		          "with %" PRIu64 " descriptors in all a user may have about %" PRIu64 " topics: raise the limit of open files "
		          "(LimitNOFILE) to %u for %" PRIu64,
		          n_descriptors, setting->most[CHARGE_DESCRIPTORS] / 2, LIMIT_DESCRIPTORS_ENOUGH, setting->most[CHARGE_LANES]);
}
