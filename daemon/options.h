/* SPDX-License-Identifier: MIT */
/*
 * options.h - what has been set: on the command line, else in the configuration, else as keys.c has it.
 */
#ifndef PATHBUS_DAEMON_OPTIONS_H
#define PATHBUS_DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "config.h"
#include "log.h"
#include "sources.h"
#include "user.h"

/* The system instance reads this one, and what is in its .d folder, if none is given; a user's instance reads none. */
#define OPTIONS_SYSTEM_CONFIG "/etc/pathbus/pathbusd.conf"

#define SERVICE_USER "pathbus" /* whom the system instance runs as, if nobody else is named */

struct narrow;
struct topic_rules;

#define KEY_MAX 96u /* so many keys at most (keys.h) */

/* Members that have a line in keys.c are unsigned, uint64_t, char * or enum log_level. */
struct options {
	bool system;   /* serves all users */
	bool no_sandbox;
	char *user;    /* then: whom it runs as, a name or a number */
	char *address; /* NULL: the user's own place, or the system's */
	char *control; /* the control socket; NULL: beside that one; "off": there is none */
	char *control_group; /* NULL: for nobody beside root and whom this runs as */
	unsigned offload_members, offload_message_members;
	unsigned max_message; /* that an opening may ask for */
	uint64_t user_most[N_CHARGES]; /* of each user; some 0: see limits.h. Not CHARGE_IN_FLIGHT, which goes by the descriptors */
	uint64_t user_burst;           /* posts and messages at once */
	unsigned hello_ms;
	unsigned files_ms;
	unsigned idle_exit_ms; /* 0: never */
	unsigned idle_ms; /* of what was started for a user */
	enum log_level log_level;
	struct narrow *narrow; /* [rights], and those of [topic]s; NULL: there are no rules */
	struct topic_rules *topic_rules; /* [topic "PATTERN"]; NULL: there are none */
	char *log_target; /* log_target.h */

	char *config;         /* the file of the configuration, absolute; NULL: none is read */
	bool config_is_given; /* so it has to be there */
	struct sources given;   /* the command line */
	struct sources sources; /* all that was read last, and the command line behind it */
	char *kept_from[KEY_MAX]; /* by the key's place in the table: what was read last needs a restart; where the value is from that
	                           * is in force. NULL: it is in force */
};

/*
 * Returns -1: go on, and *ret is to be given to options_deinit; else the exit status (0 after --help and --version, 2 after an
 * error in what was given or configured, which has been told), and *ret is untouched.
 */
int options_parse(int argc, char **argv, struct options *ret);
void options_deinit(struct options *options);

/* Where the configuration is to be read from; false: nowhere. Valid as long as the options. */
bool options_place(const struct options *options, struct config_place *ret);
/*
 * Makes *ret of what the files set, and `like`'s command line and what else is not in files. Looks nothing up. 0; -ENOMEM; -EINVAL:
 * and `ret_error` (CONFIG_ERROR_SIZE) says where and what.
 */
int options_make(const struct options *like, const struct sources *files, struct options *ret, char *ret_error);

#endif
