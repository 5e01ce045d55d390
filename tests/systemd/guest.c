/* SPDX-License-Identifier: MIT */
/*
 * guest.c - programs that go on while their daemon is restarted: guest post|listen COUNTERS NUMBER FILE.
 *
 * COUNTERS is a file that they share; what it says is what the topic's file would contain. A poster goes round by round: it
 * changes it, posts, and waits until every listener has looked since; a listener looks at each event, and at nothing else. So a
 * post that is lost is a round that does not end, whichever it is.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <pathbus.h>

#define MAX_GUESTS 8
#define LIMIT_S 40

/* Known to cases.py, too. */
struct counters {
	_Atomic uint64_t stop;
	_Atomic uint64_t change;              /* the topic's file: its poster's */
	_Atomic uint64_t n_listeners;         /* guests from 1 on */
	_Atomic uint64_t looked[MAX_GUESTS];  /* at which change */
	_Atomic uint64_t transport[MAX_GUESTS];
	_Atomic uint64_t refused;             /* posts that returned an error, and were made again */
};

struct guest {
	struct counters *counters;
	unsigned number;
	pathbus *bus;
	pathbus_topic *topic;
};

static int die(const char *what, int error)
{
	fprintf(stderr, "guest: %s: %s\n", what, strerror(-error));
	_exit(1); /* a leak detector could not look at who has become another user */
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void tell_transport(struct guest *guest)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	if (pathbus_transport(guest->topic, &transport) == 0)
		atomic_store(&guest->counters->transport[guest->number], (uint64_t)transport.kind);
}

/* Returns whether there was an event. */
static bool take_events(struct guest *guest, int timeout_ms)
{
	struct pathbus_event event = { .size = sizeof(event) };
	struct pollfd ready = { .fd = pathbus_fd(guest->bus), .events = POLLIN };
	bool any = false;

	(void)poll(&ready, 1, timeout_ms);
	while (pathbus_next(guest->bus, &event) > 0)
		any = true;
	tell_transport(guest);
	return any;
}

static void listen_on(struct guest *guest)
{
	while (!atomic_load(&guest->counters->stop))
		if (take_events(guest, 100))
			atomic_store(&guest->counters->looked[guest->number], atomic_load(&guest->counters->change));
}

static bool all_have_looked(const struct counters *counters, uint64_t change)
{
	uint64_t n = atomic_load(&counters->n_listeners);

	for (uint64_t i = 1; i <= n && i < MAX_GUESTS; i++)
		if (atomic_load(&counters->looked[i]) < change)
			return false;
	return true;
}

static void post_round(struct guest *guest)
{
	uint64_t until = now_ms() + LIMIT_S * 1000, change = atomic_fetch_add(&guest->counters->change, 1) + 1;
	int r;

	while ((r = pathbus_post(guest->topic)) < 0) {
		atomic_fetch_add(&guest->counters->refused, 1);
		if (now_ms() > until)
			die("posting", r);
		(void)take_events(guest, 10);
	}
	while (!all_have_looked(guest->counters, change)) {
		if (now_ms() > until) {
			fprintf(stderr, "guest: change %llu was posted, and somebody has not heard of it\n",
			        (unsigned long long)change);
			_exit(3);
		}
		(void)take_events(guest, 1);
	}
}

int main(int argc, char **argv)
{
	struct guest guest = { 0 };
	int fd, r;

	if (argc != 5)
		return 2;
	guest.number = (unsigned)atoi(argv[3]) % MAX_GUESTS;
	fd = open(argv[2], O_RDWR | O_CLOEXEC);
	guest.counters = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*guest.counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (guest.counters == MAP_FAILED)
		return die(argv[2], -errno);
	r = pathbus_new(&guest.bus, NULL);
	if (r == 0)
		r = pathbus_open(guest.bus, argv[4], strcmp(argv[1], "post") == 0 ? PATHBUS_POST : PATHBUS_SUBSCRIBE, &guest.topic);
	if (r < 0)
		return die(argv[4], r);
	tell_transport(&guest);
	puts("open");
	fflush(stdout);
	if (strcmp(argv[1], "listen") == 0)
		listen_on(&guest);
	else
		while (!atomic_load(&guest.counters->stop))
			post_round(&guest);
	pathbus_free(guest.bus);
	_exit(0);
}
