/* SPDX-License-Identifier: MIT */
/* control.c - the control socket: where it is, who serves there, what its answers mean. */
#include "control.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "command.h"
#include "control_http.h"
#include "control_internal.h"
#include "line.h"
#include "os/os.h"
#include "tell.h"

#define DEFAULT_TIMEOUT_MS 5000u
#define CONNECT_PAUSE_MS 10
#define NS_PER_MS UINT64_C(1000000)
/* A page has at most 1000 entries, each with a few names of PATH_MAX. */
#define MAX_ANSWER ((size_t)32 << 20)
#define MAX_OBJECT ((size_t)1 << 20) /* a line of a stream */

struct control {
	const struct pathbus_options *options;
	char socket[ADDRESS_SIZE];
	bool is_given; /* by option or environment, or with the address */
	struct http *http;
	char *why;
	uid_t server;  /* of the last connection */
	int wake, output; /* -1: none */
	unsigned interval_ms;
	uint64_t until_ns;
	control_ready *ready;
	void *ready_userdata;
};

static const char *given_socket;

void control_use(const char *socket)
{
	given_socket = socket;
}

static unsigned timeout_of(const struct control *control)
{
	return control->options->timeout_ms ? control->options->timeout_ms : DEFAULT_TIMEOUT_MS;
}

/* --- errors -------------------------------------------------------------------------------------------------------- */

/* Returns the status. */
__attribute__((format(printf, 3, 4))) static int fail(struct control *control, int status, const char *format, ...)
{
	va_list list;

	free(control->why);
	va_start(list, format);
	if (vasprintf(&control->why, format, list) < 0)
		control->why = NULL;
	va_end(list);
	return status;
}

const char *control_why(const struct control *control)
{
	return control->why ? control->why : "out of memory";
}

int control_tell(const struct control *control, int status)
{
	tell("%s", control_why(control));
	return status;
}

/* Does a daemon answer on the bus, which then has no control socket? */
static bool bus_answers(const struct control *control)
{
	struct pathbus_options options = *control->options;
	pathbus *bus;
	bool answers;

	options.transport = PATHBUS_BUS;
	if (pathbus_new(&bus, &options) < 0)
		return false;
	answers = pathbus_ping(bus, NULL) == 0;
	pathbus_free(bus);
	return answers;
}

static int fail_nobody(struct control *control, const char *cause)
{
	const char *socket = tell_name(control->socket);

	if (bus_answers(control))
		return fail(control, STATUS_NO_DAEMON,
			    "a daemon runs, but not with a control socket at %s (%s): it is older than this program, or has "
			    "another one, or none (control = off); see the key \"control\" in its configuration, restart it, or say "
			    "where: --control SOCKET", socket, cause);
	return fail(control, STATUS_NO_DAEMON, "no daemon answers at the control socket %s (%s%s); start one with: pathbusd, or say "
		    "where it is: --control SOCKET", socket, cause,
		    control->is_given || strcmp(control->socket, ADDRESS_SYSTEM_CONTROL) == 0 ? "" :
		    ", and none at " ADDRESS_SYSTEM_CONTROL);
}

int control_fail(struct control *control, int error)
{
	unsigned timeout_ms = timeout_of(control);
	const char *socket = tell_name(control->socket);

	switch (-error) {
	case ENOENT:
	case ECONNREFUSED:
	case ENOTDIR:
		return fail_nobody(control, error == -ECONNREFUSED ? "nobody listens there" : "there is no such socket");
	case EACCES:
	case EPERM:
		return fail(control, STATUS_DENIED, "the control socket %s is not for this user: root may use it, the daemon's own "
			    "user, and the group that the key \"control-group\" names; try again as one of these", socket);
	case EKEYREJECTED:
		return fail(control, STATUS_DENIED, "the control socket %s is served by user %s, who is neither root nor this user "
			    "nor the owner of the service's folder, so nothing was asked; ask as that user", socket,
			    line_user(control->server));
	case ETIMEDOUT:
	case EAGAIN:
		return fail(control, STATUS_NO_DAEMON, "the daemon at the control socket %s did not answer within %u ms; see whether "
			    "it is stopped or very busy: pathbusctl ping, or wait longer: --timeout-ms N", socket, timeout_ms);
	case EPIPE:
		return fail(control, STATUS_NO_DAEMON, "the daemon at the control socket %s has gone before it had answered; see its "
			    "log, and start it again", socket);
	case EFBIG:
		return fail(control, STATUS_FAILED, "what the control socket %s answers is too large to be an answer; see whether it "
			    "is pathbusd that serves there", socket);
	case EPROTO:
		return fail(control, STATUS_FAILED, "what serves at the control socket %s does not answer as pathbusd does; see "
			    "whether --control names the socket of the bus, or of another program", socket);
	default:
		return fail(control, STATUS_FAILED, "cannot use the control socket %s: %s", socket, strerror(-error));
	}
}

