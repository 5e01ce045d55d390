/* SPDX-License-Identifier: MIT */
/*
 * test_field.c - what programs do with a bus, in processes of their own: count in turns, gather what many write,
 * die half-way, fork, and meet on a file that they call by different names.
 */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/process.h"

/* The contents of a file that several processes have mapped: what they change before they post. */
struct shared {
	_Atomic uint32_t number;
	_Atomic uint32_t n_resyncs;
	_Atomic uint32_t looked; /* what the listener has read */
	_Atomic bool stop;
	_Atomic uint32_t each[64];
};

static struct shared *shared;

static void begin(int transport)
{
	int fd;

	transport_begin(transport);
	fd = open(transport_edit("data"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, sizeof(*shared)), 0);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	ck_assert_ptr_ne(shared, MAP_FAILED);
	close(fd);
}

static void end(void)
{
	ck_assert_int_eq(munmap(shared, sizeof(*shared)), 0);
}

/* --- in turns ------------------------------------------------------------------------------------------ */

#define LAST 100

static int read_number(void)
{
	return atoi(harness_read_file(transport_path("count")));
}

static void write_number(int n)
{
	char text[16];

	snprintf(text, sizeof(text), "%d", n);
	harness_write_file(transport_edit("count.new"), text);
	ck_assert_int_eq(rename(transport_edit("count.new"), transport_edit("count")), 0);
}

/* False: all has been counted. */
static bool take_turn(pathbus_topic *topic, int parity)
{
	int n = read_number();

	if (n < LAST && n % 2 == parity) {
		write_number(++n);
		ck_assert_int_eq(pathbus_post(topic), 0);
	}
	return n < LAST;
}

static int count_in_a_loop(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "count", 0);

	(void)peer;
	(void)arg;
	while (take_turn(topic, 0)) {
		await_readable(bus);
		drain(bus);
	}
	pathbus_free(bus);
	return 0;
}

static int count_by_waiting(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "count", 0);
	uint64_t seen = 0;

	(void)peer;
	(void)arg;
	do
		ck_assert_int_eq(pathbus_wait(topic, &seen, harness_deadline(harness_limit_ms), 0), 1);
	while (take_turn(topic, 1));
	pathbus_free(bus);
	return 0;
}

/* Neither waits for the other to have opened: who opens reads the file once itself. */
START_TEST(two_processes_count_to_100_in_turns)
{
	struct harness_process even, odd;

	transport_begin(_i);
	write_number(0);
	harness_spawn(&even, count_in_a_loop, NULL);
	harness_spawn(&odd, count_by_waiting, NULL);
	harness_expect_exit(&even, 0);
	harness_expect_exit(&odd, 0);
	ck_assert_int_eq(read_number(), LAST);
}
END_TEST

/* --- many writers -------------------------------------------------------------------------------------- */

enum { N_WRITERS = 10, N_COMMITS = 200 };

static int write_much(struct harness_process *peer, void *arg)
{
	_Atomic uint32_t *mine = arg;
	bool only_posts = (mine - shared->each) % 2 != 0;
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", only_posts ? PATHBUS_POST : 0);

	(void)peer;
	for (uint32_t i = 1; i <= N_COMMITS; i++) {
		atomic_store(mine, i);
		ck_assert_int_eq(pathbus_post(topic), 0);
	}
	pathbus_free(bus);
	return 0;
}

static bool all_is_written(void)
{
	for (int i = 0; i < N_WRITERS; i++)
		if (atomic_load(&shared->each[i]) < N_COMMITS)
			return false;
	return true;
}

/* It looks only when it is woken, and at the end has seen everything and been told of every post. */
START_TEST(ten_writers_against_one_listener)
{
	struct harness_process writers[N_WRITERS];
	pathbus *bus;
	uint64_t n_posts = 0;

	begin(_i);
	bus = transport_new();
	transport_open(bus, "data", PATHBUS_SUBSCRIBE);
	for (int i = 0; i < N_WRITERS; i++)
		harness_spawn(&writers[i], write_much, &shared->each[i]);
	do {
		await_readable(bus);
		n_posts += take_posts(bus);
	} while (!all_is_written());
	for (int i = 0; i < N_WRITERS; i++)
		harness_expect_exit(&writers[i], 0);
	n_posts += take_posts(bus); /* the last ones: written before it looked, posted after */
	ck_assert_uint_eq(n_posts, N_WRITERS * N_COMMITS);
	expect_quiet(bus);
	pathbus_free(bus);
	end();
}
END_TEST

