/* SPDX-License-Identifier: MIT */
/*
 * http.c - requests and answers, by evhttp.
 *
 * A request that has come whole waits for its turn in a queue: in each round of the loop so much time is spent on all of them, and
 * those that take longer go on in the next, behind the others. Nothing is read from a connection meanwhile.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/http.h>
#include <event2/keyvalq_struct.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <time.h>
#include <unistd.h>

#include "body.h"
#include "control_limit.h"
#include "daemon/context.h"
#include "escape.h"
#include "internal.h"
#include "os/os.h"
#include "place.h"

/* --- a request ------------------------------------------------------------------------------------- */

int request_socket(const struct control_request *request)
{
	struct evhttp_connection *connection = evhttp_request_get_connection(request->http);

	return connection ? bufferevent_getfd(evhttp_connection_get_bufferevent(connection)) : -1;
}

void request_free(struct control_request *request)
{
	queue_remove(&request->work);
	if (request->end_state)
		request->end_state(request->state);
	if (request->query) {
		evhttp_clear_headers(request->query);
		free(request->query);
	}
	body_free(request->body);
	answer_free(request->answer);
	free(request);
}

const struct context *control_context(const struct control_request *request)
{
	return request->control->context;
}

uint64_t control_id(const struct control_request *request)
{
	return request->id;
}

const char *control_query(const struct control_request *request, const char *name)
{
	return request->query ? evhttp_find_header(request->query, name) : NULL;
}

bool control_query_number(struct control_request *request, const char *name, uint64_t normal, uint64_t most, uint64_t *ret)
{
	const char *text = control_query(request, name);
	unsigned long long number;
	char *end;

	if (!text) {
		*ret = normal;
		return true;
	}
	errno = 0;
	number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno || number > most) {
		control_reply_error(request, 400, "bad-query", NULL, "%s takes a number up to %llu", name, (unsigned long long)most);
		return false;
	}
	*ret = number;
	return true;
}

const char *control_body_text(const struct control_request *request, const char *name)
{
	return body_text(request->body, name);
}

const char *control_who(const struct control_request *request)
{
	return request->who;
}

struct answer *control_answer(const struct control_request *request)
{
	return request->answer;
}

void control_go_on(struct control_request *request, control_fn *step, void *state, void (*end)(void *state))
{
	request->step = step;
	request->state = state;
	request->end_state = end;
}

void control_wait(struct control_request *request, void *state, void (*end)(void *state))
{
	control_go_on(request, NULL, state, end);
	queue_move(&request->control->waiting, &request->work);
}

void control_wait_over(struct control_request *request)
{
	request->end_state = NULL;
}

void *control_state(const struct control_request *request)
{
	return request->state;
}

bool control_turn_is_over(const struct control_request *request)
{
	return os_now_ns() >= request->control->turn_end_ns;
}

/* --- answering ------------------------------------------------------------------------------------- */

static void forget_text(const void *text, size_t size, void *arg)
{
	(void)size;
	(void)arg;
	free((void *)(uintptr_t)text);
}

static const char *reason_of(unsigned status)
{
	switch (status) {
	case 200:
		return "OK";
	case 400:
		return "Bad Request";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 409:
		return "Conflict";
	case 415:
		return "Unsupported Media Type";
	case 503:
		return "Service Unavailable";
	default:
		return "Internal Server Error";
	}
}

/* Takes the text over, and the request. */
static void send_text(struct control_request *request, unsigned status, const char *type, char *text, size_t size)
{
	struct evhttp_request *http = request->http;
	struct evkeyvalq *headers = evhttp_request_get_output_headers(http);
	struct evbuffer *buffer = evbuffer_new();

	if (!buffer || !text || evbuffer_add_reference(buffer, text, size, forget_text, NULL) < 0) {
		free(text);
		status = 503;
	}
	if (evhttp_request_get_command(http) == EVHTTP_REQ_HEAD) {
		/* evhttp would send it all the same. */
		evhttp_add_header(headers, "Connection", "close");
		if (buffer)
			evbuffer_drain(buffer, evbuffer_get_length(buffer));
	}
	evhttp_add_header(headers, "Content-Type", type);
	evhttp_add_header(headers, "Cache-Control", "no-store");
	request_free(request);
	evhttp_send_reply(http, (int)status, reason_of(status), buffer);
	if (buffer)
		evbuffer_free(buffer);
}

void control_reply(struct control_request *request)
{
	size_t size = 0;
	char *text = answer_take(request->answer, &size);

	if (!text) {
		control_reply_error(request, 503, "no-memory", "ask for less at once (limit=), or try again later",
		                    "the answer is too large, or memory is short");
		return;
	}
	send_text(request, 200, "application/json", text, size);
}

void control_reply_text(struct control_request *request, const char *type, const char *text, size_t size)
{
	char *copy = malloc(size + 1);

	if (copy)
		memcpy(copy, text, size);
	send_text(request, 200, type, copy, size);
}

