/* SPDX-License-Identifier: MIT */
/*
 * bucket.h - a token bucket: so many per second, and so many at once after a rest. The caller has the clock.
 */
#ifndef PATHBUS_DAEMON_BUCKET_H
#define PATHBUS_DAEMON_BUCKET_H

#include <stdint.h>

#define BUCKET_NS UINT64_C(1000000000)

/* `ready_ns` is when it is full again: one number says how much is in it, and nothing has to be added up meanwhile. */
struct bucket {
	uint64_t rate; /* tokens per second, at most BUCKET_NS; 0: there is no limit */
	uint64_t burst; /* at least 1, at most BUCKET_NS */
	uint64_t ready_ns;
};

/* As many of `wanted` as there are; with less *ret_again_ns is when there is one (more). */
static inline unsigned bucket_take(struct bucket *bucket, unsigned wanted, uint64_t now_ns, uint64_t *ret_again_ns)
{
	uint64_t full, missing, n, lacking;

	if (bucket->rate == 0)
		return wanted;
	full = (bucket->burst * BUCKET_NS + bucket->rate - 1) / bucket->rate;
	if (bucket->ready_ns < now_ns)
		bucket->ready_ns = now_ns;
	missing = bucket->ready_ns - now_ns;
	if (missing > full) /* a clock that went back */
		bucket->ready_ns = now_ns + (missing = full);
	n = bucket->burst;
	lacking = (missing * bucket->rate + BUCKET_NS - 1) / BUCKET_NS;
	n = lacking < n ? n - lacking : 0;
	if (n > wanted)
		n = wanted;
	bucket->ready_ns += n * BUCKET_NS / bucket->rate;
	if (n < wanted)
		*ret_again_ns = bucket->ready_ns - (bucket->burst - 1) * BUCKET_NS / bucket->rate;
	return (unsigned)n;
}

#endif
