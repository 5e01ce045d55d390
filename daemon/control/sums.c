/* SPDX-License-Identifier: MIT */
/* sums.c - see sums.h. */
#include "sums.h"

#include <stdlib.h>
#include <string.h>

#include "daemon/context.h"
#include "daemon/lane_counts.h"
#include "daemon/log_target.h"
#include "daemon/topic.h"

#define NAMES_OF_DROPS "drop-"
#define NAMES_OF_LIMITS "limit-"

static const char *const totals[N_TOTALS] = {
	[TOTAL_CLIENTS] = "clients", [TOTAL_TOPICS] = "topics",       [TOTAL_MEMBERS] = "members", [TOTAL_LANES] = "lanes",
	[TOTAL_REGIONS] = "regions", [TOTAL_ENDPOINTS] = "endpoints", [TOTAL_LINKS] = "links",
};

static const char *const sums[N_SUMS] = {
	[SUM_POSTS] = "posts",
	[SUM_MESSAGES] = "messages",
	[SUM_MESSAGE_BYTES] = "message_bytes",
	[SUM_BELL_WRITES] = "bell_writes",
	[SUM_WAKEUPS] = "wakeups",
	[SUM_GAPS] = "gaps",
	[SUM_RESYNCS] = "resyncs",
	[SUM_REQUESTS] = "requests",
	[SUM_ACCEPTED] = "accepted",
	[SUM_CARRIED] = "carried",
	[SUM_LOG_LINES_DROPPED] = "log_lines_dropped",
};

const char *sums_total_name(enum total total)
{
	return totals[total];
}

const char *sums_name(enum sum sum)
{
	return sums[sum];
}

const char *sums_drop_name(enum drop drop)
{
	return drop_name(drop) + strlen(NAMES_OF_DROPS);
}

const char *sums_limit_name(enum charge charge)
{
	return charge_limit_name(charge) + strlen(NAMES_OF_LIMITS);
}

static void fill(const struct context *context, struct sums *to)
{
	static const enum charge charges[N_TOTALS] = {
		[TOTAL_CLIENTS] = CHARGE_CONNECTIONS, [TOTAL_MEMBERS] = CHARGE_MEMBERS,     [TOTAL_LANES] = CHARGE_LANES,
		[TOTAL_REGIONS] = CHARGE_REGIONS,     [TOTAL_ENDPOINTS] = CHARGE_ENDPOINTS,
	};

	for (unsigned i = 0; i < N_TOTALS; i++)
		if (i != TOTAL_TOPICS && i != TOTAL_LINKS)
			to->totals[i] = users_all_have(context->users, charges[i]);
	to->totals[TOTAL_TOPICS] = topics_count(context->topics);
	to->n[SUM_POSTS] = lanes_counted.posts;
	to->n[SUM_MESSAGES] = lanes_counted.messages;
	to->n[SUM_MESSAGE_BYTES] = lanes_counted.message_bytes;
	to->n[SUM_BELL_WRITES] = lanes_counted.bells + counts.bells;
	to->n[SUM_WAKEUPS] = lanes_counted.wakeups;
	to->n[SUM_GAPS] = lanes_counted.gaps;
	to->n[SUM_RESYNCS] = lanes_counted.resyncs;
	to->n[SUM_REQUESTS] = counts.requests;
	to->n[SUM_ACCEPTED] = counts.accepted;
	to->n[SUM_CARRIED] = counts.carried;
	to->n[SUM_LOG_LINES_DROPPED] = log_target_n_dropped();
}

static void look_at_some(struct control_request *request)
{
	const struct context *context = control_context(request);
	struct sums *made = control_state(request);
	struct topic *topic;

	while ((topic = topics_after(context->topics, made->topic))) {
		for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next) {
			lane_counts_take(lane);
			made->totals[TOTAL_LINKS] += lane->n_links;
		}
		made->topic = topic->number;
		if (control_turn_is_over(request)) {
			control_go_on(request, look_at_some, made, free);
			return;
		}
	}
	fill(context, made);
	made->tell(request, made);
}

void sums_make(struct control_request *request, void (*tell)(struct control_request *request, const struct sums *sums))
{
	struct sums *made = calloc(1, sizeof(*made));

	if (!made) {
		control_reply_error(request, 503, "no-memory", NULL, "the daemon has no memory for this");
		return;
	}
	made->tell = tell;
	control_go_on(request, look_at_some, made, free);
}
