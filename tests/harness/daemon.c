/* SPDX-License-Identifier: MIT */
/*
 * daemon.c - a private pathbusd for a case.
 */
#include "harness/daemon.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "harness/harness.h"
#include "harness/internal.h"

#define N_ARGUMENTS 32

static bool accepts(const char *address)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool connected;

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(strlen(address) < sizeof(name.sun_path), "too long for a socket: %s",
		      address);
	strcpy(name.sun_path, address);
	connected = connect(fd, (const struct sockaddr *)&name, sizeof(name)) == 0;
	close(fd);
	return connected;
}

static void exec_daemon(struct harness_daemon *daemon, const char *const *argv)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int log = open(daemon->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	ck_assert_msg(null >= 0 && log >= 0, "open %s: %s", daemon->log, strerror(errno));
	harness_exec_on(&daemon->process, argv, (int[]){ null, log, log });
	close(null);
	close(log);
}

static bool is_ready(struct harness_daemon *daemon)
{
	siginfo_t info = { 0 };

	(void)waitid(P_PID, (id_t)daemon->process.pid, &info, WEXITED | WNOHANG | WNOWAIT);
	if (info.si_pid != 0)
		harness_expect_exit(&daemon->process, 0); /* says what became of it */
	ck_assert_msg(info.si_pid == 0, "pathbusd ended before it accepted connections");
	return accepts(daemon->address);
}

void harness_daemon_start(struct harness_daemon *daemon, const char *const *arguments)
{
	const char *program = daemon->program ? daemon->program : harness_program("pathbusd");
	const char *argv[N_ARGUMENTS] = { program, "--address" };
	size_t n = 2;

	ck_assert_msg(daemon->process.pid == 0, "the daemon is running already");
	if (!daemon->address)
		daemon->address = harness_path("socket");
	if (!daemon->log) {
		char *log;

		ck_assert_int_ge(asprintf(&log, "%s.log", daemon->address), 0);
		daemon->log = dir_keep(log);
	}
	argv[n++] = daemon->address;
	for (; arguments && *arguments; arguments++) {
		ck_assert_uint_lt(n, N_ARGUMENTS - 1);
		argv[n++] = *arguments;
	}
	exec_daemon(daemon, argv);
	harness_await(is_ready(daemon));
}

void harness_daemon_stop(struct harness_daemon *daemon)
{
	harness_signal(&daemon->process, SIGTERM);
	harness_expect_exit(&daemon->process, 0);
}

void harness_daemon_kill(struct harness_daemon *daemon)
{
	harness_signal(&daemon->process, SIGKILL);
	harness_expect_signal(&daemon->process, SIGKILL);
}

void harness_daemon_suspend(struct harness_daemon *daemon)
{
	harness_signal(&daemon->process, SIGSTOP);
}

void harness_daemon_resume(struct harness_daemon *daemon)
{
	harness_signal(&daemon->process, SIGCONT);
}
