/* SPDX-License-Identifier: MIT */
/*
 * flood.c - what a third user's flood makes of the slowest posts, within one user and between two.
 *
 * Two processes, paced: each post is waited for before the next. Beside them, in every other round, a third user posts, sends
 * frames and connects, all of it more than it may. The two are on one core, the daemon and the flood on the other. Both cores
 * are kept awake: on a virtual machine waking one up takes longer than all that is measured here.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "users.h"
#include "wire.h"

enum { N_ROUNDS = 15, N_ROUNDS_QUICK = 5 };

#define TARGET_FLOOD 2.0

static const struct settings *set;

static void must(int r, const char *what)
{
	if (r < 0)
		die(r, "%s", what);
}


enum { N_POSTS = 400, PAUSE_US = 400, N_KEPT = 64 };
enum { FLOOD_PAUSE_US = 200, FLOOD_POSTS = 40, FLOOD_FRAMES = 64 }; /* a pause's */

struct shared {
	_Atomic uint64_t posted[N_POSTS], woken[N_POSTS];
	_Atomic unsigned n_posted, n_woken;
};

struct pair {
	const char *name, *file;
	enum who players[2];
	struct shared *shared;
	struct partner partners[2];
	double us[2][N_ROUNDS], ratio[N_ROUNDS]; /* p99: quiet and flooded */
};

static void sleep_us(long us)
{
	(void)nanosleep(&(struct timespec){ .tv_nsec = us * 1000 }, NULL);
}

static void post_some(pathbus_topic *topic, struct shared *shared)
{
	for (unsigned i = 0; i < N_POSTS; i++) {
		atomic_store(&shared->posted[i], now_ns());
		atomic_store(&shared->n_posted, i + 1);
		must(pathbus_post(topic), "pathbus_post");
		sleep_us(PAUSE_US);
		while (atomic_load(&shared->n_woken) <= i)
			sleep_us(PAUSE_US);
	}
}

/* Wakes up for each; a wake-up for nothing is none. */
static void wake_for_all(pathbus_topic *topic, uint64_t *seen, struct shared *shared)
{
	while (atomic_load(&shared->n_woken) < N_POSTS) {
		uint64_t now;
		unsigned n;
		int r = pathbus_wait(topic, seen, UINT64_MAX, 0);

		if (r == -EINTR)
			continue;
		must(r, "pathbus_wait");
		now = now_ns();
		n = atomic_load(&shared->n_posted);
		if (n > atomic_load(&shared->n_woken)) {
			atomic_store(&shared->woken[n - 1], now);
			atomic_store(&shared->n_woken, n);
		}
	}
}

struct pair_player {
	struct pair *pair;
	unsigned number;
};

static void serve_pair(int socket, const void *arg)
{
	const struct pair_player *player = arg;
	struct pair *pair = player->pair;
	pathbus *bus = NULL;
	pathbus_topic *topic = NULL;
	uint64_t seen = 0;

	pin(set->core);
	yield_to_nobody();
	become(pair->players[player->number]);
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN) {
			topic = open_common(set, pair->file, player->number == 0 ? PATHBUS_POST : PATHBUS_SUBSCRIBE, &bus);
			if (player->number == 1)
				(void)pathbus_check(topic, &seen);
		} else if (player->number == 0) {
			post_some(topic, pair->shared);
		} else {
			wake_for_all(topic, &seen, pair->shared);
		}
		message_send(socket, &message);
	}
	pathbus_free(bus);
}

static double p99_of(struct pair *pair)
{
	static double us[N_POSTS];
	struct message message = { .command = COMMAND_RUN };

	atomic_store(&pair->shared->n_posted, 0);
	atomic_store(&pair->shared->n_woken, 0);
	for (int i = 1; i >= 0; i--)
		message_send(pair->partners[i].socket, &message);
	for (unsigned i = 0; i < 2; i++)
		message_receive(pair->partners[i].socket);
	for (unsigned i = 0; i < N_POSTS; i++)
		us[i] = (double)(pair->shared->woken[i] - pair->shared->posted[i]) / 1000;
	(void)median(us, N_POSTS); /* sorts them */
	return us[N_POSTS * 99 / 100];
}

