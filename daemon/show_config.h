/* SPDX-License-Identifier: MIT */
/*
 * show_config.h - what is in force, and from where: for --print-config, and one key at a time for others.
 */
#ifndef PATHBUS_DAEMON_SHOW_CONFIG_H
#define PATHBUS_DAEMON_SHOW_CONFIG_H

#include <stdbool.h>
#include <stddef.h>

#include "keys.h"
#include "options.h"

/* On stdout. Both return an exit status. */
int show_config(const struct options *options, bool json);
int show_config_is_good(const struct options *options); /* which files were read */

/* What is in force of keys[index]. */
struct shown_key {
	const struct key *key;
	char *value;                /* as it may be written; empty: nothing is set */
	char normal[KEY_TEXT_SIZE]; /* the default, in the same way */
	char *from;                 /* "default", "command line", "FILE:LINE" */
	bool is_set;                /* not by default */
	bool restart_needed;        /* another value was read since, which needs a restart */
};
/* 0 or -ENOMEM. */
int shown_key_init(struct shown_key *ret, const struct options *options, size_t index);
void shown_key_deinit(struct shown_key *shown);

#endif
