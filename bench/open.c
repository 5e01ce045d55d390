/* SPDX-License-Identifier: MIT */
/*
 * open.c - pathbus_open: the first member of a lane, which has to be made, and the second.
 *
 * In each round one handle opens a number of topics that nobody else has, then another opens the same ones,
 * then both leave, and the daemon answers a ping before the next round, so that its work is over.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"

enum { N_FILES = 100, N_ROUNDS = 10, N_ROUNDS_QUICK = 3, N_RUNS = 4, TARGET_NEW_US = 200, TARGET_EXISTING_US = 150 };
enum kind { KIND_NEW, KIND_EXISTING, N_KINDS };

struct run {
	enum pathbus_transport_kind transport;
	unsigned n_cores;
	pathbus *bus[N_KINDS];
	double us[N_KINDS][N_ROUNDS * N_FILES];
	unsigned n;
};

static void open_all(const struct settings *settings, pathbus *bus, pathbus_topic **topics, double *us)
{
	for (unsigned i = 0; i < N_FILES; i++) {
		char path[4096];
		uint64_t start;
		int r;

		snprintf(path, sizeof(path), "%s/open-%u", settings->folder, i);
		start = now_ns();
		r = pathbus_open(bus, path, 0, &topics[i]);
		us[i] = (double)(now_ns() - start) / 1000;
		if (r < 0)
			die(r, "pathbus_open");
	}
}

static void settle(const struct run *run)
{
	for (unsigned i = 0; i < N_KINDS; i++) {
		int r = run->transport == PATHBUS_BUS ? pathbus_ping(run->bus[i], NULL) : 0;

		if (r < 0)
			die(r, "pathbus_ping");
		drain(run->bus[i]);
	}
}

static void go_round(const struct settings *settings, struct run *run, bool counts)
{
	pathbus_topic *topics[N_KINDS][N_FILES];
	double unused[N_FILES];

	if (run->transport == PATHBUS_BUS)
		pin_daemon(settings, run->n_cores == 1 ? settings->core : settings->other_core);
	for (unsigned i = 0; i < N_KINDS; i++)
		open_all(settings, run->bus[i], topics[i], counts ? &run->us[i][run->n] : unused);
	for (unsigned i = 0; i < N_KINDS; i++)
		for (unsigned j = 0; j < N_FILES; j++)
			pathbus_close(topics[i][j]);
	settle(run);
	if (counts)
		run->n += N_FILES;
}

static void report(struct run *run)
{
	static const char *const names[] = { "a new lane", "an existing lane" };
	static const double targets[] = { TARGET_NEW_US, TARGET_EXISTING_US };

	for (unsigned i = 0; i < N_KINDS; i++)
		report_add(&(struct figure){
			.family = "open",
			.name = names[i],
			.transport = transport_name(run->transport),
			.n_cores = run->n_cores,
			.unit = "us",
			.samples = run->us[i],
			.n_samples = run->n,
			.per_sample = 1,
			.limit_of = run->transport == PATHBUS_BUS ? LIMIT_VALUE : LIMIT_NONE,
			.limit = targets[i],
		});
}

void measure_open(const struct settings *settings)
{
	static struct run runs[N_RUNS];
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS, n = 0;

	report_family("pathbus_open");
	pin(settings->core);
	for (unsigned i = 0; i < N_FILES; i++) { /* the files themselves */
		pathbus *bus = handle_new(settings, PATHBUS_PEER);
		char file[32];

		snprintf(file, sizeof(file), "open-%u", i);
		topic_of(settings, bus, file, 0);
		pathbus_free(bus);
	}
	for (unsigned i = 0; i < N_RUNS; i++) {
		struct run *run = &runs[n];

		*run = (struct run){ .transport = transports[i / 2], .n_cores = 1 + i % 2 };
		/* Peer to peer it is one process only; on the bus a second core is the daemon's. */
		if (!transport_is_there(settings, run->transport) ||
		    (run->n_cores == 2 && (run->transport == PATHBUS_PEER || settings->other_core < 0 || !settings->daemon)))
			continue;
		for (unsigned j = 0; j < N_KINDS; j++)
			run->bus[j] = handle_new(settings, run->transport);
		n++;
	}
	for (unsigned i = 0; i < n; i++)
		go_round(settings, &runs[i], false);
	for (unsigned round = 0; round < n_rounds; round++)
		for (unsigned i = 0; i < n; i++)
			go_round(settings, &runs[(i + round) % n], true);
	for (unsigned i = 0; i < n; i++) {
		report(&runs[i]);
		for (unsigned j = 0; j < N_KINDS; j++)
			pathbus_free(runs[i].bus[j]);
	}
}
