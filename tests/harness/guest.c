/* SPDX-License-Identifier: MIT */
/*
 * guest.c - what a case must leave as it found it: the open descriptors, and no child processes.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "harness/internal.h"

#ifdef __linux__
#define FD_FOLDER "/proc/self/fd"
#else
#define FD_FOLDER "/dev/fd"
#endif

#define N_FDS 4096
#define TARGET_SIZE 128

static char before[N_FDS][TARGET_SIZE]; /* by descriptor; empty: was closed */
static bool is_program;			/* CK_FORK=no: Check itself opens files meanwhile */

static void fd_target(int fd, char target[static TARGET_SIZE])
{
	char path[64];
	ssize_t n;

	snprintf(path, sizeof(path), "%s/%d", FD_FOLDER, fd);
	n = readlink(path, target, TARGET_SIZE - 1);
	if (n <= 0) {
		strcpy(target, "?");
		return;
	}
	target[n] = '\0';
}

static void each_fd(void (*function)(int fd, const char *target, void *arg), void *arg)
{
	DIR *dir = opendir(FD_FOLDER);
	char target[TARGET_SIZE];
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir))) {
		char *end;
		long fd = strtol(entry->d_name, &end, 10);

		if (end == entry->d_name || *end || fd == dirfd(dir))
			continue;
		ck_assert_msg(fd < N_FDS, "descriptor %ld is more than the harness looks at", fd);
		fd_target((int)fd, target);
		function((int)fd, target, arg);
	}
	closedir(dir);
}

/* Check's own files are not close-on-exec; here they are, so that exec shows what the case leaks. */
static void remember_fd(int fd, const char *target, void *arg)
{
	(void)arg;
	memcpy(before[fd], target, TARGET_SIZE);
	if (fd > STDERR_FILENO)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

struct text {
	char data[1024];
	size_t size;
};

static void report_fd(int fd, const char *target, void *arg)
{
	struct text *text = arg;
	int n;

	if (strcmp(before[fd], target) == 0)
		return;
	n = snprintf(text->data + text->size, sizeof(text->data) - text->size, " %d (%s)", fd,
		     target);
	if (n > 0)
		text->size += (size_t)n;
	if (text->size >= sizeof(text->data))
		text->size = sizeof(text->data) - 1;
}

static void check_fds(void)
{
	struct text text = { 0 };

	each_fd(report_fd, &text);
	ck_assert_msg(text.size == 0, "still open:%s", text.data);
}

static void check_children(void)
{
	int status;
	pid_t pid = waitpid(-1, &status, WNOHANG);

	ck_assert_msg(pid <= 0, "nobody waited for child %d (%s)", (int)pid, process_name(pid));
	ck_assert_msg(pid == -1 && errno == ECHILD, "a child is still running: %s",
		      process_name(0));
}

/*
 * A case dies with its program, and does not share Check's signal handlers, which would kill its whole group
 * when one of its processes gets SIGTERM.
 */
static void detach_from_program(pid_t program)
{
#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
	if (getppid() != program)
		_exit(1);
	signal(SIGALRM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_DFL);
}

void guest_init(pid_t program)
{
	is_program = getpid() == program;
	if (!is_program)
		detach_from_program(program);
	memset(before, 0, sizeof(before));
	each_fd(remember_fd, NULL);
}

void guest_check(void)
{
	if (!is_program)
		check_fds();
	check_children();
}
