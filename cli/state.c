/* SPDX-License-Identifier: MIT */
/* state.c - `pathbusctl state get|set|cas`: the 64-bit value that is kept with a topic. */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "line.h"
#include "tell.h"

static bool as_json, posts;

enum { OPTION_JSON = OPTION_LONG, OPTION_POST };

static const struct option_spec get_specs[] = {
	{ OPTION_JSON, "json", NULL, "print one JSON object, with the version" },
	{ 0 },
};

static const struct option_spec change_specs[] = {
	{ OPTION_POST, "post", NULL, "then post, so that those who listen look" },
	{ 0 },
};

static bool set_get(int id, const char *value)
{
	(void)id, (void)value; /* there is only one */
	as_json = true;
	return true;
}

static bool set_change(int id, const char *value)
{
	(void)id, (void)value; /* there is only one */
	posts = true;
	return true;
}

/* --- what is common -------------------------------------------------------------------------------------------- */

/* Opens the topic, does `act`, which returns an exit status, closes it. */
static int with_topic(const struct pathbus_options *options, const char *file, unsigned flags,
		      int (*act)(pathbus_topic *topic, const char *file, const uint64_t *values),
		      const uint64_t *values)
{
	pathbus_topic *topic;
	pathbus *bus;
	int error = pathbus_new(&bus, options), status;

	if (error < 0)
		return tell_daemon_error(options, error);
	error = pathbus_open(bus, file, flags, &topic);
	status = error < 0 ? tell_file_error("open", file, error) : act(topic, file, values);
	pathbus_free(bus);
	return status;
}

static unsigned change_flags(void)
{
	return PATHBUS_POST | (posts ? PATHBUS_STATE_POSTS : 0);
}

/* --- get --------------------------------------------------------------------------------------------------------- */

static int get(pathbus_topic *topic, const char *file, const uint64_t *values)
{
	uint64_t value, version;
	int error = pathbus_get_state(topic, &value, &version);
	char *text;

	(void)values;
	if (error < 0)
		return tell_file_error("get the state of", file, error);
	if (!as_json) {
		printf("%" PRIu64 "\n", value);
		return tell_flush();
	}
	text = line_state_json(file, value, version);
	if (!text) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	fputs(text, stdout);
	free(text);
	return tell_flush();
}

static int run_get(const struct pathbus_options *options, size_t n_words, char **words)
{
	(void)n_words;
	return with_topic(options, words[0], PATHBUS_SUBSCRIBE, get, NULL);
}

/* --- set --------------------------------------------------------------------------------------------------------- */

static int change(pathbus_topic *topic, const char *file, const uint64_t *values)
{
	int error = pathbus_set_state(topic, values[0]);

	return error < 0 ? tell_file_error("set the state of", file, error) : STATUS_OK;
}

static int run_set(const struct pathbus_options *options, size_t n_words, char **words)
{
	uint64_t value;

	(void)n_words;
	if (!options_value("VALUE", words[1], &value))
		return STATUS_USAGE;
	return with_topic(options, words[0], change_flags(), change, &value);
}

/* --- cas --------------------------------------------------------------------------------------------------------- */

static int exchange(pathbus_topic *topic, const char *file, const uint64_t *values)
{
	uint64_t value;
	int error;

	/* Where it has become what was expected between the two looks, it is tried again. */
	do {
		error = pathbus_exchange_state(topic, values[0], values[1]);
		if (error != -EAGAIN)
			return error < 0 ? tell_file_error("change the state of", file, error) : STATUS_OK;
		error = pathbus_get_state(topic, &value, NULL);
		if (error < 0)
			return tell_file_error("get the state of", file, error);
	} while (value == values[0]);
	tell("cannot change the state of %s: it is %" PRIu64 ", not %" PRIu64 "; begin again with that",
	     tell_name(file), value, values[0]);
	return STATUS_CHANGED;
}

static int run_cas(const struct pathbus_options *options, size_t n_words, char **words)
{
	uint64_t values[2];

	(void)n_words;
	if (!options_value("EXPECTED", words[1], &values[0]) || !options_value("VALUE", words[2], &values[1]))
		return STATUS_USAGE;
	return with_topic(options, words[0], change_flags(), exchange, values);
}

/* --- the table --------------------------------------------------------------------------------------------------- */

#define KEPT \
	"The state is a number of 64 bits that is kept as long as some program has the file open, and\n" \
	"forgotten with the last. VALUE is decimal, or hexadecimal with 0x. "

const struct command command_state_get = {
	.name = "state get",
	.arguments = "FILE",
	.summary = "print the state of a file's topic, a number of 64 bits",
	.about = "The state is a number of 64 bits that is kept as long as some program has the file open, and\n"
		 "forgotten with the last. One that nobody has set is 0, and has version 0.",
	.options = get_specs,
	.set = set_get,
	.min_words = 1,
	.max_words = 1,
	.run = run_get,
};

const struct command command_state_set = {
	.name = "state set",
	.arguments = "FILE VALUE",
	.summary = "set the state of a file's topic",
	.about = KEPT "Nobody is told, unless with --post.",
	.options = change_specs,
	.set = set_change,
	.min_words = 2,
	.max_words = 2,
	.run = run_set,
};

const struct command command_state_cas = {
	.name = "state cas",
	.arguments = "FILE EXPECTED VALUE",
	.summary = "set the state if it is EXPECTED, in one step (compare and swap)",
	.about = KEPT "Where it is not\n"
		      "EXPECTED, that is told on stderr with what it is, and the exit status is 4: so of two who\n"
		      "change it at once, one is told to begin again.",
	.options = change_specs,
	.set = set_change,
	.min_words = 3,
	.max_words = 3,
	.run = run_cas,
};
