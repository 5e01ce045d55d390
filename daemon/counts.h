/* SPDX-License-Identifier: MIT */
/*
 * counts.h - what this daemon has done so far, as numbers that only grow.
 *
 * Counted here is what goes through the daemon. What happens in shared memory alone is read from the lanes when somebody asks
 * (lane_counts.h), so that posts cost nothing for it.
 */
#ifndef PATHBUS_DAEMON_COUNTS_H
#define PATHBUS_DAEMON_COUNTS_H

#include <stdint.h>

#include "user.h"

/* How long something took in which the daemon is in the path. */
enum latency {
	LATENCY_OPENING,  /* from an opening to its answer */
	LATENCY_FILES,    /* from a question to a worker to its answer */
	LATENCY_CARRYING, /* from the bell of one user's lane until what was there is in the others */
	LATENCY_RINGING,  /* from the daemon's bell until those of an offloaded lane are rung */
	N_LATENCIES
};

/* Times up to each of these nanoseconds, and one for all that are longer. */
#define LATENCY_BOUNDS \
	{ 5000, 10000, 25000, 50000, 100000, 250000, 500000, 1000000, 2500000, 5000000, 10000000, 25000000, 50000000, 100000000, \
	  250000000, 500000000, 1000000000, 2500000000, 10000000000 }
#define N_LATENCY_BOUNDS 19u

struct histogram {
	uint64_t n[N_LATENCY_BOUNDS + 1]; /* each by itself, not the sum of those before it */
	uint64_t sum_ns;
};

struct counts {
	uint64_t refused[N_CHARGES]; /* limits that users, or all together, have reached */
	uint64_t accepted;   /* connections, refused ones too */
	uint64_t requests;   /* frames */
	uint64_t carried;    /* posts and messages, between users' lanes */
	uint64_t bells;      /* of offloaded lanes; the others are counted in their pages */
	struct histogram latencies[N_LATENCIES];
};

/* Of this process; main's thread only. */
extern struct counts counts;

extern const uint64_t latency_bounds[N_LATENCY_BOUNDS];
const char *latency_name(enum latency latency); /* "opening" ... */

void histogram_add(struct histogram *histogram, uint64_t ns);
uint64_t histogram_count(const struct histogram *histogram);

/* From `since_ns` (os_now_ns) to now; 0: it was not taken, and nothing is counted. */
void counts_took(enum latency latency, uint64_t since_ns);

#endif