static int connect_raw(void)
{
	struct sockaddr_un to = { .sun_family = AF_UNIX };
	unsigned char frame[64];
	size_t size = wire_put_hello(frame, 1, &(struct wire_hello){ .version_min = WIRE_VERSION, .version_max = WIRE_VERSION });
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s", set->system_address);
	if (fd < 0)
		die(-errno, "socket");
	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0 || send(fd, frame, size, MSG_NOSIGNAL) < 0) {
		close(fd);
		return -1; /* its queue is full, as a flood would have it */
	}
	return fd;
}

/* One pause's worth of all that a user may do without end. */
static void flood_once(pathbus_topic *topic, int *connections, unsigned n, const unsigned char *frames, size_t size)
{
	char answers[4096];
	int *fd = &connections[n % N_KEPT];

	for (unsigned i = 0; i < FLOOD_POSTS; i++)
		must(pathbus_post(topic), "pathbus_post");
	for (unsigned i = 0; i < N_KEPT; i += 16) {
		if (connections[i] < 0)
			continue;
		(void)send(connections[i], frames, size, MSG_NOSIGNAL | MSG_DONTWAIT); /* what is not taken is not sent */
		while (recv(connections[i], answers, sizeof(answers), MSG_DONTWAIT) > 0)
			;
	}
	if (*fd >= 0)
		close(*fd);
	*fd = connect_raw();
}

static void serve_flood(int socket, const void *arg)
{
	static unsigned char frames[FLOOD_FRAMES * 64];
	int connections[N_KEPT];
	size_t size = 0;
	pathbus *bus = NULL;
	pathbus_topic *topic = NULL;

	(void)arg;
	pin(set->other_core >= 0 ? set->other_core : set->core);
	become(FLOOD);
	for (unsigned i = 0; i < N_KEPT; i++)
		connections[i] = -1;
	for (unsigned i = 0; i < FLOOD_FRAMES; i++)
		size += wire_put_ping(frames + size, i + 2);
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN)
			topic = open_common(set, "users-flood", 0, &bus);
		message_send(socket, &message);
		for (unsigned n = 0; message.command == COMMAND_RUN; n++) {
			flood_once(topic, connections, n, frames, size);
			sleep_us(FLOOD_PAUSE_US);
			if (poll(&(struct pollfd){ .fd = socket, .events = POLLIN }, 1, 0) == 1) {
				message_receive(socket);
				message_send(socket, &message);
				break;
			}
		}
	}
	pathbus_free(bus);
}

static void flood_begin(struct partner *flood)
{
	message_send(flood->socket, &(struct message){ .command = COMMAND_RUN });
	message_receive(flood->socket);
	sleep_us(20000); /* it has what it may have at once, and is at its rate */
}

static void flood_end(struct partner *flood)
{
	message_send(flood->socket, &(struct message){ .command = COMMAND_OPEN });
	message_receive(flood->socket);
	sleep_us(20000);
}

static void report_pair(struct pair *pair, unsigned n_rounds)
{
	char flooded[64];

	snprintf(flooded, sizeof(flooded), "%s, a flood", pair->name);
	for (unsigned i = 0; i < 2; i++)
		report_add(&(struct figure){
			.family = "users",
			.name = i == 0 ? pair->name : flooded,
			.n_cores = set->other_core >= 0 ? 2 : 1,
			.unit = "us",
			.samples = pair->us[i],
			.n_samples = n_rounds,
			.per_sample = N_POSTS,
			.reference = i == 0 ? NULL : pair->name,
			.ratio = i == 0 ? 0 : median(pair->ratio, n_rounds),
			.limit_of = i == 0 ? LIMIT_NONE : LIMIT_RATIO,
			.limit = TARGET_FLOOD,
		});
}

static void open_in(struct partner *partner)
{
	message_send(partner->socket, &(struct message){ .command = COMMAND_OPEN });
	message_receive(partner->socket);
}

