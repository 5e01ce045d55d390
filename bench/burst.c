/* SPDX-License-Identifier: MIT */
/*
 * burst.c - a million posts at a subscriber that sleeps in poll and takes events until there are none.
 * The cost is what the poster pays in processor time; on one core the subscriber's is not in it.
 *
 * The bell may be written at most once for each time the subscriber arms itself, so both are counted: the
 * rings in the poster, the arming in the subscriber, where lane_arm is wrapped (see CMakeLists.txt).
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "common/lane.h"
#include "os/os.h"

/* One for each, and a little: a post that is overtaken by an arming between its add and its look rings for it,
 * and the next post rings again. */
#define TARGET_PER_ARM 1.01

enum { N_POSTS = 1000000, N_ROUNDS = 9, N_ROUNDS_QUICK = 3, N_RUNS = 4, TARGET_NS = 20, FALL_ASLEEP_US = 5000 };

struct run {
	const struct settings *settings;
	enum pathbus_transport_kind kind;
	unsigned n_cores;
	struct partner partner;
	pathbus *bus;
	pathbus_topic *topic;
	double ns[N_ROUNDS], wall_ns[N_ROUNDS], per_arm[N_ROUNDS], rings[N_ROUNDS], arms[N_ROUNDS], wakeups[N_ROUNDS];
};

/* --- the subscriber -------------------------------------------------------------------------------------------- */

static void receive(pathbus *bus, struct message *message)
{
	struct pollfd handle = { .fd = pathbus_fd(bus), .events = POLLIN };
	uint64_t received = 0;

	while (received < message->n) {
		if (poll(&handle, 1, -1) < 0 && errno != EINTR)
			die(-errno, "poll");
		message->wakeups++;
		received += drain(bus);
	}
	if (received != message->n)
		die(0, "more posts came than were made");
}

static pathbus_topic *open_side(const struct run *run, pathbus **ret_bus, unsigned flags)
{
	char file[32];

	snprintf(file, sizeof(file), "burst-%s-%u", transport_name(run->kind), run->n_cores);
	*ret_bus = handle_new(run->settings, run->kind);
	return topic_of(run->settings, *ret_bus, file, flags);
}

static void serve(int socket, const void *arg)
{
	const struct run *run = arg;
	pathbus *bus = NULL;

	pin(run->n_cores == 1 ? run->settings->core : run->settings->other_core);
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN) {
			open_side(run, &bus, PATHBUS_SUBSCRIBE);
			drain(bus);
		}
		message_send(socket, &message); /* ready */
		if (message.command == COMMAND_RUN) {
			uint64_t arms = atomic_load(&os_counts.arms);

			receive(bus, &message);
			/* Without success too: posters ring for it. And the one that was in force. */
			message.arms = atomic_load(&os_counts.arms) - arms + 1;
			message_send(socket, &message);
		}
	}
	pathbus_free(bus);
}

/* --- the poster ------------------------------------------------------------------------------------------------ */

static void post_all(struct run *run, unsigned round)
{
	struct message message = { .command = COMMAND_RUN, .n = N_POSTS };
	uint64_t start, start_cpu, rings;

	message_send(run->partner.socket, &message);
	message_receive(run->partner.socket);
	usleep(FALL_ASLEEP_US);
	rings = atomic_load(&os_counts.rings);
	start = now_ns();
	start_cpu = cpu_ns();
	for (unsigned i = 0; i < N_POSTS; i++)
		if (pathbus_post(run->topic) < 0)
			die(0, "pathbus_post failed");
	run->ns[round] = (double)(cpu_ns() - start_cpu) / N_POSTS;
	run->wall_ns[round] = (double)(now_ns() - start) / N_POSTS;
	rings = atomic_load(&os_counts.rings) - rings;
	message = message_receive(run->partner.socket);
	run->rings[round] = (double)rings;
	run->arms[round] = (double)message.arms;
	run->wakeups[round] = (double)message.wakeups;
	run->per_arm[round] = (double)rings / (double)message.arms;
}

static void report(struct run *run, unsigned n_rounds)
{
	struct figure figure = {
		.family = "burst",
		.name = "each post",
		.transport = transport_name(run->kind),
		.n_cores = run->n_cores,
		.unit = "ns",
		.samples = run->ns,
		.n_samples = n_rounds,
		.per_sample = N_POSTS,
		.limit_of = LIMIT_VALUE,
		.limit = TARGET_NS,
		.details = { { "wall_clock_ns", median(run->wall_ns, n_rounds) },
		             { "wakeups", median(run->wakeups, n_rounds) } },
	};

	report_add(&figure);
	figure.name = "bell writes per arming";
	figure.unit = "";
	figure.samples = run->per_arm;
	figure.limit = TARGET_PER_ARM;
	figure.details[0] = (struct detail){ "bell_writes", median(run->rings, n_rounds) };
	figure.details[1] = (struct detail){ "arms", median(run->arms, n_rounds) };
	report_add(&figure);
	report_note("    bell writes %.0f, armed %.0f times, woke %.0f times; %.1f ns by the clock on the wall",
	            figure.details[0].value, figure.details[1].value, median(run->wakeups, n_rounds),
	            median(run->wall_ns, n_rounds));
}

void measure_burst(const struct settings *settings)
{
	static struct run runs[N_RUNS];
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS, n = 0;

	report_family("A burst of 1,000,000 at a sleeper");
	pin(settings->core);
	for (unsigned i = 0; i < N_RUNS; i++) {
		struct run *run = &runs[n];

		*run = (struct run){ .settings = settings, .kind = transports[i / 2], .n_cores = 1 + i % 2 };
		if (!transport_is_there(settings, run->kind) || (run->n_cores == 2 && settings->other_core < 0))
			continue;
		partner_start(&run->partner, serve, run);
		n++;
	}
	for (unsigned i = 0; i < n; i++) {
		message_send(runs[i].partner.socket, &(struct message){ .command = COMMAND_OPEN });
		message_receive(runs[i].partner.socket);
		runs[i].topic = open_side(&runs[i], &runs[i].bus, PATHBUS_POST);
	}
	for (unsigned round = 0; round < n_rounds; round++)
		for (unsigned i = 0; i < n; i++)
			post_all(&runs[(i + round) % n], round);
	for (unsigned i = 0; i < n; i++)
		report(&runs[i], n_rounds);
	for (unsigned i = 0; i < n; i++) {
		partner_stop(&runs[i].partner);
		pathbus_free(runs[i].bus);
	}
}
