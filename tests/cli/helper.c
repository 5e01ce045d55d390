/* SPDX-License-Identifier: MIT */
/*
 * helper.c - the other side of what pathbusctl does with regions, locks and endpoints: helper ROLE FILE NAME [VALUE]
 *
 *   stuck    begins to write a region ("begun"), and ends that with SIGUSR1 ("ended"): each byte of it is VALUE
 *   looker   begins to read one ("begun"), and ends that with SIGUSR1: prints what pathbus_region_read_end returned
 *   writer   writes it over and over, each byte the same, until SIGTERM
 *   holder   opens it ("open")
 *   locker   takes a lock ("held"); VALUE "shared": shared
 *   waiter   waits for one ("waiting", then "held")
 *   echo     listens on an endpoint ("listening"); sends back what comes, and ends when its guest does
 *   after    the same, but what came is sent back when the guest has said all
 *   before   says "hello", and that this is all, then prints what comes, up to its end
 *   slam     takes a guest and closes it
 *   messages as echo, with SOCK_SEQPACKET; first an empty message
 *   away     listens, and takes nobody
 *   poster   has the file open only to post ("open"); posts NAME times with each SIGUSR1 ("posted")
 *
 * SIGTERM ends it in good order.
 */
#include <errno.h>
#include <pathbus.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

static pathbus *bus;
static pathbus_topic *topic;
static int signals;

static void say(const char *text)
{
	printf("%s\n", text);
	fflush(stdout);
}

static void must(int r, const char *what)
{
	if (r >= 0)
		return;
	fprintf(stderr, "helper: %s: %s\n", what, strerror(-r));
	exit(1);
}

static void finish(void)
{
	pathbus_free(bus);
	exit(0);
}

/* The next signal; SIGTERM ends the program. */
static void await_signal(void)
{
	struct signalfd_siginfo info;

	if (read(signals, &info, sizeof(info)) != (ssize_t)sizeof(info) || info.ssi_signo == SIGTERM)
		finish();
}

/* --- regions -------------------------------------------------------------------------------------------------------- */

static pathbus_region *open_region(const char *name, unsigned flags, size_t *ret_size)
{
	struct pathbus_region_info info = { .size = sizeof(info) };
	pathbus_region *region;

	must(pathbus_region_open(topic, name, flags, &region), "pathbus_region_open");
	must(pathbus_region_get_info(region, &info), "pathbus_region_get_info");
	*ret_size = info.data_size;
	return region;
}

static void stuck(const char *name, int value)
{
	size_t size;
	pathbus_region *region = open_region(name, 0, &size);
	void *data;

	must(pathbus_region_begin(region, 0, 0, &data), "pathbus_region_begin");
	memset(data, value, size / 2);
	say("begun");
	await_signal();
	memset(data, value, size);
	must(pathbus_region_end(region), "pathbus_region_end");
	say("ended");
	await_signal();
}

static void look(const char *name)
{
	size_t size;
	pathbus_region *region = open_region(name, PATHBUS_REGION_READ_ONLY, &size);
	const void *data;
	uint64_t version;

	must(pathbus_region_read_begin(region, &data, &version), "pathbus_region_read_begin");
	say("begun");
	await_signal();
	say(pathbus_region_read_end(region) == 0 ? "whole" : "torn");
	await_signal();
}

static void write_on(const char *name)
{
	struct pollfd ended = { .fd = signals, .events = POLLIN };
	size_t size;
	pathbus_region *region = open_region(name, 0, &size);

	for (int value = 1; poll(&ended, 1, 0) == 0; value = value % 255 + 1) {
		void *data;

		must(pathbus_region_begin(region, 0, UINT64_MAX, &data), "pathbus_region_begin");
		for (size_t at = 0; at < size; at++)
			((volatile unsigned char *)data)[at] = (unsigned char)value;
		must(pathbus_region_end(region), "pathbus_region_end");
		if (value == 1)
			say("writes");
	}
}

static void hold(const char *name)
{
	size_t size;

	(void)open_region(name, PATHBUS_REGION_READ_ONLY, &size);
	say("open");
	await_signal();
}

/* --- locks ---------------------------------------------------------------------------------------------------------- */

