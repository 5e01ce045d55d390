/* SPDX-License-Identifier: MIT */
/* post.c - `pathbusctl post FILE...`: a post, or a message, on each. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "os/os.h"
#include "page.h"
#include "tell.h"
#include "wait.h"

#define MAX_KEY 255u
#define NS UINT64_C(1000000000)

enum { OPTION_KEY = OPTION_LONG, OPTION_STATE, OPTION_WAIT, OPTION_TIMEOUT, OPTION_JSON };

static const struct option_spec specs[] = {
	{ 'm', "message", "TEXT", "send a message, not just a post; -: all of standard input" },
	{ OPTION_KEY, "key", "KEY", "the message replaces those of this key that --newest listeners still owe" },
	{ OPTION_STATE, "state", "VALUE", "set the state first, as `state set` does" },
	{ OPTION_WAIT, "wait", NULL, "wait until all who listen have dealt with it; else name them and exit with 3" },
	{ OPTION_TIMEOUT, "timeout", "SECONDS", "with --wait: for so long (default: 10)" },
	{ OPTION_JSON, "json", NULL, "with --wait: print a JSON object per file" },
	{ 'v', "verbose", NULL, "print each file and the way its post took: bus, peer or socket" },
	{ 0 },
};

static struct {
	const char *text;   /* of -m; NULL: none */
	const char *key;    /* NULL: none */
	bool has_state, waits, has_timeout, verbose;
	uint64_t state;
	struct wait wait;
} asked = { .wait.timeout_ns = 10 * NS };

/* NULL: a plain post. */
static const char *message;
static size_t message_size;

static bool set(int id, const char *value)
{
	switch (id) {
	case 'm':
		asked.text = value;
		return true;
	case OPTION_KEY:
		asked.key = value;
		return true;
	case OPTION_STATE:
		asked.has_state = true;
		return options_value("--state", value, &asked.state);
	case OPTION_WAIT:
		asked.waits = true;
		return true;
	case OPTION_TIMEOUT:
		asked.has_timeout = true;
		return options_seconds("timeout", value, &asked.wait.timeout_ns);
	case OPTION_JSON:
		asked.wait.json = true;
		return true;
	default:
		asked.verbose = true;
		return true;
	}
}

static bool options_agree(void)
{
	if (asked.key && !asked.text)
		tell("--key goes with a message: -m TEXT");
	else if (asked.key && (strlen(asked.key) == 0 || strlen(asked.key) > MAX_KEY))
		tell("--key has %zu bytes; a key has 1 to %u", strlen(asked.key), MAX_KEY);
	else if (asked.has_timeout && !asked.waits)
		tell("--timeout goes with --wait");
	else if (asked.wait.json && !asked.waits)
		tell("--json goes with --wait");
	else if (asked.wait.json && asked.verbose)
		tell("--json and --verbose exclude each other; the object says which way it went");
	else
		return true;
	return false;
}

/* --- the message --------------------------------------------------------------------------------------------- */

static int tell_too_large(const char *what)
{
	tell("%s has more than %u bytes, and no topic takes more; put it into a file and send its name", what,
	     LANE_MAX_MESSAGE);
	return STATUS_FAILED;
}

static int read_message(void)
{
	static char buffer[LANE_MAX_MESSAGE + 1];

	while (message_size < sizeof(buffer)) {
		ssize_t n = read(STDIN_FILENO, buffer + message_size, sizeof(buffer) - message_size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			tell("cannot read the message from the standard input: %s", strerror(errno));
			return STATUS_FAILED;
		}
		if (n == 0)
			break;
		message_size += (size_t)n;
	}
	message = buffer;
	return message_size > LANE_MAX_MESSAGE ? tell_too_large("the message on the standard input") : STATUS_OK;
}

/* Before anything is opened: somebody may be typing it. */
static int take_message(void)
{
	if (!asked.text)
		return STATUS_OK;
	if (strcmp(asked.text, "-") == 0)
		return read_message();
	message = asked.text;
	message_size = strlen(asked.text);
	return message_size > LANE_MAX_MESSAGE ? tell_too_large("the message") : STATUS_OK;
}

/* --- posting --------------------------------------------------------------------------------------------------- */

