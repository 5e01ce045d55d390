/* SPDX-License-Identifier: MIT */
/*
 * stream.h - an answer without an end: one JSON object a line (application/jsonl), for as long as its reader stays.
 *
 * What the reader has not taken is bounded (LIMIT_CONTROL_STREAM): what comes then is dropped and counted, and once there is room
 * again a line of the kind "dropped" says how many lines are missing there.
 */
#ifndef PATHBUS_DAEMON_CONTROL_STREAM_H
#define PATHBUS_DAEMON_CONTROL_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct answer;
struct control_request;
struct control_stream;

/* Answers the request with a stream. `ended` is called with `arg` when its reader has gone, or the daemon stops: the stream is
 * not to be used any more then. NULL: there are too many, or no memory: that has been answered, and `ended` is not called. */
struct control_stream *control_stream_start(struct control_request *request, void (*ended)(void *arg), void *arg);
/* Sends the line that is in `answer`, without its end, and clears that. False: it was dropped and counted. Never waits. */
bool control_stream_send(struct control_stream *stream, struct answer *answer);
/* Would a line be dropped now? Then it need not be written: control_stream_drop counts it. */
bool control_stream_is_full(const struct control_stream *stream);
void control_stream_drop(struct control_stream *stream);
/* Ends it from this side; `ended` is not called. Takes NULL; returns NULL. */
struct control_stream *control_stream_end(struct control_stream *stream);

#endif