static void take_lock(const char *name, unsigned flags, int waits)
{
	pathbus_lock *lock;

	must(pathbus_lock_open(topic, name, &lock), "pathbus_lock_open");
	if (waits)
		say("waiting");
	must(pathbus_lock_acquire(lock, flags, UINT64_MAX), "pathbus_lock_acquire");
	say("held");
	await_signal();
	must(pathbus_lock_release(lock), "pathbus_lock_release");
}

/* --- endpoints ------------------------------------------------------------------------------------------------------ */

static int accept_one(void)
{
	struct pathbus_event event = { .size = sizeof(event) };
	struct pollfd ready[2] = {
		{ .fd = pathbus_fd(bus), .events = POLLIN },
		{ .fd = signals, .events = POLLIN },
	};

	for (;;) {
		int r;

		while ((r = pathbus_next(bus, &event)) > 0)
			if (event.kind == PATHBUS_EVENT_CONNECTION) {
				printf("guest %ld %ld\n", (long)event.pid, (long)event.uid);
				fflush(stdout);
				return event.fd;
			}
		must(r, "pathbus_next");
		if (poll(ready, 2, -1) > 0 && ready[1].revents)
			await_signal();
	}
}

static void send_all(int guest, const char *bytes, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = send(guest, bytes + at, size - at, MSG_NOSIGNAL);

		if (n < 0)
			return; /* it has gone */
		at += (size_t)n;
	}
}

static void serve(const char *role, int guest)
{
	static char bytes[4 << 20];
	size_t used = 0;
	ssize_t n;

	if (strcmp(role, "slam") == 0)
		return;
	if (strcmp(role, "messages") == 0)
		(void)send(guest, "", 0, MSG_NOSIGNAL);
	if (strcmp(role, "before") == 0) {
		send_all(guest, "hello\n", 6);
		shutdown(guest, SHUT_WR);
	}
	while ((n = recv(guest, bytes + used, sizeof(bytes) - used, 0)) > 0) {
		if (strcmp(role, "echo") == 0 || strcmp(role, "messages") == 0)
			send_all(guest, bytes, (size_t)n);
		else
			used += (size_t)n;
	}
	if (strcmp(role, "after") == 0)
		send_all(guest, bytes, used);
	if (strcmp(role, "before") == 0)
		fwrite(bytes, 1, used, stdout);
	fflush(stdout);
}

static void listen_on(const char *role, const char *name)
{
	pathbus_endpoint *endpoint;
	unsigned flags = strcmp(role, "messages") == 0 ? PATHBUS_ENDPOINT_SEQPACKET | PATHBUS_ENDPOINT_READERS : 0;

	must(pathbus_listen(topic, name, flags, &endpoint), "pathbus_listen");
	say("listening");
	if (strcmp(role, "away") == 0)
		await_signal();
	for (;;) {
		int guest = accept_one();

		serve(role, guest);
		close(guest);
		say("over");
	}
}

/* --- posts ---------------------------------------------------------------------------------------------------------- */

static void post_on(int n)
{
	say("open");
	for (;;) {
		await_signal();
		for (int i = 0; i < n; i++)
			must(pathbus_post(topic), "pathbus_post");
		say("posted");
	}
}

int main(int argc, char **argv)
{
	const char *role = argc > 3 ? argv[1] : "", *name = argc > 3 ? argv[3] : "", *value = argc > 4 ? argv[4] : "";
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	must(signals < 0 ? -errno : 0, "signalfd");
	must(pathbus_new(&bus, NULL), "pathbus_new");
	must(pathbus_open(bus, argc > 2 ? argv[2] : "", strcmp(role, "poster") == 0 ? PATHBUS_POST : 0, &topic), "pathbus_open");
	if (strcmp(role, "stuck") == 0)
		stuck(name, value[0]);
	else if (strcmp(role, "looker") == 0)
		look(name);
	else if (strcmp(role, "writer") == 0)
		write_on(name);
	else if (strcmp(role, "holder") == 0)
		hold(name);
	else if (strcmp(role, "poster") == 0)
		post_on(atoi(name));
	else if (strcmp(role, "locker") == 0 || strcmp(role, "waiter") == 0)
		take_lock(name, strcmp(value, "shared") == 0 ? PATHBUS_LOCK_SHARED : 0, strcmp(role, "waiter") == 0);
	else
		listen_on(role, name);
	finish();
	return 0;
}
