/* SPDX-License-Identifier: MIT */
/*
 * listener.h - one handle and one topic, as the tests of the seams use them: expect an event, expect none, move.
 */
#ifndef PATHBUS_TESTS_SEAMS_LISTENER_H
#define PATHBUS_TESTS_SEAMS_LISTENER_H

#include <stdbool.h>

#include <pathbus.h>

struct listener {
	pathbus *bus;
	pathbus_topic *topic;
	unsigned n_posts, n_resyncs, n_errors; /* events so far */
	int last_error;
};

/* address NULL: the peer transport only */
void listener_open(struct listener *listener, const char *address, enum pathbus_transport_kind kind, const char *path,
                   unsigned flags);
void listener_close(struct listener *listener);
/* Waits until the last one out, a link perhaps, has removed the sidecar of a path in the case's folder. */
void listener_await_no_sidecar(const char *name);
/* Takes what is there without waiting; returns how many events. */
unsigned listener_drain(struct listener *listener);
/* Waits until the descriptor is readable, and drains; as an event loop would. */
void listener_turn(struct listener *listener, int timeout_ms);
/* Fails unless an event of that kind comes. */
void listener_expect(struct listener *listener, enum pathbus_event_kind kind);
/* The same for a post or a RESYNC. */
void listener_expect_news(struct listener *listener);
enum pathbus_transport_kind listener_transport(const struct listener *listener);
/* Turns the loop until the topic is on that transport. */
void listener_await_transport(struct listener *listener, enum pathbus_transport_kind kind);

#endif
