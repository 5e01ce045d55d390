/* SPDX-License-Identifier: MIT */
/* linux_sockets.c - sockets with which programs meet: pairs, and those that are reached by a folder's descriptor. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int os_peer_credentials(int socket, struct os_peer *ret)
{
	struct ucred credentials;
	socklen_t size = sizeof(credentials);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) < 0)
		return -errno;
	*ret = (struct os_peer){ .pid = credentials.pid, .uid = credentials.uid, .gid = credentials.gid };
	return 0;
}

static bool read_text(const char *path, char *ret, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd >= 0 ? read(fd, ret, size - 1) : -1;

	if (fd >= 0)
		close(fd);
	ret[n > 0 ? n : 0] = '\0';
	return n > 0;
}

bool os_is_one_user(uid_t uid)
{
	unsigned long others = 65534, from, to, n;
	char text[256];

	if (read_text("/proc/sys/kernel/overflowuid", text, sizeof(text)))
		others = strtoul(text, NULL, 10);
	if (uid != others)
		return true;
	/* Without the file there are no user namespaces, or no /proc to tell of them. */
	if (!read_text("/proc/self/uid_map", text, sizeof(text)))
		return access("/proc/self/uid_map", F_OK) < 0;
	return sscanf(text, "%lu %lu %lu", &from, &to, &n) == 3 && from == 0 && n == UINT32_MAX;
}

int os_unread(int socket)
{
	int n;

	return ioctl(socket, SIOCOUTQ, &n) < 0 ? -errno : n;
}

int os_peer_groups(int socket, gid_t **ret, unsigned *ret_n)
{
	socklen_t size = 0, had;
	gid_t *groups = NULL;

	/* Asks for their size first, and again should that ever change. */
	for (;;) {
		had = size;
		if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
			break;
		if (errno != ERANGE || size <= had) {
			int r = errno == ENOPROTOOPT ? -EOPNOTSUPP : -errno;

			free(groups);
			return r;
		}
		free(groups);
		groups = malloc(size);
		if (!groups)
			return -ENOMEM;
	}
	*ret = groups;
	*ret_n = (unsigned)(size / sizeof(*groups));
	return 0;
}

int os_peer_watch(int socket)
{
	int fd = -1;
	socklen_t size = sizeof(fd);

	if (getsockopt(socket, SOL_SOCKET, SO_PEERPIDFD, &fd, &size) == 0)
		return fd; /* close-on-exec always */
	return errno == ENOPROTOOPT ? -EOPNOTSUPP : errno == ENODATA || errno == EINVAL ? -ESRCH : -errno;
}

int os_socket_pair(int type, int ret[2])
{
	int pair[2];

	if (socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, pair) < 0)
		return -errno;
	ret[0] = pair[0];
	ret[1] = pair[1];
	return 0;
}

int os_socket_of(int type)
{
	int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd < 0 ? -errno : fd;
}

/* By the kernel's link to the folder, which is short. */
static int address_in(int dir, const char *name, struct sockaddr_un *ret)
{
	int n;

	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	n = snprintf(ret->sun_path, sizeof(ret->sun_path), "/proc/self/fd/%d%s%s", dir, name ? "/" : "", name ? name : "");
	return n < 0 || (size_t)n >= sizeof(ret->sun_path) ? -ENAMETOOLONG : 0;
}

/* Without /proc there is no such link. */
static int failed(int error)
{
	return error == ENOENT && access("/proc/self/fd", F_OK) < 0 ? -EOPNOTSUPP : -error;
}

int os_socket_bind(int socket, int dir, const char *name)
{
	struct sockaddr_un address;
	int r = address_in(dir, name, &address);

	if (r == 0 && bind(socket, (struct sockaddr *)&address, sizeof(address)) < 0)
		r = failed(errno);
	return r;
}

int os_socket_connect(int socket, int dir, const char *name)
{
	struct sockaddr_un address;
	int r = address_in(dir, name, &address);

	if (r == 0 && connect(socket, (struct sockaddr *)&address, sizeof(address)) < 0)
		r = failed(errno);
	return r;
}

int os_socket_mark(int socket)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	/* Without a path the kernel chooses one, in no file system. */
	return bind(socket, (struct sockaddr *)&address, sizeof(address.sun_family)) < 0 ? -errno : 0;
}

int os_socket_accept(int listener, bool *ret_marked)
{
	struct sockaddr_un address;
	socklen_t size = sizeof(address);
	int fd = accept4(listener, (struct sockaddr *)&address, &size, SOCK_CLOEXEC);

	if (fd < 0)
		return errno == EINTR || errno == ECONNABORTED ? -EAGAIN : -errno;
	*ret_marked = size > sizeof(address.sun_family);
	return fd;
}
