/* SPDX-License-Identifier: MIT */
/* stream.c - see stream.h. */
#include "stream.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <stdlib.h>
#include <time.h>

#include "control_limit.h"
#include "daemon/context.h"
#include "internal.h"
#include "os/os.h"

struct control_stream {
	struct queue place;
	struct control *control;
	uid_t uid; /* whose */
	struct evhttp_request *http;
	struct evbuffer *lines; /* of this round, which go out together */
	struct loop_event *sender;
	struct answer *dropped;
	uint64_t n_dropped; /* since it was told last */
	void (*ended)(void *arg);
	void *arg;
};

/* --- lines ----------------------------------------------------------------------------------------- */

static size_t untaken(const struct control_stream *stream)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(stream->http);
	struct bufferevent *bev = connection ? evhttp_connection_get_bufferevent(connection) : NULL;

	return evbuffer_get_length(stream->lines) + (bev ? evbuffer_get_length(bufferevent_get_output(bev)) : 0);
}

static bool add_line(struct control_stream *stream, struct answer *answer)
{
	bool added = !answer_failed(answer) &&
	             evbuffer_add(stream->lines, answer_bytes_of(answer), answer_size(answer)) == 0 &&
	             evbuffer_add(stream->lines, "\n", 1) == 0;

	answer_clear(answer);
	return added;
}

static uint64_t unix_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* Only once a half is free: a reader that is always too slow is told now and then, and not after each line. */
static void tell_dropped(struct control_stream *stream)
{
	struct answer *answer = stream->dropped;

	if (stream->n_dropped == 0 || untaken(stream) > LIMIT_CONTROL_STREAM / 2)
		return;
	answer_object(answer, NULL);
	answer_number(answer, "time_ns", os_now_ns());
	answer_time(answer, "time", unix_now_ns());
	answer_text(answer, "kind", "dropped");
	answer_number(answer, "n", stream->n_dropped);
	answer_end(answer);
	if (add_line(stream, answer))
		stream->n_dropped = 0;
}

static void taken(struct evhttp_connection *connection, void *arg)
{
	struct control_stream *stream = arg;

	(void)connection;
	if (stream->n_dropped > 0)
		loop_call_soon(stream->sender);
}

static void send_lines(void *arg)
{
	struct control_stream *stream = arg;

	tell_dropped(stream);
	if (evbuffer_get_length(stream->lines) > 0)
		evhttp_send_reply_chunk_with_cb(stream->http, stream->lines, taken, stream);
}

bool control_stream_is_full(const struct control_stream *stream)
{
	return untaken(stream) > (stream->n_dropped > 0 ? LIMIT_CONTROL_STREAM / 2 : LIMIT_CONTROL_STREAM);
}

void control_stream_drop(struct control_stream *stream)
{
	stream->n_dropped++;
}

bool control_stream_send(struct control_stream *stream, struct answer *answer)
{
	tell_dropped(stream);
	if (control_stream_is_full(stream)) {
		answer_clear(answer);
	} else if (add_line(stream, answer)) {
		loop_call_soon(stream->sender);
		return true;
	}
	stream->n_dropped++;
	return false;
}

/* --- coming and going ------------------------------------------------------------------------------ */

/* Everything but its HTTP request. Takes what is not finished. */
static void stream_free(struct control_stream *stream)
{
	queue_remove(&stream->place);
	stream->control->n_streams--;
	loop_event_free(stream->sender);
	answer_free(stream->dropped);
	if (stream->lines)
		evbuffer_free(stream->lines);
	free(stream);
}

static void closed(struct evhttp_connection *connection, void *arg)
{
	struct control_stream *stream = arg;
	struct evhttp_request *http = stream->http;

	(void)connection;
	stream->ended(stream->arg);
	stream_free(stream);
	/* Where evhttp has let it go it is ours to be freed; else it is freed with its connection. */
	if (!evhttp_request_get_connection(http))
		evhttp_request_free(http);
}

static unsigned count_of(const struct control *control, uid_t uid)
{
	unsigned n = 0;

	for (const struct queue *place = control->streams.next; place != &control->streams; place = place->next)
		n += queue_container(place, const struct control_stream, place)->uid == uid;
	return n;
}

static struct control_stream *stream_new(struct control *control, uid_t uid)
{
	struct control_stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->control = control;
	stream->uid = uid;
	queue_move(&control->streams, &stream->place);
	control->n_streams++;
	stream->lines = evbuffer_new();
	stream->dropped = answer_new(LIMIT_CONTROL_STREAM);
	stream->sender = loop_timer(control->context->loop, send_lines, stream);
	if (stream->lines && stream->dropped && stream->sender)
		return stream;
	stream_free(stream);
	return NULL;
}

struct control_stream *control_stream_start(struct control_request *request, void (*ended)(void *arg), void *arg)
{
	struct control *control = request->control;
	struct evhttp_connection *connection = evhttp_request_get_connection(request->http);
	struct control_stream *stream;

	if (control->n_streams >= LIMIT_CONTROL_STREAMS) {
		control_reply_error(request, 503, "too-many-streams", "end one of the others, or try again later",
		                    "there are %u streams already", control->n_streams);
		return NULL;
	}
	if (request->uid != 0 && count_of(control, request->uid) >= LIMIT_CONTROL_USER_STREAMS) {
		control_reply_error(request, 503, "too-many-streams", "end one of them",
		                    "user %u has %u streams already, and others are to have some", (unsigned)request->uid,
		                    LIMIT_CONTROL_USER_STREAMS);
		return NULL;
	}
	stream = stream_new(control, request->uid);
	if (!stream) {
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
		return NULL;
	}
	stream->http = request->http;
	stream->ended = ended;
	stream->arg = arg;
	(void)door_note(control->door, request_socket(request), DOOR_STREAMS);
	evhttp_add_header(evhttp_request_get_output_headers(stream->http), "Content-Type", "application/jsonl");
	evhttp_add_header(evhttp_request_get_output_headers(stream->http), "Cache-Control", "no-store");
	evhttp_connection_set_closecb(connection, closed, stream);
	evhttp_send_reply_start(stream->http, 200, "OK");
	/* It may be silent for as long as nothing happens, and so may its reader. */
	bufferevent_set_timeouts(evhttp_connection_get_bufferevent(connection), NULL, NULL);
	request_free(request);
	return stream;
}

struct control_stream *control_stream_end(struct control_stream *stream)
{
	struct evhttp_request *http;
	struct evhttp_connection *connection;

	if (!stream)
		return NULL;
	http = stream->http;
	connection = evhttp_request_get_connection(http);
	send_lines(stream);
	if (connection) {
		evhttp_connection_set_closecb(connection, NULL, NULL);
		(void)door_note(stream->control->door, bufferevent_getfd(evhttp_connection_get_bufferevent(connection)),
		                DOOR_ANSWERS);
	}
	stream_free(stream);
	evhttp_send_reply_end(http);
	return NULL;
}
