/* SPDX-License-Identifier: MIT */
/*
 * stop.c - signals as something to poll for: the handler writes to a pipe, which is portable and needs no
 * thought about signals that come between a look and a sleep.
 */
#include "stop.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

static int ends[2] = { -1, -1 };
static volatile sig_atomic_t stopped_by;

static void handle(int number)
{
	int saved = errno;

	if (number != SIGCHLD && number != SIGWINCH)
		stopped_by = number;
	if (write(ends[1], "", 1) < 0) {
		/* full: it is readable, which is all that is wanted */
	}
	errno = saved;
}

int stop_init(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGCHLD };
	/* No SA_RESTART: a write to a terminal that is held (^S) must give way to a signal. */
	struct sigaction action = { .sa_handler = handle, .sa_flags = SA_NOCLDSTOP }, old;
	sigset_t unblock;

	if (pipe(ends) < 0)
		return -errno;
	for (int i = 0; i < 2; i++)
		if (fcntl(ends[i], F_SETFD, FD_CLOEXEC) < 0 || fcntl(ends[i], F_SETFL, O_NONBLOCK) < 0)
			return -errno;
	sigemptyset(&action.sa_mask);
	sigemptyset(&unblock);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (numbers[i] == SIGHUP && sigaction(SIGHUP, NULL, &old) == 0 && old.sa_handler == SIG_IGN)
			continue;
		if (sigaction(numbers[i], &action, NULL) < 0)
			return -errno;
		sigaddset(&unblock, numbers[i]);
	}
	/* Whoever started us may have blocked them, and that is inherited. */
	if (sigprocmask(SIG_UNBLOCK, &unblock, NULL) < 0)
		return -errno;
	return ends[0];
}

int stop_watch_size(void)
{
	struct sigaction action = { .sa_handler = handle };

	sigemptyset(&action.sa_mask);
	return sigaction(SIGWINCH, &action, NULL) < 0 ? -errno : 0;
}

int stop_take(void)
{
	char bytes[64];
	int number;

	/* First the pipe, then the word: a signal in between is seen now and makes one wake-up too many. */
	while (read(ends[0], bytes, sizeof(bytes)) > 0)
		;
	number = stopped_by;
	if (number)
		stopped_by = 0;
	return number;
}
