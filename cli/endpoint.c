/* SPDX-License-Identifier: MIT */
/* endpoint.c - `pathbusctl endpoint list|connect`: where programs listen under a file, and talking to one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "command.h"
#include "found.h"
#include "line.h"
#include "os/os.h"
#include "pump.h"
#include "tell.h"
#include "thing.h"
#include "wait.h"

static bool as_json, verbose;
static uint64_t timeout_ns; /* 0: somebody has to be there */

enum { OPTION_JSON = OPTION_LONG, OPTION_TIMEOUT };

static const struct option_spec list_specs[] = {
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static const struct option_spec connect_specs[] = {
	{ OPTION_TIMEOUT, "timeout", "SECONDS", "wait so long for somebody who listens (default: 0)" },
	{ 'v', "verbose", NULL, "say on stderr who it is" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	if (id == OPTION_TIMEOUT)
		return options_seconds("timeout", value, &timeout_ns);
	as_json |= id == OPTION_JSON;
	verbose |= id == 'v';
	return true;
}

static int run_list(const struct pathbus_options *options, size_t n_words, char **words)
{
	(void)n_words;
	return found_list(options, words[0], FOUND_ENDPOINTS, as_json, found_print_endpoints);
}

static void tell_connected(const struct thing *thing, const struct pathbus_connection *connection)
{
	if (!verbose)
		return;
	fprintf(stderr, "connected to \"%s\" of ", tell_name(thing->name));
	fprintf(stderr, "%s: process %lld, user %s%s\n", tell_name(thing->file), (long long)connection->pid,
		line_user(connection->uid), connection->type == SOCK_SEQPACKET ? ", messages" : "");
}

static int run_connect(const struct pathbus_options *options, size_t n_words, char **words)
{
	const struct thing thing = { .kind = "endpoint", .name = words[1], .file = words[0] };
	struct pathbus_connection connection = { .size = sizeof(connection) };
	pathbus_topic *topic;
	pathbus *bus;
	uint64_t deadline_ns;
	int error = wait_init(), status;

	(void)n_words;
	if (error < 0) {
		tell("cannot start: %s", strerror(-error));
		return STATUS_FAILED;
	}
	status = thing_open_topic(options, words[0], 0, &bus, &topic);
	if (status != STATUS_OK)
		return status;
	deadline_ns = timeout_ns ? os_now_ns() + timeout_ns : 0;
	do
		error = pathbus_connect(topic, words[1], deadline_ns, &connection);
	while (error == -EINTR && !wait_stopped());
	pathbus_free(bus); /* the connection does not need it */
	if (error < 0) {
		status = error == -EINTR ? STATUS_FAILED : thing_tell_error(&thing, "connect to", error);
	} else {
		tell_connected(&thing, &connection);
		status = pump_run(connection.fd, connection.type == SOCK_SEQPACKET);
	}
	wait_end();
	return status;
}

const struct command command_endpoint_list = {
	.name = "endpoint list",
	.arguments = "FILE",
	.summary = "print the endpoints under a file, and who listens on them",
	.about = "An endpoint is a name under a file where a program listens; who connects gets a socket to it.",
	.options = list_specs,
	.set = set,
	.min_words = 1,
	.max_words = 1,
	.run = run_list,
};

const struct command command_endpoint_connect = {
	.name = "endpoint connect",
	.arguments = "FILE NAME",
	.summary = "connect to an endpoint, and join it to standard input and output",
	.about = "The end of the input is passed on, and what comes then is still printed. It ends when both sides\n"
		 "have said all, when the other side has gone, or when nobody reads its output any more. Where the\n"
		 "endpoint keeps the bounds of messages, each piece that is read from the input is one, of 64 KiB at\n"
		 "most. Where nobody listens the exit status is 69, and after --timeout 124.",
	.options = connect_specs,
	.set = set,
	.min_words = 2,
	.max_words = 2,
	.run = run_connect,
};
