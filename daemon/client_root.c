/* SPDX-License-Identifier: MIT */
/* client_root.c - what the process at the other end of a connection has. */
#include "client_root.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "os/os.h"

int client_address_of(int socket, struct client_address *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->size = sizeof(ret->name);
	if (getsockname(socket, (struct sockaddr *)&ret->name, &ret->size) < 0)
		return -errno;
	if (ret->name.sun_family != AF_UNIX || ret->size > sizeof(ret->name) ||
	    ret->size <= offsetof(struct sockaddr_un, sun_path))
		return -EPERM;
	return 0;
}

int client_check(const struct client_address *address, int client)
{
	struct client_address own;
	int type = 0, listens = 1;
	socklen_t size = sizeof(type), listens_size = sizeof(listens);
	int r = client_address_of(client, &own);

	if (r < 0)
		return r == -ENOTSOCK || r == -EBADF ? -EPERM : r;
	if (getsockopt(client, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
	    getsockopt(client, SOL_SOCKET, SO_ACCEPTCONN, &listens, &listens_size) < 0)
		return -errno;
	return type == SOCK_STREAM && !listens && own.size == address->size &&
	                       memcmp(&own.name, &address->name, own.size) == 0 ? 0 : -EPERM;
}

/* Of a line of /proc/PID/status: "Uid:" with the real, the effective, the saved one, and the file system's. */
static bool are_ids(const char *status, const char *what, unsigned long id)
{
	const char *at = strstr(status, what);

	at = at ? at + strlen(what) : "";
	for (unsigned i = 0; i < 4; i++) {
		char *end;
		unsigned long one = strtoul(at, &end, 10);

		if (end == at || (i > 0 && one != id))
			return false;
		at = end;
	}
	return true;
}

/* Or has it become somebody, by a set-uid program perhaps, who may go where it could not? Whoever has gone there, and is that
 * user again for good, counts as that user. */
static bool is_still_who_connected(int client, pid_t pid)
{
	char name[32], status[4096];
	struct os_peer peer;
	ssize_t n;
	int fd;

	snprintf(name, sizeof(name), "/proc/%d/status", (int)pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, status, sizeof(status) - 1);
	close(fd);
	status[n > 0 ? n : 0] = '\0';
	return os_peer_credentials(client, &peer) == 0 && are_ids(status, "\nUid:", peer.uid) &&
	       are_ids(status, "\nGid:", peer.gid);
}

static bool is_there(int process)
{
	struct pollfd one = { .fd = process, .events = POLLIN };

	return poll(&one, 1, 0) == 0;
}

/* Its number, and a descriptor that tells whether it is still its own. */
static int find_process(int client, bool surely, pid_t *ret_pid)
{
	struct os_peer peer;
	int r = os_peer_credentials(client, &peer);

	if (r < 0)
		return r;
	if (peer.pid <= 0) /* of a namespace that we do not see */
		return -ESRCH;
	*ret_pid = peer.pid;
	r = os_peer_watch(client);
	return r == -EOPNOTSUPP && !surely ? os_process_watch(peer.pid) : r;
}

/* Closes `process`; what was found counts only if that is still there. */
static int conclude(int process, int fd)
{
	if (!is_there(process)) {
		if (fd >= 0)
			close(fd);
		fd = -ESRCH;
	}
	close(process);
	return fd;
}

int client_open_root(int client, int home)
{
	char name[32];
	pid_t pid;
	int process = find_process(client, home >= 0, &pid), root;

	if (process < 0)
		return process;
	snprintf(name, sizeof(name), "/proc/%d/root", (int)pid);
	root = open(name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root < 0) /* where /proc hides what is not ours it is not there */
		root = errno == EPERM || errno == ENOENT ? -EACCES : -errno;
	else if (home >= 0 && !os_is_same_place(root, home) && !is_still_who_connected(client, pid)) {
		/* Where everybody is may be looked at as who connected, whoever that is now. */
		close(root);
		root = -EACCES;
	}
	return conclude(process, root);
}

int client_open_memory(int client, int number, const char *label)
{
	pid_t pid;
	int process = find_process(client, true, &pid), fd;

	if (process < 0)
		return process;
	fd = os_shared_of_process(pid, number, label);
	if (fd >= 0 && !is_still_who_connected(client, pid)) {
		close(fd);
		fd = -EACCES;
	}
	return conclude(process, fd);
}