void control_reply_error(struct control_request *request, unsigned status, const char *code, const char *hint, const char *format, ...)
{
	struct answer *answer = request->answer;
	char message[512], *text;
	size_t size = 0;
	va_list args;

	va_start(args, format);
	vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	answer_clear(answer);
	answer_object(answer, NULL);
	answer_object(answer, "error");
	answer_text(answer, "code", code);
	answer_text(answer, "message", message);
	answer_text(answer, "hint", hint);
	answer_end(answer);
	answer_end(answer);
	text = answer_take(answer, &size);
	send_text(request, status, "application/json", text, size);
}

/* --- who may --------------------------------------------------------------------------------------- */

/* The kernel's word on this connection, for each request: who it was when it connected. What has become of the process since does
 * not count, and a descriptor that was passed on speaks for whoever connected it. */
static bool may(struct control_request *request, int socket)
{
	gid_t group = request->control->group, *groups;
	struct os_peer peer;
	unsigned n;
	bool found;

	if (socket < 0 || os_peer_credentials(socket, &peer) < 0)
		return false;
	request->uid = peer.uid;
	request->pid = peer.pid;
	snprintf(request->who, sizeof(request->who), "user %u, process %d", (unsigned)peer.uid, (int)peer.pid);
	if (!os_is_one_user(peer.uid))
		return false;
	if (peer.uid == 0 || peer.uid == geteuid())
		return true;
	if (group == (gid_t)-1)
		return false;
	if (peer.gid == group)
		return true;
	if (os_peer_groups(socket, &groups, &n) < 0)
		return false;
	found = false;
	for (unsigned i = 0; i < n && !found; i++)
		found = groups[i] == group;
	free(groups);
	return found;
}

static void refuse_sender(struct control_request *request)
{
	log_event(REASON_CONTROL, "the control socket is refused to %s: not root, not user %u, not in the control group", request->who,
	          (unsigned)geteuid());
	control_reply_error(request, 403, "forbidden", "ask as root, or let control-group in the configuration name a group of yours",
	                    "user %u may not use this control socket", (unsigned)request->uid);
}

/* --- what is asked --------------------------------------------------------------------------------- */

static const char *method_of(struct evhttp_request *http)
{
	switch (evhttp_request_get_command(http)) {
	case EVHTTP_REQ_GET:
		return "GET";
	case EVHTTP_REQ_POST:
		return "POST";
	default:
		return "another method";
	}
}

/* Is there no query, or one with the names that the route has? Else that is answered. */
static bool take_query(struct control_request *request, const char *text)
{
	struct evkeyval *pair;
	char shown[64];

	if (!text || !*text)
		return true;
	request->query = calloc(1, sizeof(*request->query));
	if (!request->query) {
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
		return false;
	}
	TAILQ_INIT(request->query);
	if (evhttp_parse_query_str(text, request->query) < 0) {
		control_reply_error(request, 400, "bad-query", NULL, "the query is not NAME=VALUE&NAME=VALUE");
		return false;
	}
	TAILQ_FOREACH (pair, request->query, next) {
		if (control_route_names(request->route->query, pair->key, strlen(pair->key)))
			continue;
		escape(pair->key, strlen(pair->key), shown, sizeof(shown));
		control_reply_error(request, 400, "bad-query", request->route->query[0] ? request->route->query : NULL,
		                    "%s takes no '%s'", request->route->path, shown);
		return false;
	}
	return true;
}

static bool is_json(const char *type)
{
	static const char json[] = "application/json";
	size_t n = sizeof(json) - 1;

	return type && strncasecmp(type, json, n) == 0 && (type[n] == '\0' || type[n] == ';' || type[n] == ' ');
}

static bool take_body(struct control_request *request)
{
	struct evbuffer *buffer = evhttp_request_get_input_buffer(request->http);
	size_t size = evbuffer_get_length(buffer);
	char error[BODY_ERROR_SIZE];
	int r;

	if (size == 0)
		return true;
	if (evhttp_request_get_command(request->http) != EVHTTP_REQ_POST) {
		control_reply_error(request, 400, "bad-body", NULL, "only POST takes a body");
		return false;
	}
	if (!is_json(evhttp_find_header(evhttp_request_get_input_headers(request->http), "Content-Type"))) {
		control_reply_error(request, 415, "bad-content-type", "send Content-Type: application/json", "the body has to be JSON");
		return false;
	}
	r = body_parse((const char *)evbuffer_pullup(buffer, -1), size, request->route->body, &request->body, error);
	if (r == -EINVAL)
		control_reply_error(request, 400, "bad-body", request->route->body[0] ? request->route->body : NULL, "%s", error);
	else if (r < 0)
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
	return r == 0;
}

