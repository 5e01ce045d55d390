/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - `pathbusctl doctor`: what the looks have in common. Each looks at one thing, adds what it saw to the report, and
 * leaves what the later ones need.
 */
#ifndef PATHBUS_CLI_DOCTOR_H
#define PATHBUS_CLI_DOCTOR_H

#include <limits.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "address.h"
#include "key.h"
#include "pathbus.h"
#include "report.h"

struct doctor {
	const struct pathbus_options *options;
	const char *file;
	pid_t pid; /* the process that is asked about; 0: none */
	struct report report;

	/* doctor_look_at_file */
	bool has_place;
	struct place place;
	char folder[PATH_MAX];      /* of the file, links resolved; "": not known */
	char path[2 * PATH_MAX];    /* folder and name */
	bool is_remote, is_mounted; /* its file system spans hosts; the file alone is mounted there */

	/* doctor_look_for_daemon */
	bool asked;                 /* not with --transport peer */
	bool has_daemon;
	char address[ADDRESS_SIZE]; /* the one that is taken */
	bool is_given;              /* by --address or $PATHBUS_ADDRESS */
	pid_t daemon_pid;           /* as the daemon sees itself */
	bool is_system;             /* the daemon serves all users */

	/* doctor_look_at_sidecar */
	bool has_sidecar;           /* one that this user could join, with somebody in it */
	bool is_foreign;            /* another user's is there: */
	uid_t owner;
	bool is_lived_in;           /* somebody is in the one beside the file, as far as this user can see */
	struct { uint64_t dev, ino; } pages[2]; /* beside the file, and in the runtime folder; ino 0: none */

	/* doctor_open */
	bool is_open, may_subscribe, may_post;
	struct pathbus_transport transport;
	struct pathbus_member *members;
	size_t n_members;
	bool knows_members, has_link;
};

/* Which file is it? False: there is nothing more to look at. */
bool doctor_look_at_file(struct doctor *);
/* Which daemon would the library take, and why not the others? */
void doctor_look_for_daemon(struct doctor *);
/* Looks at the sidecar and the runtime folder as they are, without touching them: so before anything is opened. */
void doctor_look_at_sidecar(struct doctor *);
/* Opens the topic as a program would: transport, rights, members. */
void doctor_open(struct doctor *);
/* What would stop the process from hearing this user? */
void doctor_look_at_process(struct doctor *);

/* Names in printable form; the last eight of them stay valid. */
const char *doctor_shown(const char *name);
const char *doctor_user(uid_t uid); /* "alice (1000)", or "user 1000" */

#endif
