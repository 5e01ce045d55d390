/* SPDX-License-Identifier: MIT */
/* listener.c - the smallest event loop there is. */
#include "seams/listener.h"

#include <poll.h>
#include <unistd.h>

#include "harness/harness.h"

void listener_open(struct listener *listener, const char *address, enum pathbus_transport_kind kind, const char *path,
                   unsigned flags)
{
	struct pathbus_options options = { .size = sizeof(options), .address = address, .transport = kind };

	if (kind == PATHBUS_BUS)
		options.timeout_ms = harness_limit_ms; /* a busy machine is no silent daemon */

	*listener = (struct listener){ 0 };
	ck_assert_int_eq(pathbus_new(&listener->bus, &options), 0);
	ck_assert_int_eq(pathbus_open(listener->bus, path, flags, &listener->topic), 0);
}

void listener_close(struct listener *listener)
{
	listener->bus = pathbus_free(listener->bus);
	listener->topic = NULL;
}

void listener_await_no_sidecar(const char *name)
{
	const char *sidecar = harness_path(".%s.pathbus", name);

	harness_await(access(sidecar, F_OK) < 0);
}

unsigned listener_drain(struct listener *listener)
{
	struct pathbus_event event = { .size = sizeof(event) };
	unsigned n = 0;
	int r;

	while ((r = pathbus_next(listener->bus, &event)) > 0) {
		n++;
		listener->n_posts += event.kind == PATHBUS_EVENT_POST;
		listener->n_resyncs += event.kind == PATHBUS_EVENT_RESYNC;
		listener->n_errors += event.kind == PATHBUS_EVENT_ERROR;
		if (event.kind == PATHBUS_EVENT_ERROR)
			listener->last_error = event.error;
	}
	ck_assert_int_eq(r, 0);
	return n;
}

void listener_turn(struct listener *listener, int timeout_ms)
{
	struct pollfd one = { .fd = pathbus_fd(listener->bus), .events = POLLIN };

	if (poll(&one, 1, timeout_ms) > 0)
		listener_drain(listener);
}

static unsigned count(const struct listener *listener, enum pathbus_event_kind kind)
{
	return kind == PATHBUS_EVENT_POST ? listener->n_posts :
	       kind == PATHBUS_EVENT_RESYNC ? listener->n_resyncs : listener->n_errors;
}

void listener_expect(struct listener *listener, enum pathbus_event_kind kind)
{
	uint64_t end = harness_deadline(harness_limit_ms);
	unsigned before = count(listener, kind);

	while (count(listener, kind) == before) {
		if (harness_now_ns() > end)
			ck_abort_msg("no event of kind %d came: on transport %d, %u posts, %u resyncs, %u errors, the last %d",
			             kind, listener_transport(listener), listener->n_posts, listener->n_resyncs,
			             listener->n_errors, listener->last_error);
		listener_turn(listener, 1000);
	}
}

void listener_expect_news(struct listener *listener)
{
	uint64_t end = harness_deadline(harness_limit_ms);
	unsigned before = listener->n_posts + listener->n_resyncs;

	while (listener->n_posts + listener->n_resyncs == before) {
		if (harness_now_ns() > end)
			ck_abort_msg("neither a post nor a RESYNC came");
		listener_turn(listener, 1000);
	}
}

enum pathbus_transport_kind listener_transport(const struct listener *listener)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	ck_assert_int_eq(pathbus_transport(listener->topic, &transport), 0);
	return transport.kind;
}

void listener_await_transport(struct listener *listener, enum pathbus_transport_kind kind)
{
	uint64_t end = harness_deadline(harness_limit_ms);

	while (listener_transport(listener) != kind) {
		if (harness_now_ns() > end)
			ck_abort_msg("the topic stays on transport %d", listener_transport(listener));
		listener_turn(listener, 1000);
	}
}
