/* SPDX-License-Identifier: MIT */
/*
 * test_users.c - the seams of the daemon of all users: processes of several users, some of which do not reach it. Each user
 * has a link agent, which is that user's process; so what one user does to it concerns nobody else.
 */
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "harness/daemon.h"
#include "harness/harness.h"
#include "seams/listener.h"
#include "seams/world.h"

/* Numbers without an entry anywhere. */
#define SERVICE 61410
#define ALICE 61411
#define BOB 61412
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

static struct harness_daemon daemon_;
static const char *file; /* of Alice, in a folder where all may make things; all may write it */

/* --- the place -------------------------------------------------------------------------------------------- */

static void give(const char *path, uid_t uid, mode_t mode)
{
	ck_assert_int_eq(chown(path, uid, uid), 0);
	ck_assert_int_eq(chmod(path, mode), 0);
}

static const char *folder(const char *name, uid_t uid, mode_t mode)
{
	const char *path = harness_path("%s", name);

	ck_assert_int_eq(mkdir(path, 0700), 0);
	give(path, uid, mode);
	return path;
}

/* All users can get to the case's folder. */
static void open_up(void)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s", harness_tmpdir());
	ck_assert_int_eq(chmod(path, 0711), 0);
	*strrchr(path, '/') = '\0';
	ck_assert_int_eq(chmod(path, 0711), 0);
}

static void start_daemon(void)
{
	harness_daemon_start(&daemon_, (const char *const[]){ "--system", "--user", TEXT(SERVICE), NULL });
}

static void setup(void)
{
	if (geteuid() != 0)
		harness_skip("needs root: the processes are other users'");
	daemon_ = (struct harness_daemon){ 0 };
	open_up();
	folder("run", SERVICE, 0755);
	daemon_.address = harness_path("run/socket");
	folder("all", 0, 01777);
	file = harness_path("all/data");
	harness_write_file(file, "");
	give(file, ALICE, 0666);
}

/* These users are ours, so these are as well. A daemon leaves them: it shares them with the users' programs. */
static void teardown(void)
{
	(void)rmdir("/dev/shm/pathbus-" TEXT(ALICE));
	(void)rmdir("/dev/shm/pathbus-" TEXT(BOB));
}

/* --- a process of a user ---------------------------------------------------------------------------------- */

struct person {
	struct harness_process process;
	uid_t uid;
	enum pathbus_transport_kind kind;
	const char *path;
};

static void become(uid_t uid)
{
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setresgid(uid, uid, uid), 0);
	ck_assert_int_eq(setresuid(uid, uid, uid), 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* which a change of user forgets */
	prctl(PR_SET_DUMPABLE, 1);
}

/* Obeys until it hears nothing more. */
static int be(struct harness_process *peer, void *arg)
{
	const struct person *me = arg;
	struct listener listener = { 0 };
	const char *line;

	become(me->uid);
	while ((line = harness_hear(peer))) {
		struct pathbus_options options = { .size = sizeof(options), .address = daemon_.address, .transport = me->kind,
			                           .timeout_ms = me->kind == PATHBUS_BUS ? harness_limit_ms : 0 };

		if (strcmp(line, "open") == 0) {
			ck_assert_int_eq(pathbus_new(&listener.bus, &options), 0);
			harness_tell(peer, "%d", pathbus_open(listener.bus, me->path, 0, &listener.topic));
		} else if (strcmp(line, "post") == 0) {
			harness_tell(peer, "%d", pathbus_post(listener.topic));
		} else if (strcmp(line, "drain") == 0) {
			listener_drain(&listener);
			harness_tell(peer, "drained");
		} else if (strcmp(line, "hear") == 0) {
			listener_expect_news(&listener);
			harness_tell(peer, "heard");
		} else if (strcmp(line, "come back") == 0) {
			listener_await_transport(&listener, PATHBUS_BUS);
			harness_tell(peer, "back");
		} else if (strcmp(line, "close") == 0) {
			listener_close(&listener);
			harness_tell(peer, "closed");
		} else {
			ck_abort_msg("what is '%s'?", line);
		}
	}
	listener_close(&listener);
	return 0;
}

static void start(struct person *person, uid_t uid, enum pathbus_transport_kind kind)
{
	*person = (struct person){ .uid = uid, .kind = kind, .path = file };
	harness_spawn(&person->process, be, person);
}

