/* SPDX-License-Identifier: MIT */
/*
 * names.h - what topic.c and names.c share.
 */
#ifndef PATHBUS_DAEMON_NAMES_H
#define PATHBUS_DAEMON_NAMES_H

#include "topic.h"

struct topics {
	struct table by_key, by_file; /* of struct topic_name */
	struct topic *carried;        /* lanes that are or were offloaded */
	size_t n_topics;
	struct topic *candidates;     /* lanes that will be once they have messages */
	struct topic **candidate_at;  /* where the look at them has got to; NULL: it is through */
	bool look_again;              /* from the start, then */
	unsigned offload_members, offload_message_members;
	int carrier_bell;
};

int names_init(struct topics *topics);
void names_deinit(struct topics *topics);
void names_free_first(struct topic *topic);

#endif
