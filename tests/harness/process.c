/* SPDX-License-Identifier: MIT */
/*
 * process.c - starting other processes, talking with them in lines, and waiting for them.
 */
#include "harness/process.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif

#include "harness/harness.h"
#include "harness/internal.h"

static struct harness_process *running; /* those of this process */

const char *process_name(pid_t pid)
{
	for (const struct harness_process *p = running; p; p = p->next)
		if (pid == 0 || p->pid == pid)
			return p->name;
	return "not started by the harness";
}

static void forget(struct harness_process *process)
{
	for (struct harness_process **p = &running; *p; p = &(*p)->next) {
		if (*p == process) {
			*p = process->next;
			return;
		}
	}
}

static void close_end(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void harness_hang_up(struct harness_process *process)
{
	close_end(&process->in);
	close_end(&process->out);
}

static void open_pipe(int ends[2])
{
	ck_assert_msg(pipe2(ends, O_CLOEXEC) == 0, "pipe2: %s", strerror(errno));
}

/* In the child: it dies with its parent and holds no other process's pipes open. */
static void become_child(pid_t parent)
{
#ifdef __linux__
	prctl(PR_SET_PDEATHSIG, SIGKILL);
#endif
	if (getppid() != parent)
		_exit(1);
	for (struct harness_process *p = running; p; p = p->next)
		harness_hang_up(p);
	running = NULL;
}

/* Returns 0 in the child. */
static pid_t fork_process(struct harness_process *ret, const char *name, int in, int out)
{
	pid_t parent = getpid(), pid;

	fflush(stdout);
	pid = fork();
	ck_assert_msg(pid >= 0, "fork: %s", strerror(errno));
	if (pid == 0) {
		become_child(parent);
		return 0;
	}
	*ret = (struct harness_process){
		.pid = pid, .name = name, .in = in, .out = out, .next = running
	};
	running = ret;
	return pid;
}

void harness_spawn(struct harness_process *ret,
		   int (*function)(struct harness_process *peer, void *arg), void *arg)
{
	struct harness_process peer = { .pid = getpid(), .name = "the case" };
	int down[2], up[2], code;

	open_pipe(down);
	open_pipe(up);
	if (fork_process(ret, "a forked function", up[0], down[1]) > 0) {
		close(down[0]);
		close(up[1]);
		return;
	}
	close(down[1]);
	close(up[0]);
	peer.in = down[0];
	peer.out = up[1];
	code = function(&peer, arg);
	fflush(stdout);
	_exit(code);
}

static void exec_child(const char *const *argv, const int stdio[3])
{
	int copies[3];

	for (int i = 0; i < 3; i++) /* out of the way first: they may overlap with 0..2 */
		copies[i] = fcntl(stdio[i], F_DUPFD_CLOEXEC, 3);
	for (int i = 0; i < 3; i++)
		if (dup2(copies[i], i) < 0)
			_exit(126);
	execvp(argv[0], (char *const *)(uintptr_t)argv);
	fprintf(stderr, "exec %s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

void harness_exec_on(struct harness_process *ret, const char *const *argv, const int stdio[3])
{
	if (fork_process(ret, argv[0], -1, -1) == 0)
		exec_child(argv, stdio);
}

void harness_exec(struct harness_process *ret, const char *const *argv)
{
	int down[2], up[2];

	open_pipe(down);
	open_pipe(up);
	harness_exec_on(ret, argv, (int[]){ down[0], up[1], STDERR_FILENO });
	close(down[0]);
	close(up[1]);
	ret->in = up[0];
	ret->out = down[1];
}

int harness_run(const char *const *argv, const char **ret_stdout, const char **ret_stderr)
{
	static unsigned n;
	const char *out = harness_path("stdout.%u", n), *err = harness_path("stderr.%u", n);
	struct harness_process process;
	int stdio[3], status;

	n++;
	stdio[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	stdio[1] = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	stdio[2] = open(err, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	harness_exec_on(&process, argv, stdio);
	for (int i = 0; i < 3; i++)
		close(stdio[i]);
	status = harness_wait(&process);
	if (ret_stdout)
		*ret_stdout = harness_read_file(out);
	if (ret_stderr)
		*ret_stderr = harness_read_file(err);
	unlink(out);
	unlink(err);
	return status;
}

const char *harness_program(const char *name)
{
	char *path;

	ck_assert_int_ge(asprintf(&path, "%s/%s", PATHBUS_BIN_DIR, name), 0);
	return dir_keep(path);
}

void harness_tell(struct harness_process *process, const char *format, ...)
{
	char line[sizeof(process->line)];
	va_list ap;
	size_t size;

	va_start(ap, format);
	vsnprintf(line, sizeof(line) - 1, format, ap);
	va_end(ap);
	strcat(line, "\n");
	size = strlen(line);
	ck_assert_msg(write(process->out, line, size) == (ssize_t)size, "cannot tell %s: %s",
		      process->name, strerror(errno));
}

/* A byte at a time, so that nothing is read ahead and nothing has to be kept. */
const char *harness_hear(struct harness_process *process)
{
	uint64_t deadline = harness_deadline(harness_limit_ms);
	size_t size = 0;

	for (;;) {
		struct pollfd pollfd = { .fd = process->in, .events = POLLIN };
		uint64_t now = harness_now_ns();
		int left_ms = now < deadline ? (int)((deadline - now) / 1000000) : 0;
		char byte;
		ssize_t n;

		n = poll(&pollfd, 1, left_ms);
		if (n < 0 && errno == EINTR)
			continue;
		ck_assert_msg(n == 1, "%s said nothing for %u ms", process->name, harness_limit_ms);
		n = read(process->in, &byte, 1);
		ck_assert_msg(n >= 0, "hearing %s: %s", process->name, strerror(errno));
		if (n == 0 && size == 0)
			return NULL;
		if (n == 0 || byte == '\n')
			break;
		ck_assert_msg(size < sizeof(process->line) - 1, "a line of %s is too long",
			      process->name);
		process->line[size++] = byte;
	}
	process->line[size] = '\0';
	return process->line;
}

void harness_expect_line_at(const char *file, int line, struct harness_process *process,
			    const char *expected)
{
	const char *heard = harness_hear(process);

	if (!heard)
		harness_fail(file, line, "%s hung up instead of saying \"%s\"", process->name,
			     expected);
	if (strcmp(heard, expected) != 0)
		harness_fail(file, line, "%s said \"%s\" instead of \"%s\"", process->name, heard,
			     expected);
}

void harness_signal(struct harness_process *process, int signal)
{
	int status;

	ck_assert_int_gt(process->pid, 0);
	ck_assert_int_eq(kill(process->pid, signal), 0);
	if (signal == SIGSTOP)
		ck_assert_int_eq(waitpid(process->pid, &status, WUNTRACED), process->pid);
}

int harness_wait(struct harness_process *process)
{
	int status;

	ck_assert_int_gt(process->pid, 0);
	harness_await(waitpid(process->pid, &status, WNOHANG) == process->pid);
	forget(process);
	harness_hang_up(process);
	process->pid = 0;
	return status;
}

static void describe(int status, char *text, size_t size)
{
	if (WIFSIGNALED(status))
		snprintf(text, size, "was killed by signal %d (%s)", WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	else
		snprintf(text, size, "exited with %d", WEXITSTATUS(status));
}

void harness_expect_exit_at(const char *file, int line, struct harness_process *process, int code)
{
	int status = harness_wait(process);
	char text[128];

	describe(status, text, sizeof(text));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
		harness_fail(file, line, "%s %s instead of exiting with %d", process->name, text,
			     code);
}

void harness_expect_signal_at(const char *file, int line, struct harness_process *process,
			      int signal)
{
	int status = harness_wait(process);
	char text[128];

	describe(status, text, sizeof(text));
	if (!WIFSIGNALED(status) || WTERMSIG(status) != signal)
		harness_fail(file, line, "%s %s instead of being killed by signal %d",
			     process->name, text, signal);
}
