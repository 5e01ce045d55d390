/* SPDX-License-Identifier: MIT */
/*
 * client_root.h - what the process at the other end of a connection has: its root folder, its shared memory.
 *
 * It is the process that connected: its number may have become another's, so what was opened by that number counts only if
 * the process is still there afterwards.
 */
#ifndef PATHBUS_DAEMON_CLIENT_ROOT_H
#define PATHBUS_DAEMON_CLIENT_ROOT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

/* The name that our listener has, and connections that were accepted there. */
struct client_address {
	struct sockaddr_un name;
	socklen_t size;
};

int client_address_of(int socket, struct client_address *ret);
/* Is this a connection that was accepted there? Of others the "peer" may be whoever listens. 0, -EPERM, -errno. */
int client_check(const struct client_address *address, int client);

/*
 * Its root folder of this moment, O_PATH; the namespace of its mounts comes with it. -EACCES: this process may not look;
 * -ESRCH: it has ended, or has no number here. With `home` >= 0, where everybody is, only where the kernel has kept hold of the
 * process since it connected (-EOPNOTSUPP: this one does not); else, where it does not, another of the same user's may be taken
 * for it, which a process of that user may look at as well.
 */
int client_open_root(int client, int home);
/* os_shared_of_process, of that one; surely. */
int client_open_memory(int client, int number, const char *label);

#endif
