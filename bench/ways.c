/* SPDX-License-Identifier: MIT */
/*
 * ways.c - the same game of ping-pong over a futex, a condition variable, pathbus_wait, and poll on pathbus_fd.
 *
 * Each is written as a program that uses it would be. With poll that is an event loop: it sleeps in poll, takes
 * events until there are none, and replies as it takes the event, before it has found that there are no more.
 */
#include "ways.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- futex --------------------------------------------------------------------------------------------------- */

static void futex(_Atomic uint32_t *word, int operation, uint32_t value)
{
	/* EAGAIN and EINTR: the caller looks again. */
	(void)syscall(SYS_futex, word, operation, value, NULL, NULL, 0);
}

static void futex_await(struct side *side)
{
	uint32_t mine = side->first ? 0 : 1;

	while (atomic_load(&side->turns->turn) != mine)
		futex(&side->turns->turn, FUTEX_WAIT, !mine);
}

static void futex_pass(struct side *side)
{
	atomic_store(&side->turns->turn, side->first ? 1 : 0);
	futex(&side->turns->turn, FUTEX_WAKE, 1);
}

static void play_futex(struct side *side, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!side->first)
			futex_await(side);
		futex_pass(side);
		if (side->first)
			futex_await(side);
	}
}

/* --- condition variable ---------------------------------------------------------------------------------------- */

/* Signalled after unlocking: so that who wakes up finds the mutex free. */
static void play_condition(struct side *side, unsigned n)
{
	struct turns *turns = side->turns;
	uint32_t mine = side->first ? 0 : 1;

	for (unsigned i = 0; i < n; i++) {
		pthread_mutex_lock(&turns->mutex);
		while (turns->guarded_turn != mine)
			pthread_cond_wait(&turns->condition, &turns->mutex);
		turns->guarded_turn = !mine;
		pthread_mutex_unlock(&turns->mutex);
		pthread_cond_signal(&turns->condition);
	}
	if (!side->first)
		return;
	pthread_mutex_lock(&turns->mutex);
	while (turns->guarded_turn != mine)
		pthread_cond_wait(&turns->condition, &turns->mutex);
	pthread_mutex_unlock(&turns->mutex);
}

struct turns *turns_new(void)
{
	struct turns *turns = mmap(NULL, sizeof(*turns), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pthread_mutexattr_t mutex;
	pthread_condattr_t condition;

	if (turns == MAP_FAILED)
		die(-errno, "mmap");
	pthread_mutexattr_init(&mutex);
	pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED);
	pthread_mutex_init(&turns->mutex, &mutex);
	pthread_condattr_init(&condition);
	pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&turns->condition, &condition);
	return turns;
}

/* --- pathbus ----------------------------------------------------------------------------------------------------- */

static void post(struct side *side)
{
	int r = pathbus_post(side->topic);

	if (r < 0)
		die(r, "pathbus_post");
}

static void wait_for_post(struct side *side)
{
	int r;

	do
		r = pathbus_wait(side->topic, &side->seen, UINT64_MAX, 0);
	while (r == -EINTR);
	if (r < 0)
		die(r, "pathbus_wait");
}

static void play_wait(struct side *side, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!side->first)
			wait_for_post(side);
		post(side);
		if (side->first)
			wait_for_post(side);
	}
}

static void play_poll(struct side *side, unsigned n)
{
	struct pollfd handle = { .fd = pathbus_fd(side->bus), .events = POLLIN };
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t received = 0;
	int r;

	if (side->first)
		post(side);
	while (received < n) {
		if (poll(&handle, 1, -1) < 0 && errno != EINTR)
			die(-errno, "poll");
		while ((r = pathbus_next(side->bus, &event)) == 1) {
			if (event.kind != PATHBUS_EVENT_POST)
				continue;
			received += event.count;
			if (!side->first || received < n)
				post(side);
		}
		if (r < 0)
			die(r, "pathbus_next");
	}
	if (received != n)
		die(0, "more posts came than were made");
}

/* --- the table ------------------------------------------------------------------------------------------------- */

const struct way ways[N_WAYS] = {
	{ "futex", PATHBUS_AUTO, play_futex, LIMIT_NONE, 0 },
	{ "condition variable", PATHBUS_AUTO, play_condition, LIMIT_NONE, 0 },
	{ "pathbus_wait", PATHBUS_BUS, play_wait, LIMIT_RATIO, 1.25 },
	{ "poll on pathbus_fd", PATHBUS_BUS, play_poll, LIMIT_RATIO, 1.5 },
	{ "pathbus_wait", PATHBUS_PEER, play_wait, LIMIT_RATIO, 1.25 },
	{ "poll on pathbus_fd", PATHBUS_PEER, play_poll, LIMIT_RATIO, 1.5 },
};

void side_open(struct side *side)
{
	const struct way *way = side->way;
	char file[32];

	if (way->transport == PATHBUS_AUTO)
		return;
	snprintf(file, sizeof(file), "wakeup-%d", (int)(way - ways));
	side->bus = handle_new(side->settings, way->transport);
	side->topic = topic_of(side->settings, side->bus, file, 0);
	if (way->play == play_poll)
		drain(side->bus); /* who only waits never listens: the handle's own set stays out of it */
	while (pathbus_check(side->topic, &side->seen) == 1)
		;
}

void side_close(struct side *side)
{
	side->bus = pathbus_free(side->bus);
}