static void ask(struct person *person, const char *what, const char *answer)
{
	harness_tell(&person->process, "%s", what);
	harness_expect_line(&person->process, answer);
}

static void come(struct person *person, uid_t uid, enum pathbus_transport_kind kind)
{
	start(person, uid, kind);
	ask(person, "open", "0");
}

static void go(struct person *person)
{
	harness_hang_up(&person->process);
	harness_expect_exit(&person->process, 0);
}

static void expect_post(struct person *from, struct person *to)
{
	ask(to, "drain", "drained");
	ask(from, "post", "0");
	ask(to, "hear", "heard");
}

static void expect_both_ways(struct person *a, struct person *b)
{
	for (int i = 0; i < 5; i++) {
		expect_post(a, b);
		expect_post(b, a);
	}
}

/* --- agents ----------------------------------------------------------------------------------------------- */

/* Its parent and its state; false: it is gone, or another program. By its arguments: it may be started by descriptor. */
static bool look_at(pid_t pid, const char *program, pid_t *ret_parent, char *ret_state)
{
	char path[64], text[256] = "", name[64] = "";
	FILE *stat, *arguments;
	const char *rest;

	snprintf(path, sizeof(path), "/proc/%d/cmdline", (int)pid);
	arguments = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = fopen(path, "re");
	if (arguments)
		name[fread(name, 1, sizeof(name) - 1, arguments)] = '\0';
	if (stat && !fgets(text, sizeof(text), stat))
		text[0] = '\0';
	if (arguments)
		fclose(arguments);
	if (stat)
		fclose(stat);
	rest = strrchr(text, ')');
	return strcmp(name, program) == 0 && rest && sscanf(rest, ") %c %d", ret_state, ret_parent) == 2;
}

static bool is_of(pid_t pid, uid_t uid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof(path), "/proc/%d", (int)pid);
	return stat(path, &st) == 0 && st.st_uid == uid;
}

/* The user's agent: a child of the process that looks at files, which is the daemon's. 0: none. */
static pid_t agent_of(uid_t uid)
{
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	pid_t found = 0;

	ck_assert_ptr_nonnull(proc);
	while (!found && (entry = readdir(proc))) {
		pid_t pid = atoi(entry->d_name), parent, grandparent;
		char state;

		if (pid > 0 && look_at(pid, "pathbus-link", &parent, &state) && is_of(pid, uid) &&
		    look_at(parent, "pathbusd", &grandparent, &state) && grandparent == daemon_.process.pid)
			found = pid;
	}
	closedir(proc);
	return found;
}

static bool stands_still(pid_t pid)
{
	pid_t parent;
	char state;

	return look_at(pid, "pathbus-link", &parent, &state) && state == 'T';
}

static int send_signal(struct harness_process *peer, void *arg)
{
	const int *what = arg;

	(void)peer;
	become((uid_t)what[0]);
	return kill((pid_t)what[1], what[2]) == 0 ? 0 : errno;
}

/* As this user. Returns the error. */
static int signal_as(uid_t uid, pid_t pid, int number)
{
	struct harness_process process;

	ck_assert_int_gt(pid, 0);
	harness_spawn(&process, send_signal, (int[]){ (int)uid, (int)pid, number });
	return harness_wait(&process) >> 8;
}

static void stop_agent_of(uid_t uid)
{
	pid_t agent = agent_of(uid);

	ck_assert_int_eq(signal_as(uid, agent, SIGSTOP), 0);
	harness_await(stands_still(agent));
}

/* --- cases ------------------------------------------------------------------------------------------------ */

static void expect_no_sidecar(void)
{
	harness_await(access(harness_path("all/.data.pathbus"), F_OK) < 0);
}

