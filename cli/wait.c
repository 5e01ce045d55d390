/* SPDX-License-Identifier: MIT */
/* wait.c - the end of `post --wait`. */
#include "wait.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "command.h"
#include "line.h"
#include "page.h"
#include "tell.h"

static volatile sig_atomic_t stopped_by;

/* The alarm comes again and again: whatever waits is interrupted, however late it began to. */
static void handle(int number)
{
	if (number != SIGALRM)
		stopped_by = number;
	alarm(1);
}

int wait_init(void)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGALRM };
	struct sigaction old;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct sigaction action = { .sa_handler = handle };

		sigemptyset(&action.sa_mask);
		if (numbers[i] != SIGALRM) {
			action.sa_flags = (int)SA_RESETHAND;
			if (sigaction(numbers[i], NULL, &old) == 0 && old.sa_handler == SIG_IGN)
				continue; /* nohup; or the shell has put us in the background */
		}
		if (sigaction(numbers[i], &action, NULL) < 0)
			return -errno;
	}
	return 0;
}

int wait_stopped(void)
{
	return stopped_by;
}

void wait_end(void)
{
	if (!stopped_by)
		return;
	signal(stopped_by, SIG_DFL);
	raise(stopped_by);
}

static int print(const struct wait *wait, const struct line_sync *line)
{
	char *text;

	if (!wait->json) {
		line_print_sync(line);
		return STATUS_OK;
	}
	text = line_sync_json(line);
	if (!text) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	fputs(text, stdout);
	free(text);
	return STATUS_OK;
}

int wait_for_subscribers(const struct wait *wait, const char *file, pathbus_topic *topic, uint64_t deadline_ns)
{
	static struct pathbus_laggard laggards[PAGE_SLOTS];
	struct pathbus_sync sync = { .size = sizeof(sync), .max_laggards = PAGE_SLOTS, .laggards = laggards };
	struct pathbus_transport transport = { .size = sizeof(transport) };
	struct line_sync line = { .file = file, .sync = &sync, .prefixed = wait->several };
	int error = pathbus_sync(topic, deadline_ns, &sync), status;

	if (error == -EINTR && stopped_by)
		return STATUS_FAILED;
	if (error < 0 && error != -ETIMEDOUT)
		return tell_file_error("wait for those who listen on", file, error);
	if (pathbus_transport(topic, &transport) == 0)
		line.transport = transport.kind;
	status = print(wait, &line);
	if (status != STATUS_OK || error == 0)
		return status;
	tell("%u of those who listen on %s have not caught up within %g s; see what they do, or wait longer: --timeout",
	     sync.n_subscribers - sync.n_caught_up, tell_name(file), (double)wait->timeout_ns / 1e9);
	return STATUS_BEHIND;
}
