/* SPDX-License-Identifier: MIT */
/*
 * service_manager.h - what started the daemon, where that is a service manager: the sockets that it made, and what it is told.
 *
 * One implementation for each: service_manager_systemd.c (and whoever speaks its protocol, which is environment variables
 * and datagrams, so that no library is needed), service_manager_launchd.c. Where nothing of the kind is there nothing happens.
 */
#ifndef PATHBUS_DAEMON_SERVICE_MANAGER_H
#define PATHBUS_DAEMON_SERVICE_MANAGER_H

#include <stdbool.h>
#include <stddef.h>

#include "address.h"
#include "loop.h"

/* A listening Unix socket that was made by the service manager, which goes on listening after us: its file is never removed. */
struct inherited_socket {
	int fd;                  /* non-blocking, close-on-exec; the receiver's. -1: there is none */
	char path[ADDRESS_SIZE]; /* its file, an absolute path */
};

struct inherited_sockets {
	struct inherited_socket bus, control;
};

/*
 * What was handed over, once, before any other descriptor is opened. 0, or -1 after it has been logged what is wrong. What
 * is of no use to us is closed, and logged.
 */
int service_manager_sockets(struct inherited_sockets *ret);

/* For the implementations: is it a listening Unix socket with a path? Fills *ret in, or logs what it is not and returns -1. */
int service_manager_take(int fd, const char *name, struct inherited_socket *ret);

/* Whoever waits to be accepted is sent away: we do not serve, and would be started again for the same ones. */
void service_manager_turn_away(const struct inherited_socket *listener);

/* --- what it is told ------------------------------------------------------------------------------------ */

struct service_manager;

enum service_state {
	SERVICE_READY,     /* also: reloading is over, however that went */
	SERVICE_RELOADING,
	SERVICE_STOPPING,
};

/* One line about what it does. */
typedef void service_status_fn(void *arg, char *ret, size_t size);

/* As early as the sockets are taken. NULL: nobody wants to be told. All functions take NULL and do nothing then. */
struct service_manager *service_manager_new(void);
struct service_manager *service_manager_free(struct service_manager *manager);
/*
 * Nothing is told before this. From then on the watchdog, if there is one, is told that the loop goes round; `status` is
 * asked for what goes along. Nobody is waited for: what the manager does not take at once it is told when it does. 0; -ENOMEM.
 */
int service_manager_attach(struct service_manager *manager, struct loop *loop, service_status_fn *status, void *arg);
void service_manager_tell(struct service_manager *manager, enum service_state state);

#endif
