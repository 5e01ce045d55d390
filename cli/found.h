/* SPDX-License-Identifier: MIT */
/*
 * found.h - what is found under a file: its members, and what programs share there; all of it copied, to be printed at
 * leisure.
 */
#ifndef PATHBUS_CLI_FOUND_H
#define PATHBUS_CLI_FOUND_H

#include <stdbool.h>
#include <stddef.h>

#include "pathbus.h"

enum { FOUND_MEMBERS = 1, FOUND_REGIONS = 2, FOUND_LOCKS = 4, FOUND_ENDPOINTS = 8 };

/* What is known of a member besides. */
struct found_more {
	const char *transport; /* "memory", "socket"; NULL: not known */
	bool knows_behind, has_rate;
	uint64_t behind_posts, behind_messages;
	double rate; /* posts a second */
};

struct found {
	const char *file;
	enum pathbus_transport_kind transport;
	unsigned parts; /* FOUND_: what was looked for, and could be looked at */
	struct pathbus_member *members;           /* without the one that looks */
	struct found_more *more;                  /* of each of them; NULL: nothing is known */
	struct pathbus_region_entry *regions;
	struct pathbus_lock_info *locks;
	struct pathbus_endpoint_entry *endpoints;
	size_t n_members, n_regions, n_locks, n_endpoints;
};

/* Looks for these parts of the topic. What cannot be looked at is told, and left out. Returns the exit status. */
int found_look(pathbus_topic *topic, const char *file, unsigned parts, struct found *ret);
void found_free(struct found *);
/*
 * More of its members: how far behind, and over what, by the library and by the daemon's control socket, where it lets this user; with
 * an interval how many posts a second, by a second look after it, whose members they then are. In found_more.c.
 * Returns the exit status; STATUS_FAILED, and nothing is told, after a signal.
 */
int found_more(pathbus_topic *topic, const struct pathbus_options *options, uint64_t interval_ns, struct found *found);

/* Names for people, and for JSON. */
const char *found_pages(enum pathbus_region_pages pages);
const char *found_lock_state(enum pathbus_lock_state state);

/* A line of JSON, to be freed, or NULL: out of memory. In json.c. */
char *found_json(const struct found *);
/* One table of all, or one of regions or endpoints alone. False: out of memory (told). */
bool found_print_who(const struct found *);
bool found_print_regions(const struct found *);
bool found_print_endpoints(const struct found *);
/* As the user asked for. Returns the exit status. */
int found_print(const struct found *, bool as_json, bool (*print)(const struct found *));
/* Opens the topic, looks, and prints. */
int found_list(const struct pathbus_options *options, const char *file, unsigned parts, bool as_json,
	       bool (*print)(const struct found *));

#endif
