/* SPDX-License-Identifier: MIT */
/* service.c - see service.h. */
#include "service.h"

#include <errno.h>
#include <stdio.h>

#include "client.h"
#include "idle.h"
#include "log.h"
#include "options.h"
#include "reload.h"
#include "topic.h"

int service_begin(struct service *service)
{
	if (service_manager_sockets(&service->inherited) < 0)
		return -1;
	service->manager = service_manager_new();
	return 0;
}

bool service_is_managed(const struct service *service)
{
	return service->manager || service->inherited.bus.fd >= 0;
}

static void tell_status(void *arg, char *ret, size_t size)
{
	const struct service *service = arg;
	size_t n_clients = clients_count(service->context->clients), n_topics = topics_count(service->context->topics);

	snprintf(ret, size, "Serving %s: %zu client%s, %zu topic%s", service->serving->path, n_clients, n_clients == 1 ? "" : "s",
	         n_topics, n_topics == 1 ? "" : "s");
}

int service_attach(struct service *service, struct context *context, const struct serving *serving, loop_fn *leave, void *arg)
{
	service->context = context;
	service->serving = serving;
	if (context->options->idle_exit_ms > 0 && service->inherited.bus.fd < 0) {
		log_event(REASON_IDLE, "idle-exit has no effect: nobody would start it again, since no service manager listens for it");
	} else if (service->inherited.bus.fd >= 0) {
		context->idle = idle_new(context, serving->listener, leave, arg);
		if (!context->idle)
			return -ENOMEM;
	}
	return service_manager_attach(service->manager, context->loop, tell_status, service);
}

void service_tell(const struct service *service, enum service_state state)
{
	service_manager_tell(service->manager, state);
}

static void reloaded(void *arg, const struct reload_answer *answer)
{
	const struct service *service = arg;

	(void)answer; /* the log says it */
	service_tell(service, SERVICE_READY);
}

void service_reload(struct service *service)
{
	service_tell(service, SERVICE_RELOADING);
	if (reload_ask(service->context->reload, reloaded, service))
		return;
	log_event(REASON_NO_MEMORY, "no memory to read the configuration anew");
	service_tell(service, SERVICE_READY);
}

void service_end(struct service *service)
{
	service->manager = service_manager_free(service->manager);
}
