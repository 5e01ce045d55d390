/* SPDX-License-Identifier: MIT */
/*
 * demo-listener.c - for scripts/demo: keeps a SQLite database open, and reads it again at each event.
 *
 *   demo-listener DATABASE
 *
 * It prints "ready PID TRANSPORT", then a line per event: the event, how many posts it stands for, when it
 * was received (CLOCK_MONOTONIC nanoseconds, taken before anything else is done), the transport, and the last
 * row of the table "log". It ends when its input does.
 */
#include <inttypes.h>
#include <pathbus.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *transport_name(const pathbus_topic *topic)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	if (pathbus_transport(topic, &transport) < 0 || transport.kind == PATHBUS_AUTO)
		return "none";
	return transport.kind == PATHBUS_BUS ? "bus" : "peer";
}

static void print_event(const struct pathbus_event *event, const struct timespec *at, sqlite3_stmt *query)
{
	int64_t ns = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec;
	int row = sqlite3_step(query) == SQLITE_ROW;

	printf("%s %" PRIu64 " %" PRId64 " %s %s\n", event->kind == PATHBUS_EVENT_POST ? "post" : "resync",
	       event->count, ns, transport_name(event->topic),
	       row ? (const char *)sqlite3_column_text(query, 0) : "-");
	fflush(stdout);
	sqlite3_reset(query);
}

/* Until the input ends. Returns 0 or a negative errno. */
static int listen_on(pathbus *bus, sqlite3_stmt *query)
{
	struct pollfd ready[2] = {
		{ .fd = pathbus_fd(bus), .events = POLLIN },
		{ .fd = STDIN_FILENO, .events = POLLIN },
	};

	while (poll(ready, 2, -1) > 0 && !ready[1].revents) {
		struct pathbus_event event = { .size = sizeof(event) };
		struct timespec at;
		int more;

		while ((more = pathbus_next(bus, &event)) > 0) {
			clock_gettime(CLOCK_MONOTONIC, &at);
			if (event.kind == PATHBUS_EVENT_ERROR)
				return event.error;
			print_event(&event, &at, query);
		}
		if (more < 0)
			return more;
	}
	return 0;
}

int main(int argc, char **argv)
{
	sqlite3 *database = NULL;
	sqlite3_stmt *query = NULL;
	pathbus *bus = NULL;
	pathbus_topic *topic;
	int error;

	if (argc != 2 || sqlite3_open(argv[1], &database) != SQLITE_OK ||
	    sqlite3_prepare_v2(database, "SELECT text FROM log ORDER BY id DESC LIMIT 1", -1, &query, NULL)) {
		fprintf(stderr, "demo-listener DATABASE: %s\n",
			database ? sqlite3_errmsg(database) : "which?");
		sqlite3_close(database);
		return 1;
	}
	error = pathbus_new(&bus, NULL);
	if (error == 0)
		error = pathbus_open(bus, argv[1], PATHBUS_SUBSCRIBE, &topic);
	if (error == 0) {
		printf("ready %ld %s\n", (long)getpid(), transport_name(topic));
		fflush(stdout);
		error = listen_on(bus, query);
	}
	if (error < 0)
		fprintf(stderr, "demo-listener: %s\n", strerror(-error));
	pathbus_free(bus);
	sqlite3_finalize(query);
	sqlite3_close(database);
	return error < 0;
}
