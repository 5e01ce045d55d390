/* SPDX-License-Identifier: MIT */
/*
 * service_manager_systemd.c - the protocol of systemd: sd_listen_fds(3).
 *
 * It is a few environment variables, described there for those who do without the library.
 */
#include "service_manager.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define FIRST_FD 3
#define MAX_FDS 64
#define NAME_SIZE 256

static bool number_from(const char *name, long *ret)
{
	const char *text = getenv(name);
	char *end;

	if (!text || text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret = strtol(text, &end, 10);
	return errno == 0 && *end == '\0';
}

/* The next of the names, which colons separate. "" where there are no more. */
static const char *next_name(const char *names, char *ret)
{
	size_t size = strcspn(names, ":");
	size_t copied = size < NAME_SIZE ? size : NAME_SIZE - 1;

	memcpy(ret, names, copied);
	ret[copied] = '\0';
	return names[size] == ':' ? names + size + 1 : names + size;
}

/* A single socket that its unit gives no name has the unit's, and is for clients. */
static struct inherited_socket *place_for(const char *name, long n, struct inherited_sockets *sockets)
{
	if (strcmp(name, "control") == 0)
		return &sockets->control;
	return strcmp(name, "bus") == 0 || n == 1 ? &sockets->bus : NULL;
}

static int take_all(long n, struct inherited_sockets *ret)
{
	const char *names = getenv("LISTEN_FDNAMES");
	int r = 0;

	for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++) {
		char name[NAME_SIZE];
		struct inherited_socket *to;

		names = next_name(names ? names : "", name);
		to = place_for(name, n, ret);
		if (to && to->fd < 0) {
			if (service_manager_take(fd, name, to) < 0)
				r = -1;
			continue;
		}
		log_warning("the service manager's descriptor '%s' is %s (FileDescriptorName=bus and =control are known): closed", name,
		            to ? "there twice" : "of no use");
		close(fd);
	}
	return r;
}

int service_manager_sockets(struct inherited_sockets *ret)
{
	long pid, n;
	int r = 0;

	ret->bus.fd = ret->control.fd = -1;
	/* Of another process, which has not taken them from its environment: they are not ours. */
	if (number_from("LISTEN_PID", &pid) && pid == getpid() && number_from("LISTEN_FDS", &n) && n > 0) {
		if (n > MAX_FDS) {
			log_error("the service manager handed %ld descriptors over, more than %d", n, MAX_FDS);
			return -1;
		}
		r = take_all(n, ret);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return r;
}
