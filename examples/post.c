/* SPDX-License-Identifier: MIT */
/* post.c - tells everybody who listens on a file that it has changed: post FILE */
#include <pathbus.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int error = pathbus_new(&bus, NULL);

	if (error == 0)
		error = pathbus_open(bus, argc > 1 ? argv[1] : "", PATHBUS_POST, &topic);
	/* Here a program changes the file. First the change, then the post. */
	if (error == 0)
		error = pathbus_post(topic);
	if (error < 0)
		fprintf(stderr, "post FILE: %s\n", strerror(-error));
	pathbus_free(bus); /* closes the topic too; NULL is fine */
	return error < 0;
}