START_TEST(posts_cross_both_ways)
{
	struct person beside, lane;

	start_daemon();
	for (int i = 0; i < 2; i++) {
		/* Who comes first makes no difference. */
		come(i ? &lane : &beside, ALICE, i ? PATHBUS_BUS : PATHBUS_PEER);
		come(i ? &beside : &lane, ALICE, i ? PATHBUS_PEER : PATHBUS_BUS);
		expect_both_ways(&beside, &lane);
		go(&beside);
		go(&lane);
		expect_no_sidecar();
	}
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(the_agent_is_its_users)
{
	struct person beside, lane;
	pid_t agent;

	start_daemon();
	come(&beside, ALICE, PATHBUS_PEER);
	come(&lane, ALICE, PATHBUS_BUS);
	agent = agent_of(ALICE);
	ck_assert_int_ne(agent, 0);
	ck_assert_int_eq(agent_of(BOB), 0);
	ck_assert_int_eq(signal_as(BOB, agent, SIGKILL), EPERM);
	expect_both_ways(&beside, &lane);
	go(&beside);
	go(&lane);
	expect_no_sidecar();
	harness_daemon_stop(&daemon_);
}
END_TEST

/* Who meets beside the file hears other users by the lane of its own. */
START_TEST(posts_cross_users_too)
{
	struct person beside, lane, other, refused;

	start_daemon();
	come(&other, BOB, PATHBUS_BUS);
	come(&beside, ALICE, PATHBUS_PEER);
	/* Another user's sidecar is refused. */
	start(&refused, BOB, PATHBUS_PEER);
	ask(&refused, "open", "-1");
	come(&lane, ALICE, PATHBUS_BUS);
	expect_both_ways(&beside, &other);
	expect_both_ways(&beside, &lane);
	expect_both_ways(&lane, &other);
	go(&beside);
	go(&lane);
	go(&other);
	go(&refused);
	expect_no_sidecar();
	harness_daemon_stop(&daemon_);
}
END_TEST

/* Where the file's folder takes no sidecar. Nobody but the user can look into the runtime folder. */
START_TEST(the_runtime_folder)
{
	struct person beside, lane;
	const char *closed;

	folder("closed", 0, 0755);
	closed = harness_path("closed/data");
	harness_write_file(closed, "");
	give(closed, ALICE, 0644);
	file = closed;
	start_daemon();
	for (int i = 0; i < 4; i++) {
		come(i % 2 ? &lane : &beside, ALICE, i % 2 ? PATHBUS_BUS : PATHBUS_PEER);
		come(i % 2 ? &beside : &lane, ALICE, i % 2 ? PATHBUS_PEER : PATHBUS_BUS);
		expect_both_ways(&beside, &lane);
		go(&beside);
		go(&lane);
	}
	harness_daemon_stop(&daemon_);
}
END_TEST

/* The lane is gone again before the link has carried. */
START_TEST(one_shot_posters_are_heard_beside)
{
	struct person beside;

	start_daemon();
	come(&beside, ALICE, PATHBUS_PEER);
	for (int i = 0; i < 20; i++) {
		struct person lane;

		ask(&beside, "drain", "drained");
		come(&lane, ALICE, PATHBUS_BUS);
		ask(&lane, "post", "0");
		if (i % 2)
			ask(&lane, "close", "closed");
		go(&lane);
		ask(&beside, "hear", "heard");
	}
	go(&beside);
	expect_no_sidecar();
	harness_daemon_stop(&daemon_);
}
END_TEST

/* It leaves before the daemon has seen the sidecar: its last post is owed to it, although others stay. */
START_TEST(the_last_one_of_a_user_is_heard_beside)
{
	struct person other;

	start_daemon();
	come(&other, BOB, PATHBUS_BUS);
	for (int i = 0; i < 20; i++) {
		struct person beside, lane;

		come(&lane, ALICE, PATHBUS_BUS);
		come(&beside, ALICE, PATHBUS_PEER);
		ask(&lane, "post", "0");
		if (i % 2)
			ask(&lane, "close", "closed");
		go(&lane);
		ask(&beside, "hear", "heard");
		go(&beside);
		expect_no_sidecar();
	}
	go(&other);
	harness_daemon_stop(&daemon_);
}
END_TEST

START_TEST(the_link_outlives_the_daemon)
{
	/* The leak check at a program's end stops it by a signal, which a continuing one would take away. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	for (int i = 0; i < 6; i++) {
		struct person beside, lane;
		pid_t agent;

		start_daemon();
		come(&beside, ALICE, PATHBUS_PEER);
		come(&lane, ALICE, PATHBUS_BUS);
		agent = agent_of(ALICE);
		expect_post(&lane, &beside);
		stop_agent_of(ALICE);
		ask(&beside, "drain", "drained");
		ask(&lane, "post", "0"); /* in the lane only */
		if (i % 2)
			harness_daemon_kill(&daemon_);
		else
			harness_daemon_stop(&daemon_);
		ck_assert_int_eq(signal_as(ALICE, agent, SIGCONT), 0);
		ask(&beside, "hear", "heard");
		harness_await(kill(agent, 0) < 0 && errno == ESRCH);
		go(&beside);
		go(&lane);
		expect_no_sidecar();
	}
}
END_TEST

