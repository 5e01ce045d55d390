/* SPDX-License-Identifier: MIT */
/*
 * viewer.c - looks at the frames that server.c draws, in place, without copying: viewer FILE [FRAMES]
 *
 * It ends after so many frames, or by a signal, and says what it has seen. Each word of a frame is looked at, and must be
 * of that frame: a frame of which a part is another's is "torn", and there must be none.
 */
#include <errno.h>
#include <pathbus.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "frames.h"

enum { MOST_SAMPLES = 4096 }; /* of those of a second; the rest is left out */

struct sums {
	uint64_t n_seen, n_torn, n_again, n_missed;
	uint64_t samples[MOST_SAMPLES]; /* from drawn to woken, ns */
	size_t n_samples;
};

static volatile sig_atomic_t stopped;
static struct sums since_said, all;
static uint64_t n_wanted; /* 0: no limit */

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

/* The first one is the last that the server makes. */
static int open_regions(pathbus_topic *topic)
{
	uint64_t seen = 0;
	char name[NAME_SIZE];
	pathbus_region *region;
	int error, n = 0;

	while ((error = pathbus_region_open(topic, region_name(0, name), PATHBUS_REGION_READ_ONLY, &region)) == -ENOENT) {
		error = pathbus_wait(topic, &seen, UINT64_MAX, 0); /* for the server */
		if (error < 0)
			return error;
	}
	while (error == 0)
		error = pathbus_region_open(topic, region_name(++n, name), PATHBUS_REGION_READ_ONLY, &region);
	return error == -ENOENT ? n : error;
}

/* volatile: what is in shared memory may change while we look. So the size is taken once, and checked. */
static int is_torn(const volatile struct frame *frame, size_t size)
{
	uint64_t n_words = frame->n_words, number = frame->number;

	if (n_words > (size - sizeof(*frame)) / sizeof(frame->picture[0]))
		return 1;
	for (uint64_t i = 0; i < n_words; i++)
		if (frame->picture[i] != number)
			return 1;
	return frame->number != number;
}

static int look(const struct pathbus_event *event, uint64_t woken_ns)
{
	struct pathbus_region_info info = { .size = sizeof(info) };
	uint64_t version, drawn_ns = 0;
	const void *data;
	int torn = 0, error = pathbus_region_get_info(event->region, &info);

	if (error == 0)
		error = pathbus_region_read_begin(event->region, &data, &version);
	if (error == 0) {
		drawn_ns = ((const struct frame *)data)->drawn_ns;
		torn = is_torn(data, info.data_size);
		error = pathbus_region_read_end(event->region);
	}
	if (error == -EAGAIN) { /* drawn over while we looked: there is an event for what came instead */
		since_said.n_again++;
		return 0;
	}
	if (error < 0)
		return error;
	since_said.n_seen++;
	since_said.n_torn += torn != 0;
	since_said.n_missed += event->count - 1;
	/* Not if it is a newer one than we were woken for. */
	if (version == event->version && since_said.n_samples < MOST_SAMPLES && woken_ns > drawn_ns)
		since_said.samples[since_said.n_samples++] = woken_ns - drawn_ns;
	return 0;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void say(double seconds)
{
	struct sums *now = &since_said;

	all.n_seen += now->n_seen;
	all.n_torn += now->n_torn;
	all.n_again += now->n_again;
	all.n_missed += now->n_missed;
	qsort(now->samples, now->n_samples, sizeof(now->samples[0]), compare);
	if (now->n_samples > 0)
		printf("%llu frames in %.2f s, %llu torn, %llu read again, %llu missed; from drawn to woken: "
		       "p50 %.0f us, p99 %.0f us\n", (unsigned long long)now->n_seen, seconds,
		       (unsigned long long)now->n_torn, (unsigned long long)now->n_again,
		       (unsigned long long)now->n_missed,
		       (double)now->samples[now->n_samples / 2] / 1e3,
		       (double)now->samples[now->n_samples * 99 / 100] / 1e3);
	fflush(stdout);
	*now = (struct sums){ 0 };
}

static int view(pathbus *bus)
{
	struct pathbus_event event = { .size = sizeof(event) };
	struct pollfd ready = { .fd = pathbus_fd(bus), .events = POLLIN };
	uint64_t said_ns = now_ns();

	while (!stopped && (n_wanted == 0 || all.n_seen + since_said.n_seen < n_wanted)) {
		int error;

		if (poll(&ready, 1, -1) < 0)
			continue; /* a signal */
		while ((error = pathbus_next(bus, &event)) > 0) {
			uint64_t woken_ns = now_ns();

			if (event.kind == PATHBUS_EVENT_REGION)
				error = look(&event, woken_ns);
			else
				error = event.error; /* 0 unless the channel is lost */
			if (error < 0)
				return error;
			if (woken_ns - said_ns >= 1000000000) {
				say((double)(woken_ns - said_ns) / 1e9);
				said_ns = woken_ns;
			}
		}
		if (error < 0)
			return error;
	}
	say((double)(now_ns() - said_ns) / 1e9);
	printf("in all %llu frames, %llu torn, %llu read again, %llu missed\n", (unsigned long long)all.n_seen,
	       (unsigned long long)all.n_torn, (unsigned long long)all.n_again, (unsigned long long)all.n_missed);
	return 0;
}

int main(int argc, char **argv)
{
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int error;

	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	n_wanted = argc > 2 ? strtoull(argv[2], NULL, 10) : 0;
	error = pathbus_new(&bus, NULL);
	if (error == 0)
		error = pathbus_open(bus, argc > 1 ? argv[1] : "", PATHBUS_SUBSCRIBE, &topic);
	if (error == 0)
		error = open_regions(topic);
	if (error > 0) {
		printf("viewing %d regions\n", error);
		fflush(stdout);
		error = view(bus);
	}
	if (error < 0 && !stopped)
		fprintf(stderr, "viewer FILE [FRAMES]: %s\n", strerror(-error));
	pathbus_free(bus); /* closes the topic and the regions too */
	return error < 0 && !stopped;
}
