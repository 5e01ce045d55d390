/* SPDX-License-Identifier: MIT */
/*
 * demo-post.c - for scripts/demo: posts once on a file and prints when, in CLOCK_MONOTONIC nanoseconds, and
 * by which transport.
 *
 *   demo-post FILE
 */
#include <inttypes.h>
#include <pathbus.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	struct timespec at = { 0 };
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int error = pathbus_new(&bus, NULL);

	if (error == 0)
		error = pathbus_open(bus, argc > 1 ? argv[1] : "", PATHBUS_POST, &topic);
	if (error == 0) {
		clock_gettime(CLOCK_MONOTONIC, &at);
		error = pathbus_post(topic);
	}
	if (error == 0)
		error = pathbus_transport(topic, &transport);
	if (error < 0)
		fprintf(stderr, "demo-post FILE: %s\n", strerror(-error));
	else
		printf("%" PRId64 " %s\n", (int64_t)at.tv_sec * 1000000000 + at.tv_nsec,
		       transport.kind == PATHBUS_BUS ? "bus" : "peer");
	pathbus_free(bus);
	return error < 0;
}
