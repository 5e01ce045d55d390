/* SPDX-License-Identifier: MIT */
/*
 * service_manager_launchd.c - launchd's protocol: sockets that the job's file names, on demand (launch(3)).
 *
 * It is told nothing: it looks at the process itself.
 */
#include "service_manager.h"

#include <errno.h>
#include <launch.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

/* Of several of one name (an address that stands for several) the first one is taken. 0, -1. */
static int take(const char *name, struct inherited_socket *ret)
{
	int *fds = NULL;
	size_t n = 0;
	int error = launch_activate_socket(name, &fds, &n), r = 0;

	ret->fd = -1;
	/* ESRCH: not started by launchd. ENOENT: its file names no such socket. */
	if (error == ESRCH || error == ENOENT)
		return 0;
	if (error != 0) {
		log_event(REASON_ADDRESS, "launchd's socket '%s': %s", name, strerror(error));
		return -1;
	}
	for (size_t i = 0; i < n; i++) {
		if (i == 0)
			r = service_manager_take(fds[i], name, ret);
		else
			close(fds[i]);
	}
	free(fds);
	return r;
}

int service_manager_sockets(struct inherited_sockets *ret)
{
	int r = take("bus", &ret->bus);

	return take("control", &ret->control) < 0 ? -1 : r;
}

struct service_manager *service_manager_new(void)
{
	return NULL;
}

struct service_manager *service_manager_free(struct service_manager *manager)
{
	(void)manager;
	return NULL;
}

int service_manager_attach(struct service_manager *manager, struct loop *loop, service_status_fn *status, void *arg)
{
	(void)manager;
	(void)loop;
	(void)status;
	(void)arg;
	return 0;
}

void service_manager_tell(struct service_manager *manager, enum service_state state)
{
	(void)manager;
	(void)state;
}
