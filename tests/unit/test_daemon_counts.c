/* SPDX-License-Identifier: MIT */
/* test_daemon_counts.c - histograms of how long things took. */
#include "daemon/counts.h"

#include "harness/harness.h"
#include "os/os.h"

START_TEST(bounds)
{
	struct histogram histogram = { 0 };

	histogram_add(&histogram, 0);
	histogram_add(&histogram, latency_bounds[0]);
	histogram_add(&histogram, latency_bounds[0] + 1);
	histogram_add(&histogram, latency_bounds[N_LATENCY_BOUNDS - 1]);
	histogram_add(&histogram, latency_bounds[N_LATENCY_BOUNDS - 1] + 1);
	ck_assert_uint_eq(histogram.n[0], 2); /* a bound is in its own bucket */
	ck_assert_uint_eq(histogram.n[1], 1);
	ck_assert_uint_eq(histogram.n[N_LATENCY_BOUNDS - 1], 1);
	ck_assert_uint_eq(histogram.n[N_LATENCY_BOUNDS], 1);
	ck_assert_uint_eq(histogram_count(&histogram), 5);
	ck_assert_uint_eq(histogram.sum_ns, 2 * latency_bounds[0] + 1 + 2 * latency_bounds[N_LATENCY_BOUNDS - 1] + 1);
	for (unsigned i = 1; i < N_LATENCY_BOUNDS; i++)
		ck_assert_uint_gt(latency_bounds[i], latency_bounds[i - 1]);
}
END_TEST

START_TEST(times)
{
	uint64_t now = os_now_ns();

	counts_took(LATENCY_FILES, 0); /* not taken */
	ck_assert_uint_eq(histogram_count(&counts.latencies[LATENCY_FILES]), 0);
	counts_took(LATENCY_FILES, now - UINT64_C(3600000000000));
	ck_assert_uint_eq(counts.latencies[LATENCY_FILES].n[N_LATENCY_BOUNDS], 1);
	ck_assert_uint_ge(counts.latencies[LATENCY_FILES].sum_ns, UINT64_C(3600000000000));
	counts_took(LATENCY_OPENING, now + UINT64_C(3600000000000)); /* a clock that went back */
	ck_assert_uint_eq(counts.latencies[LATENCY_OPENING].n[0], 1);
	ck_assert_uint_eq(counts.latencies[LATENCY_OPENING].sum_ns, 0);
	for (unsigned i = 0; i < N_LATENCIES; i++)
		ck_assert_ptr_nonnull(latency_name((enum latency)i));
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(bounds),
	HARNESS_CASE(times),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-counts", .cases = cases });
}
