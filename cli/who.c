/* SPDX-License-Identifier: MIT */
/* who.c - `pathbusctl who FILE`: everybody who has to do with a file, in one table. */
#include "command.h"
#include "found.h"
#include "tell.h"
#include "thing.h"
#include "wait.h"

#define MAX_INTERVAL_NS (3600 * UINT64_C(1000000000))

static bool as_json;
static uint64_t interval_ns;

enum { OPTION_JSON = OPTION_LONG, OPTION_INTERVAL };

static const struct option_spec specs[] = {
	{ OPTION_INTERVAL, "interval", "SECONDS", "look twice, and print how many posts a second each member makes" },
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	if (id == OPTION_JSON) {
		as_json = true;
		return true;
	}
	if (!options_seconds("interval", value, &interval_ns))
		return false;
	if (interval_ns >= 1000000 && interval_ns <= MAX_INTERVAL_NS)
		return true;
	tell("--interval needs seconds from 0.001 to 3600, not \"%s\"", tell_name(value));
	return false;
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
	if (found.parts & FOUND_MEMBERS && found.n_members > 0) {
		int more = found_more(topic, options, interval_ns, &found);

		status = status != STATUS_OK ? status : more;
	}
	/* What there is, is shown, even if a part of it could not be looked at. */
	printed = found.parts && !wait_stopped() ? found_print(&found, as_json, found_print_who) : STATUS_OK;
	found_free(&found);
	pathbus_free(bus);
	wait_end();
	return status != STATUS_OK ? status : printed;
}

const struct command command_who = {
	.name = "who",
	.arguments = "FILE",
	.summary = "print who has a file open, and its regions, locks and endpoints",
	.about = "A line for each process and what it has: the topic itself (member), a region that it has mapped, a\n"
		 "lock that it holds or waits for, an endpoint that it listens on. A link is what joins the daemon's\n"
		 "side with the hidden folder's, where there may be more. A member that has not dealt with all that has come\n"
		 "is behind. The daemon's control socket, where this user may use it, tells more of other users' members.",
	.options = specs,
	.set = set,
	.min_words = 1,
	.max_words = 1,
	.run = run,
};