static int tell_post_error(const char *file, pathbus_topic *topic, int error)
{
	struct pathbus_limits limits = { .size = sizeof(limits) };

	if (error != -EMSGSIZE || pathbus_get_limits(topic, &limits) < 0)
		return tell_file_error("post on", file, error);
	tell("cannot post on %s: the message has %zu bytes, and this topic takes %u; who opens it first decides, for "
	     "example: pathbusctl listen --max-message %zu FILE", tell_name(file), message_size, limits.max_message,
	     message_size);
	return STATUS_FAILED;
}

static int post(const char *file, pathbus_topic *topic)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };
	int error = asked.has_state ? pathbus_set_state(topic, asked.state) : 0;

	if (error < 0)
		return tell_file_error("set the state of", file, error);
	if (message)
		error = pathbus_publish_keyed(topic, asked.key, asked.key ? strlen(asked.key) : 0, message,
					      message_size);
	else
		error = pathbus_post(topic);
	if (error < 0)
		return tell_post_error(file, topic, error);
	if (asked.verbose && pathbus_transport(topic, &transport) == 0)
		printf("posted on %s (%s)\n", tell_name(file), tell_transport(transport.kind));
	return STATUS_OK;
}

/* *ret_topic stays open if it will be waited for, and is NULL otherwise. */
static int open_and_post(pathbus *bus, const char *file, pathbus_topic **ret_topic)
{
	pathbus_topic *topic;
	int error = pathbus_open(bus, file, PATHBUS_POST, &topic), status;

	*ret_topic = NULL;
	if (error < 0)
		return tell_file_error("open", file, error);
	status = post(file, topic);
	if (status == STATUS_OK && asked.waits)
		*ret_topic = topic;
	else
		pathbus_close(topic);
	return status;
}

static void add_status(int *status, int one)
{
	if (*status == STATUS_OK)
		*status = one;
}

/* First all posts, then the waiting: so those who listen on several files work on all of them meanwhile. */
static int post_all(pathbus *bus, size_t n_files, char **files, pathbus_topic **topics)
{
	int status = STATUS_OK;
	uint64_t deadline_ns;

	for (size_t i = 0; i < n_files; i++)
		add_status(&status, open_and_post(bus, files[i], &topics[i]));
	if (asked.waits)
		fflush(stdout); /* what -v has said; a failure is told at the end */
	deadline_ns = os_now_ns() + asked.wait.timeout_ns;
	for (size_t i = 0; i < n_files && !wait_stopped(); i++)
		if (topics[i])
			add_status(&status, wait_for_subscribers(&asked.wait, files[i], topics[i], deadline_ns));
	return status;
}

static int run(const struct pathbus_options *options, size_t n_files, char **files)
{
	pathbus_topic **topics;
	pathbus *bus;
	int error, status;

	if (!options_agree())
		return STATUS_USAGE;
	status = take_message();
	if (status != STATUS_OK)
		return status;
	error = asked.waits ? wait_init() : 0;
	topics = calloc(n_files, sizeof(topics[0]));
	if (error < 0 || !topics) {
		tell("cannot start: %s", strerror(error < 0 ? -error : ENOMEM));
		free(topics);
		return STATUS_FAILED;
	}
	asked.wait.several = n_files > 1;
	error = pathbus_new(&bus, options);
	if (error < 0) {
		status = tell_daemon_error(options, error);
	} else {
		status = post_all(bus, n_files, files, topics);
		pathbus_free(bus); /* and the topics that are still open */
	}
	free(topics);
	error = tell_flush();
	wait_end();
	return status == STATUS_OK ? error : status;
}

static const char about[] =
	"Posts once on each file. Where one fails, the others are posted on all the same, and\n"
	"the exit status is that of the first failure. The file need not exist; its folder\n"
	"must.\n"
	"\n"
	"With -m the post is a message, of any bytes: 4096 of them, or what --max-message was\n"
	"where the topic was opened first, at most 65536. Everybody who listens gets each\n"
	"message, or is told how many it has missed.\n"
	"\n"
	"With --wait it prints \"8 of 8 subscribers have caught up\" for each file when all have\n"
	"come back for more after dealing with it: whoever is there when the waiting begins, and\n"
	"has not left or died since. Where some have not in time, a line names each, and the exit\n"
	"status is 3. The command of `listen --exec` belongs to the dealing.";

const struct command command_post = {
	.name = "post",
	.arguments = "FILE...",
	.summary = "tell everybody who listens on a file that it has changed, or a message",
	.about = about,
	.options = specs,
	.set = set,
	.min_words = 1,
	.max_words = SIZE_MAX,
	.run = run,
};
