/* SPDX-License-Identifier: MIT */
/*
 * post.c - what a post costs while nobody listens: against the atomic add that it cannot do without.
 *
 * Two kinds of handle: one that only posts, and one that subscribes as well but is not armed (its program is
 * busy: the bell was rung once and not answered).
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"
#include "os/os.h"

enum { N_POSTS = 1000000, N_ROUNDS = 15, N_ROUNDS_QUICK = 5, N_WAYS = 5, TARGET_NS = 15 };

struct way {
	char name[64];
	const char *transport;
	pathbus *bus;
	pathbus_topic *topic; /* NULL: the reference */
	double ns[N_ROUNDS], ratio[N_ROUNDS];
	uint64_t rings;
};

static double run(struct way *way, _Atomic uint64_t *word)
{
	uint64_t start, rings = atomic_load(&os_counts.rings);

	start = cpu_ns();
	if (way->topic) {
		for (unsigned i = 0; i < N_POSTS; i++)
			if (pathbus_post(way->topic) < 0)
				die(0, "pathbus_post failed");
	} else {
		for (unsigned i = 0; i < N_POSTS; i++)
			atomic_fetch_add(word, 1);
	}
	start = cpu_ns() - start;
	way->rings += atomic_load(&os_counts.rings) - rings;
	return (double)start / N_POSTS;
}

static void add_way(struct way *way, const struct settings *settings, enum pathbus_transport_kind kind, bool subscribed)
{
	char file[32];

	way->transport = transport_name(kind);
	snprintf(way->name, sizeof(way->name), "%s", subscribed ? "subscribed, not armed" : "post-only handle");
	snprintf(file, sizeof(file), "post-%s-%d", way->transport, subscribed);
	way->bus = handle_new(settings, kind);
	way->topic = topic_of(settings, way->bus, file, subscribed ? 0 : PATHBUS_POST);
	drain(way->bus);
	pathbus_post(way->topic); /* rings for the subscription, which stays unanswered */
}

static void report(struct way *way, unsigned n_rounds)
{
	report_add(&(struct figure){
		.family = "post",
		.name = way->name,
		.transport = way->transport,
		.n_cores = 1,
		.unit = "ns",
		.samples = way->ns,
		.n_samples = n_rounds,
		.per_sample = N_POSTS,
		.reference = way->topic ? "atomic add" : NULL,
		.ratio = median(way->ratio, n_rounds),
		.limit_of = way->topic ? LIMIT_VALUE : LIMIT_NONE,
		.limit = TARGET_NS,
		.invalid = way->rings ? "the bell was rung" : NULL,
		.details = { { "rings", (double)way->rings } },
	});
}

void measure_post(const struct settings *settings)
{
	static struct way ways[N_WAYS] = { { .name = "atomic add" } };
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS, n = 1;
	_Atomic uint64_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (word == MAP_FAILED)
		die(0, "no memory");
	report_family("Post, nobody listens");
	pin(settings->core);
	for (unsigned i = 0; i < 2; i++) {
		if (!transport_is_there(settings, transports[i]))
			continue;
		add_way(&ways[n++], settings, transports[i], false);
		add_way(&ways[n++], settings, transports[i], true);
	}
	for (unsigned i = 0; i < n; i++) {
		run(&ways[i], word);
		ways[i].rings = 0;
	}
	for (unsigned round = 0; round < n_rounds; round++) {
		for (unsigned i = 0; i < n; i++) {
			struct way *way = &ways[(i + round) % n];

			way->ns[round] = run(way, word);
		}
		for (unsigned i = 0; i < n; i++)
			ways[i].ratio[round] = ways[i].ns[round] / ways[0].ns[round];
	}
	for (unsigned i = 0; i < n; i++) {
		report(&ways[i], n_rounds);
		pathbus_free(ways[i].bus);
	}
	munmap((void *)word, 4096);
}