/* Is it about one thing, which may be gone: "/v1/clients/7/disconnect"? Otherwise only a daemon that does not know the request has
 * nothing there. */
static bool is_about_one(const char *target)
{
	size_t size = strcspn(target, "?");

	for (size_t i = 0; i + 1 < size; i++)
		if (target[i] == '/' && target[i + 1] >= '0' && target[i + 1] <= '9')
			return true;
	return false;
}

/* An answer that is an error. `answer`: its JSON, or NULL. */
static int fail_answer(struct control *control, const char *target, long status, const struct json *answer)
{
	const struct json *error = json_get(answer, "error");
	const char *text = json_text(error, "message"), *hint = json_text(error, "hint");
	char *message = strdup(tell_name(text ? text : "")), *next = strdup(tell_name(hint ? hint : ""));
	const char *cause = message ? message : "", *separator;
	const char *socket = tell_name(control->socket);
	int ret;

	/* What to do about a request of ours is told in words of the API. */
	if (status == 400) {
		free(next);
		next = strdup("see --help");
	}
	separator = next && *next ? "; " : "";
	if (status == 403)
		ret = fail(control, STATUS_DENIED, "the daemon at %s refuses this: %s%s%s", socket,
			   *cause ? cause : "root may use it, its own user, and the group that the key \"control-group\" names",
			   separator, next ? next : "");
	else if ((status == 404 && !is_about_one(target)) || status == 405 || status == 501)
		ret = fail(control, STATUS_FAILED, "the daemon at %s does not know this request: it is older than this program, "
			   "restart it after the upgrade", socket);
	else if (!error)
		ret = fail(control, STATUS_FAILED, "what serves at the control socket %s answers with HTTP status %ld and no "
			   "reason; see whether it is pathbusd", socket, status);
	else
		ret = fail(control, status == 404 ? STATUS_NO_FOLDER : status == 400 ? STATUS_USAGE : status == 429 || status == 503 ? STATUS_BUSY : STATUS_FAILED,
			   "the daemon at %s says: %s%s%s", socket, *cause ? cause : "(no reason)", separator, next ? next : "");
	free(message);
	free(next);
	return ret;
}

/* --- the socket ---------------------------------------------------------------------------------------------------- */

static bool copy_address(const char *from, char *ret)
{
	if (strlen(from) == 0 || strlen(from) >= ADDRESS_SIZE)
		return false;
	memcpy(ret, from, strlen(from) + 1);
	return true;
}

static bool is_there(const char *path)
{
	return access(path, F_OK) == 0;
}

/* What belongs to an address: a daemon that was given it has ADDRESS.control, one that has it by default "control" beside it. */
static bool belonging_to(const char *address, char *ret)
{
	char own[ADDRESS_SIZE], beside[ADDRESS_SIZE];
	const char *default_place = NULL;

	if (address_control_of(address, own) < 0)
		return false;
	if (strcmp(address, ADDRESS_SYSTEM) == 0)
		default_place = ADDRESS_SYSTEM_CONTROL;
	else if (address_of_user(geteuid(), beside) == 0 && strcmp(address, beside) == 0 &&
		 address_control_of_user(geteuid(), beside) == 0)
		default_place = beside;
	return copy_address(default_place && !is_there(own) ? default_place : own, ret);
}