START_TEST(a_killed_agent_is_replaced)
{
	struct person beside, lane, other;
	pid_t first;

	start_daemon();
	come(&beside, BOB, PATHBUS_PEER);
	come(&lane, BOB, PATHBUS_BUS);
	come(&other, ALICE, PATHBUS_BUS);
	first = agent_of(BOB);
	stop_agent_of(BOB);
	ask(&lane, "drain", "drained");
	ask(&beside, "post", "0");
	ck_assert_int_eq(signal_as(BOB, first, SIGKILL), 0);
	ask(&lane, "hear", "heard"); /* the new one announces itself */
	harness_await(agent_of(BOB) != 0 && agent_of(BOB) != first);
	expect_both_ways(&beside, &lane);
	expect_both_ways(&beside, &other);
	go(&beside);
	go(&lane);
	go(&other);
	expect_no_sidecar();
	harness_daemon_stop(&daemon_);
}
END_TEST

/* One that its user holds up: that one's openings wait for it until it is replaced, and nobody else's. */
START_TEST(a_stopped_agent_holds_up_its_user_only)
{
	struct person bobs, bobs_lane, beside, lane, another, late;
	const char *of_bob = harness_path("all/bobs"), *of_alice = file;
	uint64_t before;

	harness_write_file(of_bob, "");
	give(of_bob, BOB, 0666);
	start_daemon();
	file = of_bob;
	come(&bobs, BOB, PATHBUS_PEER);
	come(&bobs_lane, BOB, PATHBUS_BUS);
	stop_agent_of(BOB);
	/* His sidecar is on the very file that she opens, and his opening there waits. */
	file = of_alice;
	come(&beside, BOB, PATHBUS_PEER);
	start(&late, BOB, PATHBUS_BUS);
	harness_tell(&late.process, "open");
	before = harness_now_ns();
	for (int i = 0; i < 5; i++) {
		come(&lane, ALICE, PATHBUS_BUS);
		come(&another, ALICE, PATHBUS_BUS);
		expect_both_ways(&lane, &another);
		go(&lane);
		go(&another);
	}
	/* Less than it takes until his agent is replaced, by which time his is answered. */
	ck_assert_uint_lt(harness_now_ns() - before, UINT64_C(4500000000));
	harness_expect_line(&late.process, "0");
	expect_both_ways(&late, &beside);
	expect_both_ways(&bobs, &bobs_lane);
	go(&bobs);
	go(&bobs_lane);
	go(&beside);
	go(&late);
	expect_no_sidecar();
	harness_daemon_stop(&daemon_);
}
END_TEST

/* A user who has not opened the file by the daemon is linked once that happens; others are not held up meanwhile. */
START_TEST(a_sidecar_of_a_user_who_is_not_there)
{
	struct person beside, lane, other;

	start_daemon();
	come(&beside, BOB, PATHBUS_PEER);
	come(&other, ALICE, PATHBUS_BUS);
	ask(&other, "post", "0");
	ck_assert_int_eq(agent_of(BOB), 0);
	come(&lane, BOB, PATHBUS_BUS);
	expect_both_ways(&lane, &beside);
	expect_both_ways(&other, &beside);
	go(&other);
	go(&lane);
	go(&beside);
	expect_no_sidecar();
	harness_daemon_stop(&daemon_);
}
END_TEST

/* --- restarts under load ---------------------------------------------------------------------------------- */

/*
 * Four processes of Alice and four of Bob; the odd ones reach the daemon for the last file only. 0 is Alice's, 1 is Bob's, 2 is
 * hers in a folder that takes no sidecar, and 3 is open to all: while the daemon is away one user has the sidecar there, and the
 * other's posts are refused.
 */
enum { OF_ALICE, OF_BOB, IN_RUNTIME, OF_ALL };
enum { CHAOS_S = 12, CHAOS_FULL_S = 90, CHAOS_LIMIT_S = 170, BUSY_MS = 1500 };

struct soul {
	struct harness_process process;
	struct world *world;
	int me;
	unsigned random;
	pathbus *buses[N_FILES];
	pathbus_topic *topics[N_FILES];
};

