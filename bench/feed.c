/* SPDX-License-Identifier: MIT */
/*
 * feed.c - publishes, and has its subscribers count.
 *
 * The subscribers are event loops: they sleep in poll and take events until there are none. Messages are numbered, so
 * each subscriber knows at every message whether delivered + reported missed is what was published before it; anything
 * else is a bug, and ends the program.
 */
#include "feed.h"

#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "os/os.h"

enum {
	TICK_NS = 100000,       /* a paced publisher sleeps for so long */
	CATCH_UP = 2,           /* one that has been late publishes at most at so many times its rate */
	CATCH_UP_NS = 1000000,  /* ... of so much time at once */
	PATIENCE_MS = 5000,     /* for what has been published, and of which nothing is heard */
};

#define NOT_ENDED UINT64_MAX

/* --- a subscriber ---------------------------------------------------------------------------------------------- */

struct tally {
	uint64_t delivered, missed, end_ns;
};

static void count(struct tally *tally, const struct pathbus_event *event)
{
	uint64_t first, last;

	if (event->kind == PATHBUS_EVENT_GAP) {
		tally->missed += event->count;
		return;
	}
	if (event->kind != PATHBUS_EVENT_MESSAGE || event->data_size != MESSAGE_SIZE)
		die(0, "something came that was not published: event %d, %zu bytes", event->kind, event->data_size);
	memcpy(&first, event->data, sizeof(first));
	memcpy(&last, (const char *)event->data + MESSAGE_SIZE - sizeof(last), sizeof(last));
	if (first != tally->delivered + tally->missed || first != last)
		die(0, "message %llu (at its end %llu) came after %llu delivered and %llu reported missed",
		    (unsigned long long)first, (unsigned long long)last, (unsigned long long)tally->delivered,
		    (unsigned long long)tally->missed);
	tally->delivered++;
}

static void take_events(pathbus *bus, struct tally *tally)
{
	struct pathbus_event event = { .size = sizeof(event) };
	int r;

	while ((r = pathbus_next(bus, &event)) == 1)
		count(tally, &event);
	if (r < 0)
		die(r, "pathbus_next");
}

/* Until all is told of up to `end`. */
static uint64_t receive(const struct feed *feed, pathbus *bus, struct tally *tally, uint64_t end)
{
	struct pollfd handle = { .fd = pathbus_fd(bus), .events = POLLIN };
	uint64_t wakeups = 0;

	while (tally->delivered + tally->missed < end) {
		int n = poll(&handle, 1, PATIENCE_MS);

		if (n < 0 && errno != EINTR)
			die(-errno, "poll");
		wakeups++;
		take_events(bus, tally);
		if (n == 0 && *feed->ended == end)
			break; /* the publisher will see how many there are */
	}
	tally->end_ns = now_ns();
	return wakeups;
}

static pathbus_topic *open_side(const struct feed *feed, pathbus **ret_bus, unsigned flags)
{
	char file[32];

	snprintf(file, sizeof(file), "messages-%u", feed->number);
	*ret_bus = handle_new(feed->settings, feed->kind);
	return topic_with_ring(feed->settings, *ret_bus, file, flags);
}

static void serve(int socket, const void *arg)
{
	const struct feed *feed = arg;
	struct tally tally = { 0 };
	pathbus *bus = NULL;

	if (feed->n_subscribers == 1)
		pin(feed->settings->other_core);
	else
		pin_to_both(feed->settings);
	for (;;) {
		struct message message = message_receive(socket);

		if (message.command == COMMAND_QUIT)
			break;
		if (message.command == COMMAND_OPEN) {
			open_side(feed, &bus, PATHBUS_SUBSCRIBE);
			take_events(bus, &tally);
		}
		message_send(socket, &message); /* ready */
		if (message.command == COMMAND_RUN) {
			struct tally before = tally;

			message.cpu_ns = cpu_ns();
			message.wakeups = receive(feed, bus, &tally, tally.delivered + tally.missed + message.n);
			message.cpu_ns = cpu_ns() - message.cpu_ns;
			message.delivered = tally.delivered - before.delivered;
			message.missed = tally.missed - before.missed;
			message.end_ns = tally.end_ns;
			message_send(socket, &message);
		}
	}
	pathbus_free(bus);
}

/* --- the publisher --------------------------------------------------------------------------------------------- */

static void publish(struct feed *feed, uint64_t n)
{
	uint64_t words[MESSAGE_SIZE / 8] = { 0 };

	for (uint64_t i = 0; i < n; i++) {
		int r;

		words[0] = words[MESSAGE_SIZE / 8 - 1] = feed->next++;
		r = pathbus_publish(feed->topic, words, sizeof(words));
		if (r < 0)
			die(r, "pathbus_publish");
	}
}

static void sleep_until(uint64_t ns)
{
	struct timespec until = { .tv_sec = (time_t)(ns / 1000000000u), .tv_nsec = (long)(ns % 1000000000u) };

	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) == EINTR)
		;
}

