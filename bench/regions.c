/* SPDX-License-Identifier: MIT */
/*
 * regions.c - writing and reading 8 regions of 100 MB, each as a whole within its bracket, against plain shared memory;
 * and opening a region that is there.
 *
 * The plain memory is a memfd that is mapped twice, as a region is: writable, and once more to read. Both have ordinary
 * pages, which were all touched before. Region and plain memory take turns, buffer by buffer, so that what disturbs one
 * disturbs the other. What counts is processor time, and the ratio of a round is the median of its pairs: neighbours that
 * come in between cost one pair, not the round.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

enum { N_BUFFERS = 8, N_ROUNDS = 9, N_ROUNDS_QUICK = 3, N_OPENED = 20, N_OPEN_ROUNDS = 10, N_OPEN_ROUNDS_QUICK = 3 };
enum { TARGET_OPEN_US = 200 };

#define BUFFER_SIZE ((size_t)100 * 1000 * 1000)
#define TARGET_RATIO 0.97

enum way { PLAIN, REGION, N_WAYS_OF };
enum action { WRITE, READ, N_ACTIONS };

struct buffer {
	uint64_t *to;               /* plain */
	const uint64_t *from;       /* the same, mapped to read */
	pathbus_region *writer, *reader;
};

struct run {
	enum pathbus_transport_kind transport;
	pathbus *writer, *reader;
	struct buffer buffers[N_BUFFERS];
	double rate[N_WAYS_OF][N_ACTIONS][N_ROUNDS], ratio[N_ACTIONS][N_ROUNDS]; /* GB/s */
};

static volatile uint64_t sink; /* so that reading is done */

/* --- what is measured ---------------------------------------------------------------------------------------------- */

/* One piece of code for both ways: two copies of a loop may run at different speeds for how they lie. */
__attribute__((noinline)) static void fill(uint64_t *to, uint64_t value)
{
	for (size_t i = 0; i < BUFFER_SIZE / sizeof(*to); i++)
		to[i] = value + i;
}

__attribute__((noinline)) static void sum(const uint64_t *from)
{
	uint64_t total = 0;

	for (size_t i = 0; i < BUFFER_SIZE / sizeof(*from); i++)
		total += from[i];
	sink += total;
}

static void must(int r, const char *what)
{
	if (r < 0)
		die(r, "%s", what);
}

static void write_one(struct buffer *buffer, enum way way, uint64_t value)
{
	void *data;

	if (way == PLAIN) {
		fill(buffer->to, value);
		return;
	}
	must(pathbus_region_begin(buffer->writer, 0, 0, &data), "pathbus_region_begin");
	fill(data, value);
	must(pathbus_region_end(buffer->writer), "pathbus_region_end");
}

static void read_one(struct buffer *buffer, enum way way)
{
	const void *data;
	uint64_t version;

	if (way == PLAIN) {
		sum(buffer->from);
		return;
	}
	must(pathbus_region_read_begin(buffer->reader, &data, &version), "pathbus_region_read_begin");
	sum(data);
	must(pathbus_region_read_end(buffer->reader), "pathbus_region_read_end");
}

static void go_round(struct run *run, unsigned round, bool counts)
{
	double rates[N_ACTIONS][N_WAYS_OF][N_BUFFERS], ratios[N_ACTIONS][N_BUFFERS];

	for (unsigned action = 0; action < N_ACTIONS; action++)
		for (unsigned i = 0; i < N_BUFFERS; i++) {
			for (unsigned turn = 0; turn < N_WAYS_OF; turn++) {
				enum way way = (turn + i + round) % N_WAYS_OF;
				uint64_t start = cpu_ns();

				if (action == WRITE)
					write_one(&run->buffers[i], way, round + i);
				else
					read_one(&run->buffers[i], way);
				rates[action][way][i] = (double)BUFFER_SIZE / (double)(cpu_ns() - start);
			}
			ratios[action][i] = rates[action][REGION][i] / rates[action][PLAIN][i];
		}
	drain(run->writer);
	drain(run->reader);
	for (unsigned action = 0; counts && action < N_ACTIONS; action++) {
		for (unsigned way = 0; way < N_WAYS_OF; way++)
			run->rate[way][action][round] = median(rates[action][way], N_BUFFERS);
		run->ratio[action][round] = median(ratios[action], N_BUFFERS);
	}
}

/* --- around it ------------------------------------------------------------------------------------------------------ */

static void map_plain(struct buffer *buffer)
{
	int file = memfd_create("plain", MFD_CLOEXEC);
	void *to, *from;

	if (file < 0 || ftruncate(file, (off_t)BUFFER_SIZE) < 0)
		die(-errno, "memfd_create");
	to = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	from = mmap(NULL, BUFFER_SIZE, PROT_READ, MAP_SHARED, file, 0);
	if (to == MAP_FAILED || from == MAP_FAILED)
		die(-errno, "mmap");
	close(file);
	buffer->to = to;
	buffer->from = from;
}

