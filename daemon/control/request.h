/* SPDX-License-Identifier: MIT */
/*
 * request.h - a request of the control socket, as those who answer it see it.
 *
 * A handler answers with one of control_reply..., or with control_go_on and later, or begins a stream (stream.h). After its answer the
 * request is not to be used any more. It is called once the route, the sender's rights, the query's names and the body are checked.
 */
#ifndef PATHBUS_DAEMON_CONTROL_REQUEST_H
#define PATHBUS_DAEMON_CONTROL_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "answer.h"

struct context;
struct control_request;

typedef void control_fn(struct control_request *request);

const struct context *control_context(const struct control_request *request);
/* The number in its path ({id}). */
uint64_t control_id(const struct control_request *request);
/* A value of its query, decoded; NULL: it is not there. Only those that the route names can be. */
const char *control_query(const struct control_request *request, const char *name);
/* The same as a number up to `most`; `normal` where it is not there. False: it is none, and that has been answered. */
bool control_query_number(struct control_request *request, const char *name, uint64_t normal, uint64_t most, uint64_t *ret);
/* A text of its body, valid until the answer; NULL: it is not there, or something else. */
const char *control_body_text(const struct control_request *request, const char *name);
/* Who asks, for the log: "user 0, process 12". */
const char *control_who(const struct control_request *request);

/* Where its answer is to be written. */
struct answer *control_answer(const struct control_request *request);
/* Sends that. */
void control_reply(struct control_request *request);
/* Sends another text, a copy. */
void control_reply_text(struct control_request *request, const char *type, const char *text, size_t size);
/* {"error": {"code", "message", "hint"}}; `hint` may be NULL. What was written of an answer is forgotten. */
void control_reply_error(struct control_request *request, unsigned status, const char *code, const char *hint, const char *format, ...)
	__attribute__((format(printf, 5, 6)));

/* It is called again, in a later turn, with `state`, until it has answered. `end` frees that, in any case. */
void control_go_on(struct control_request *request, control_fn *step, void *state, void (*end)(void *state));
void *control_state(const struct control_request *request);
/* It is answered later, when somebody else says so. `end` is called with `state` if it never is, and freed: the daemon ends. */
void control_wait(struct control_request *request, void *state, void (*end)(void *state));
/* That is now: `end` is not called any more. */
void control_wait_over(struct control_request *request);
/* Is this request's turn over? It has had what one may take in a row. */
bool control_turn_is_over(const struct control_request *request);

#endif