/* --- threads and processes ----------------------------------------------------------------------------- */

enum { N_THREADED = 3, N_THREADS = 4, N_PLAIN = 3, N_HANDLES = N_THREADED * N_THREADS + N_PLAIN, N_ROUNDS = 40 };

static const char *data; /* the harness's own strings are not for threads */

/* One handle, one descriptor. */
static void hear_every_round(_Atomic uint32_t *heard)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic;
	uint64_t n_posts = 0;

	ck_assert_int_eq(pathbus_open(bus, data, 0, &topic), 0);
	transport_expect(topic);
	atomic_store(heard, 1); /* is there */
	while (n_posts < N_ROUNDS) {
		await_readable(bus);
		n_posts += take_posts(bus);
		atomic_store(heard, 1 + atomic_load(&shared->number));
	}
	ck_assert_uint_eq(n_posts, N_ROUNDS);
	pathbus_free(bus);
}

static void *hear_in_a_thread(void *arg)
{
	hear_every_round(arg);
	return NULL;
}

static int hear_in_threads(struct harness_process *peer, void *arg)
{
	_Atomic uint32_t *heard = arg;
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);
	pthread_t threads[N_THREADS];
	const char *line;

	for (int i = 0; i < N_THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, hear_in_a_thread, &heard[i]), 0);
	while ((line = harness_hear(peer)) && strcmp(line, "post") == 0) /* beside its own threads */
		ck_assert_int_eq(pathbus_post(topic), 0);
	for (int i = 0; i < N_THREADS; i++)
		pthread_join(threads[i], NULL);
	pathbus_free(bus);
	return 0;
}

static int hear_alone(struct harness_process *peer, void *arg)
{
	(void)peer;
	hear_every_round(arg);
	return 0;
}

static bool all_have_heard(uint32_t round)
{
	for (int i = 0; i < N_HANDLES; i++)
		if (atomic_load(&shared->each[i]) != 1 + round)
			return false;
	return true;
}

START_TEST(one_post_wakes_threads_and_processes)
{
	struct harness_process threaded[N_THREADED], plain[N_PLAIN];
	pathbus *bus;
	pathbus_topic *topic;

	begin(_i);
	data = transport_path("data");
	for (int i = 0; i < N_THREADED; i++)
		harness_spawn(&threaded[i], hear_in_threads, &shared->each[i * N_THREADS]);
	for (int i = 0; i < N_PLAIN; i++)
		harness_spawn(&plain[i], hear_alone, &shared->each[N_THREADED * N_THREADS + i]);
	bus = transport_new();
	topic = transport_open(bus, "data", PATHBUS_POST);
	harness_await(all_have_heard(0));
	for (uint32_t round = 1; round <= N_ROUNDS; round++) {
		atomic_store(&shared->number, round);
		if (round % (N_THREADED + 1) == 0)
			ck_assert_int_eq(pathbus_post(topic), 0);
		else
			harness_tell(&threaded[round % (N_THREADED + 1) - 1], "post");
		harness_await(all_have_heard(round));
	}
	for (int i = 0; i < N_THREADED; i++) {
		harness_tell(&threaded[i], "end");
		harness_expect_exit(&threaded[i], 0);
	}
	for (int i = 0; i < N_PLAIN; i++)
		harness_expect_exit(&plain[i], 0);
	pathbus_free(bus);
	end();
}
END_TEST

/* --- killed posters ------------------------------------------------------------------------------------ */

enum { N_KILLED = 12 };

static int change_and_hang(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();

	(void)arg;
	transport_open(bus, "data", 0);
	atomic_fetch_add(&shared->number, 1);
	harness_tell(peer, "changed");
	harness_hear(peer);
	return 0;
}

static int post_for_ever(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = transport_open(bus, "data", PATHBUS_POST);

	(void)peer;
	(void)arg;
	for (;;) {
		atomic_fetch_add(&shared->number, 1);
		ck_assert_int_eq(pathbus_post(topic), 0);
	}
}