static void begin(const struct settings *settings, struct run *run)
{
	pathbus_topic *writer, *reader;

	run->writer = handle_new(settings, run->transport);
	run->reader = handle_new(settings, run->transport);
	writer = topic_of(settings, run->writer, "regions", PATHBUS_POST);
	reader = topic_of(settings, run->reader, "regions", PATHBUS_SUBSCRIBE);
	for (unsigned i = 0; i < N_BUFFERS; i++) {
		struct buffer *buffer = &run->buffers[i];
		char name[32];

		snprintf(name, sizeof(name), "buffer-%u", i);
		must(pathbus_region_create(writer, name, BUFFER_SIZE, 0, &buffer->writer), "pathbus_region_create");
		must(pathbus_region_open(reader, name, PATHBUS_REGION_READ_ONLY, &buffer->reader), "pathbus_region_open");
		map_plain(buffer);
	}
}

static void end(struct run *run)
{
	pathbus_free(run->writer);
	pathbus_free(run->reader);
	for (unsigned i = 0; i < N_BUFFERS; i++) {
		munmap(run->buffers[i].to, BUFFER_SIZE);
		munmap((void *)(uintptr_t)run->buffers[i].from, BUFFER_SIZE);
	}
}

static void report(struct run *run, unsigned n_rounds)
{
	static const char *const names[N_ACTIONS][N_WAYS_OF + 1] = {
		{ "writing, plain", "writing, a region", "writing, region to plain" },
		{ "reading, plain", "reading, a region", "reading, region to plain" },
	};

	for (unsigned action = 0; action < N_ACTIONS; action++) {
		for (unsigned way = 0; way < N_WAYS_OF; way++)
			report_add(&(struct figure){
				.family = "region",
				.name = names[action][way],
				.transport = transport_name(run->transport),
				.n_cores = 1,
				.unit = "GB/s",
				.samples = run->rate[way][action],
				.n_samples = n_rounds,
				.per_sample = N_BUFFERS,
			});
		report_add(&(struct figure){
			.family = "region",
			.name = names[action][N_WAYS_OF],
			.transport = transport_name(run->transport),
			.n_cores = 1,
			.unit = "",
			.samples = run->ratio[action],
			.n_samples = n_rounds,
			.per_sample = N_BUFFERS,
			.limit_of = LIMIT_AT_LEAST,
			.limit = TARGET_RATIO,
		});
	}
}

static void measure_memory(const struct settings *settings, enum pathbus_transport_kind transport)
{
	static struct run run;
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS;

	run = (struct run){ .transport = transport };
	begin(settings, &run);
	go_round(&run, 0, false); /* all pages are there afterwards */
	for (unsigned round = 0; round < n_rounds; round++)
		go_round(&run, round, true);
	report(&run, n_rounds);
	end(&run);
}

/* --- opening ------------------------------------------------------------------------------------------------------- */

static void measure_opening(const struct settings *settings, enum pathbus_transport_kind transport)
{
	static double us[N_OPEN_ROUNDS * N_OPENED];
	unsigned n_rounds = settings->quick ? N_OPEN_ROUNDS_QUICK : N_OPEN_ROUNDS, n = 0;
	pathbus *maker = handle_new(settings, transport), *opener = handle_new(settings, transport);
	pathbus_topic *made = topic_of(settings, maker, "regions", PATHBUS_POST);
	pathbus_topic *opened = topic_of(settings, opener, "regions", PATHBUS_SUBSCRIBE);
	pathbus_region *regions[N_OPENED];
	char name[32];

	for (unsigned i = 0; i < N_OPENED; i++) {
		snprintf(name, sizeof(name), "opened-%u", i);
		must(pathbus_region_create(made, name, 1000000, 0, &regions[i]), "pathbus_region_create");
	}
	for (unsigned round = 0; round < n_rounds; round++) {
		pin_daemon(settings, settings->core);
		for (unsigned i = 0; i < N_OPENED; i++) {
			uint64_t start = now_ns();

			snprintf(name, sizeof(name), "opened-%u", i);
			must(pathbus_region_open(opened, name, 0, &regions[i]), "pathbus_region_open");
			us[n++] = (double)(now_ns() - start) / 1000;
		}
		for (unsigned i = 0; i < N_OPENED; i++)
			pathbus_region_close(regions[i]);
		if (transport == PATHBUS_BUS)
			must(pathbus_ping(opener, NULL), "pathbus_ping"); /* its work is over */
	}
	report_add(&(struct figure){
		.family = "region",
		.name = "opening one",
		.transport = transport_name(transport),
		.n_cores = 1,
		.unit = "us",
		.samples = us,
		.n_samples = n,
		.per_sample = 1,
		.limit_of = LIMIT_VALUE,
		.limit = TARGET_OPEN_US,
	});
	pathbus_free(opener);
	pathbus_free(maker);
}

static bool is_wanted(const struct settings *settings, const char *name)
{
	return !settings->part || strstr(name, settings->part);
}

void measure_regions(const struct settings *settings)
{
	report_family("Regions");
	pin(settings->core);
	if (is_wanted(settings, "latency, a version, wait, poll"))
		measure_region_latency(settings); /* before handles are opened: it forks */
	for (unsigned i = 0; i < 2; i++) {
		if (!transport_is_there(settings, transports[i]))
			continue;
		if (is_wanted(settings, "writing, reading, plain"))
			measure_memory(settings, transports[i]);
		if (is_wanted(settings, "opening one"))
			measure_opening(settings, transports[i]);
	}
	report_note("8 regions of 100 MB, in turns with as much plain shared memory; ordinary pages, all of them touched");
}
