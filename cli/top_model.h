/* SPDX-License-Identifier: MIT */
/*
 * top_model.h - what `pathbusctl top` shows: the daemon's topics with posts and messages a second, by two looks; sorted and filtered.
 */
#ifndef PATHBUS_CLI_TOP_MODEL_H
#define PATHBUS_CLI_TOP_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct control;

enum top_sort { TOP_POSTS_RATE, TOP_MESSAGES_RATE, TOP_MEMBERS, TOP_SUBSCRIBERS, TOP_POSTS, TOP_MESSAGES, TOP_AGE, TOP_PATH, TOP_N_SORTS };

struct top_topic {
	uint64_t id, opened_ms; /* together: the same topic, of the same daemon */
	uint64_t posts, messages, members, subscribers;
	bool has_rate;          /* it was there at the look before */
	double posts_rate, messages_rate;
	char *path;             /* any bytes; owned */
	char *shown;            /* printable; owned */
};

struct top_model {
	/* chosen by the user */
	enum top_sort sort;
	bool reverse;
	char *filter; /* owned; NULL or "": all. What begins with / is a pattern for the whole path, else a part of it */

	/* the last look */
	struct top_topic *topics;
	size_t n_topics;
	size_t *order; /* those that match, sorted: indexes */
	size_t n_shown;
	bool is_cut;   /* there are more than TOP_MOST */
	uint64_t at_ns;
	double seconds; /* since the look before; 0: it was the first */
	double posts_rate, messages_rate; /* of those that are shown */
	uint64_t members;                 /* the same */

	/* of the daemon */
	char *version, *instance;
	uint64_t pid, uptime_ms, clients, all_topics;
};

enum { TOP_MOST = 20000 };

/* One look. Returns an exit status; on failure, or when it was given up (*ret_given_up), the model stays as it is. */
int top_model_look(struct top_model *, struct control *, bool *ret_given_up);
/* The next look begins anew: without rates. */
void top_model_forget(struct top_model *);
/* After a change of sort, reverse or a filter that is no pattern. */
void top_model_arrange(struct top_model *);
void top_model_free(struct top_model *);

/* "posts/s" and so on: the title of the column in small letters, and the name for --sort. */
const char *top_sort_name(enum top_sort);
/* False: there is none of this name. */
bool top_sort_find(const char *name, enum top_sort *ret);

/* A line of JSON, to be freed; NULL: out of memory. */
char *top_model_json(const struct top_model *);

#endif
