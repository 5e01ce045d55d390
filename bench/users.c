/* SPDX-License-Identifier: MIT */
/*
 * users.c - between users: from a post to another user's wake-up, against a post within one user and a signal of D-Bus.
 *
 * Over a daemon of all users. The processes are really other users, so this needs root. What a third user's flood makes of it
 * is in flood.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dbus.h"
#ifdef BENCH_SDBUS
#include "sdbus.h"
#endif
#include "users.h"

enum { N_TRIPS = 2000, N_ROUNDS = 15, N_ROUNDS_QUICK = 5, N_WARM_UP = 300 };

#define TARGET_CROSSING 2.5
#define TARGET_DBUS     0.334
#define SWITCHES_MIN    0.99

static const struct settings *set;

/* Numbers without an entry would do, but D-Bus lets in only whom it finds one of. */
static uid_t uids[N_WHO] = { 61201, 61202, 61203 };

static void must(int r, const char *what)
{
	if (r < 0)
		die(r, "%s", what);
}

/* --- other users ---------------------------------------------------------------------------------------------------- */

static void choose_users(void)
{
	const struct passwd *entry;
	unsigned n = 0;

	setpwent();
	while (n < N_WHO && (entry = getpwent())) {
		bool is_new = entry->pw_uid != 0;

		for (unsigned i = 0; i < n; i++)
			is_new = is_new && entry->pw_uid != uids[i];
		if (is_new)
			uids[n++] = entry->pw_uid;
	}
	endpwent();
}

void become(enum who who)
{
	uid_t uid = uids[who];

	if (setgroups(0, NULL) < 0 || setresgid(uid, uid, uid) < 0 || setresuid(uid, uid, uid) < 0)
		die(-errno, "cannot become user %u", (unsigned)uid);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* which a change of user forgets */
}

void make_common_file(const struct settings *settings, const char *name)
{
	char path[4096];
	int fd;

	snprintf(path, sizeof(path), "%s/%s", settings->folder, name);
	fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		die(-errno, "%s", path);
	close(fd);
}

pathbus_topic *open_common(const struct settings *settings, const char *name, unsigned flags, pathbus **ret_bus)
{
	struct pathbus_options options = { .size = sizeof(options), .address = settings->system_address, .transport = PATHBUS_BUS,
		                           .timeout_ms = 5000 };
	char path[4096];
	pathbus_topic *topic;

	snprintf(path, sizeof(path), "%s/%s", settings->folder, name);
	must(pathbus_new(ret_bus, &options), "pathbus_new with the daemon of all users");
	must(pathbus_open(*ret_bus, path, flags, &topic), path);
	return topic;
}

/* --- from post to wake-up ------------------------------------------------------------------------------------------- */

struct way {
	const char *name, *file; /* no file: D-Bus */
	bool by_library;
	enum who players[2];
	const char *reference;
	double limit;
};

static const struct way ways[] = {
	{ "a post, within one user", "users-one", false, { ONE, ONE }, NULL, 0 },
	{ "a post, to another user", "users-two", false, { ONE, OTHER }, "a post, within one user", TARGET_CROSSING },
	{ "D-Bus's bare protocol, to another user", NULL, false, { ONE, OTHER }, "a post, within one user", 0 },
	{ "D-Bus (sd-bus), to another user", NULL, true, { ONE, OTHER }, "a post, within one user", 0 },
};
enum { WAY_ONE, WAY_OTHER, WAY_DBUS, WAY_SDBUS, N_WAYS_OF };
#ifdef BENCH_SDBUS
enum { N_WAYS = N_WAYS_OF };
#else
enum { N_WAYS = WAY_SDBUS };
#endif

struct player {
	const struct way *way;
	unsigned number; /* 0 begins */
};

struct game {
	struct partner partners[2];
	double ns[N_ROUNDS], ratio[N_ROUNDS], switches;
};

