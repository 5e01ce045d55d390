/* SPDX-License-Identifier: MIT */
/*
 * names.h - what topic.c and names.c share.
 */
#ifndef PATHBUS_DAEMON_NAMES_H
#define PATHBUS_DAEMON_NAMES_H

#include "roster.h"
#include "topic.h"

struct topics {
	struct table by_key, by_file; /* of struct topic_name */
	struct roster roster; /* of topics */
	size_t n_topics, n_kept; /* all; those without members whose state is kept */
	void (*emptied)(void *arg); /* NULL: nobody wants to know */
	void *arg;
	uint64_t last_lane, last_member; /* their numbers */
};

int names_init(struct topics *topics);
void names_deinit(struct topics *topics);
void names_free_first(struct topic *topic);
void names_free_but(struct topic *topic, struct topic_name *stays);

#endif
