/* SPDX-License-Identifier: MIT */
/* idle.c - see idle.h. */
#include "idle.h"

#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>

#include "client.h"
#include "control/control.h"
#include "options.h"
#include "topic.h"

struct idle {
	const struct context *context;
	int listener;
	struct loop_event *timer;
	loop_fn *leave;
	void *arg;
};

static bool is_idle(const struct idle *idle)
{
	struct pollfd waiting = { .fd = idle->listener, .events = POLLIN };

	return clients_are_gone(idle->context->clients) && topics_count(idle->context->topics) == 0 && poll(&waiting, 1, 0) == 0;
}

/* Who came meanwhile will say so when it goes; but nobody says when an admin does. */
static void rested(void *arg)
{
	struct idle *idle = arg;

	if (idle->context->options->idle_exit_ms == 0 || !is_idle(idle))
		return;
	if (control_is_used(idle->context->control))
		idle_note(idle);
	else
		idle->leave(idle->arg);
}

static void emptied(void *arg)
{
	idle_note(arg);
}

struct idle *idle_new(const struct context *context, int listener, loop_fn *leave, void *arg)
{
	struct idle *idle = calloc(1, sizeof(*idle));

	if (!idle)
		return NULL;
	*idle = (struct idle){ .context = context, .listener = listener, .leave = leave, .arg = arg };
	idle->timer = loop_timer(context->loop, rested, idle);
	if (!idle->timer) {
		free(idle);
		return NULL;
	}
	topics_on_empty(context->topics, emptied, idle);
	idle_note(idle);
	return idle;
}

struct idle *idle_free(struct idle *idle)
{
	if (idle) {
		topics_on_empty(idle->context->topics, NULL, NULL);
		loop_event_free(idle->timer);
		free(idle);
	}
	return NULL;
}

void idle_note(struct idle *idle)
{
	if (idle && idle->context->options->idle_exit_ms > 0 && is_idle(idle))
		loop_set(idle->timer, idle->context->options->idle_exit_ms);
}