static bool find_socket(struct control *control)
{
	const char *given = given_socket ? given_socket : address_control_from_environment(), *address;

	control->is_given = true;
	if (given)
		return copy_address(given, control->socket);
	address = control->options->address ? control->options->address : address_from_environment();
	if (address)
		return belonging_to(address, control->socket);
	control->is_given = false;
	if (is_there(ADDRESS_SYSTEM_CONTROL) || address_control_of_user(geteuid(), control->socket) < 0)
		return copy_address(ADDRESS_SYSTEM_CONTROL, control->socket);
	return true;
}

/* Nothing is said to whom is not trusted. */
static int look_at_server(struct control *control, int fd)
{
	struct os_peer peer;
	int r = os_peer_credentials(fd, &peer);

	if (r < 0)
		return r;
	control->server = peer.uid;
	return address_may_be_served_by(control->socket, peer.uid) ? 0 : -EKEYREJECTED;
}

int control_open(const struct pathbus_options *options, struct control **ret)
{
	struct control *control = calloc(1, sizeof(*control));

	if (control) {
		control->options = options;
		control->wake = control->output = -1;
		control->http = http_new();
	}
	if (!control || !control->http) {
		control_close(control);
		tell("out of memory");
		return STATUS_FAILED;
	}
	if (!find_socket(control)) {
		control_close(control);
		tell("the path of the control socket is empty or too long; it may have %zu bytes", ADDRESS_SIZE - 1);
		return STATUS_USAGE;
	}
	*ret = control;
	return STATUS_OK;
}

struct control *control_close(struct control *control)
{
	if (!control)
		return NULL;
	http_free(control->http);
	free(control->why);
	free(control);
	return NULL;
}

const char *control_socket(const struct control *control)
{
	return control->socket;
}

void control_watch(struct control *control, int fd, unsigned interval_ms, control_ready *ready, void *userdata)
{
	control->wake = fd;
	control->interval_ms = ready ? interval_ms : 0;
	control->ready = ready;
	control->ready_userdata = userdata;
}

void control_until(struct control *control, uint64_t deadline_ns)
{
	control->until_ns = deadline_ns;
}

