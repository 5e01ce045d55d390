/* SPDX-License-Identifier: MIT */
/*
 * loop.c - the event loop, by libevent.
 *
 * libevent goes on with what is made active meanwhile before it looks at descriptors again: something that calls
 * itself over and over would be the only one that runs. So the rounds are counted here, and what has been called in
 * this one is called in the next.
 */
#include "loop.h"

#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include "queue.h"

struct loop {
	struct event_base *base;
	uint64_t round;
	struct queue later; /* to be called in the next round */
};

struct loop_event {
	struct loop *loop;
	struct queue later;
	uint64_t round; /* in which it was called last */
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
	struct loop *loop = calloc(1, sizeof(*loop));

	if (!loop)
		return NULL;
	queue_init(&loop->later);
	loop->base = event_base_new();
	return loop->base ? loop : loop_free(loop);
}

struct loop *loop_free(struct loop *loop)
{
	if (loop && loop->base)
		event_base_free(loop->base);
	free(loop);
	return NULL;
}

void loop_run(struct loop *loop)
{
	do {
		loop->round++;
		/* With something active libevent only looks what is ready beside it. */
		for (struct queue *place; (place = queue_first(&loop->later));) {
			struct loop_event *event = queue_container(place, struct loop_event, later);

			queue_remove(place);
			event_active(inner(event), EV_TIMEOUT, 1);
		}
		event_base_loop(loop->base, EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY);
	} while (!event_base_got_break(loop->base));
}

void loop_stop(struct loop *loop)
{
	event_base_loopbreak(loop->base);
}

uint64_t loop_round(const struct loop *loop)
{
	return loop->round;
}

struct event_base *loop_base(const struct loop *loop)
{
	return loop->base;
}

static void call(evutil_socket_t fd, short what, void *arg)
{
	struct loop_event *event = arg;

	(void)fd;
	(void)what;
	queue_remove(&event->later);
	event->round = event->loop->round;
	event->fn(event->arg);
}

static struct loop_event *event_make(struct loop *loop, int fd, short what, loop_fn *fn, void *arg)
{
	struct loop_event *event = malloc(sizeof(*event) + event_get_struct_event_size());

	if (!event)
		return NULL;
	*event = (struct loop_event){ .loop = loop, .fn = fn, .arg = arg };
	if (event_assign(inner(event), loop->base, fd, what, call, event) < 0) {
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
		loop_disable(event);
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
	queue_remove(&event->later);
	event_del(inner(event));
}

void loop_set(struct loop_event *event, unsigned ms)
{
	struct timeval when = { .tv_sec = ms / 1000, .tv_usec = (suseconds_t)(ms % 1000) * 1000 };

	queue_remove(&event->later);
	event_add(inner(event), &when);
}

void loop_call_soon(struct loop_event *event)
{
	if (event->round == event->loop->round)
		queue_move(&event->loop->later, &event->later);
	else
		event_active(inner(event), EV_TIMEOUT, 1);
}
