/* SPDX-License-Identifier: MIT */
/* wait.c - reads a file again whenever it has changed, without an event loop: wait FILE */
#include <pathbus.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
	pathbus *bus = NULL;
	pathbus_topic *topic;
	uint64_t seen = 0; /* what this program has dealt with; with 0 the first wait returns at once */
	struct stat file;
	int error = pathbus_new(&bus, NULL);

	if (error == 0)
		error = pathbus_open(bus, argc > 1 ? argv[1] : "", PATHBUS_SUBSCRIBE, &topic);
	while (error == 0 && (error = pathbus_wait(topic, &seen, UINT64_MAX, 0)) == 1) {
		/* `seen` has moved already: a post that comes while the file is read is not lost. */
		printf("%lld bytes\n", stat(argv[1], &file) == 0 ? (long long)file.st_size : 0);
		fflush(stdout);
		error = 0;
	}
	fprintf(stderr, "wait FILE: %s\n", strerror(-error));
	pathbus_free(bus); /* closes the topic too; NULL is fine */
	return 1;
}
