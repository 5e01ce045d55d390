/* SPDX-License-Identifier: MIT */
/*
 * messages.c - how many messages of 64 bytes go through a ring of 16,384, and what a publisher pays for one. How long
 * one takes is measured with the other wake-ups (wakeup.c).
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "feed.h"

#define OFFERED_MIN 0.99 /* of the rate: with less it was not what is called so */
#define DISTURBED 0.5    /* cores that others used; ticks are counted, which is some tenths off for who sleeps much */

enum { N_ROUNDS = 9, N_ROUNDS_QUICK = 3, N_WAYS = 6 };

static const struct way {
	const char *name;
	enum pathbus_transport_kind kind;
	unsigned n_subscribers, n, rate;
	bool all;     /* nothing may be missed */
	double least; /* millions per second delivered to each; 0: no target */
} ways[N_WAYS] = {
	{ "1 to 1", PATHBUS_BUS, 1, 2000000, 0, false, 5 },
	{ "1 to 1", PATHBUS_PEER, 1, 2000000, 0, false, 5 },
	{ "1 to 8", PATHBUS_BUS, 8, 2000000, 0, false, 3 },
	{ "1 to 8 at 1 M/s", PATHBUS_BUS, 8, 1000000, 1000000, true, 0 },
	{ "1 to 8 at 3 M/s", PATHBUS_BUS, 8, 3000000, 3000000, false, 0 },
	{ "1 to 2 at 1 M/s", PATHBUS_PEER, 2, 1000000, 1000000, true, 0 },
};

struct run {
	const struct way *way;
	struct feed feed;
	struct outcome outcomes[N_ROUNDS];
};

/* --- the figures ----------------------------------------------------------------------------------------------- */

static double median_of(const struct run *run, size_t offset, unsigned n_rounds, double *samples)
{
	for (unsigned i = 0; i < n_rounds; i++)
		memcpy(&samples[i], (const char *)&run->outcomes[i] + offset, sizeof(samples[i]));
	return median(samples, n_rounds);
}

#define MEDIAN(run, field, samples) median_of(run, offsetof(struct outcome, field), n_rounds, samples)

static void note(const struct run *run, unsigned n_rounds)
{
	double samples[N_ROUNDS], missed = 0, batch = 0, others = 0;
	unsigned n_with = 0, n_disturbed = 0;

	for (unsigned i = 0; i < n_rounds; i++) {
		const struct outcome *outcome = &run->outcomes[i];

		missed += outcome->missed;
		n_with += outcome->missed > 0;
		batch = outcome->largest_batch > batch ? outcome->largest_batch : batch;
		others = outcome->others > others ? outcome->others : others;
		n_disturbed += outcome->others > DISTURBED;
	}
	report_note("    missed and reported: %.0f of %.0f in %u of %u rounds (%.2f %%); published %.2f M/s", missed,
	            (double)n_rounds * run->way->n * run->way->n_subscribers, n_with, n_rounds,
	            100 * missed / ((double)n_rounds * run->way->n * run->way->n_subscribers),
	            MEDIAN(run, published, samples));
	report_note("    processor time: %.0f ns for each published, %.0f ns for each delivered; rang %.0f, woke %.0f times",
	            MEDIAN(run, publish_ns, samples), MEDIAN(run, receive_ns, samples), MEDIAN(run, rings, samples),
	            MEDIAN(run, wakeups, samples));
	report_note("    a cache line took %.0f ns from core to core; the daemon used %.2f cores", MEDIAN(run, line_ns, samples),
	            MEDIAN(run, daemon, samples));
	if (run->way->rate)
		report_note("    largest batch %.0f", batch);
	if (n_disturbed > 0)
		report_note("    disturbed: in %u of %u rounds others used more than %g cores, at most %.2f", n_disturbed,
		            n_rounds, DISTURBED, others);
}

static void report(const struct run *run, unsigned n_rounds)
{
	const struct way *way = run->way;
	double samples[N_ROUNDS], published = MEDIAN(run, published, samples);
	char name[64], invalid[64] = "";
	struct figure figure = {
		.family = "messages",
		.name = name,
		.transport = transport_name(way->kind),
		.n_cores = 2,
		.unit = "M/s",
		.samples = samples,
		.n_samples = n_rounds,
		.per_sample = way->n,
		.details = { { "published", published },
		             { "missed", MEDIAN(run, missed, samples) },
		             { "publish_ns", MEDIAN(run, publish_ns, samples) },
		             { "receive_ns", MEDIAN(run, receive_ns, samples) },
		             { "bell_writes", MEDIAN(run, rings, samples) },
		             { "wakeups", MEDIAN(run, wakeups, samples) },
		             { "largest_batch", MEDIAN(run, largest_batch, samples) },
		             { "daemon", MEDIAN(run, daemon, samples) },
		             { "others", MEDIAN(run, others, samples) },
		             { "line_ns", MEDIAN(run, line_ns, samples) } },
	};

	if (way->rate && published < OFFERED_MIN * way->rate / 1e6)
		snprintf(invalid, sizeof(invalid), "only %.2f M/s were offered", published);
	if (*invalid)
		figure.invalid = invalid;
	snprintf(name, sizeof(name), "%s, delivered", way->name);
	if (way->least > 0) {
		figure.limit_of = LIMIT_AT_LEAST;
		figure.limit = way->least;
	}
	MEDIAN(run, delivered, samples);
	report_add(&figure);
	if (way->all) {
		snprintf(name, sizeof(name), "%s, missed", way->name);
		figure.unit = "";
		figure.limit_of = LIMIT_EACH;
		figure.limit = 0;
		MEDIAN(run, missed, samples);
		report_add(&figure);
	}
	note(run, n_rounds);
}

