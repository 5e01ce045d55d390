/* SPDX-License-Identifier: MIT */
/* region.c - `pathbusctl region list|create`: the named memory under a file, and holding some. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "command.h"
#include "found.h"
#include "line.h"
#include "stop.h"
#include "tell.h"
#include "thing.h"

static bool as_json, quiet;
static unsigned flags;

enum { OPTION_JSON = OPTION_LONG, OPTION_DOUBLE, OPTION_RESERVE, OPTION_HUGE };

static const struct option_spec list_specs[] = {
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static const struct option_spec create_specs[] = {
	{ OPTION_DOUBLE, "double", NULL, "two frames, so that readers always have a whole one" },
	{ OPTION_RESERVE, "reserve", NULL, "take all of its memory now, or fail; else it is taken as it is used" },
	{ OPTION_HUGE, "huge", NULL, "huge pages, if they can be had" },
	{ 'q', "quiet", NULL, "do not say that it is there" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	(void)value;
	as_json |= id == OPTION_JSON;
	quiet |= id == 'q';
	flags |= id == OPTION_DOUBLE ? PATHBUS_REGION_DOUBLE : 0;
	flags |= id == OPTION_RESERVE ? PATHBUS_REGION_RESERVE : 0;
	flags |= id == OPTION_HUGE ? PATHBUS_REGION_HUGE : 0;
	return true;
}

/* --- list --------------------------------------------------------------------------------------------------------- */

static int run_list(const struct pathbus_options *options, size_t n_words, char **words)
{
	(void)n_words;
	return found_list(options, words[0], FOUND_REGIONS, as_json, found_print_regions);
}

/* --- create ------------------------------------------------------------------------------------------------------- */

/* Only now: a script that waits for the line may open it. */
static void tell_ready(const struct thing *thing, const pathbus_region *region)
{
	struct pathbus_region_info info = { .size = sizeof(info) };
	char size[LINE_BYTES_SIZE];

	if (quiet || pathbus_region_get_info(region, &info) < 0)
		return;
	line_bytes(info.data_size, size);
	fprintf(stderr, "holding region \"%s\" of ", tell_name(thing->name));
	fprintf(stderr, "%s: %s%s, %s pages (%s)\n", tell_name(thing->file), size,
		info.flags & PATHBUS_REGION_DOUBLE ? " twice" : "", found_pages(info.pages), tell_transport(info.place));
}

/* The library has to be called as things happen: the region may have to be told to a daemon that comes back. */
static int take_events(pathbus *bus, const struct thing *thing)
{
	struct pathbus_event event = { .size = sizeof(event) };
	int n;

	while ((n = pathbus_next(bus, &event)) > 0) {
		if (event.kind == PATHBUS_EVENT_REGION_REPLACED)
			tell("another region \"%s\" has taken its place; this one stays until nobody has it",
			     tell_name(thing->name));
		else if (event.kind == PATHBUS_EVENT_ERROR)
			(void)tell_file_error("stay on the channel of", thing->file, event.error);
	}
	if (n < 0) {
		tell("cannot take an event: %s", strerror(-n));
		return STATUS_FAILED;
	}
	return STATUS_OK;
}

/* Until a signal. */
static int hold(pathbus *bus, const struct thing *thing, int signals)
{
	struct pollfd at[2] = {
		{ .fd = signals, .events = POLLIN },
		{ .fd = pathbus_fd(bus), .events = POLLIN },
	};
	int status = STATUS_OK;

	while (status == STATUS_OK) {
		if (poll(at, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			tell("cannot wait: %s", strerror(errno));
			return STATUS_FAILED;
		}
		if (at[0].revents && stop_take())
			break;
		if (at[1].revents)
			status = take_events(bus, thing);
	}
	return status;
}

static int run_create(const struct pathbus_options *options, size_t n_words, char **words)
{
	const struct thing thing = { .kind = "region", .name = words[1], .file = words[0] };
	pathbus_region *region;
	pathbus_topic *topic;
	pathbus *bus;
	uint64_t size;
	int signals, status, error;

	(void)n_words;
	if (!options_size("SIZE", words[2], &size))
		return STATUS_USAGE;
	signals = stop_init();
	if (signals < 0) {
		tell("cannot start: %s", strerror(-signals));
		return STATUS_FAILED;
	}
	/* Without PATHBUS_SUBSCRIBE: posts are not for us, and who waits for subscribers does not wait for us. */
	status = thing_open_topic(options, words[0], PATHBUS_POST, &bus, &topic);
	if (status != STATUS_OK)
		return status;
	error = size > SIZE_MAX ? -ENOMEM : pathbus_region_create(topic, words[1], (size_t)size, flags, &region);
	if (error < 0) {
		status = thing_tell_error(&thing, "create", error);
	} else {
		tell_ready(&thing, region);
		status = hold(bus, &thing, signals);
		pathbus_region_close(region);
	}
	pathbus_free(bus);
	return status;
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

const struct command command_region_list = {
	.name = "region list",
	.arguments = "FILE",
	.summary = "print the regions under a file, and who has them",
	.about = "A region is memory with a name that programs share under a file. A line for each says how\n"
		 "large it is, how often it was published, how it was made, where it is, and which processes\n"
		 "have it.",
	.options = list_specs,
	.set = set,
	.min_words = 1,
	.max_words = 1,
	.run = run_list,
};

const struct command command_region_create = {
	.name = "region create",
	.arguments = "FILE NAME SIZE",
	.summary = "make a region, and hold it until a signal comes",
	.about = "SIZE is in bytes, or with K, M, G or T. A region lives as long as some process has it, so this\n"
		 "one stays until SIGINT, SIGTERM or SIGHUP, and then ends with 0; others that have the region\n"
		 "then keep it. When it is there, it says so on stderr. With --double it takes twice the memory.",
	.options = create_specs,
	.set = set,
	.min_words = 3,
	.max_words = 3,
	.run = run_create,
};
