/* SPDX-License-Identifier: MIT */
/*
 * lane_counts.h - what happens in lanes' shared memory, as far as it has been looked at.
 *
 * Posts cost nothing for it: a look reads the words that a lane has anyway, and adds what is new since the last look to the sums of
 * the lane, its topic and the daemon, which so never fall, whatever becomes of the lane. Its members write these words, so they
 * are believed as far as they are possible at all: nobody posts more often than each few nanoseconds.
 */
#ifndef PATHBUS_DAEMON_LANE_COUNTS_H
#define PATHBUS_DAEMON_LANE_COUNTS_H

#include <stdint.h>

struct page;
struct topic_lane;

struct lane_sums {
	uint64_t posts, messages; /* made there; not those that the daemon has carried there */
	uint64_t message_bytes;
	uint64_t bells, wakeups;
	uint64_t gaps;            /* messages missed, by each who has missed them */
	uint64_t resyncs;
};

/* What a lane's words were at the last look. */
struct lane_look {
	uint64_t at_ns;
	uint64_t generation, head, skips, resync;
	uint64_t message_bytes, bells, wakeups, gaps;
	uint64_t own_units, own_messages, own_bytes;
};

/* What the daemon itself has put into a lane, in the generation's units; messages and their bytes. */
struct lane_own {
	uint64_t units, messages, bytes;
};

/* Of all lanes, those that have gone too. */
extern struct lane_sums lanes_counted;

/* A lane begins: its words, in a page that nobody else has yet. */
void lane_counts_begin(struct topic_lane *lane, struct page *page);
/* A look at one. */
void lane_counts_take(struct topic_lane *lane);

#endif
