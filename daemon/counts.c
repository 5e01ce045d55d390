/* SPDX-License-Identifier: MIT */
/* counts.c - see counts.h. */
#include "counts.h"

#include "os/os.h"

struct counts counts;

const uint64_t latency_bounds[N_LATENCY_BOUNDS] = LATENCY_BOUNDS;

static const char *const names[N_LATENCIES] = {
	[LATENCY_OPENING] = "opening",
	[LATENCY_FILES] = "files",
	[LATENCY_CARRYING] = "carrying",
	[LATENCY_RINGING] = "ringing",
};

const char *latency_name(enum latency latency)
{
	return names[latency];
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
	unsigned i = 0;

	while (i < N_LATENCY_BOUNDS && ns > latency_bounds[i])
		i++;
	histogram->n[i]++;
	histogram->sum_ns += ns;
}

uint64_t histogram_count(const struct histogram *histogram)
{
	uint64_t n = 0;

	for (unsigned i = 0; i <= N_LATENCY_BOUNDS; i++)
		n += histogram->n[i];
	return n;
}

void counts_took(enum latency latency, uint64_t since_ns)
{
	uint64_t now = os_now_ns();

	if (since_ns != 0)
		histogram_add(&counts.latencies[latency], now > since_ns ? now - since_ns : 0);
}