/* By the clock. Who was kept from running catches up, but not at once: that would be a burst of its own making. Returns
 * the largest batch. */
static uint64_t publish_at(struct feed *feed, uint64_t n, uint64_t rate)
{
	uint64_t start = now_ns(), last = start, published = 0, largest = 0;

	while (published < n) {
		uint64_t now = now_ns(), due = (now - start) * rate / 1000000000u, batch, most;

		most = CATCH_UP * (now - last < CATCH_UP_NS ? now - last : CATCH_UP_NS) * rate / 1000000000u;
		batch = (due < n ? due : n) - published;
		if (batch > most)
			batch = most;
		publish(feed, batch);
		published += batch;
		last = now;
		if (batch > largest)
			largest = batch;
		sleep_until(now + TICK_NS);
	}
	return largest;
}

/* --- a round ----------------------------------------------------------------------------------------------------- */

static void check(const struct feed *feed, unsigned subscriber, const struct message *told, unsigned n)
{
	if (told->delivered + told->missed != n)
		die(0, "%s, subscriber %u of %u: %llu delivered and %llu reported missed of %u published",
		    transport_name(feed->kind), subscriber + 1, feed->n_subscribers, (unsigned long long)told->delivered,
		    (unsigned long long)told->missed, n);
}

static void collect(struct feed *feed, unsigned n, uint64_t start, struct outcome *outcome, uint64_t *cpu)
{
	double delivered = 0;

	for (unsigned i = 0; i < feed->n_subscribers; i++) {
		struct message told = message_receive(feed->subscribers[i].socket);
		double rate;

		check(feed, i, &told, n);
		rate = (double)told.delivered * 1000 / (double)(told.end_ns - start);
		if (i == 0 || rate < outcome->delivered)
			outcome->delivered = rate;
		delivered += (double)told.delivered;
		outcome->missed += (double)told.missed;
		outcome->wakeups += (double)told.wakeups;
		outcome->receive_ns += (double)told.cpu_ns;
		*cpu += told.cpu_ns;
	}
	outcome->receive_ns /= delivered;
}

struct outcome feed_run(struct feed *feed, unsigned n, unsigned rate)
{
	struct message message = { .command = COMMAND_RUN, .n = n };
	struct outcome outcome = { 0 };
	uint64_t start, start_cpu, cpu, end, rings, daemon_cpu;
	struct load load;

	outcome.line_ns = bounce_ns();
	if (feed->n_subscribers == 1)
		pin(feed->settings->core);
	else
		pin_to_both(feed->settings);
	atomic_store(feed->ended, NOT_ENDED);
	for (unsigned i = 0; i < feed->n_subscribers; i++) {
		message_send(feed->subscribers[i].socket, &message);
		message_receive(feed->subscribers[i].socket);
	}
	sleep_until(now_ns() + 5000000); /* they fall asleep */
	load = load_now();
	rings = atomic_load(&os_counts.rings);
	daemon_cpu = daemon_cpu_ns(feed->settings);
	start_cpu = cpu_ns();
	start = now_ns();
	if (rate)
		outcome.largest_batch = (double)publish_at(feed, n, rate);
	else
		publish(feed, n);
	end = now_ns();
	cpu = cpu_ns() - start_cpu;
	outcome.rings = (double)(atomic_load(&os_counts.rings) - rings);
	outcome.published = n * 1000.0 / (double)(end - start);
	outcome.publish_ns = (double)cpu / n;
	atomic_store(feed->ended, feed->next);
	collect(feed, n, start, &outcome, &cpu);
	daemon_cpu = daemon_cpu_ns(feed->settings) - daemon_cpu;
	outcome.others = load_of_others(&load, cpu + daemon_cpu);
	outcome.daemon = (double)daemon_cpu / (double)(now_ns() - start);
	return outcome;
}

/* --- beginning and end ------------------------------------------------------------------------------------------- */

void feed_start(struct feed *feed)
{
	feed->ended = mmap(NULL, sizeof(*feed->ended), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (feed->ended == MAP_FAILED)
		die(-errno, "mmap");
	for (unsigned i = 0; i < feed->n_subscribers; i++)
		partner_start(&feed->subscribers[i], serve, feed);
}

void feed_open(struct feed *feed)
{
	/* A paced publisher's sleeps are not to be drawn together with other timers. */
	(void)prctl(PR_SET_TIMERSLACK, 1000);
	for (unsigned i = 0; i < feed->n_subscribers; i++) {
		message_send(feed->subscribers[i].socket, &(struct message){ .command = COMMAND_OPEN });
		message_receive(feed->subscribers[i].socket);
	}
	feed->topic = open_side(feed, &feed->bus, PATHBUS_POST);
}

void feed_stop(struct feed *feed)
{
	for (unsigned i = 0; i < feed->n_subscribers; i++)
		partner_stop(&feed->subscribers[i]);
	pathbus_free(feed->bus);
	munmap((void *)feed->ended, sizeof(*feed->ended));
}
