/* SPDX-License-Identifier: MIT */
/* loop.c - the event loop, by libevent. */
#include "loop.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdlib.h>

struct loop_event {
	loop_fn *fn;
	void *arg;
	_Alignas(max_align_t) unsigned char event[]; /* a struct event, whose size only libevent knows */
};

static struct event *inner(struct loop_event *event)
{
	return (struct event *)(void *)event->event;
}

struct loop *loop_new(void)
{
	return (struct loop *)event_base_new();
}

static struct event_base *base_of(struct loop *loop)
{
	return (struct event_base *)loop;
}

struct loop *loop_free(struct loop *loop)
{
	if (loop)
		event_base_free(base_of(loop));
	return NULL;
}

void loop_run(struct loop *loop)
{
	event_base_loop(base_of(loop), EVLOOP_NO_EXIT_ON_EMPTY);
}

void loop_stop(struct loop *loop)
{
	event_base_loopbreak(base_of(loop));
}

static void call(evutil_socket_t fd, short what, void *arg)
{
	struct loop_event *event = arg;

	(void)fd;
	(void)what;
	event->fn(event->arg);
}

static struct loop_event *event_make(struct loop *loop, int fd, short what, loop_fn *fn, void *arg)
{
	struct loop_event *event = malloc(sizeof(*event) + event_get_struct_event_size());

	if (!event)
		return NULL;
	event->fn = fn;
	event->arg = arg;
	if (event_assign(inner(event), base_of(loop), fd, what, call, event) < 0) {
		free(event);
		return NULL;
	}
	return event;
}

static struct loop_event *enabled(struct loop_event *event)
{
	if (event && event_add(inner(event), NULL) < 0)
		return loop_event_free(event);
	return event;
}

struct loop_event *loop_on_readable(struct loop *loop, int fd, loop_fn *fn, void *arg)
{
	return enabled(event_make(loop, fd, EV_READ | EV_PERSIST, fn, arg));
}

struct loop_event *loop_on_edge(struct loop *loop, int fd, loop_fn *fn, void *arg)
{
	return enabled(event_make(loop, fd, EV_READ | EV_ET | EV_PERSIST, fn, arg));
}

struct loop_event *loop_on_writable(struct loop *loop, int fd, loop_fn *fn, void *arg)
{
	return event_make(loop, fd, EV_WRITE | EV_PERSIST, fn, arg);
}

struct loop_event *loop_on_signal(struct loop *loop, int signal, loop_fn *fn, void *arg)
{
	return enabled(event_make(loop, signal, EV_SIGNAL | EV_PERSIST, fn, arg));
}

struct loop_event *loop_timer(struct loop *loop, loop_fn *fn, void *arg)
{
	return event_make(loop, -1, 0, fn, arg);
}

struct loop_event *loop_event_free(struct loop_event *event)
{
	if (event) {
		event_del(inner(event));
		free(event);
	}
	return NULL;
}

void loop_enable(struct loop_event *event)
{
	event_add(inner(event), NULL);
}

void loop_disable(struct loop_event *event)
{
	event_del(inner(event));
}

void loop_set(struct loop_event *event, unsigned ms)
{
	struct timeval when = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	event_add(inner(event), &when);
}

void loop_call_soon(struct loop_event *event)
{
	event_active(inner(event), EV_TIMEOUT, 1);
}