static void start_pair(struct pair *pair)
{
	static struct pair_player players[4];
	static unsigned n;

	make_common_file(set, pair->file);
	pair->shared = mmap(NULL, sizeof(*pair->shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (pair->shared == MAP_FAILED)
		die(-errno, "mmap");
	for (unsigned i = 0; i < 2; i++) {
		players[n] = (struct pair_player){ .pair = pair, .number = i };
		partner_start(&pair->partners[i], serve_pair, &players[n++]);
		open_in(&pair->partners[i]);
	}
}

/* Another user has open what the flood posts to, so that it is carried; and never looks. */
static void listen_to_flood(int socket, const void *arg)
{
	pathbus *bus = NULL;

	(void)arg;
	pin(set->other_core >= 0 ? set->other_core : set->core);
	become(OTHER);
	message_receive(socket);
	open_common(set, "users-flood", PATHBUS_SUBSCRIBE, &bus);
	message_send(socket, &(struct message){ .command = COMMAND_OPEN });
	message_receive(socket); /* the end */
	pathbus_free(bus);
}

/* Whoever else wants the core has it. */
static void keep_awake(int socket, const void *core)
{
	pin(*(const int *)core);
	if (sched_setscheduler(0, SCHED_IDLE, &(struct sched_param){ 0 }) < 0)
		die(-errno, "sched_setscheduler");
	while (poll(&(struct pollfd){ .fd = socket, .events = POLLIN }, 1, 0) == 0)
		;
}

static void measure_pairs(struct pair *pairs, struct partner *flood)
{
	unsigned n_rounds = set->quick ? N_ROUNDS_QUICK : N_ROUNDS;

	for (unsigned i = 0; i < 2; i++)
		(void)p99_of(&pairs[i]);
	for (unsigned round = 0; round < n_rounds; round++) {
		for (unsigned turn = 0; turn < 2; turn++) {
			unsigned flooded = (turn + round) % 2;

			if (flooded)
				flood_begin(flood);
			for (unsigned i = 0; i < 2; i++)
				pairs[i].us[flooded][round] = p99_of(&pairs[i]);
			if (flooded)
				flood_end(flood);
		}
		for (unsigned i = 0; i < 2; i++)
			pairs[i].ratio[round] = pairs[i].us[1][round] / pairs[i].us[0][round];
	}
	for (unsigned i = 0; i < 2; i++)
		report_pair(&pairs[i], n_rounds);
}

void measure_flood(const struct settings *settings)
{
	static struct pair pairs[2] = {
		{ .name = "one user, p99", .file = "users-p99-one", .players = { ONE, ONE } },
		{ .name = "two users, p99", .file = "users-p99-two", .players = { ONE, OTHER } },
	};
	const int cores[2] = { settings->core, settings->other_core >= 0 ? settings->other_core : settings->core };
	struct partner flood, heard, awake[2];

	set = settings;
	pin_yielding(set->system_daemon, cores[1]);
	for (unsigned i = 0; i < 2; i++)
		partner_start(&awake[i], keep_awake, &cores[i]);
	make_common_file(set, "users-flood");
	partner_start(&flood, serve_flood, NULL);
	partner_start(&heard, listen_to_flood, NULL);
	for (unsigned i = 0; i < 2; i++)
		start_pair(&pairs[i]);
	open_in(&flood);
	open_in(&heard);
	measure_pairs(pairs, &flood);
	for (unsigned i = 0; i < 2; i++) {
		partner_stop(&pairs[i].partners[0]);
		partner_stop(&pairs[i].partners[1]);
		munmap(pairs[i].shared, sizeof(*pairs[i].shared));
	}
	partner_stop(&flood);
	partner_stop(&heard);
	for (unsigned i = 0; i < 2; i++)
		partner_stop(&awake[i]);
	report_note("a flood: %u posts, %u frames and a connection of a third user each %u us, on the daemon's core",
	            FLOOD_POSTS, N_KEPT / 16 * FLOOD_FRAMES, FLOOD_PAUSE_US);
	report_note("all but the flood under a policy that keeps other programs away");
}