/* Looks only when it is woken, until it is told to stop. */
static int look_when_woken(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	struct pathbus_event event;

	(void)arg;
	transport_open(bus, "data", 0);
	harness_tell(peer, "open");
	while (!atomic_load(&shared->stop)) {
		await_readable(bus);
		while (take(bus, &event)) {
			ck_assert_int_ne(event.kind, PATHBUS_EVENT_ERROR);
			if (event.kind == PATHBUS_EVENT_RESYNC)
				atomic_fetch_add(&shared->n_resyncs, 1);
		}
		atomic_store(&shared->looked, atomic_load(&shared->number));
	}
	pathbus_free(bus);
	return 0;
}

static void start_listener(struct harness_process *ret)
{
	harness_spawn(ret, look_when_woken, NULL);
	harness_expect_line(ret, "open");
}

static void stop_listener(struct harness_process *listener, pathbus_topic *poster)
{
	atomic_store(&shared->stop, true);
	ck_assert_int_eq(pathbus_post(poster), 0);
	harness_expect_exit(listener, 0);
}

static void change_and_post(pathbus_topic *topic)
{
	uint32_t n = atomic_fetch_add(&shared->number, 1) + 1;

	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_await(atomic_load(&shared->looked) == n);
}

/* The daemon makes the others look. Peer to peer nobody can know; but nothing is stuck, and the next post tells. */
START_TEST(a_poster_killed_between_its_change_and_its_post)
{
	struct harness_process listener, poster;
	pathbus *bus;
	pathbus_topic *topic;

	begin(_i);
	start_listener(&listener);
	for (uint32_t i = 1; i <= N_KILLED; i++) {
		uint32_t n;

		harness_spawn(&poster, change_and_hang, NULL);
		harness_expect_line(&poster, "changed");
		n = atomic_load(&shared->number);
		harness_signal(&poster, SIGKILL);
		harness_expect_signal(&poster, SIGKILL);
		if (_i == ON_BUS) {
			harness_await(atomic_load(&shared->n_resyncs) >= i);
			harness_await(atomic_load(&shared->looked) == n);
		}
		bus = transport_new();
		topic = transport_open(bus, "data", 0);
		change_and_post(topic);
		if (i == N_KILLED)
			stop_listener(&listener, topic);
		pathbus_free(bus);
	}
	if (_i == ON_PEER)
		ck_assert_uint_eq(atomic_load(&shared->n_resyncs), 0);
	end();
}
END_TEST

/* Wherever in the post it was: before the generation was raised, before the bell, after it. */
START_TEST(a_poster_killed_while_posting)
{
	struct harness_process listener, poster;
	pathbus *bus;
	pathbus_topic *topic;

	begin(_i);
	start_listener(&listener);
	bus = transport_new();
	topic = transport_open(bus, "data", PATHBUS_POST);
	for (uint32_t i = 1; i <= N_KILLED; i++) {
		uint32_t before = atomic_load(&shared->looked);

		harness_spawn(&poster, post_for_ever, NULL);
		harness_await(atomic_load(&shared->looked) != before);
		harness_signal(&poster, SIGKILL);
		harness_expect_signal(&poster, SIGKILL);
		if (_i == ON_BUS)
			harness_await(atomic_load(&shared->looked) == atomic_load(&shared->number));
		change_and_post(topic);
	}
	stop_listener(&listener, topic);
	pathbus_free(bus);
	end();
}
END_TEST

/* --- fork without exec --------------------------------------------------------------------------------- */

static pathbus *inherited;
static pathbus_topic *of_inherited;

