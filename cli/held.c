/* SPDX-License-Identifier: MIT */
/*
 * held.c - the command of `lock run`.
 *
 * A lock lives as long as a copy of its descriptor does, and the command gets none. So a process in between, the
 * keeper, which is a copy of this one, waits for the command: if we are killed, the lock is held on until the command
 * has ended, and is abandoned then. If the keeper is killed the command becomes our child, where the system can do
 * that.
 */
#include "held.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "command.h"
#include "tell.h"

/* Those that ask to end, and SIGPIPE, which main ignores. */
static const int numbers[] = { SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGPIPE };
enum { N_NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };
static bool ignored[N_NUMBERS];
static volatile pid_t command_pid; /* 0: not known yet, or it has ended */
static volatile sig_atomic_t came_early;

int held_init(void)
{
	struct sigaction old;

	for (int i = 0; i < N_NUMBERS; i++) {
		if (sigaction(numbers[i], NULL, &old) < 0)
			return -errno;
		ignored[i] = numbers[i] != SIGPIPE && old.sa_handler == SIG_IGN;
	}
	return 0;
}

static void pass_on(int number, siginfo_t *info, void *context)
{
	int saved = errno;

	(void)context;
	if (info->si_code > 0) /* the terminal's: it has sent it to the whole group */
		return;
	if (command_pid > 0)
		kill(command_pid, number);
	else
		came_early = number;
	errno = saved;
}

static void set_signals(void (*handler)(int, siginfo_t *, void *))
{
	for (int i = 0; i < N_NUMBERS; i++) {
		struct sigaction action = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | SA_RESTART };

		sigemptyset(&action.sa_mask);
		if (numbers[i] == SIGPIPE)
			continue;
		if (!handler || ignored[i]) {
			action.sa_flags = 0;
			action.sa_handler = SIG_IGN;
		}
		(void)sigaction(numbers[i], &action, NULL);
	}
}

static int set_environment(const char *file, const char *lock, bool abandoned)
{
	if (setenv("PATHBUS_FILE", file, 1) < 0 || setenv("PATHBUS_LOCK", lock, 1) < 0)
		return -errno;
	return (abandoned ? setenv("PATHBUS_LOCK_ABANDONED", "1", 1) : unsetenv("PATHBUS_LOCK_ABANDONED")) < 0 ? -errno : 0;
}

/* --- in the keeper and in the command ------------------------------------------------------------------------- */

_Noreturn static void become(char **command)
{
	for (int i = 0; i < N_NUMBERS; i++)
		signal(numbers[i], ignored[i] ? SIG_IGN : SIG_DFL);
	alarm(0);
	signal(SIGALRM, SIG_DFL);
	execvp(command[0], command);
	tell("cannot run %s: %s", tell_name(command[0]), strerror(errno));
	_exit(errno == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_RUN);
}

/* `start` tells the parent the command's process, or -errno. */
_Noreturn static void keep(char **command, int start)
{
	int status = 0;
	pid_t pid;

	set_signals(NULL); /* what asks to end goes to the command */
	pid = fork();
	if (pid == 0)
		become(command);
	if (pid < 0)
		pid = -errno;
	if (write(start, &pid, sizeof(pid)) != (ssize_t)sizeof(pid)) {
		/* the parent is dead: it is held all the same */
	}
	close(start);
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

/* --- here ----------------------------------------------------------------------------------------------------- */

/* The end of the command, by way of the keeper, or, if that one dies, itself. */
static int await_end(pid_t keeper)
{
	int status, result = STATUS_FAILED;
	pid_t pid;

	for (;;) {
		pid = waitpid(-1, &status, 0);
		if (pid < 0 && errno == EINTR)
			continue;
		if (pid < 0) /* none left */
			return result;
		if (pid == keeper && WIFEXITED(status)) {
			command_pid = 0;
			return WEXITSTATUS(status);
		}
		if (pid == command_pid) {
			command_pid = 0;
			result = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
		}
	}
}

int held_run(char **command, const char *file, const char *lock, bool abandoned)
{
	pid_t keeper, pid = -ECHILD;
	int ends[2], error = set_environment(file, lock, abandoned), status;

	if (error == 0 && (pipe(ends) < 0 || fcntl(ends[0], F_SETFD, FD_CLOEXEC) < 0 ||
	                   fcntl(ends[1], F_SETFD, FD_CLOEXEC) < 0))
		error = -errno;
	if (error < 0) {
		tell("cannot run %s: %s", tell_name(command[0]), strerror(-error));
		return STATUS_FAILED;
	}
#ifdef PR_SET_CHILD_SUBREAPER
	(void)prctl(PR_SET_CHILD_SUBREAPER, 1);
#endif
	alarm(0); /* that of the waiting */
	set_signals(pass_on);
	keeper = fork();
	if (keeper == 0) {
		close(ends[0]);
		keep(command, ends[1]);
	}
	error = -errno;
	close(ends[1]);
	while (keeper > 0 && read(ends[0], &pid, sizeof(pid)) < 0 && errno == EINTR)
		;
	close(ends[0]);
	if (keeper < 0 || pid < 0) {
		tell("cannot run %s: %s", tell_name(command[0]), strerror(keeper < 0 ? -error : -pid));
		if (keeper > 0)
			(void)await_end(keeper);
		return STATUS_FAILED;
	}
	command_pid = pid;
	if (came_early)
		kill(pid, came_early);
	status = await_end(keeper);
	return status;
}
