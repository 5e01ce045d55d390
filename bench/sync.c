/* SPDX-License-Identifier: MIT */
/*
 * sync.c - what pathbus_sync costs: from a post until it says that 8 subscribers have dealt with it, against a wake-up
 * of the same 8: from a post until the last of them has woken and taken its event.
 *
 * Both are measured by turns, each when all subscribers sleep. They are event loops on pathbus_fd, and note in shared
 * memory when they took an event and that they go to sleep. All under a policy in which nobody is preempted by whom it
 * wakes (see wakeup.c).
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"

enum { N_SUBSCRIBERS = 8, N_TURNS = 200, N_ROUNDS = 9, N_ROUNDS_QUICK = 3, FALL_ASLEEP_US = 200, DEADLINE_S = 10 };

#define TARGET_RATIO 3.0

/* Shared with the subscribers. */
struct board {
	_Atomic uint32_t n_resting; /* grows by one when a subscriber has dealt with a post; a futex */
	uint32_t all;               /* of a post: who comes to a multiple of this wakes the poster */
	struct {
		_Alignas(64) _Atomic uint64_t taken_ns;
	} subscribers[N_SUBSCRIBERS];
};

/* A topic and those on it. */
struct crowd {
	const struct settings *settings;
	enum pathbus_transport_kind kind;
	unsigned n_cores, n;
	struct board *board;
	struct partner partners[N_SUBSCRIBERS];
	unsigned starting; /* the partner that is being forked: its own copy says which one it is */
	pathbus *bus;
	pathbus_topic *topic;
	uint32_t n_posts;
};

struct run {
	struct crowd eight, one;
	double wakeup_us[N_ROUNDS], one_us[N_ROUNDS], sync_us[N_ROUNDS], ratio[N_ROUNDS], ratio_to_one[N_ROUNDS];
};

static void futex(_Atomic uint32_t *word, int operation, uint32_t value, const struct timespec *timeout)
{
	(void)syscall(SYS_futex, word, operation, value, timeout, NULL, 0);
}

/* --- a subscriber ---------------------------------------------------------------------------------------------- */

static uint64_t take_events(const struct crowd *crowd, pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t n = 0;
	int r;

	while ((r = pathbus_next(bus, &event)) == 1) {
		if (event.kind != PATHBUS_EVENT_POST)
			die(0, "something came that was not posted: event %d", event.kind);
		atomic_store(&crowd->board->subscribers[crowd->starting].taken_ns, now_ns());
		n += event.count;
	}
	if (r < 0)
		die(r, "pathbus_next");
	return n;
}

static void receive(const struct crowd *crowd, pathbus *bus, unsigned n)
{
	struct pollfd handle = { .fd = pathbus_fd(bus), .events = POLLIN };

	for (uint64_t received = 0; received < n;) {
		uint64_t now;

		if (poll(&handle, 1, -1) < 0 && errno != EINTR)
			die(-errno, "poll");
		now = take_events(crowd, bus);
		received += now;
		if (now > 1)
			die(0, "posts merged that were made one after the other");
		if (now > 0 && (atomic_fetch_add(&crowd->board->n_resting, 1) + 1) % crowd->board->all == 0)
			futex(&crowd->board->n_resting, FUTEX_WAKE, INT_MAX, NULL);
	}
}

static pathbus_topic *open_side(const struct crowd *crowd, pathbus **ret_bus, unsigned flags)
{
	char file[32];

	snprintf(file, sizeof(file), "sync-%s-%u-%u", transport_name(crowd->kind), crowd->n_cores, crowd->n);
	*ret_bus = handle_new(crowd->settings, crowd->kind);
	return topic_of(crowd->settings, *ret_bus, file, flags);
}

static void serve(int socket, const void *arg)
{
	const struct crowd *crowd = arg;
	pathbus *bus = NULL;

	/* By turns: the first is not where the poster is. */
	pin(crowd->n_cores == 1 || crowd->starting % 2 == 1 ? crowd->settings->core : crowd->settings->other_core);
	yield_to_nobody();
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN) {
			open_side(crowd, &bus, PATHBUS_SUBSCRIBE);
			take_events(crowd, bus);
		}
		message_send(socket, &message); /* ready */
		if (message.command == COMMAND_RUN) {
			receive(crowd, bus, message.n);
			message_send(socket, &message);
		}
	}
	pathbus_free(bus);
}

/* --- the poster ------------------------------------------------------------------------------------------------ */

static void post(struct crowd *crowd)
{
	int r = pathbus_post(crowd->topic);

	if (r < 0)
		die(r, "pathbus_post");
	crowd->n_posts++;
}

/* Until all have dealt with all posts. */
static void await_rest(const struct crowd *crowd)
{
	const struct timespec patience = { .tv_sec = DEADLINE_S };
	uint32_t all = crowd->n_posts * crowd->n, now;

	while ((now = atomic_load(&crowd->board->n_resting)) != all) {
		uint64_t start = now_ns();

		futex(&crowd->board->n_resting, FUTEX_WAIT, now, &patience);
		if (now_ns() - start > DEADLINE_S * UINT64_C(1000000000) && atomic_load(&crowd->board->n_resting) == now)
			die(0, "a post was not heard of by all");
	}
}

static double wake_up(struct crowd *crowd)
{
	uint64_t start, last = 0;

	usleep(FALL_ASLEEP_US);
	start = now_ns();
	post(crowd);
	await_rest(crowd);
	for (unsigned i = 0; i < crowd->n; i++) {
		uint64_t taken = atomic_load(&crowd->board->subscribers[i].taken_ns);

		if (taken < start)
			die(0, "a subscriber rested before it had taken the post");
		last = taken > last ? taken : last;
	}
	return (double)(last - start) / 1000;
}