void control_watch_output(struct control *control, int fd)
{
	control->output = fd;
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

/* An answer on its way. */
struct arrival {
	struct control *control;
	long status;
	char *bytes; /* of the whole answer, or of the stream's line that is not whole yet */
	size_t size, capacity;
	int error;   /* 0, -EFBIG, -ENOMEM, -EPROTO */
	/* of a stream */
	void (*begun)(void *userdata);
	control_object *take; /* NULL: no stream */
	void *userdata;
	bool had_enough;
};

static bool keep(struct arrival *arrival, const char *bytes, size_t size, size_t most)
{
	if (size > most || arrival->size > most - size) {
		arrival->error = -EFBIG;
		return false;
	}
	if (arrival->capacity - arrival->size < size) {
		size_t capacity = arrival->capacity + size > 2 * arrival->capacity ? arrival->capacity + size : 2 * arrival->capacity;
		char *grown = realloc(arrival->bytes, capacity);

		if (!grown) {
			arrival->error = -ENOMEM;
			return false;
		}
		arrival->bytes = grown;
		arrival->capacity = capacity;
	}
	memcpy(arrival->bytes + arrival->size, bytes, size);
	arrival->size += size;
	return true;
}

/* A line of a stream is whole. */
static bool take_object(struct arrival *arrival)
{
	struct json *object = json_parse(arrival->bytes, arrival->size);

	if (!object && arrival->size > 0) { /* an empty line says nothing */
		arrival->error = -EPROTO;
		return false;
	}
	arrival->size = 0;
	if (object && !arrival->take(object, arrival->userdata))
		arrival->had_enough = true;
	json_free(object);
	return !arrival->had_enough;
}

static bool on_data(const char *bytes, size_t size, void *userdata)
{
	struct arrival *arrival = userdata;

	if (!arrival->take || arrival->status != 200)
		return keep(arrival, bytes, size, MAX_ANSWER);
	while (size > 0) {
		const char *end = memchr(bytes, '\n', size);
		size_t part = end ? (size_t)(end - bytes) : size;

		if (!keep(arrival, bytes, part, MAX_OBJECT) || (end && !take_object(arrival)))
			return false;
		bytes += part + (end != NULL);
		size -= part + (end != NULL);
	}
	return true;
}

static void on_status(long status, void *userdata)
{
	struct arrival *arrival = userdata;

	arrival->status = status;
	if (arrival->begun && status == 200)
		arrival->begun(arrival->userdata);
}

static bool on_ready(void *userdata)
{
	struct arrival *arrival = userdata;
	struct control *control = arrival->control;

	return control->ready(control->ready_userdata);
}

static int on_look(int fd, void *userdata)
{
	struct arrival *arrival = userdata;

	return look_at_server(arrival->control, fd);
}

static int call(struct arrival *arrival, const char *target, bool is_post, const char *body)
{
	struct control *control = arrival->control;
	const struct http_call http = {
		.socket = control->socket,
		.target = target,
		.body = body,
		.is_post = is_post,
		.is_stream = arrival->take != NULL,
		.timeout_ms = timeout_of(control),
		.wake = control->ready ? control->wake : -1,
		.interval_ms = control->interval_ms,
		.until_ns = control->until_ns,
		.output = control->output,
		.look = on_look,
		.ready = on_ready,
		.data = on_data,
		.status = on_status,
		.userdata = arrival,
	};
	uint64_t deadline_ns = os_now_ns() + timeout_of(control) * NS_PER_MS;
	int r;

	/* Its queue of connections may be full for a moment. */
	while ((r = http_call(control->http, &http)) == -EAGAIN && os_now_ns() < deadline_ns)
		poll(NULL, 0, CONNECT_PAUSE_MS);
	return arrival->error < 0 ? arrival->error : r;
}

static int request(struct control *control, const char *target, bool is_post, const char *body, struct json **ret)
{
	struct arrival arrival = { .control = control };
	struct json *answer = NULL;
	int status = STATUS_OK, r = call(&arrival, target, is_post, body);

	*ret = NULL;
	if (r == 0)
		answer = json_parse(arrival.bytes ? arrival.bytes : "", arrival.size);
	if (r < 0 && r != -ECANCELED)
		status = control_fail(control, r);
	else if (r == 0 && (arrival.status < 200 || arrival.status > 299))
		status = fail_answer(control, target, arrival.status, answer);
	else if (r == 0 && !answer)
		status = control_fail(control, -EPROTO);
	else
		*ret = answer;
	if (status != STATUS_OK)
		json_free(answer);
	free(arrival.bytes);
	return status;
}

int control_get(struct control *control, const char *target, struct json **ret)
{
	return request(control, target, false, NULL, ret);
}

int control_post(struct control *control, const char *target, const char *body, struct json **ret)
{
	return request(control, target, true, body, ret);
}

int control_stream(struct control *control, const char *target, void (*begun)(void *userdata), control_object *take,
		   void *userdata)
{
	struct arrival arrival = { .control = control, .begun = begun, .take = take, .userdata = userdata };
	int status, r = call(&arrival, target, false, NULL);
	struct json *answer;

	if (r == -ECANCELED || arrival.had_enough) {
		status = STATUS_OK;
	} else if (arrival.status == 200 && (r == 0 || r == -EPIPE)) {
		status = fail(control, STATUS_NO_DAEMON, "the daemon at the control socket %s has ended, or has closed this stream; "
			      "see its log, and try again", tell_name(control->socket));
	} else if (r < 0) {
		status = control_fail(control, r);
	} else {
		answer = json_parse(arrival.bytes ? arrival.bytes : "", arrival.size);
		status = fail_answer(control, target, arrival.status, answer);
		json_free(answer);
	}
	free(arrival.bytes);
	return status;
}