static void play_posts(pathbus *bus, pathbus_topic *topic, unsigned n, bool begins)
{
	struct pollfd handle = { .fd = pathbus_fd(bus), .events = POLLIN };
	struct pathbus_event event = { .size = sizeof(event) };
	unsigned received = 0;
	int r;

	if (begins)
		must(pathbus_post(topic), "pathbus_post");
	while (received < n) {
		if (poll(&handle, 1, -1) < 0 && errno != EINTR)
			die(-errno, "poll");
		while ((r = pathbus_next(bus, &event)) == 1) {
			if (event.kind != PATHBUS_EVENT_POST)
				continue;
			received += (unsigned)event.count;
			if (!begins || received < n)
				must(pathbus_post(topic), "pathbus_post");
		}
		must(r, "pathbus_next");
	}
}

#ifdef BENCH_SDBUS
static void play_signals_by_library(unsigned n, bool begins)
{
	const char *path = begins ? "/library/first" : "/library/second";

	if (begins)
		sdbus_signal(path);
	for (unsigned i = 1; i <= n; i++) {
		sdbus_await();
		if (!begins || i < n)
			sdbus_signal(path);
	}
}
#else
static void sdbus_open(const char *address, const char *path)
{
	(void)address;
	(void)path;
}

static void sdbus_close(void)
{
}

static void play_signals_by_library(unsigned n, bool begins)
{
	(void)n;
	(void)begins;
}
#endif

static void play_signals(struct dbus *dbus, unsigned n, bool begins)
{
	const char *path = begins ? "/first" : "/second";

	if (begins)
		dbus_signal(dbus, path);
	for (unsigned i = 1; i <= n; i++) {
		dbus_await(dbus);
		if (!begins || i < n)
			dbus_signal(dbus, path);
	}
}

static void serve_player(int socket, const void *arg)
{
	const struct player *player = arg;
	bool begins = player->number == 0;
	static struct dbus dbus;
	pathbus *bus = NULL;
	pathbus_topic *topic = NULL;

	pin(set->core);
	yield_to_nobody();
	become(player->way->players[player->number]);
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN && player->way->file) {
			topic = open_common(set, player->way->file, 0, &bus);
			drain(bus);
		} else if (message.command == COMMAND_OPEN && player->way->by_library) {
			sdbus_open(set->dbus_address, begins ? "/library/second" : "/library/first");
		} else if (message.command == COMMAND_OPEN) {
			dbus_open(&dbus, set->dbus_address, begins ? "/second" : "/first");
		}
		if (message.command == COMMAND_RUN) {
			uint64_t start = now_ns(), switches = voluntary_switches();

			if (player->way->file)
				play_posts(bus, topic, message.n, begins);
			else if (player->way->by_library)
				play_signals_by_library(message.n, begins);
			else
				play_signals(&dbus, message.n, begins);
			message.end_ns = now_ns() - start;
			message.switches = voluntary_switches() - switches;
		}
		message_send(socket, &message);
	}
	pathbus_free(bus);
	if (player->way->by_library)
		sdbus_close();
	else if (!player->way->file)
		dbus_close(&dbus);
}

/* The second sleeps before the first begins. Nanoseconds for one leg. */
static double run(struct game *game, unsigned n)
{
	struct message message = { .command = COMMAND_RUN, .n = n }, answers[2];

	message_send(game->partners[1].socket, &message);
	message_send(game->partners[0].socket, &message);
	for (unsigned i = 0; i < 2; i++)
		answers[i] = message_receive(game->partners[i].socket);
	game->switches += (double)(answers[0].switches + answers[1].switches);
	return (double)answers[0].end_ns / (2.0 * n);
}

static void start(struct game *game, const struct way *way)
{
	static struct player players[2 * N_WAYS_OF];
	static unsigned n;

	if (way->file)
		make_common_file(set, way->file);
	for (unsigned i = 0; i < 2; i++) {
		players[n] = (struct player){ .way = way, .number = i };
		partner_start(&game->partners[i], serve_player, &players[n++]);
	}
	for (unsigned i = 0; i < 2; i++) {
		message_send(game->partners[i].socket, &(struct message){ .command = COMMAND_OPEN });
		message_receive(game->partners[i].socket);
	}
}

