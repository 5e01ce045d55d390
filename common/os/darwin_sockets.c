/* SPDX-License-Identifier: MIT */
/* darwin_sockets.c - as linux_sockets.c, as far as the system has such things. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int os_peer_credentials(int socket, struct os_peer *ret)
{
	struct os_peer peer = { .pid = 0 };
	socklen_t size = sizeof(peer.pid);

	if (getpeereid(socket, &peer.uid, &peer.gid) < 0)
		return -errno;
	if (getsockopt(socket, SOL_LOCAL, LOCAL_PEERPID, &peer.pid, &size) < 0)
		peer.pid = 0;
	*ret = peer;
	return 0;
}

bool os_is_one_user(uid_t uid)
{
	(void)uid;
	return true;
}

int os_unread(int socket)
{
	int n;
	socklen_t size = sizeof(n);

	return getsockopt(socket, SOL_SOCKET, SO_NWRITE, &n, &size) < 0 ? -errno : n;
}

int os_peer_groups(int socket, gid_t **ret, unsigned *ret_n)
{
	(void)socket;
	(void)ret;
	(void)ret_n;
	return -EOPNOTSUPP;
}

int os_peer_watch(int socket)
{
	(void)socket;
	return -EOPNOTSUPP;
}

int os_socket_pair(int type, int ret[2])
{
	int pair[2];

	if (type != SOCK_STREAM)
		return -EOPNOTSUPP;
	if (socketpair(AF_UNIX, type, 0, pair) < 0)
		return -errno;
	/* There is no way to open these close-on-exec. */
	if (fcntl(pair[0], F_SETFD, FD_CLOEXEC) < 0 || fcntl(pair[1], F_SETFD, FD_CLOEXEC) < 0) {
		int error = -errno;

		close(pair[0]);
		close(pair[1]);
		return error;
	}
	ret[0] = pair[0];
	ret[1] = pair[1];
	return 0;
}

int os_socket_of(int type)
{
	return type == SOCK_STREAM ? os_socket_new() : -EOPNOTSUPP;
}

/* There is no short name for an open folder. */
int os_socket_bind(int socket, int dir, const char *name)
{
	(void)socket, (void)dir, (void)name;
	return -EOPNOTSUPP;
}

int os_socket_connect(int socket, int dir, const char *name)
{
	(void)socket, (void)dir, (void)name;
	return -EOPNOTSUPP;
}

int os_socket_mark(int socket)
{
	(void)socket;
	return -EOPNOTSUPP;
}

int os_socket_accept(int listener, bool *ret_marked)
{
	(void)listener, (void)ret_marked;
	return -EOPNOTSUPP;
}
