/* SPDX-License-Identifier: MIT */
/*
 * member.c - one process of the chaos: posts and listens on all files through the public API only.
 *
 * Each seat has a habit of its own: most have an event loop, one takes a single event per wake-up, one opens
 * and closes around every post, one posts from a second thread as well, one sits in pathbus_wait, one posts for a whole
 * busy phase without ever looking at its descriptor.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <pathbus.h>

#include "seams/world.h"

enum habit { LOOPS, ONE_EVENT, ONE_SHOT, TWO_THREADS, WAITS, REOPENS, DEAF };

static const enum habit habits[N_MEMBERS] = {
	LOOPS, ONE_EVENT, ONE_SHOT, TWO_THREADS, WAITS, REOPENS, DEAF, LOOPS,
};

struct member {
	struct world *world;
	struct seat *seat;
	pathbus *bus;
	pathbus_topic *topics[N_FILES];
	enum habit habit;
	unsigned random;
	struct pathbus_options options;
	pthread_t second;
};

static unsigned roll(unsigned *random, unsigned sides)
{
	*random = *random * 1103515245u + 12345u;
	return (*random >> 16) % sides;
}

static void die(const char *what, int error)
{
	fprintf(stderr, "chaos member: %s: %s\n", what, strerror(-error));
	exit(1);
}

static void raise_to(_Atomic uint64_t *word, uint64_t value)
{
	uint64_t now = atomic_load(word);

	while (now < value && !atomic_compare_exchange_weak(word, &now, value))
		;
}

static void look_at(struct member *member, int file)
{
	/* Reading the file: never older than what was seen before. */
	raise_to(&member->seat->look[file], atomic_load(&member->world->truth[file]));
}

static void post(struct member *member, pathbus_topic *topic, int file)
{
	uint64_t commit = atomic_fetch_add(&member->world->truth[file], 1) + 1;

	if (pathbus_post(topic) == 0) {
		raise_to(&member->seat->returned[file], commit);
		atomic_fetch_add(&member->seat->posts, 1);
	} else {
		atomic_fetch_add(&member->seat->failed, 1);
	}
}

static void open_one(struct member *member, int file)
{
	int r = pathbus_open(member->bus, member->world->files[file], 0, &member->topics[file]);

	if (r < 0)
		die("cannot open", r);
	pathbus_set_userdata(member->topics[file], (void *)(intptr_t)file);
	look_at(member, file); /* who opens reads the file once itself */
}

static void drain(struct member *member)
{
	struct pathbus_event event = { .size = sizeof(event) };
	int r;

	while ((r = pathbus_next(member->bus, &event)) > 0) {
		if (event.kind == PATHBUS_EVENT_ERROR)
			continue;
		look_at(member, (int)(intptr_t)event.userdata);
		atomic_fetch_add(&member->seat->events, 1);
		if (event.kind == PATHBUS_EVENT_RESYNC)
			atomic_fetch_add(&member->seat->resyncs, 1);
		if (member->habit == ONE_EVENT)
			return;
	}
	if (r < 0)
		die("pathbus_next", r);
}

static void post_once_and_leave(struct member *member, int file)
{
	pathbus *bus;
	pathbus_topic *topic;
	int r = pathbus_new(&bus, &member->options);

	if (r < 0)
		die("pathbus_new", r);
	r = pathbus_open(bus, member->world->files[file], PATHBUS_POST, &topic);
	if (r < 0)
		die("cannot open to post", r);
	post(member, topic, file);
	pathbus_free(bus);
}

static void *post_beside(void *arg)
{
	struct member *member = arg;
	unsigned random = (unsigned)(uintptr_t)pthread_self();

	while (atomic_load(&member->world->phase) == PHASE_BUSY) {
		int file = (int)roll(&random, N_FILES);

		post(member, member->topics[file], file);
		if (roll(&random, 64) == 0)
			nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL);
	}
	return NULL;
}

/* Some posts, some listening, now and then something else. */
static void be_busy(struct member *member)
{
	struct pollfd one = { .fd = pathbus_fd(member->bus), .events = POLLIN };
	int file = (int)roll(&member->random, N_FILES);

	switch (member->habit) {
	case ONE_SHOT:
		post_once_and_leave(member, file);
		break;
	case REOPENS:
		if (roll(&member->random, 32) == 0) {
			member->topics[file] = pathbus_close(member->topics[file]);
			open_one(member, file);
		}
		/* fall through */
	default:
		for (unsigned n = roll(&member->random, 20); n > 0; n--)
			post(member, member->topics[file], file);
	}
	if (member->habit == DEAF)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	else if (poll(&one, 1, (int)roll(&member->random, 3)) > 0)
		drain(member);
}

/* Only what wakes it makes it look: a wake-up that is missing is a look that is missing. */
static void be_quiet(struct member *member)
{
	struct pollfd one = { .fd = pathbus_fd(member->bus), .events = POLLIN };

	if (poll(&one, 1, 50) > 0)
		drain(member);
}

static void wait_quietly(struct member *member)
{
	static uint64_t seen[N_FILES];

	/* A wait of its own per topic; what it finds is looked at, and next hears of it as well. */
	for (int file = 0; file < N_FILES; file++) {
		struct timespec now;
		uint64_t deadline;

		clock_gettime(CLOCK_MONOTONIC, &now);
		deadline = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec + 2000000u;
		if (pathbus_wait(member->topics[file], &seen[file], deadline, 0) == 1)
			look_at(member, file);
	}
	/* Not drained on purpose in the quiet phase: pathbus_wait alone has to do. */
	if (atomic_load(&member->world->phase) == PHASE_BUSY)
		drain(member);
}

static void listen_quietly(struct member *member)
{
	if (member->habit == WAITS)
		wait_quietly(member);
	else
		be_quiet(member);
}

static void busy_phase(struct member *member)
{
	if (member->habit == TWO_THREADS && pthread_create(&member->second, NULL, post_beside, member) != 0)
		die("cannot start a thread", -EAGAIN);
	while (atomic_load(&member->world->phase) == PHASE_BUSY) {
		be_busy(member);
		if (member->habit == WAITS)
			wait_quietly(member);
	}
	if (member->habit == TWO_THREADS)
		pthread_join(member->second, NULL);
}

int member_run(struct world *world, int me, unsigned seed)
{
	struct member member = {
		.world = world,
		.seat = &world->seats[me],
		.habit = habits[me],
		.random = seed,
		.options = { .size = sizeof(member.options) },
	};
	int r;

	member.options.address = world->has_daemon && !(world->is_mixed && me % 2) ? world->address : world->nowhere;
	r = pathbus_new(&member.bus, &member.options);
	if (r < 0)
		die("pathbus_new", r);
	for (int file = 0; file < N_FILES; file++)
		open_one(&member, file);
	atomic_store(&member.seat->joined, true);
	while (atomic_load(&world->phase) != PHASE_END) {
		busy_phase(&member);
		atomic_store(&member.seat->quiet, true);
		while (atomic_load(&world->phase) == PHASE_QUIET)
			listen_quietly(&member);
		atomic_store(&member.seat->quiet, false);
	}
	pathbus_free(member.bus);
	return 0;
}