static uid_t user_of(int me)
{
	return me < N_MEMBERS / 2 ? ALICE : BOB;
}

static bool takes_part(int me, int number)
{
	return number == OF_ALL || (number == OF_BOB) == (user_of(me) == BOB);
}

static unsigned roll(unsigned *random, unsigned sides)
{
	*random = *random * 1103515245u + 12345u;
	return (*random >> 16) % sides;
}

static void raise_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t now = atomic_load(word);

	while (now < value && !atomic_compare_exchange_weak(word, &now, value))
		;
}

static void look(struct soul *soul, int number)
{
	raise_to(&soul->world->seats[soul->me].look[number], atomic_load(&soul->world->truth[number]));
}

static void open_files(struct soul *soul)
{
	for (int i = 0; i < N_FILES; i++) {
		struct pathbus_options options = { .size = sizeof(options), .address = soul->world->address,
			                           .timeout_ms = harness_limit_ms };

		if (!takes_part(soul->me, i))
			continue;
		if (soul->me % 2 && i != OF_ALL)
			options.transport = PATHBUS_PEER;
		ck_assert_int_eq(pathbus_new(&soul->buses[i], &options), 0);
		ck_assert_int_eq(pathbus_open(soul->buses[i], soul->world->files[i], 0, &soul->topics[i]), 0);
		look(soul, i);
	}
	atomic_store(&soul->world->seats[soul->me].joined, true);
}

static void listen_for(struct soul *soul, int timeout_ms)
{
	struct pollfd polled[N_FILES];

	for (int i = 0; i < N_FILES; i++)
		polled[i] = (struct pollfd){ .fd = soul->buses[i] ? pathbus_fd(soul->buses[i]) : -1, .events = POLLIN };
	if (poll(polled, N_FILES, timeout_ms) <= 0)
		return;
	for (int i = 0; i < N_FILES; i++) {
		struct pathbus_event event = { .size = sizeof(event) };

		while (polled[i].revents && pathbus_next(soul->buses[i], &event) > 0)
			if (event.kind != PATHBUS_EVENT_ERROR)
				look(soul, i);
	}
}

static void post_some(struct soul *soul)
{
	int i = (int)roll(&soul->random, N_FILES);

	for (unsigned n = roll(&soul->random, 20); n > 0 && soul->topics[i]; n--) {
		uint64_t commit = atomic_fetch_add(&soul->world->truth[i], 1) + 1;
		int r = pathbus_post(soul->topics[i]);

		if (r == 0) {
			raise_to(&soul->world->seats[soul->me].returned[i], commit);
			atomic_fetch_add(&soul->world->seats[soul->me].posts, 1);
		} else {
			/* Another user's sidecar is there. */
			ck_assert_msg(r == -EPERM && i == OF_ALL, "a post on file %d: %s", i, strerror(-r));
			atomic_fetch_add(&soul->world->seats[soul->me].failed, 1);
		}
	}
}

static int live(struct harness_process *peer, void *arg)
{
	struct soul *soul = arg;
	struct seat *seat = &soul->world->seats[soul->me];

	(void)peer;
	become(user_of(soul->me));
	open_files(soul);
	while (atomic_load(&soul->world->phase) != PHASE_END) {
		while (atomic_load(&soul->world->phase) == PHASE_BUSY) {
			post_some(soul);
			listen_for(soul, (int)roll(&soul->random, 3));
		}
		atomic_store(&seat->quiet, true);
		while (atomic_load(&soul->world->phase) == PHASE_QUIET)
			listen_for(soul, 50);
		atomic_store(&seat->quiet, false);
	}
	for (int i = 0; i < N_FILES; i++)
		pathbus_free(soul->buses[i]);
	return 0;
}

static bool all_seats(const struct world *world, size_t offset, bool value)
{
	for (int me = 0; me < N_MEMBERS; me++)
		if (atomic_load((const _Atomic bool *)((const char *)&world->seats[me] + offset)) != value)
			return false;
	return true;
}

static bool everyone_has_seen(void *arg)
{
	int number, poster;

	return world_first_miss(arg, &number, &poster) < 0;
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000 }, NULL);
}

static void strike(unsigned *random)
{
	if (roll(random, 2))
		harness_daemon_kill(&daemon_);
	else
		harness_daemon_stop(&daemon_);
	if (roll(random, 2))
		pause_ms(roll(random, 300)); /* some get to the sidecars meanwhile */
	start_daemon();
}

