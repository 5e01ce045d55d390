/* SPDX-License-Identifier: MIT */
/*
 * command.h - what a command of pathbusctl is: one constant in one file, listed in the table of main.c.
 */
#ifndef PATHBUS_CLI_COMMAND_H
#define PATHBUS_CLI_COMMAND_H

#include <stddef.h>

#include "options.h"
#include "pathbus.h"

/* Exit statuses; the help and the man page explain them. 66, 69, 75 and 77 are those of sysexits.h, 124, 126
 * and 127 those of timeout(1), 3 and 4 are for scripts that must tell them from a failure. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_BEHIND = 3,
	STATUS_CHANGED = 4,
	STATUS_NO_FOLDER = 66,
	STATUS_NO_DAEMON = 69,
	STATUS_DENIED = 77,
	STATUS_BUSY = 75,
	STATUS_TIMEOUT = 124,
	STATUS_NOT_RUN = 126,
	STATUS_NOT_FOUND = 127,
};

struct command {
	const char *name;      /* one word, or two: "state get" */
	const char *arguments; /* for the help, e.g. "FILE..."; NULL: takes none */
	const char *summary;   /* one line without a full stop */
	const char *about;     /* paragraphs for the help; NULL: the summary says it all */
	const struct option_spec *options; /* NULL: only the global ones */
	option_set *set;                   /* NULL with options */
	size_t min_words, max_words;       /* of `arguments`; SIZE_MAX: any number */
	/* Returns an exit status, having told what went wrong. `options` is for pathbus_new. */
	int (*run)(const struct pathbus_options *options, size_t n_words, char **words);
};

/* One a line. */
extern const struct command
	command_post,
	command_listen,
	command_state_get,
	command_state_set,
	command_state_cas,
	command_lock_run,
	command_lock_show,
	command_region_list,
	command_region_create,
	command_region_read,
	command_region_write,
	command_region_dump,
	command_endpoint_list,
	command_endpoint_connect,
	command_who,
	command_check,
	command_topics,
	command_clients,
	command_stats,
	command_top,
	command_monitor,
	command_kick,
	command_reload,
	command_log_level,
	command_doctor,
	command_config,
	command_ping,
	command_version;

#endif
