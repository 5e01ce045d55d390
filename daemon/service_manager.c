/* SPDX-License-Identifier: MIT */
/* service_manager.c - what all service managers have in common: see service_manager.h. */
#include "service_manager.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"

static bool has_option(int fd, int option, int expected)
{
	int value = -1;
	socklen_t size = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 && value == expected;
}

int service_manager_take(int fd, const char *name, struct inherited_socket *ret)
{
	struct sockaddr_un address = { .sun_family = AF_UNSPEC };
	socklen_t size = sizeof(address);
	int flags = fcntl(fd, F_GETFL);

	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0 || address.sun_family != AF_UNIX ||
	    !has_option(fd, SO_TYPE, SOCK_STREAM) || !has_option(fd, SO_ACCEPTCONN, 1)) {
		log_event(REASON_ADDRESS, "the service manager's descriptor '%s' is no listening Unix stream socket", name);
		return -1;
	}
	if (address.sun_path[0] != '/' || !memchr(address.sun_path, '\0', sizeof(address.sun_path))) {
		log_event(REASON_ADDRESS, "the service manager's socket '%s' has no absolute path of at most %zu bytes", name, ADDRESS_SIZE - 1);
		return -1;
	}
	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
		log_event(REASON_ADDRESS, "the service manager's socket '%s': %s", name, strerror(errno));
		return -1;
	}
	ret->fd = fd;
	strcpy(ret->path, address.sun_path);
	return 0;
}

void service_manager_turn_away(const struct inherited_socket *listener)
{
	int fd;

	if (listener->fd < 0)
		return;
	while ((fd = accept(listener->fd, NULL, NULL)) >= 0 || errno == EINTR || errno == ECONNABORTED)
		if (fd >= 0)
			close(fd);
}
