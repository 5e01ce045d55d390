/* SPDX-License-Identifier: MIT */
/* topics.c - `pathbusctl topics`: what the daemon has open, as a table or as a tree of folders. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "command.h"
#include "control.h"
#include "listing.h"
#include "tell.h"
#include "tree.h"

static const struct listing_column columns[] = {
	{ "ID", "id", LISTING_NUMBER },
	{ "MEMBERS", "members", LISTING_NUMBER },
	{ "LISTEN", "subscribers", LISTING_NUMBER },
	{ "MAY-POST", "posters", LISTING_NUMBER },
	{ "LANES", "lanes", LISTING_NUMBER },
	{ "POSTS", "posts", LISTING_NUMBER },
	{ "MESSAGES", "messages", LISTING_NUMBER },
	{ "AGE", "opened_ms", LISTING_AGE },
	{ "PATH", "path", LISTING_NAME },
	{ "NOTES", NULL, LISTING_NOTES },
	{ 0 },
};

static void note_count(char *notes, uint64_t n, const char *what)
{
	if (n > 0)
		listing_note(notes, "%" PRIu64 " %s%s", n, what, n == 1 ? "" : "s");
}

static void notes(const struct json *topic, char *ret)
{
	if (json_number(topic, "names") > 1)
		note_count(ret, json_number(topic, "names"), "name");
	if (json_flag(topic, "linked"))
		listing_note(ret, "linked");
	if (json_flag(topic, "kept"))
		listing_note(ret, "kept");
	note_count(ret, json_number(topic, "regions"), "region");
	note_count(ret, json_number(topic, "endpoints"), "endpoint");
}

static struct listing listing = { .path = "/v1/topics", .list = "topics", .columns = columns, .notes = notes };
static const char *filter;
static bool as_tree;

enum { OPTION_FILTER = OPTION_LONG, OPTION_SORT, OPTION_REVERSE, OPTION_TREE, OPTION_JSON };

static const struct option_spec specs[] = {
	{ OPTION_FILTER, "filter", "GLOB", "only of paths that match: /srv/*.db, or /srv/** for all below /srv" },
	{ OPTION_SORT, "sort", "KEY", "id, members, listen, may-post, lanes, posts, messages, age or path" },
	{ OPTION_REVERSE, "reverse", NULL, "the other way round" },
	{ OPTION_TREE, "tree", NULL, "print a tree of folders" },
	{ OPTION_JSON, "json", NULL, "print a JSON object per topic" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	switch (id) {
	case OPTION_FILTER:
		filter = value;
		return true;
	case OPTION_SORT:
		listing.sort = listing_sort(columns, value);
		return listing.sort != NULL;
	case OPTION_REVERSE:
		listing.reverse = true;
		return true;
	case OPTION_TREE:
		as_tree = true;
		return true;
	default:
		listing.as_json = true;
		return true;
	}
}

/* --- the tree ------------------------------------------------------------------------------------------------------ */

static bool add_page(const struct json *page, void *userdata)
{
	struct tree *tree = userdata;
	const struct json *topics = json_get(page, "topics");

	for (size_t i = 0; i < json_length(topics) && !tree->failed; i++) {
		const struct json *topic = json_at(topics, i);
		char text[LISTING_NOTES_SIZE] = "", *path = json_name(topic, "path");

		note_count(text, json_number(topic, "members"), "member");
		note_count(text, json_number(topic, "posts"), "post");
		note_count(text, json_number(topic, "messages"), "message");
		notes(topic, text);
		tree_add(tree, path ? path : "", text);
		free(path);
	}
	return !tree->failed;
}

static int print_tree(const struct pathbus_options *options)
{
	struct tree tree = { 0 };
	struct control *control;
	int status = control_open(options, &control);

	if (status != STATUS_OK)
		return status;
	status = control_pages(control, listing.path, listing.pairs, add_page, &tree);
	if (status != STATUS_OK)
		control_tell(control, status);
	else if (!tree_print(&tree))
		status = STATUS_FAILED;
	else
		status = tell_flush();
	tree_free(&tree);
	control_close(control);
	return status;
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	const char *pairs[] = { "path", filter, NULL };

	(void)n_words, (void)words;
	if (as_tree && (listing.as_json || listing.sort || listing.reverse)) {
		tell("--tree goes with none of --json, --sort and --reverse");
		return STATUS_USAGE;
	}
	listing.pairs = pairs;
	return as_tree ? print_tree(options) : listing_run(options, &listing);
}

const struct command command_topics = {
	.name = "topics",
	.summary = "print the topics that the daemon has",
	.about = "LISTEN is how many of the members listen, MAY-POST how many may post; LANES the shared memories, of which\n"
		 "each user has one; AGE how long ago it was opened. Numbers are sorted from the largest on, names from\n"
		 "A to Z. Without the rights of the control socket: see pathbusctl who FILE.",
	.options = specs,
	.set = set,
	.run = run,
};
