/* SPDX-License-Identifier: MIT */
/*
 * loop.h - the event loop as the daemon sees it; loop.c knows libevent, and the control socket's server.
 *
 * An event belongs to whoever made it and is freed with loop_event_free, from its own callback too. Callbacks
 * run one at a time, in the thread that runs the loop.
 */
#ifndef PATHBUS_DAEMON_LOOP_H
#define PATHBUS_DAEMON_LOOP_H

#include <stdint.h>

struct event_base; /* libevent's */
struct loop;
struct loop_event;
typedef void loop_fn(void *arg);

struct loop *loop_new(void); /* NULL: no memory or descriptors */
struct loop *loop_free(struct loop *loop);
void loop_run(struct loop *loop); /* until loop_stop */
void loop_stop(struct loop *loop);
/* Which round it is: between two looks at the descriptors everything is called once. */
uint64_t loop_round(const struct loop *loop);

/* For control/, whose server is libevent's own. */
struct event_base *loop_base(const struct loop *loop);

/* Each returns NULL where memory is short. Descriptors stay the caller's and are closed after the event is
 * freed. */
struct loop_event *loop_on_readable(struct loop *loop, int fd, loop_fn *fn, void *arg); /* enabled */
struct loop_event *loop_on_edge(struct loop *loop, int fd, loop_fn *fn, void *arg); /* readable, edge-triggered; enabled */
struct loop_event *loop_on_writable(struct loop *loop, int fd, loop_fn *fn, void *arg); /* disabled */
struct loop_event *loop_on_signal(struct loop *loop, int signal, loop_fn *fn, void *arg); /* enabled */
struct loop_event *loop_timer(struct loop *loop, loop_fn *fn, void *arg); /* not set */
struct loop_event *loop_event_free(struct loop_event *event); /* takes NULL; returns NULL */

/* Descriptors: while enabled, called whenever they are ready (level-triggered but for loop_on_edge). */
void loop_enable(struct loop_event *event);
void loop_disable(struct loop_event *event); /* timers too */
/* Timers: called once, after so many milliseconds from now. */
void loop_set(struct loop_event *event, unsigned ms);
/* Any event: called once, ready or not: in this round, after what is ready already; or, if it has been called in this
 * round, in the next, after others had their turn. */
void loop_call_soon(struct loop_event *event);

#endif