static void quiet_point(struct world *world)
{
	int number, poster, me;

	atomic_store(&world->phase, PHASE_QUIET);
	harness_await(all_seats(world, offsetof(struct seat, quiet), true));
	if (!harness_wait_until(everyone_has_seen, world, 2 * harness_limit_ms)) {
		me = world_first_miss(world, &number, &poster);
		if (me >= 0)
			ck_abort_msg("member %d missed a post of member %d on file %d: it has seen %llu of %llu", me, poster, number,
			             (unsigned long long)atomic_load(&world->seats[me].look[number]),
			             (unsigned long long)atomic_load(&world->seats[poster].returned[number]));
	}
	atomic_store(&world->phase, PHASE_BUSY);
	harness_await(all_seats(world, offsetof(struct seat, quiet), false));
}

static void make_files(struct world *world)
{
	static const char *const names[N_FILES] = { "all/alices", "all/bobs", "closed/data", "all/shared" };

	folder("closed", 0, 0755);
	for (int i = 0; i < N_FILES; i++) {
		world->files[i] = harness_path("%s", names[i]);
		harness_write_file(world->files[i], "");
		give(world->files[i], i == OF_BOB ? BOB : ALICE, i == OF_ALL ? 0666 : 0600);
	}
	world->address = daemon_.address;
}

START_TEST(no_post_is_missed_over_restarts)
{
	uint64_t end = harness_now_ns() + (harness_full() ? CHAOS_FULL_S : CHAOS_S) * UINT64_C(1000000000);
	const char *seed = getenv("PATHBUS_CHAOS_SEED");
	unsigned random = seed ? (unsigned)atoi(seed) : (unsigned)getpid(), n_strikes = 0, n_points = 0;
	struct soul souls[N_MEMBERS] = { 0 };
	struct world *world = world_new();
	uint64_t posts = 0, failed = 0;

	ck_assert_ptr_nonnull(world);
	printf("seed %u\n", random);
	make_files(world);
	start_daemon();
	for (int me = 0; me < N_MEMBERS; me++) {
		for (int i = 0; i < N_FILES; i++)
			if (!takes_part(me, i))
				atomic_store(&world->seats[me].look[i], UINT64_MAX);
		souls[me] = (struct soul){ .world = world, .me = me, .random = random + (unsigned)me };
		harness_spawn(&souls[me].process, live, &souls[me]);
	}
	harness_await(all_seats(world, offsetof(struct seat, joined), true));
	while (harness_now_ns() < end) {
		uint64_t pause = harness_now_ns() + BUSY_MS * UINT64_C(1000000);

		while (harness_now_ns() < pause) {
			pause_ms(200 + roll(&random, 800)); /* the rate of disaster, not a condition */
			strike(&random);
			n_strikes++;
		}
		quiet_point(world);
		n_points++;
	}
	atomic_store(&world->phase, PHASE_END);
	for (int me = 0; me < N_MEMBERS; me++) {
		harness_expect_exit(&souls[me].process, 0);
		posts += atomic_load(&world->seats[me].posts);
		failed += atomic_load(&world->seats[me].failed);
	}
	harness_daemon_stop(&daemon_);
	printf("%u quiet points, %llu posts (%llu refused), the daemon ended %u times, 0 misses\n", n_points, (unsigned long long)posts,
	       (unsigned long long)failed, n_strikes);
	harness_allow_sidecars();
	world_free(world);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(posts_cross_both_ways),
	HARNESS_CASE(the_agent_is_its_users),
	HARNESS_CASE(posts_cross_users_too),
	HARNESS_CASE(the_runtime_folder),
	HARNESS_CASE(one_shot_posters_are_heard_beside),
	HARNESS_CASE(the_last_one_of_a_user_is_heard_beside),
	HARNESS_CASE(the_link_outlives_the_daemon),
	HARNESS_CASE(a_killed_agent_is_replaced),
	HARNESS_CASE(a_stopped_agent_holds_up_its_user_only),
	HARNESS_CASE(a_sidecar_of_a_user_who_is_not_there),
	HARNESS_CASE_LONG(no_post_is_missed_over_restarts, CHAOS_LIMIT_S),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "users", .cases = cases, .setup = setup, .teardown = teardown });
}
