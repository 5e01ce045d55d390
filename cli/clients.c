/* SPDX-License-Identifier: MIT */
/* clients.c - `pathbusctl clients`: who is connected to the daemon. */
#include "command.h"
#include "json_read.h"
#include "listing.h"

static const struct listing_column columns[] = {
	{ "ID", "id", LISTING_NUMBER },
	{ "PID", "pid", LISTING_NUMBER },
	{ "USER", "uid", LISTING_USER },
	{ "AGE", "since_ms", LISTING_AGE },
	{ "TOPICS", "topics", LISTING_NUMBER },
	{ "REQUESTS", "requests", LISTING_NUMBER },
	{ "QUEUED", "queued_bytes", LISTING_BYTES },
	{ "NOTES", NULL, LISTING_NOTES },
	{ "COMMAND", "command", LISTING_NAME },
	{ 0 },
};

static void notes(const struct json *client, char *ret)
{
	if (json_flag(client, "socket_only"))
		listing_note(ret, "socket only");
}

static struct listing listing = { .path = "/v1/clients", .list = "clients", .columns = columns, .notes = notes };

enum { OPTION_SORT = OPTION_LONG, OPTION_REVERSE, OPTION_JSON };

static const struct option_spec specs[] = {
	{ OPTION_SORT, "sort", "KEY", "id, pid, user, age, topics, requests, queued or command" },
	{ OPTION_REVERSE, "reverse", NULL, "the other way round" },
	{ OPTION_JSON, "json", NULL, "print a JSON object per client" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	switch (id) {
	case OPTION_SORT:
		listing.sort = listing_sort(columns, value);
		return listing.sort != NULL;
	case OPTION_REVERSE:
		listing.reverse = true;
		return true;
	default:
		listing.as_json = true;
		return true;
	}
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	(void)n_words, (void)words;
	return listing_run(options, &listing);
}

const struct command command_clients = {
	.name = "clients",
	.summary = "print who is connected to the daemon",
	.about = "AGE is how long ago it connected, TOPICS how many it has open, REQUESTS how many it has made, and QUEUED\n"
		 "what it has been sent and not yet taken. Numbers are sorted from the largest on, names from A to Z.",
	.options = specs,
	.set = set,
	.run = run,
};