/* What a program does that forks workers: they cannot use what they inherit, and open for themselves. */
static int work(struct harness_process *peer, void *arg)
{
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t seen = 0;
	pathbus *bus;

	ck_assert_int_eq(pathbus_next(inherited, &event), -ECHILD);
	ck_assert_int_eq(pathbus_post(of_inherited), -ECHILD);
	ck_assert_int_eq(pathbus_check(of_inherited, &seen), -ECHILD);
	ck_assert_int_eq(pathbus_wait(of_inherited, &seen, UINT64_MAX, 0), -ECHILD);
	if (arg) /* one frees it, the other keeps it to its end */
		inherited = pathbus_free(inherited);
	bus = transport_new();
	of_inherited = transport_open(bus, "data", 0);
	harness_tell(peer, "open");
	await_readable(bus);
	while (take_posts(bus) == 0) /* the case's; or the other worker's answer to it */
		await_readable(bus);
	ck_assert_int_eq(pathbus_post(of_inherited), 0);
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

static int be_a_program(struct harness_process *peer, void *arg)
{
	struct harness_process workers[2];

	(void)arg;
	inherited = transport_new();
	of_inherited = transport_open(inherited, "data", 0);
	for (int i = 0; i < 2; i++) {
		harness_spawn(&workers[i], work, i ? &inherited : NULL);
		harness_expect_line(&workers[i], "open");
	}
	harness_tell(peer, "open");
	await_posts(inherited, 3); /* the case's, and the workers' answers */
	harness_tell(peer, "heard");
	for (int i = 0; i < 2; i++) {
		harness_tell(&workers[i], "end");
		harness_expect_exit(&workers[i], 0);
	}
	harness_tell(peer, "alone");
	await_posts(inherited, 1);
	ck_assert_int_eq(pathbus_post(of_inherited), 0);
	pathbus_free(inherited);
	return 0;
}

START_TEST(a_program_that_forks_workers)
{
	struct harness_process program;
	pathbus *bus;
	pathbus_topic *topic;

	begin(_i);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	harness_spawn(&program, be_a_program, NULL);
	harness_expect_line(&program, "open");
	/* Three are there, not five: both workers answer this one. */
	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_expect_line(&program, "heard");
	await_posts(bus, 2);
	harness_expect_line(&program, "alone");
	expect_quiet(bus);
	ck_assert_int_eq(pathbus_post(topic), 0);
	await_posts(bus, 1);
	harness_expect_exit(&program, 0);
	pathbus_free(bus);
	end();
}
END_TEST

/* --- one file by many names ---------------------------------------------------------------------------- */

enum way { PLAIN, SYMLINK, DANGLING, RELATIVE, UP_AND_DOWN, N_WAYS };

static const char *const ways[N_WAYS] = { "data", "link", "sub/dangling", "data", "sub/../data" };

static pathbus_topic *open_this_way(pathbus *bus, enum way way)
{
	pathbus_topic *topic;
	int r;

	if (way == RELATIVE)
		ck_assert_int_eq(chdir(transport_path("")), 0);
	if (way == UP_AND_DOWN)
		ck_assert_int_eq(chdir(transport_path("sub")), 0);
	r = pathbus_open(bus,
	                 way == RELATIVE    ? "data" :
	                 way == UP_AND_DOWN ? "../sub/.././data" :
	                                      transport_path(ways[way]),
	                 0, &topic);
	ck_assert_msg(r == 0, "way %d: %s", (int)way, strerror(-r));
	transport_expect(topic);
	return topic;
}

static int meet(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic = open_this_way(bus, *(const enum way *)arg);
	const char *line;

	harness_tell(peer, "open");
	while ((line = harness_hear(peer))) {
		if (strcmp(line, "post") == 0) {
			ck_assert_int_eq(pathbus_post(topic), 0);
			harness_tell(peer, "posted");
		} else if (strcmp(line, "hear") == 0) {
			await_posts(bus, 1);
			harness_tell(peer, "heard");
		} else {
			break;
		}
	}
	expect_quiet(bus);
	pathbus_free(bus);
	return 0;
}

static void all_meet(struct harness_process *members, int n)
{
	for (int from = 0; from < n; from++) {
		harness_tell(&members[from], "post");
		harness_expect_line(&members[from], "posted");
		for (int to = 0; to < n; to++)
			if (to != from)
				harness_tell(&members[to], "hear");
		for (int to = 0; to < n; to++)
			if (to != from)
				harness_expect_line(&members[to], "heard");
	}
}

static void enter(struct harness_process *member, enum way way)
{
	harness_spawn(member, meet, &way); /* the child has its own copy */
	harness_expect_line(member, "open");
}

static void dismiss(struct harness_process *members, int n)
{
	for (int i = 0; i < n; i++) {
		harness_tell(&members[i], "end");
		harness_expect_exit(&members[i], 0);
	}
}

START_TEST(by_symbolic_links_and_relative_paths)
{
	struct harness_process members[N_WAYS];

	transport_begin(_i);
	ck_assert_int_eq(mkdir(transport_edit("sub"), 0700), 0);
	ck_assert_int_eq(symlink("data", transport_edit("link")), 0);
	ck_assert_int_eq(symlink(transport_path("data"), transport_edit("sub/dangling")), 0);
	for (int way = 0; way < N_WAYS; way++)
		enter(&members[way], (enum way)way);
	all_meet(members, N_WAYS);
	harness_write_file(transport_edit("data"), "");
	all_meet(members, N_WAYS);
	dismiss(members, N_WAYS);
}
END_TEST

/* Members from before the file existed, from each of its lives, and from after its end. */
START_TEST(across_a_rename_over_the_file)
{
	enum { N_LIVES = 4 };
	struct harness_process members[N_LIVES];

	transport_begin(_i);
	for (int life = 0; life < N_LIVES; life++) {
		if (life == 1)
			harness_write_file(transport_edit("data"), "one");
		if (life == 2) {
			harness_write_file(transport_edit("data.new"), "two");
			ck_assert_int_eq(rename(transport_edit("data.new"), transport_edit("data")), 0);
		}
		if (life == 3)
			ck_assert_int_eq(unlink(transport_edit("data")), 0);
		all_meet(members, life);
		enter(&members[life], PLAIN);
		all_meet(members, life + 1);
	}
	dismiss(members, N_LIVES);
}
END_TEST

static int meet_elsewhere(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic;

	ck_assert_int_eq(pathbus_open(bus, arg, 0, &topic), 0);
	harness_tell(peer, "open");
	await_posts(bus, 1);
	ck_assert_int_eq(pathbus_post(topic), 0);
	harness_expect_line(peer, "end");
	pathbus_free(bus);
	return 0;
}

START_TEST(by_bind_mounts)
{
	const char *folder = harness_path("elsewhere"), *alone = harness_path("alone");
	struct harness_process of_folder, of_file;
	pathbus *bus;
	pathbus_topic *topic;

	transport_own_mounts(); /* before the daemon starts */
	begin(_i);
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	ck_assert_int_eq(mount(transport_path(""), folder, NULL, MS_BIND, NULL), 0);
	harness_write_file(alone, "");
	ck_assert_int_eq(mount(transport_path("data"), alone, NULL, MS_BIND, NULL), 0);
	bus = transport_new();
	topic = transport_open(bus, "data", 0);
	harness_spawn(&of_folder, meet_elsewhere, (void *)(uintptr_t)harness_path("elsewhere/data"));
	harness_expect_line(&of_folder, "open");
	ck_assert_int_eq(pathbus_post(topic), 0);
	await_posts(bus, 1);
	harness_tell(&of_folder, "end");
	harness_expect_exit(&of_folder, 0);
	/* A file that is mounted alone lies in another folder, under another name: another topic. */
	harness_spawn(&of_file, meet_elsewhere, (void *)(uintptr_t)alone);
	harness_expect_line(&of_file, "open");
	ck_assert_int_eq(pathbus_post(topic), 0);
	expect_quiet(bus);
	harness_signal(&of_file, SIGKILL);
	harness_expect_signal(&of_file, SIGKILL);
	harness_allow_sidecars(); /* its own */
	pathbus_free(bus);
	ck_assert_int_eq(umount2(alone, MNT_DETACH), 0);
	ck_assert_int_eq(umount2(folder, MNT_DETACH), 0);
	end();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(two_processes_count_to_100_in_turns, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(ten_writers_against_one_listener, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(one_post_wakes_threads_and_processes, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(a_poster_killed_between_its_change_and_its_post, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(a_poster_killed_while_posting, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(a_program_that_forks_workers, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(by_symbolic_links_and_relative_paths, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(across_a_rename_over_the_file, N_FIELD_TRANSPORTS),
	HARNESS_CASE_EACH(by_bind_mounts, N_FIELD_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "field", .cases = cases, .teardown = transport_end });
}
