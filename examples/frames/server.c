/* SPDX-License-Identifier: MIT */
/*
 * server.c - draws frames into shared memory, for any number of viewers: server [OPTION...] FILE
 *
 * Each region has two frames: one that viewers look at, and one that is drawn meanwhile. A viewer is never waited for
 * longer than until the next frame is due, and never sees one that is half drawn.
 */
#include <errno.h>
#include <pathbus.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "frames.h"

static volatile sig_atomic_t stopped;

static void stop(int number)
{
	(void)number;
	stopped = 1;
}

static pathbus_region *regions[MOST_REGIONS];
static int n_regions = 8;
static double size = 100e6, drawn = 1e6, rate = 60;

static int parse(int argc, char **argv)
{
	int c;

	while ((c = getopt(argc, argv, "n:s:d:r:")) >= 0) {
		switch (c) {
		case 'n': n_regions = atoi(optarg); break;
		case 's': size = atof(optarg); break;
		case 'd': drawn = atof(optarg); break;
		case 'r': rate = atof(optarg); break;
		default: return 0;
		}
	}
	return argc == optind + 1 && n_regions > 0 && n_regions <= MOST_REGIONS && rate > 0 && size <= 1e12 &&
	       drawn <= size && drawn >= sizeof(struct frame);
}

/* The last one first, so that who finds the first finds all of them. Where viewers still have those of an earlier server,
 * these are gone on with. */
static int make_regions(pathbus_topic *topic)
{
	char name[NAME_SIZE];
	int error = 0;

	for (int i = n_regions - 1; i >= 0 && error == 0; i--) {
		region_name(i, name);
		error = pathbus_region_create(topic, name, (size_t)size, PATHBUS_REGION_DOUBLE, &regions[i]);
		if (error == -EEXIST)
			error = pathbus_region_open(topic, name, 0, &regions[i]);
	}
	for (int i = 0; i < n_regions && error == 0; i++) {
		struct pathbus_region_info info = { .size = sizeof(info) };

		error = pathbus_region_get_info(regions[i], &info);
		if (error == 0 && info.data_size != (size_t)size)
			error = -EEXIST; /* of another size */
	}
	return error < 0 ? error : pathbus_post(topic); /* viewers that came first may look now */
}

/* -EBUSY: a viewer still looks at what would be drawn over. */
static int draw(pathbus_region *region, uint64_t number, uint64_t deadline_ns)
{
	struct frame *frame;
	void *data;
	int error = pathbus_region_begin(region, 0, deadline_ns, &data);

	if (error < 0)
		return error;
	frame = data;
	frame->number = number;
	frame->n_words = (uint64_t)(drawn - sizeof(*frame)) / sizeof(frame->picture[0]);
	for (uint64_t i = 0; i < frame->n_words; i++)
		frame->picture[i] = number;
	frame->drawn_ns = now_ns();
	return pathbus_region_end(region); /* shown from here on, and viewers are woken */
}

static int serve(void)
{
	uint64_t period_ns = (uint64_t)(1e9 / rate), due_ns = now_ns(), said_ns = due_ns, n_drawn = 0, n_skipped = 0;

	for (uint64_t number = 1; !stopped; number++) {
		uint64_t now;

		due_ns += period_ns;
		for (int i = 0; i < n_regions; i++) {
			int error = draw(regions[i], number, due_ns);

			if (error < 0 && error != -EBUSY && error != -EINTR)
				return error;
			n_drawn += error == 0;
			n_skipped += error != 0;
		}
		now = now_ns();
		if (now - said_ns >= 1000000000) {
			double seconds = (double)(now - said_ns) / 1e9;

			printf("%.1f frames/s in each of %d regions, %.0f MB/s drawn, %llu skipped\n",
			       (double)n_drawn / seconds / n_regions, n_regions, (double)n_drawn * drawn / seconds / 1e6,
			       (unsigned long long)n_skipped);
			fflush(stdout);
			said_ns = now;
			n_drawn = n_skipped = 0;
		}
		if (now > due_ns)
			due_ns = now; /* too slow for this rate: as fast as it goes */
		else
			clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME,
					&(struct timespec){ .tv_sec = (time_t)(due_ns / 1000000000),
							    .tv_nsec = (long)(due_ns % 1000000000) }, NULL);
	}
	return 0;
}

int main(int argc, char **argv)
{
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int error;

	if (!parse(argc, argv)) {
		fprintf(stderr, "usage: server [-n REGIONS] [-s BYTES-OF-EACH] [-d BYTES-DRAWN] [-r RATE] FILE\n");
		return 2;
	}
	signal(SIGINT, stop);
	signal(SIGTERM, stop);
	error = pathbus_new(&bus, NULL);
	if (error == 0)
		error = pathbus_open(bus, argv[optind], PATHBUS_POST, &topic); /* does not listen */
	if (error == 0)
		error = make_regions(topic);
	if (error == 0) {
		printf("%d regions of %.1f MB, two frames each, %.0f times a second; of each frame %.1f MB are drawn, "
		       "since all would be %.1f GB/s\n", n_regions, size / 1e6, rate, drawn / 1e6,
		       n_regions * size * rate / 1e9);
		fflush(stdout);
		error = serve();
	}
	if (error < 0)
		fprintf(stderr, "server: %s\n", strerror(-error));
	pathbus_free(bus); /* closes the topic and the regions too; viewers keep what they have */
	return error < 0;
}