/* --- nobody listens -------------------------------------------------------------------------------------------- */

enum { N_MESSAGES = 1000000 };

struct cost {
	pathbus *bus;
	pathbus_topic *topic;
	double ns[N_ROUNDS], ratio[N_ROUNDS];
};

static void go_cost_round(struct cost *cost, unsigned round)
{
	static const char bytes[MESSAGE_SIZE];
	uint64_t start = cpu_ns(), post;

	for (unsigned i = 0; i < N_MESSAGES; i++)
		if (pathbus_post(cost->topic) < 0)
			die(0, "pathbus_post failed");
	post = cpu_ns() - start;
	start = cpu_ns();
	for (unsigned i = 0; i < N_MESSAGES; i++)
		if (pathbus_publish(cost->topic, bytes, sizeof(bytes)) < 0)
			die(0, "pathbus_publish failed");
	start = cpu_ns() - start;
	cost->ns[round] = (double)start / N_MESSAGES;
	cost->ratio[round] = (double)start / (double)post;
}

static void measure_cost(const struct settings *settings, unsigned n_rounds)
{
	static struct cost costs[2];

	pin(settings->core);
	for (unsigned i = 0; i < 2; i++) {
		if (!transport_is_there(settings, transports[i]))
			continue;
		costs[i].bus = handle_new(settings, transports[i]);
		costs[i].topic = topic_with_ring(settings, costs[i].bus, i == 0 ? "publish-bus" : "publish-peer", PATHBUS_POST);
		go_cost_round(&costs[i], 0); /* its memory is there afterwards */
	}
	for (unsigned round = 0; round < n_rounds; round++)
		for (unsigned i = 0; i < 2; i++)
			if (costs[(i + round) % 2].bus)
				go_cost_round(&costs[(i + round) % 2], round);
	for (unsigned i = 0; i < 2; i++) {
		if (!costs[i].bus)
			continue;
		report_add(&(struct figure){
			.family = "messages",
			.name = "publish, nobody listens",
			.transport = transport_name(transports[i]),
			.n_cores = 1,
			.unit = "ns",
			.samples = costs[i].ns,
			.n_samples = n_rounds,
			.per_sample = N_MESSAGES,
			.reference = "post",
			.ratio = median(costs[i].ratio, n_rounds),
		});
		pathbus_free(costs[i].bus);
	}
}

/* --- all of it ------------------------------------------------------------------------------------------------- */

static bool is_wanted(const struct settings *settings, const char *name)
{
	return !settings->part || strstr(name, settings->part);
}

static unsigned start(struct run *runs, const struct settings *settings)
{
	unsigned n = 0;

	for (unsigned i = 0; i < N_WAYS; i++) {
		if (!transport_is_there(settings, ways[i].kind) || settings->other_core < 0 ||
		    !is_wanted(settings, ways[i].name))
			continue;
		runs[n] = (struct run){
			.way = &ways[i],
			.feed = { .settings = settings, .kind = ways[i].kind, .number = i,
			          .n_subscribers = ways[i].n_subscribers },
		};
		feed_start(&runs[n].feed);
		n++;
	}
	for (unsigned i = 0; i < n; i++)
		feed_open(&runs[i].feed);
	return n;
}

void measure_messages(const struct settings *settings)
{
	static struct run runs[N_WAYS];
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS, n;

	report_family("Messages of 64 bytes");
	if (settings->other_core >= 0)
		bounce_start(settings);
	n = start(runs, settings);
	for (unsigned i = 0; i < n; i++)
		feed_run(&runs[i].feed, RING_SLOTS, 1000000); /* once round: the ring's memory is there afterwards */
	for (unsigned round = 0; round < n_rounds; round++)
		for (unsigned i = 0; i < n; i++) {
			struct run *run = &runs[(i + round) % n];

			run->outcomes[round] = feed_run(&run->feed, run->way->n, run->way->rate);
		}
	for (unsigned i = 0; i < n; i++) {
		report(&runs[i], n_rounds);
		feed_stop(&runs[i].feed);
	}
	if (settings->other_core >= 0)
		bounce_stop();
	if (is_wanted(settings, "publish, nobody listens"))
		measure_cost(settings, n_rounds);
	if (is_wanted(settings, "latency"))
		measure_message_latency(settings);
}
