/* SPDX-License-Identifier: MIT */
/*
 * topic_counts.h - what shared memory says of posts and messages, for people.
 *
 * Members write it, and nothing rests on it: each number is loaded once, and whatever it is, it is only shown.
 */
#ifndef PATHBUS_DAEMON_TOPIC_COUNTS_H
#define PATHBUS_DAEMON_TOPIC_COUNTS_H

#include <stdbool.h>
#include <stdint.h>

struct member;
struct page;
struct topic;

/* Of a lane, since it was made: what its own members have posted and what was carried into it. */
struct lane_counts {
	uint64_t posts, messages;
};
struct lane_counts lane_counts_of(const struct page *page);

struct member_counts {
	uint64_t posts, messages; /* by itself, in this lane. Other threads than the one that opened are not always counted */
	bool knows_behind;        /* it subscribes, and says what it has dealt with */
	uint64_t behind_posts, behind_messages;
};
/* `page` is its lane's. Zero for one that has no slot. */
struct member_counts member_counts_of(const struct member *member, const struct page *page);

#endif
