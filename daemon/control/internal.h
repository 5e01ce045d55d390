/* SPDX-License-Identifier: MIT */
/* internal.h - what http.c and stream.c share: the server and a request. */
#ifndef PATHBUS_DAEMON_CONTROL_INTERNAL_H
#define PATHBUS_DAEMON_CONTROL_INTERNAL_H

#include <stdbool.h>
#include <sys/types.h>

#include "control.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/queue.h"
#include "door.h"
#include "request.h"
#include "routes.h"

struct body;
struct evhttp;
struct evhttp_request;
struct evkeyvalq;

struct control {
	const struct context *context;
	struct evhttp *http;
	struct door *door;
	gid_t group; /* (gid_t)-1: none */
	struct queue work, waiting, streams; /* waiting: for somebody else */
	unsigned n_streams;
	struct loop_event *worker;
	uint64_t turn_end_ns;
};

struct control_request {
	struct queue work; /* in control's `work` or `waiting`, until it is answered */
	struct control *control;
	struct evhttp_request *http;
	const struct control_route *route; /* NULL: not looked at yet */
	uint64_t id;
	struct evkeyvalq *query;
	struct body *body;
	struct answer *answer;
	uid_t uid;
	pid_t pid;
	char who[48];
	control_fn *step;
	void *state;
	void (*end_state)(void *state);
};

/* Frees it; its HTTP request is whoever answers it's. */
void request_free(struct control_request *request);
int request_socket(const struct control_request *request); /* -1: its connection has ended */

#endif