static double synchronize(struct crowd *crowd)
{
	struct pathbus_sync sync = { .size = sizeof(sync) };
	uint64_t start, end;
	int r;

	usleep(FALL_ASLEEP_US);
	start = now_ns();
	post(crowd);
	r = pathbus_sync(crowd->topic, start + DEADLINE_S * UINT64_C(1000000000), &sync);
	end = now_ns();
	if (r < 0)
		die(r, "pathbus_sync: %u of %u have caught up", sync.n_caught_up, sync.n_subscribers);
	if (sync.n_subscribers != crowd->n || sync.n_caught_up != crowd->n)
		die(0, "pathbus_sync: %u of %u have caught up, but there are %u", sync.n_caught_up, sync.n_subscribers,
		    crowd->n);
	for (unsigned i = 0; i < crowd->n; i++)
		if (atomic_load(&crowd->board->subscribers[i].taken_ns) < start)
			die(0, "pathbus_sync returned before all had taken the post");
	await_rest(crowd);
	return (double)(end - start) / 1000;
}

static void tell_all(struct crowd *crowd, enum command command, unsigned n_posts)
{
	struct message message = { .command = command, .n = n_posts };

	for (unsigned i = 0; i < crowd->n; i++) {
		message_send(crowd->partners[i].socket, &message);
		message_receive(crowd->partners[i].socket);
	}
}

static void await_all(struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->n; i++)
		message_receive(crowd->partners[i].socket);
}

static void go_round(struct run *run, unsigned round)
{
	double wakeups[N_TURNS], ones[N_TURNS], syncs[N_TURNS];

	tell_all(&run->eight, COMMAND_RUN, 2 * N_TURNS);
	tell_all(&run->one, COMMAND_RUN, N_TURNS);
	for (unsigned i = 0; i < N_TURNS; i++) {
		wakeups[i] = wake_up(&run->eight);
		ones[i] = wake_up(&run->one);
		syncs[i] = synchronize(&run->eight);
	}
	await_all(&run->eight);
	await_all(&run->one);
	run->wakeup_us[round] = median(wakeups, N_TURNS);
	run->one_us[round] = median(ones, N_TURNS);
	run->sync_us[round] = median(syncs, N_TURNS);
	run->ratio[round] = run->sync_us[round] / run->wakeup_us[round];
	run->ratio_to_one[round] = run->sync_us[round] / run->one_us[round];
}

/* --- beginning, end, and the figures ------------------------------------------------------------------------------- */

static void start(struct crowd *crowd)
{
	crowd->board = mmap(NULL, sizeof(*crowd->board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (crowd->board == MAP_FAILED)
		die(-errno, "mmap");
	crowd->board->all = crowd->n;
	for (crowd->starting = 0; crowd->starting < crowd->n; crowd->starting++)
		partner_start(&crowd->partners[crowd->starting], serve, crowd);
}

static void stop(struct crowd *crowd)
{
	for (unsigned i = 0; i < crowd->n; i++)
		partner_stop(&crowd->partners[i]);
	pathbus_free(crowd->bus);
	munmap(crowd->board, sizeof(*crowd->board));
}

static void report(struct run *run, unsigned n_rounds)
{
	struct figure figure = {
		.family = "sync",
		.name = "one wakes up",
		.transport = transport_name(run->eight.kind),
		.n_cores = run->eight.n_cores,
		.unit = "us",
		.samples = run->one_us,
		.n_samples = n_rounds,
		.per_sample = N_TURNS,
	};

	report_add(&figure);
	figure.name = "8 wake up";
	figure.samples = run->wakeup_us;
	report_add(&figure);
	figure.name = "post, pathbus_sync with 8";
	figure.samples = run->sync_us;
	figure.reference = "8 wake up";
	figure.ratio = median(run->ratio, n_rounds);
	figure.limit_of = LIMIT_RATIO;
	figure.limit = TARGET_RATIO;
	figure.details[0] = (struct detail){ "ratio_to_one", median(run->ratio_to_one, n_rounds) };
	report_add(&figure);
	report_note("    %.2f of the wake-up of one", figure.details[0].value);
}

void measure_sync(const struct settings *settings)
{
	static struct run runs[4];
	unsigned n_rounds = settings->quick ? N_ROUNDS_QUICK : N_ROUNDS, n = 0;

	report_family("Have 8 subscribers caught up?");
	pin(settings->core);
	for (unsigned i = 0; i < 4; i++) {
		struct crowd crowd = { .settings = settings, .kind = transports[i / 2], .n_cores = 1 + i % 2 };

		if (!transport_is_there(settings, crowd.kind) || (crowd.n_cores == 2 && settings->other_core < 0))
			continue;
		runs[n] = (struct run){ .eight = crowd, .one = crowd };
		runs[n].eight.n = N_SUBSCRIBERS;
		runs[n].one.n = 1;
		start(&runs[n].eight);
		start(&runs[n].one);
		n++;
	}
	for (unsigned i = 0; i < n; i++)
		for (unsigned j = 0; j < 2; j++) {
			struct crowd *crowd = j == 0 ? &runs[i].eight : &runs[i].one;

			tell_all(crowd, COMMAND_OPEN, 0);
			crowd->topic = open_side(crowd, &crowd->bus, PATHBUS_POST);
		}
	yield_to_nobody();
	for (unsigned i = 0; i < n; i++)
		go_round(&runs[i], 0); /* to warm up */
	for (unsigned round = 0; round < n_rounds; round++)
		for (unsigned i = 0; i < n; i++)
			go_round(&runs[(i + round) % n], round);
	preempt_as_usual();
	for (unsigned i = 0; i < n; i++) {
		report(&runs[i], n_rounds);
		stop(&runs[i].eight);
		stop(&runs[i].one);
	}
}
