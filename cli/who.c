/* SPDX-License-Identifier: MIT */
/* who.c - `pathbusctl who FILE`: everybody who has to do with a file, in one table. */
#include "command.h"
#include "found.h"
#include "thing.h"

static bool as_json;

enum { OPTION_JSON = OPTION_LONG };

static const struct option_spec specs[] = {
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	(void)id, (void)value; /* there is only one */
	as_json = true;
	return true;
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct found found;
	pathbus_topic *topic;
	pathbus *bus;
	int status = thing_open_topic(options, words[0], PATHBUS_SUBSCRIBE, &bus, &topic), printed;

	(void)n_words;
	if (status != STATUS_OK)
		return status;
	status = found_look(topic, words[0], FOUND_MEMBERS | FOUND_REGIONS | FOUND_LOCKS | FOUND_ENDPOINTS, &found);
	/* What there is, is shown, even if a part of it could not be looked at. */
	printed = found.parts ? found_print(&found, as_json, found_print_who) : STATUS_OK;
	found_free(&found);
	pathbus_free(bus);
	return status != STATUS_OK ? status : printed;
}

const struct command command_who = {
	.name = "who",
	.arguments = "FILE",
	.summary = "print who has a file open, and its regions, locks and endpoints",
	.about = "A line for each process and what it has: the topic itself (member), a region that it has mapped, a\n"
		 "lock that it holds or waits for, an endpoint that it listens on. A link is what joins the daemon's\n"
		 "side with the hidden folder's, where there may be more.",
	.options = specs,
	.set = set,
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
