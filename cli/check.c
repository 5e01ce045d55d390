/* SPDX-License-Identifier: MIT */
/*
 * check.c - `pathbusctl check FILE`: which way would a program's topic take, and why?
 *
 * It opens the topic as a program would, looks, and closes it, once to subscribe and once to post, since the
 * rights may allow only one of the two.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "line.h"
#include "tell.h"

static bool json;

enum { OPTION_JSON = OPTION_LONG };

static const struct option_spec specs[] = {
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	(void)id, (void)value; /* there is only one */
	json = true;
	return true;
}

/* Opens with `flag`, looks, closes. Returns 0 or a negative errno. */
static int look(pathbus *bus, const char *file, unsigned flag, struct pathbus_transport *ret)
{
	pathbus_topic *topic;
	int error = pathbus_open(bus, file, flag, &topic);

	if (error < 0)
		return error;
	error = pathbus_transport(topic, ret);
	pathbus_close(topic);
	return error;
}

static void print_daemon(const struct line_check *check)
{
	if (!check->daemon_asked)
		printf("daemon     not asked (--transport peer)\n");
	else if (check->daemon_error == 0)
		printf("daemon     answers in %.1f us at %s\n", (double)check->ping_ns / 1e3,
		       check->address ? tell_name(check->address) : "?");
	else
		printf("daemon     does not answer\n");
}

static void print_text(const struct line_check *check)
{
	const struct pathbus_transport *transport = &check->transport;
	char since[LINE_TIME_SIZE];

	line_time(line_wall_clock(transport->since_ns), since);
	printf("file       %s\n", tell_name(check->file));
	printf("transport  %s%s\n", tell_transport(transport->kind),
	       transport->in_runtime_folder ? ", in the runtime folder" : "");
	printf("why        %s\n", tell_name(transport->why));
	printf("since      %s\n", since);
	if (transport->local_only)
		printf("reach      this host only, though the file system spans hosts\n");
	print_daemon(check);
	printf("rights     %s\n", check->may_subscribe && check->may_post ? "listen and post"
				  : check->may_post			  ? "post only"
									  : "listen only");
}

static int print(const struct line_check *check)
{
	char *text;

	if (!json) {
		print_text(check);
		return tell_flush();
	}
	text = line_check_json(check);
	if (!text) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	fputs(text, stdout);
	free(text);
	return tell_flush();
}

static int run(const struct pathbus_options *options, size_t n_files, char **files)
{
	struct line_check check = { .file = files[0], .transport.size = sizeof(check.transport) };
	pathbus *bus;
	int error = pathbus_new(&bus, options), subscribe, post, status;

	(void)n_files;
	if (error < 0)
		return tell_daemon_error(options, error);
	check.daemon_asked = options->transport != PATHBUS_PEER;
	if (check.daemon_asked)
		check.daemon_error = pathbus_ping(bus, &check.ping_ns);
	if (check.daemon_asked && check.daemon_error == 0)
		check.address = pathbus_address(bus);
	post = look(bus, files[0], PATHBUS_POST, &check.transport);
	subscribe = look(bus, files[0], PATHBUS_SUBSCRIBE, &check.transport);
	check.may_post = post == 0;
	check.may_subscribe = subscribe == 0;
	/* Without one of the rights there is still something to see; any other error is the answer. */
	if (subscribe < 0 && (post < 0 || subscribe != -EACCES))
		status = tell_file_error("open", files[0], subscribe);
	else if (post < 0 && post != -EACCES)
		status = tell_file_error("open", files[0], post);
	else
		status = print(&check);
	pathbus_free(bus);
	return status;
}

const struct command command_check = {
	.name = "check",
	.arguments = "FILE",
	.summary = "print which transport a topic has and why, and what the rights allow",
	.about = "Opens the topic as a program would, looks, and closes it.",
	.options = specs,
	.set = set,
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
