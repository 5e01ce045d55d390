/* SPDX-License-Identifier: MIT */
/* helper.c - starting the daemon's helpers. */
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "log.h"
#include "sandbox.h"

extern char **environ;

/* Copies above the places where they are to go, so that none is overwritten before it has been moved. */
static int lift(const int *fds, unsigned n_fds, int *ret)
{
	for (unsigned i = 0; i < n_fds; i++) {
		ret[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, HELPER_FIRST_FD + HELPER_MAX_FDS);
		if (ret[i] < 0) {
			int r = -errno;

			while (i-- > 0)
				close(ret[i]);
			return r;
		}
	}
	return 0;
}

static int run(const char *program, const char *const *argv, const int *fds, unsigned n_fds, pid_t *ret_pid)
{
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t all, none;
	int error;

	error = posix_spawn_file_actions_init(&actions);
	if (error)
		return -error;
	error = posix_spawnattr_init(&attributes);
	if (error) {
		posix_spawn_file_actions_destroy(&actions);
		return -error;
	}
	sigfillset(&all);
	sigemptyset(&none);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setflags(&attributes,
	                         POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	for (unsigned i = 0; i < n_fds && error == 0; i++)
		error = posix_spawn_file_actions_adddup2(&actions, fds[i], HELPER_FIRST_FD + (int)i);
	if (error == 0)
		error = posix_spawn(ret_pid, program, &actions, &attributes, (char *const *)(uintptr_t)argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return -error;
}

int helper_start(const char *program, const char *const *argv, const int *fds, unsigned n_fds, pid_t *ret_pid)
{
	int lifted[HELPER_MAX_FDS] = { 0 };
	int r = lift(fds, n_fds, lifted);

	if (r < 0)
		return r;
	r = run(program, argv, lifted, n_fds, ret_pid);
	for (unsigned i = 0; i < n_fds; i++)
		close(lifted[i]);
	return r;
}

bool helper_has_ended(pid_t pid, const char *what)
{
	int status = 0;
	pid_t ended = waitpid(pid, &status, WNOHANG);

	if (ended > 0)
		helper_note_end(pid, status, what);
	return ended != 0;
}

void helper_note_end(pid_t pid, int status, const char *what)
{
	if (sandbox_has_killed(status))
		log_event(REASON_SANDBOX_KILLED, "%s (pid %d) was killed by its sandbox: it made a system call that is not in its list, which the kernel's "
		          "log names; please report it, and run with " SANDBOX_OFF_ARGUMENT " until it is mended",
		          what, (int)pid);
}

int helper_close_from(int fd)
{
	struct rlimit limit;

#ifdef SYS_close_range
	if (syscall(SYS_close_range, (unsigned)fd, ~0u, 0u) == 0)
		return 0;
#endif
	/* Linux before 5.9. The limit may have been lowered since one above it was opened, but by nobody here. */
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max > INT_MAX)
		return -errno;
	for (; (rlim_t)fd < limit.rlim_max; fd++)
		close(fd);
	return 0;
}

int helper_pair(int ret[2])
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	if (fcntl(pair[0], F_SETFL, O_NONBLOCK) < 0) {
		int r = -errno;

		close(pair[0]);
		close(pair[1]);
		return r;
	}
	memcpy(ret, pair, sizeof(pair));
	return 0;
}

int helper_send(int socket, const void *message, size_t size, const int *fds, unsigned n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(8 * sizeof(int))];
	} control = { 0 };
	struct iovec part = { .iov_base = (void *)(uintptr_t)message, .iov_len = size };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };

	if (n_fds > 8)
		return -EINVAL;
	if (n_fds > 0) {
		struct cmsghdr *first;

		header.msg_control = control.bytes;
		header.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
		first = CMSG_FIRSTHDR(&header);
		first->cmsg_level = SOL_SOCKET;
		first->cmsg_type = SCM_RIGHTS;
		first->cmsg_len = CMSG_LEN(n_fds * sizeof(int));
		memcpy(CMSG_DATA(first), fds, n_fds * sizeof(int));
	}
	while (sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		if (errno != EINTR)
			return -errno;
	return 0;
}

ssize_t helper_receive(int socket, void *message, size_t size, int *fds, unsigned max_fds, unsigned *ret_n_fds, int flags)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(HELPER_MAX_RECEIVED * sizeof(int))];
	} control;
	struct iovec part = { .iov_base = message, .iov_len = size };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
		                 .msg_controllen = sizeof(control.bytes) };
	int got[HELPER_MAX_RECEIVED];
	unsigned n_got = 0;
	ssize_t n;

	do
		n = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	for (struct cmsghdr *one = CMSG_FIRSTHDR(&header); one; one = CMSG_NXTHDR(&header, one)) {
		size_t n_here = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS || n_got + n_here > HELPER_MAX_RECEIVED)
			continue;
		memcpy(got + n_got, CMSG_DATA(one), n_here * sizeof(int));
		n_got += (unsigned)n_here;
	}
	if (n_got > max_fds || header.msg_flags & MSG_CTRUNC) {
		while (n_got > 0)
			close(got[--n_got]);
	}
	if (n_got > 0)
		memcpy(fds, got, n_got * sizeof(int));
	*ret_n_fds = n_got;
	return n;
}
