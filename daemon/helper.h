/* SPDX-License-Identifier: MIT */
/*
 * helper.h - starting the daemon's helpers, exec'd with only the descriptors they need.
 */
#ifndef PATHBUS_DAEMON_HELPER_H
#define PATHBUS_DAEMON_HELPER_H

#include <stdbool.h>
#include <sys/types.h>

#define HELPER_FIRST_FD 3
#define HELPER_MAX_FDS 2
#define HELPER_MAX_RECEIVED 4

/*
 * Runs `program` with `fds` (the caller's, n_fds of them) as descriptors 3, 4... beside 0 to 2; everything
 * else is close-on-exec. In a process group of its own, so that a terminal's ^C reaches the daemon only; with
 * default signals. 0 or -errno; the caller waits for *ret_pid.
 */
int helper_start(const char *program, const char *const *argv, const int *fds, unsigned n_fds, pid_t *ret_pid);

/* Has this child ended? Waits for nothing; one that was killed by its sandbox is logged as `what`. */
bool helper_has_ended(pid_t pid, const char *what);
void helper_note_end(pid_t pid, int status, const char *what); /* the same for one that was waited for */

/* Closes this descriptor and all above it. 0 or -errno. */
int helper_close_from(int fd);

/* A SOCK_SEQPACKET pair; the first end is the daemon's (non-blocking), the second the helper's (blocking). */
int helper_pair(int ret[2]);

/* Takes one message, with at most `max_fds` descriptors (the caller's from then on; none where more came). Returns its size, 0
 * at the end, -errno; with MSG_DONTWAIT in `flags` -EAGAIN. */
ssize_t helper_receive(int socket, void *message, size_t size, int *fds, unsigned max_fds, unsigned *ret_n_fds, int flags);

/* One message with descriptors, which stay the caller's. Never blocks. 0 or -errno. */
int helper_send(int socket, const void *message, size_t size, const int *fds, unsigned n_fds);

#endif
