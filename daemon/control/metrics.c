/* SPDX-License-Identifier: MIT */
/* metrics.c - GET /metrics: the same as GET /v1/stats, but for single users, as OpenMetrics text (openmetrics.io, 1.0.0). */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "daemon/context.h"
#include "os/os.h"
#include "routes.h"
#include "sums.h"

#define CONTENT_TYPE "application/openmetrics-text; version=1.0.0; charset=utf-8"

static const char *const helps[N_SUMS] = {
	[SUM_POSTS] = "Posts by programs, as far as their lanes have been looked at.",
	[SUM_MESSAGES] = "Messages that programs have published.",
	[SUM_MESSAGE_BYTES] = "Bytes of data in messages that programs have published.",
	[SUM_BELL_WRITES] = "Bells that were written to wake listeners.",
	[SUM_WAKEUPS] = "Bells that listeners were woken by.",
	[SUM_GAPS] = "Messages that were told as missed, for each who missed them.",
	[SUM_RESYNCS] = "Lanes whose members were told to look again.",
	[SUM_REQUESTS] = "Frames that were received from programs.",
	[SUM_ACCEPTED] = "Connections that were accepted, those that were then refused too.",
	[SUM_CARRIED] = "Posts and messages that were carried to other users' lanes.",
	[SUM_LOG_LINES_DROPPED] = "Lines of the log that could not be written in time.",
};

static const char *const total_helps[N_TOTALS] = {
	[TOTAL_CLIENTS] = "Connections.",
	[TOTAL_TOPICS] = "Topics.",
	[TOTAL_MEMBERS] = "Topics that programs have open, each as often.",
	[TOTAL_LANES] = "Lanes of topics: one for each user and set of rights.",
	[TOTAL_REGIONS] = "Regions.",
	[TOTAL_ENDPOINTS] = "Endpoints, and names that are waited for.",
	[TOTAL_LINKS] = "Links with sidecars.",
};

static const char *const latency_helps[N_LATENCIES] = {
	[LATENCY_OPENING] = "From a request to open a topic to its answer.",
	[LATENCY_FILES] = "From a question about a path to its answer.",
	[LATENCY_CARRYING] = "From the bell of a lane until what was there is in other users' lanes.",
	[LATENCY_RINGING] = "From the daemon's bell until the bells of lanes with many members are rung.",
};

static void head(FILE *to, const char *name, const char *type, const char *unit, const char *help)
{
	fprintf(to, "# TYPE pathbus_%s %s\n", name, type);
	if (unit)
		fprintf(to, "# UNIT pathbus_%s %s\n", name, unit);
	fprintf(to, "# HELP pathbus_%s %s\n", name, help);
}

/* Seconds without a loss: 12.000000345 */
static void seconds(FILE *to, uint64_t ns)
{
	fprintf(to, "%" PRIu64 ".%09" PRIu64, ns / 1000000000, ns % 1000000000);
}

static void put_latency(FILE *to, enum latency latency)
{
	const struct histogram *histogram = &counts.latencies[latency];
	const char *name = latency_name(latency);
	char full[64];
	uint64_t n = 0;

	snprintf(full, sizeof(full), "%s_seconds", name);
	head(to, full, "histogram", "seconds", latency_helps[latency]);
	for (unsigned i = 0; i <= N_LATENCY_BOUNDS; i++) {
		n += histogram->n[i];
		fprintf(to, "pathbus_%s_bucket{le=\"", full);
		if (i < N_LATENCY_BOUNDS)
			fprintf(to, "%g", (double)latency_bounds[i] / 1e9);
		else
			fputs("+Inf", to);
		fprintf(to, "\"} %" PRIu64 "\n", n);
	}
	fprintf(to, "pathbus_%s_count %" PRIu64 "\npathbus_%s_sum ", full, n, full);
	seconds(to, histogram->sum_ns);
	fputc('\n', to);
}

static void put_all(FILE *to, const struct context *context, const struct sums *sums)
{
	head(to, "build", "info", NULL, "The daemon's version.");
	fprintf(to, "pathbus_build_info{version=\"" PATHBUS_VERSION "\"} 1\n");
	head(to, "uptime_seconds", "gauge", "seconds", "How long the daemon has been running.");
	fputs("pathbus_uptime_seconds ", to);
	seconds(to, os_now_ns() - context->started_ns);
	fputc('\n', to);
	for (unsigned i = 0; i < N_TOTALS; i++) {
		head(to, sums_total_name((enum total)i), "gauge", NULL, total_helps[i]);
		fprintf(to, "pathbus_%s %" PRIu64 "\n", sums_total_name((enum total)i), sums->totals[i]);
	}
	for (unsigned i = 0; i < N_SUMS; i++) {
		head(to, sums_name((enum sum)i), "counter", i == SUM_MESSAGE_BYTES ? "bytes" : NULL, helps[i]);
		fprintf(to, "pathbus_%s_total %" PRIu64 "\n", sums_name((enum sum)i), sums->n[i]);
	}
	head(to, "drops", "counter", NULL, "Connections that were closed or refused, by reason.");
	for (unsigned i = DROP_NONE + 1; i < DROP_N; i++)
		fprintf(to, "pathbus_drops_total{reason=\"%s\"} %" PRIu64 "\n", sums_drop_name((enum drop)i), drop_count((enum drop)i));
	head(to, "limits_hit", "counter", NULL, "Requests that met a limit of a user, or of all, by limit.");
	for (unsigned i = 0; i < N_CHARGES; i++)
		fprintf(to, "pathbus_limits_hit_total{limit=\"%s\"} %" PRIu64 "\n", sums_limit_name((enum charge)i), counts.refused[i]);
	for (unsigned i = 0; i < N_LATENCIES; i++)
		put_latency(to, (enum latency)i);
	fputs("# EOF\n", to);
}

static void tell(struct control_request *request, const struct sums *sums)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);
	bool is_written = false;

	if (to) {
		put_all(to, control_context(request), sums);
		is_written = !ferror(to);
		is_written &= fclose(to) == 0;
	}
	if (is_written)
		control_reply_text(request, CONTENT_TYPE, text, size);
	else
		control_reply_error(request, 503, "no-memory", NULL, "the daemon has no memory for this");
	free(text);
}

void control_get_metrics(struct control_request *request)
{
	sums_make(request, tell);
}
