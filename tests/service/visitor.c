/* SPDX-License-Identifier: MIT */
/*
 * visitor.c - opens a file as any program does: visitor FILE. Made set-uid by the test, so it takes nothing from its
 * environment but what the library does.
 *
 * Prints "bus=NUMBER auto=KIND": what pathbus_new returned that was to use a daemon, and where a topic is that was to
 * use whatever there is.
 */
#include <pathbus.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	static const char *const kinds[] = { [PATHBUS_AUTO] = "none", [PATHBUS_BUS] = "bus", [PATHBUS_PEER] = "peer" };
	struct pathbus_options options = { .size = sizeof(options), .transport = PATHBUS_BUS };
	struct pathbus_transport transport = { .size = sizeof(transport) };
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int by_bus, r;

	if (argc != 2)
		return 2;
	by_bus = pathbus_new(&bus, &options);
	bus = pathbus_free(bus);
	r = pathbus_new(&bus, NULL);
	if (r == 0)
		r = pathbus_open(bus, argv[1], 0, &topic);
	if (r == 0)
		r = pathbus_transport(topic, &transport);
	if (r == 0)
		printf("bus=%d auto=%s\n", by_bus, kinds[transport.kind]);
	else
		printf("bus=%d auto=%d\n", by_bus, r);
	fflush(stdout);
	pathbus_free(bus);
	_exit(0); /* a leak detector cannot look at a set-uid program */
}
