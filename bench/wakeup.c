/* SPDX-License-Identifier: MIT */
/*
 * wakeup.c - one way from post to wake-up, with a message and without: two processes on one core, half of a round trip.
 *
 * What counts is that everybody sleeps on every leg: a way in which the turn is back before its player has
 * gone to sleep measures something else. So nobody preempts whom it has woken, and the voluntary context
 * switches of both are counted; a way with fewer than 0.99 for each leg is reported as invalid.
 */
#include <stdio.h>
#include <string.h>

#include "os/os.h"
#include "ways.h"

enum { N_ROUND_TRIPS = 5000, N_ROUNDS = 15, N_ROUNDS_QUICK = 5, N_WARM_UP = 500 };

#define SWITCHES_MIN 0.99

static unsigned n_started; /* games, so that each has a topic of its own */

struct game {
	struct side side;
	struct partner partner;
	double ns[N_ROUNDS], ratio[N_ROUNDS];
	double switches, rings, waits; /* of both sides, over all rounds */
};

/* Plays and adds what it took to *count. */
static void play(struct side *side, unsigned n, struct message *count)
{
	uint64_t switches = voluntary_switches();
	uint64_t rings = atomic_load(&os_counts.rings), waits = atomic_load(&os_counts.waits);

	side->way->play(side, n);
	count->switches = voluntary_switches() - switches;
	count->rings = atomic_load(&os_counts.rings) - rings;
	count->waits = atomic_load(&os_counts.waits) - waits;
}

static void serve(int socket, const void *arg)
{
	struct side side = *(const struct side *)arg;

	side.first = false;
	pin(side.settings->core);
	yield_to_nobody();
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN)
			side_open(&side);
		message_send(socket, &message); /* ready */
		if (message.command == COMMAND_RUN) {
			play(&side, message.n, &message);
			message_send(socket, &message);
		}
	}
	side_close(&side);
}

static double run(struct game *game, unsigned n)
{
	struct message mine = { .command = COMMAND_RUN, .n = n }, theirs;
	uint64_t start;

	message_send(game->partner.socket, &mine);
	message_receive(game->partner.socket);
	start = now_ns();
	play(&game->side, n, &mine);
	start = now_ns() - start;
	theirs = message_receive(game->partner.socket);
	game->switches += (double)(mine.switches + theirs.switches);
	game->rings += (double)(mine.rings + theirs.rings);
	game->waits += (double)(mine.waits + theirs.waits);
	return (double)start / (2.0 * n);
}

static void report(struct game *game, const char *family, unsigned n_rounds)
{
	const struct way *way = game->side.way;
	double legs = 2.0 * N_ROUND_TRIPS * n_rounds, switches = game->switches / legs;
	char invalid[64] = "";

	if (switches < SWITCHES_MIN)
		snprintf(invalid, sizeof(invalid), "slept on %.2f of the legs only", switches);
	report_add(&(struct figure){
		.family = family,
		.name = way->name,
		.transport = way->transport == PATHBUS_AUTO ? NULL : transport_name(way->transport),
		.n_cores = 1,
		.unit = "ns",
		.samples = game->ns,
		.n_samples = n_rounds,
		.per_sample = N_ROUND_TRIPS,
		.reference = way->reference,
		.ratio = median(game->ratio, n_rounds),
		.limit_of = way->limit_of,
		.limit = way->limit,
		.invalid = *invalid ? invalid : NULL,
		.details = { { "switches_per_leg", switches },
		             { "bell_writes_per_leg", game->rings / legs },
		             { "epoll_waits_per_leg", game->waits / legs } },
	});
}

static unsigned start_games(struct game *games, const struct settings *settings, const struct way *table,
                            unsigned n_table)
{
	struct turns *turns = turns_new();
	unsigned n = 0;

	for (unsigned i = 0; i < n_table; i++) {
		const struct way *way = &table[i];

		if (way->transport != PATHBUS_AUTO && !transport_is_there(settings, way->transport))
			continue;
		if (way->reference && settings->part && !strstr(way->name, settings->part))
			continue;
		games[n].side = (struct side){
			.way = way, .settings = settings, .turns = turns, .number = n_started++, .first = true
		};
		partner_start(&games[n].partner, serve, &games[n].side);
		n++;
	}
	/* All partners are forked: now handles may be opened. */
	for (unsigned i = 0; i < n; i++) {
		message_send(games[i].partner.socket, &(struct message){ .command = COMMAND_OPEN });
		message_receive(games[i].partner.socket);
		side_open(&games[i].side);
	}
	return n;
}

static void go_round(struct game *games, unsigned n, unsigned round)
{
	double reference = 0;

	for (unsigned i = 0; i < n; i++) {
		struct game *game = &games[(i + round) % n];

		game->ns[round] = run(game, N_ROUND_TRIPS);
	}
	for (unsigned i = 0; i < n; i++) {
		if (!games[i].side.way->reference)
			reference = games[i].ns[round];
		games[i].ratio[round] = games[i].ns[round] / reference;
	}
}

/* Under a title that is printed already. */
static void measure(const struct settings *settings, const char *family, const struct way *table, unsigned n_table)
{
	static struct game games[N_REGION_WAYS]; /* the longest */
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS, n;
	const char *policy;

	memset(games, 0, sizeof(games));
	pin(settings->core);
	n = start_games(games, settings, table, n_table);
	policy = yield_to_nobody();
	for (unsigned i = 0; i < n; i++)
		run(&games[i], N_WARM_UP);
	for (unsigned i = 0; i < n; i++)
		games[i].switches = games[i].rings = games[i].waits = 0;
	for (unsigned round = 0; round < n_rounds; round++)
		go_round(games, n, round);
	preempt_as_usual();
	for (unsigned i = 0; i < n; i++)
		report(&games[i], family, n_rounds);
	report_note("both processes under %s, so that nobody is preempted by whom it wakes", policy);
	for (unsigned i = 0; i < n; i++) {
		partner_stop(&games[i].partner);
		side_close(&games[i].side);
	}
}

void measure_wakeup(const struct settings *settings)
{
	report_family("From post to wake-up, one way");
	measure(settings, "wakeup", ways, N_WAYS);
}

void measure_region_latency(const struct settings *settings)
{
	measure(settings, "region", region_ways, N_REGION_WAYS);
}

void measure_message_latency(const struct settings *settings)
{
	measure(settings, "messages", message_ways, N_MESSAGE_WAYS);
}
