/* SPDX-License-Identifier: MIT */
/*
 * run.c - the command of `listen --exec`.
 *
 * The child has a process group of its own, so that what ends `listen` (^C, or a SIGTERM that only `listen`
 * gets) reaches the whole command, and once.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "line.h"
#include "tell.h"

extern char **environ;

static int set_number(const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return setenv(name, text, 1);
}

/* Our own environment is as good a place as any: nothing here reads these. */
static int set_environment(const char *file, const struct pathbus_event *event)
{
	if (setenv("PATHBUS_FILE", file, 1) < 0 ||
	    setenv("PATHBUS_EVENT", line_event_name(event->kind), 1) < 0 ||
	    set_number("PATHBUS_COUNT", event->count) < 0 ||
	    set_number("PATHBUS_GENERATION", event->generation) < 0)
		return -errno;
	return 0;
}

static int spawn(const char *command, const posix_spawn_file_actions_t *actions,
		 posix_spawnattr_t *attributes, pid_t *ret)
{
	char shell[] = "sh", flag[] = "-c";
	char *argv[] = { shell, flag, (char *)(uintptr_t)command, NULL }; /* exec does not write to it */
	sigset_t defaults;
	int error;

	sigemptyset(&defaults);
	sigaddset(&defaults, SIGPIPE); /* ignored here, and ignoring is inherited */
	error = posix_spawnattr_setsigdefault(attributes, &defaults);
	if (error == 0)
		error = posix_spawnattr_setpgroup(attributes, 0);
	if (error == 0)
		error = posix_spawnattr_setflags(attributes,
						 POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	if (error == 0)
		error = posix_spawn(ret, "/bin/sh", actions, attributes, argv, environ);
	return -error;
}

int run_start(const char *command, const char *file, const struct pathbus_event *event, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int error = set_environment(file, event);

	if (error < 0)
		return error;
	error = -posix_spawn_file_actions_init(&actions);
	if (error < 0)
		return error;
	error = -posix_spawnattr_init(&attributes);
	if (error == 0) {
		/* A background group that reads the terminal would be stopped by it. */
		error = -posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (error == 0)
			error = spawn(command, &actions, &attributes, ret);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

bool run_reap(pid_t child, int *ret_status)
{
	return waitpid(child, ret_status, WNOHANG) == child;
}

bool run_failed(int status)
{
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return false;
	if (WIFSIGNALED(status))
		tell("the command of --exec was ended by signal %d", WTERMSIG(status));
	else
		tell("the command of --exec failed with exit status %d", WEXITSTATUS(status));
	return true;
}

void run_signal(pid_t child, int number)
{
	kill(-child, number);
}
