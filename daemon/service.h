/* SPDX-License-Identifier: MIT */
/*
 * service.h - the daemon as the service of whoever has started it: what it was given, and what it tells (service_manager.h).
 */
#ifndef PATHBUS_DAEMON_SERVICE_H
#define PATHBUS_DAEMON_SERVICE_H

#include <stdbool.h>

#include "context.h"
#include "loop.h"
#include "service_manager.h"
#include "serving.h"

struct service {
	struct inherited_sockets inherited; /* the descriptors are not its own */
	struct service_manager *manager;    /* NULL: nobody wants to be told */
	const struct context *context;
	const struct serving *serving;
};

/* What was handed over. Before any helper is started, which is to have none of it. 0, or -1 after it has logged why not. */
int service_begin(struct service *service);
/* Has a service manager started us? */
bool service_is_managed(const struct service *service);
/* `leave` is called when nobody has needed the daemon for as long as is configured. 0 or -ENOMEM. */
int service_attach(struct service *service, struct context *context, const struct serving *serving, loop_fn *leave, void *arg);
void service_tell(const struct service *service, enum service_state state);
/* SIGHUP: the configuration is read anew; the service manager is told when that begins and when it is over. */
void service_reload(struct service *service);
void service_end(struct service *service); /* whatever of it there is */

#endif