static void report_way(struct game *game, const struct way *way, unsigned n_rounds)
{
	double switches = game->switches / (2.0 * N_TRIPS * n_rounds);
	char invalid[64] = "";

	if (switches < SWITCHES_MIN)
		snprintf(invalid, sizeof(invalid), "slept on %.2f of the legs only", switches);
	report_add(&(struct figure){
		.family = "users",
		.name = way->name,
		.n_cores = 1,
		.unit = "ns",
		.samples = game->ns,
		.n_samples = n_rounds,
		.per_sample = N_TRIPS,
		.reference = way->reference,
		.ratio = median(game->ratio, n_rounds),
		.limit_of = way->limit > 0 ? LIMIT_RATIO : LIMIT_NONE,
		.limit = way->limit,
		.invalid = *invalid ? invalid : NULL,
		.details = { { "switches_per_leg", switches } },
	});
}

static void report_to_dbus(const char *name, double *samples, unsigned n, enum limit limit_of)
{
	report_add(&(struct figure){
		.family = "users", .name = name, .n_cores = 1, .unit = "", .samples = samples, .n_samples = n, .per_sample = N_TRIPS,
		.limit_of = limit_of, .limit = TARGET_DBUS,
	});
}

static void measure_ways(void)
{
	static struct game games[N_WAYS_OF];
	static double to_dbus[N_ROUNDS], to_sdbus[N_ROUNDS];
	unsigned n_rounds = set->quick ? N_ROUNDS_QUICK : N_ROUNDS, n = set->dbus_address ? N_WAYS : WAY_DBUS;

	pin_yielding(set->system_daemon, set->core);
	if (set->dbus_address)
		pin_yielding(set->dbus_daemon, set->core);
	for (unsigned i = 0; i < n; i++) {
		start(&games[i], &ways[i]);
		run(&games[i], N_WARM_UP);
		games[i].switches = 0;
	}
	for (unsigned round = 0; round < n_rounds; round++) {
		for (unsigned i = 0; i < n; i++) {
			struct game *game = &games[(i + round) % n];

			game->ns[round] = run(game, N_TRIPS);
		}
		for (unsigned i = 0; i < n; i++)
			games[i].ratio[round] = games[i].ns[round] / games[WAY_ONE].ns[round];
		if (n > WAY_DBUS)
			to_dbus[round] = games[WAY_OTHER].ns[round] / games[WAY_DBUS].ns[round];
		if (n > WAY_SDBUS)
			to_sdbus[round] = games[WAY_OTHER].ns[round] / games[WAY_SDBUS].ns[round];
	}
	for (unsigned i = 0; i < n; i++) {
		report_way(&games[i], &ways[i], n_rounds);
		partner_stop(&games[i].partners[0]);
		partner_stop(&games[i].partners[1]);
	}
	if (n > WAY_DBUS)
		report_to_dbus("a post to D-Bus's bare protocol", to_dbus, n_rounds, LIMIT_NONE);
	else
		report_note("not against D-Bus: there is no dbus-daemon");
	if (n > WAY_SDBUS)
		report_to_dbus("a post to D-Bus (sd-bus)", to_sdbus, n_rounds, LIMIT_VALUE);
	else if (n > WAY_DBUS)
		report_note("not against sd-bus: built without libsystemd");
	report_note("all processes, the daemons too, on one core under the same policy");
}

void measure_users(const struct settings *settings)
{
	set = settings;
	report_family("Between users");
	if (!settings->system_address) {
		report_note("skipped: needs root, to be other users and for a daemon of all users");
		return;
	}
	choose_users();
	measure_ways();
	measure_flood(settings);
}
