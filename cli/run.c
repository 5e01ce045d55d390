/* SPDX-License-Identifier: MIT */
/*
 * run.c - the command of `listen --exec`.
 *
 * The child has a process group of its own, so that what ends `listen` (^C, or a SIGTERM that only `listen`
 * gets) reaches the whole command, and once.
 *
 * Its input is a file, not a pipe: nobody has to feed it, and a command that does not read it holds nobody up.
 */
#include "run.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/os.h"
#include "tell.h"

#define MAX_VARIABLE 65536u /* bytes, with the end: what some systems let a variable have */

extern char **environ;

static int set_number(const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	return setenv(name, text, 1);
}

/* NULL bytes, or such as a variable cannot have: it is not there. */
static int set_bytes(const char *name, const void *bytes, size_t size)
{
	char *text;
	int r;

	if (!bytes || size >= MAX_VARIABLE || memchr(bytes, '\0', size))
		return unsetenv(name);
	text = strndup(bytes, size);
	r = text ? setenv(name, text, 1) : -1;
	free(text);
	return r;
}

static int set_sender(const struct pathbus_event *event)
{
	bool is_message = event->kind == PATHBUS_EVENT_MESSAGE;
	char origin[LINE_ORIGIN_SIZE];

	line_origin(event->origin, origin);
	if ((event->pid ? set_number("PATHBUS_PID", (uint64_t)event->pid) : unsetenv("PATHBUS_PID")) < 0 ||
	    (event->uid != (uid_t)-1 ? set_number("PATHBUS_UID", event->uid) : unsetenv("PATHBUS_UID")) < 0 ||
	    (is_message ? setenv("PATHBUS_ORIGIN", origin, 1) : unsetenv("PATHBUS_ORIGIN")) < 0)
		return -1;
	return 0;
}

/* Our own environment is as good a place as any: nothing here reads these. */
static int set_environment(const struct line_event *line)
{
	const struct pathbus_event *event = line->event;
	char time[LINE_TIME_SIZE];

	line_time(line->time, time);
	if (setenv("PATHBUS_FILE", line->file, 1) < 0 ||
	    setenv("PATHBUS_EVENT", line_event_name(event->kind), 1) < 0 ||
	    set_number("PATHBUS_COUNT", event->count) < 0 ||
	    set_number("PATHBUS_GENERATION", event->generation) < 0 || setenv("PATHBUS_TIME", time, 1) < 0 ||
	    set_bytes("PATHBUS_MESSAGE", event->data, event->data_size) < 0 ||
	    set_bytes("PATHBUS_KEY", event->key, event->key_size) < 0 || set_sender(event) < 0)
		return -errno;
	return 0;
}

static int fill(int file, const char *bytes, size_t size)
{
	size_t at = 0;

	while (at < size) {
		ssize_t n = pwrite(file, bytes + at, size - at, (off_t)at);

		if (n < 0 && errno != EINTR)
			return -errno;
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Where memory cannot be read like a file. Returns a descriptor, or -errno. */
static int make_temporary(void)
{
	char name[] = "/tmp/pathbusctl.XXXXXX";
	int file = mkostemp(name, O_CLOEXEC);

	if (file < 0)
		return -errno;
	unlink(name);
	return file;
}

/* A descriptor to read the bytes from. Returns it, which is the caller's, or -errno. */
static int make_input(const void *bytes, size_t size)
{
	int file = os_memory_new("pathbus-message", size), r = file;

	if (file >= 0)
		r = fill(file, bytes, size);
	if (r < 0) {
		if (file >= 0)
			close(file);
		file = make_temporary();
		r = file < 0 ? file : fill(file, bytes, size);
	}
	if (r < 0 && file >= 0)
		close(file);
	return r < 0 ? r : file;
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

static int start(const char *command, int input, pid_t *ret)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	int error = -posix_spawn_file_actions_init(&actions);

	if (error < 0)
		return error;
	error = -posix_spawnattr_init(&attributes);
	if (error == 0) {
		/* A background group that reads the terminal would be stopped by it. */
		if (input >= 0)
			error = -posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
		else
			error = -posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (error == 0)
			error = spawn(command, &actions, &attributes, ret);
		posix_spawnattr_destroy(&attributes);
	}
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

int run_start(const char *command, const struct line_event *line, pid_t *ret)
{
	int input = -1, error = set_environment(line);

	if (error == 0 && line->event->kind == PATHBUS_EVENT_MESSAGE) {
		input = make_input(line->event->data, line->event->data_size);
		error = input < 0 ? input : 0;
	}
	if (error == 0)
		error = start(command, input, ret);
	if (input >= 0)
		close(input);
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