/* Answers it, or says by control_go_on what will. */
static void begin(struct control_request *request)
{
	const struct evhttp_uri *uri = evhttp_request_get_evhttp_uri(request->http);
	const char *path = uri ? evhttp_uri_get_path(uri) : NULL, *method = method_of(request->http), *allowed = NULL;
	int socket = request_socket(request);
	bool is_allowed = may(request, socket);
	char shown[128];

	if (!door_note(request->control->door, socket, DOOR_ANSWERS)) {
		evhttp_add_header(evhttp_request_get_output_headers(request->http), "Connection", "close");
		control_reply_error(request, 503, "too-many-connections", "close some of your own, or try again later",
		                    "too many control connections");
		return;
	}
	request->route = control_route_find(method, path ? path : "", &request->id, &allowed);
	if (!is_allowed && !(request->route && request->route->is_open)) {
		refuse_sender(request);
		return;
	}
	escape(path ? path : "", path ? strlen(path) : 0, shown, sizeof(shown));
	if (!request->route && allowed) {
		evhttp_add_header(evhttp_request_get_output_headers(request->http), "Allow", allowed);
		control_reply_error(request, 405, "bad-method", NULL, "%s takes %s", shown, allowed);
		return;
	}
	if (!request->route) {
		control_reply_error(request, 404, "not-found", NULL, "there is no %s", shown);
		return;
	}
	if (!take_query(request, uri ? evhttp_uri_get_query(uri) : NULL) || !take_body(request))
		return;
	request->route->handler(request);
}

/* --- turns ----------------------------------------------------------------------------------------- */

/* The requests that were there go on one after the other, until the time is over. */
static void work(void *arg)
{
	struct control *control = arg;
	struct queue *place;
	uint64_t end_ns = os_now_ns() + LIMIT_CONTROL_TURN_NS;

	control->turn_end_ns = end_ns;
	do {
		struct control_request *request;

		place = queue_first(&control->work);
		if (!place)
			return;
		request = queue_container(place, struct control_request, work);
		queue_move(&control->work, &request->work);
		if (request->step)
			request->step(request);
		else
			begin(request);
	} while (os_now_ns() < end_ns);
	if (queue_first(&control->work))
		loop_call_soon(control->worker);
}

/* Its answer has been taken. */
static void sent(struct evhttp_request *http, void *arg)
{
	struct control *control = arg;
	struct evhttp_connection *connection = evhttp_request_get_connection(http);

	if (connection)
		(void)door_note(control->door, bufferevent_getfd(evhttp_connection_get_bufferevent(connection)), DOOR_WAITS);
}

/* One has come whole. */
static void take(struct evhttp_request *http, void *arg)
{
	struct control *control = arg;
	struct control_request *request = calloc(1, sizeof(*request));

	if (request)
		request->answer = answer_new(LIMIT_CONTROL_ANSWER);
	if (!request || !request->answer) {
		free(request);
		evhttp_send_error(http, 503, "no memory");
		return;
	}
	request->control = control;
	request->http = http;
	evhttp_request_set_on_complete_cb(http, sent, control);
	queue_move(&control->work, &request->work);
	loop_call_soon(control->worker);
}

/* --- the server ------------------------------------------------------------------------------------ */

static void log_of_libevent(int severity, const char *text)
{
	if (severity >= EVENT_LOG_WARN)
		log_event(REASON_DEBUG, "control: %s", text);
}

int control_start(const struct context *context, const struct control_place *place, struct control **ret)
{
	struct control *control = calloc(1, sizeof(*control));

	if (!control)
		return -ENOMEM;
	tzset(); /* reads a file, which the sandbox will not let it */
	event_set_log_callback(log_of_libevent);
	*control = (struct control){ .context = context, .group = place->group };
	queue_init(&control->work);
	queue_init(&control->waiting);
	queue_init(&control->streams);
	control->worker = loop_timer(context->loop, work, control);
	control->http = evhttp_new(loop_base(context->loop));
	if (control->http && control->worker)
		control->door = door_new(context->loop, control->http, place->serving.listener);
	if (!control->door) {
		control_end(control);
		return -ENOMEM;
	}
	evhttp_set_max_headers_size(control->http, LIMIT_CONTROL_HEADERS);
	evhttp_set_max_body_size(control->http, LIMIT_CONTROL_BODY);
	/* All that it knows: others than ours get an answer from us. */
	evhttp_set_allowed_methods(control->http, EVHTTP_REQ_GET | EVHTTP_REQ_POST | EVHTTP_REQ_HEAD | EVHTTP_REQ_PUT |
	                                                  EVHTTP_REQ_DELETE | EVHTTP_REQ_OPTIONS | EVHTTP_REQ_TRACE |
	                                                  EVHTTP_REQ_CONNECT | EVHTTP_REQ_PATCH);
	evhttp_set_gencb(control->http, take, control);
	*ret = control;
	return 0;
}

bool control_is_used(const struct control *control)
{
	return control && door_is_used(control->door);
}

struct control *control_end(struct control *control)
{
	struct queue *place;

	if (!control)
		return NULL;
	if (control->door)
		door_close(control->door);
	queue_move_all(&control->work, &control->waiting);
	while ((place = queue_first(&control->work))) {
		struct control_request *request = queue_container(place, struct control_request, work);
		struct evhttp_request *http = request->http;

		request_free(request);
		if (!evhttp_request_get_connection(http))
			evhttp_request_free(http);
	}
	/* Streams end with their connections, and tell that. */
	if (control->http)
		evhttp_free(control->http);
	loop_event_free(control->worker);
	door_free(control->door);
	free(control);
	return NULL;
}
