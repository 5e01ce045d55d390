/* SPDX-License-Identifier: MIT */
/*
 * sums.h - what GET /v1/stats and GET /metrics tell alike. All lanes are looked at for it, some at a time: the answer comes when that is
 * through.
 */
#ifndef PATHBUS_DAEMON_CONTROL_SUMS_H
#define PATHBUS_DAEMON_CONTROL_SUMS_H

#include <stdint.h>

#include "daemon/counts.h"
#include "daemon/drop.h"
#include "daemon/user.h"
#include "request.h"

/* What there is now. */
enum total { TOTAL_CLIENTS, TOTAL_TOPICS, TOTAL_MEMBERS, TOTAL_LANES, TOTAL_REGIONS, TOTAL_ENDPOINTS, TOTAL_LINKS, N_TOTALS };

/* What has been done so far. */
enum sum {
	SUM_POSTS,
	SUM_MESSAGES,
	SUM_MESSAGE_BYTES,
	SUM_BELL_WRITES,
	SUM_WAKEUPS,
	SUM_GAPS,
	SUM_RESYNCS,
	SUM_REQUESTS,
	SUM_ACCEPTED,
	SUM_CARRIED,
	SUM_LOG_LINES_DROPPED,
	N_SUMS
};

struct sums {
	uint64_t totals[N_TOTALS];
	uint64_t n[N_SUMS];
	uint64_t topic; /* while they are made: the last one looked at */
	void (*tell)(struct control_request *request, const struct sums *sums);
};

/* `tell` answers. */
void sums_make(struct control_request *request, void (*tell)(struct control_request *request, const struct sums *sums));

const char *sums_total_name(enum total total); /* "clients" */
const char *sums_name(enum sum sum);           /* "posts" */
const char *sums_drop_name(enum drop drop);    /* "malformed": the log's reason is "drop-malformed" */
const char *sums_limit_name(enum charge charge); /* "topics": the log's reason is "limit-topics" */

#endif
