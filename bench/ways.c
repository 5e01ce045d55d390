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

static void publish(struct side *side)
{
	static const char bytes[MESSAGE_SIZE] = "the turn";
	int r = pathbus_publish(side->topic, bytes, sizeof(bytes));

	if (r < 0)
		die(r, "pathbus_publish");
}

/* An event loop that passes the turn with `pass` for each that is received of a kind. */
static void play_events(struct side *side, unsigned n, void (*pass)(struct side *side), enum pathbus_event_kind kind)
{
	struct pollfd handle = { .fd = pathbus_fd(side->bus), .events = POLLIN };
	struct pathbus_event event = { .size = sizeof(event) };
	uint64_t received = 0;
	int r;

	if (side->first)
		pass(side);
	while (received < n) {
		if (poll(&handle, 1, -1) < 0 && errno != EINTR)
			die(-errno, "poll");
		while ((r = pathbus_next(side->bus, &event)) == 1) {
			if (event.kind != kind)
				continue;
			received += event.count;
			if (!side->first || received < n)
				pass(side);
		}
		if (r < 0)
			die(r, "pathbus_next");
	}
	if (received != n)
		die(0, "more came than was sent");
}

static void play_poll(struct side *side, unsigned n)
{
	play_events(side, n, post, PATHBUS_EVENT_POST);
}

static void play_messages(struct side *side, unsigned n)
{
	play_events(side, n, publish, PATHBUS_EVENT_MESSAGE);
}

/* --- regions ----------------------------------------------------------------------------------------------------- */

/* A version of which one word is written. */
static void publish_version(struct side *side)
{
	void *data;
	int r = pathbus_region_begin(side->region, 0, 0, &data);

	if (r < 0)
		die(r, "pathbus_region_begin");
	*(volatile uint64_t *)data = ++side->version;
	r = pathbus_region_end(side->region);
	if (r < 0)
		die(r, "pathbus_region_end");
}

static void wait_for_version(struct side *side)
{
	int r;

	do
		r = pathbus_region_wait(side->region, &side->version, UINT64_MAX, 0);
	while (r == -EINTR);
	if (r < 0)
		die(r, "pathbus_region_wait");
}

static void play_versions(struct side *side, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		if (!side->first)
			wait_for_version(side);
		publish_version(side);
		if (side->first)
			wait_for_version(side);
	}
}

static void pass_version(struct side *side)
{
	struct pathbus_region_info info = { .size = sizeof(info) };

	(void)pathbus_region_get_info(side->region, &info); /* the event loop does not wait: which one is it? */
	side->version = info.version;
	publish_version(side);
}

static void play_region_events(struct side *side, unsigned n)
{
	play_events(side, n, pass_version, PATHBUS_EVENT_REGION);
}

static void open_region(struct side *side)
{
	struct pathbus_region_info info = { .size = sizeof(info) };
	int r = pathbus_region_create(side->topic, "turns", 4096, 0, &side->region);

	if (r == -EEXIST) /* the other side's */
		r = pathbus_region_open(side->topic, "turns", 0, &side->region);
	if (r == 0)
		r = pathbus_region_get_info(side->region, &info);
	if (r < 0)
		die(r, "a region");
	side->version = info.version;
}

/* --- the table ------------------------------------------------------------------------------------------------- */

const struct way ways[N_WAYS] = {
	{ "futex", PATHBUS_AUTO, play_futex, NULL, LIMIT_NONE, 0 },
	{ "condition variable", PATHBUS_AUTO, play_condition, "futex", LIMIT_NONE, 0 },
	{ "pathbus_wait", PATHBUS_BUS, play_wait, "futex", LIMIT_RATIO, 1.25 },
	{ "poll on pathbus_fd", PATHBUS_BUS, play_poll, "futex", LIMIT_RATIO, 1.5 },
	{ "pathbus_wait", PATHBUS_PEER, play_wait, "futex", LIMIT_RATIO, 1.25 },
	{ "poll on pathbus_fd", PATHBUS_PEER, play_poll, "futex", LIMIT_RATIO, 1.5 },
};

const struct way message_ways[N_MESSAGE_WAYS] = {
	{ "latency, a post", PATHBUS_BUS, play_poll, NULL, LIMIT_NONE, 0 },
	{ "latency, a message", PATHBUS_BUS, play_messages, "a post", LIMIT_RATIO, 1.25 },
	{ "latency, a post", PATHBUS_PEER, play_poll, NULL, LIMIT_NONE, 0 },
	{ "latency, a message", PATHBUS_PEER, play_messages, "a post", LIMIT_RATIO, 1.25 },
};

/* A plain post, and the same over a region; paired, since each way's reference is the one before it. */
const struct way region_ways[N_REGION_WAYS] = {
	{ "a post, pathbus_wait", PATHBUS_BUS, play_wait, NULL, LIMIT_NONE, 0 },
	{ "a version, region_wait", PATHBUS_BUS, play_versions, "a post", LIMIT_RATIO, 1.25 },
	{ "a post, poll", PATHBUS_BUS, play_poll, NULL, LIMIT_NONE, 0 },
	{ "a version, poll", PATHBUS_BUS, play_region_events, "a post", LIMIT_RATIO, 1.25 },
	{ "a post, pathbus_wait", PATHBUS_PEER, play_wait, NULL, LIMIT_NONE, 0 },
	{ "a version, region_wait", PATHBUS_PEER, play_versions, "a post", LIMIT_RATIO, 1.25 },
	{ "a post, poll", PATHBUS_PEER, play_poll, NULL, LIMIT_NONE, 0 },
	{ "a version, poll", PATHBUS_PEER, play_region_events, "a post", LIMIT_RATIO, 1.25 },
};

void side_open(struct side *side)
{
	const struct way *way = side->way;
	char file[32];

	if (way->transport == PATHBUS_AUTO)
		return;
	snprintf(file, sizeof(file), "wakeup-%u", side->number);
	side->bus = handle_new(side->settings, way->transport);
	side->topic = topic_with_ring(side->settings, side->bus, file, 0);
	if (way->play == play_versions || way->play == play_region_events)
		open_region(side);
	if (way->play != play_wait && way->play != play_versions)
		drain(side->bus); /* who only waits never listens: the handle's own set stays out of it */
	while (pathbus_check(side->topic, &side->seen) == 1)
		;
}

void side_close(struct side *side)
{
	side->bus = pathbus_free(side->bus);
}
