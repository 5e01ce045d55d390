/* SPDX-License-Identifier: MIT */
/* listen.c - says whenever somebody has changed a file: listen FILE */
#include <pathbus.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	struct pathbus_event event = { .size = sizeof(event) };
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int error = pathbus_new(&bus, NULL); /* a daemon if there is one; works without */

	if (error == 0)
		error = pathbus_open(bus, argc > 1 ? argv[1] : "", PATHBUS_SUBSCRIBE, &topic);
	if (error == 0) {
		struct pollfd ready = { .fd = pathbus_fd(bus), .events = POLLIN };

		puts("listening: read the file now, and again whenever it has changed");
		while (error == 0 && poll(&ready, 1, -1) > 0)
			while (error == 0 && pathbus_next(bus, &event) > 0) {
				puts("changed");
				fflush(stdout);
				error = event.error; /* 0 unless the channel is lost */
			}
	}
	fprintf(stderr, "listen FILE: %s\n", strerror(-error));
	pathbus_free(bus); /* closes the topic too; NULL is fine */
	return 1;
}
