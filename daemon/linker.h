/* SPDX-License-Identifier: MIT */
/*
 * linker.h - main's side of the link agent: which lanes are linked with which sidecars (design 7.5).
 */
#ifndef PATHBUS_DAEMON_LINKER_H
#define PATHBUS_DAEMON_LINKER_H

#include <stdbool.h>

#include "files.h"
#include "folders.h"
#include "forker.h"
#include "link/protocol.h"
#include "meeting.h"
#include "runtime.h"
#include "topic.h"

struct linker;

struct linker_setting {
	struct loop *loop;
	struct topics *topics;
	struct files *files;
	struct folders *folders;
	struct forker *forker;   /* of the daemon of all users, */
	struct runtime *runtime; /* or the runtime folder of a user's */
	int death_fd;
	bool sandboxed; /* the agent, in a user's daemon */
	unsigned idle_ms; /* in the daemon of all users an agent without links ends after so long */
	/* No link of this user's is being made on this topic any more: its openings that wait can be answered. */
	void (*settled)(void *arg, struct topic *topic, struct user *user);
	void *arg;
};

struct linker *linker_new(const struct linker_setting *setting);
/* Ends the agents' control sockets: they carry what is in the lanes, leave the sidecars and exit. */
struct linker *linker_free(struct linker *linker);

/* As in the setting, from now on. */
void linker_set_idle(struct linker *linker, unsigned idle_ms);

/* This user opens the topic by this name; `path` where it has found it, if that is in a root which is not ours, or NULL. NULL:
 * no memory. It goes with the user's last member on the topic: linker_leave. */
struct meeting *linker_meet(struct linker *linker, struct topic_name *name, struct user *user, const char *path);
/* The opening's worker, asked at `since` (folders_clock), has answered this, with the folder (O_PATH; stays the caller's) if it
 * may hold a sidecar: watches it, and links what is there. */
void linker_opened(struct linker *linker, struct meeting *meeting, const struct files_reply *reply, int folder, uint64_t since);

/* The watches say that a sidecar may have appeared: beside this name's file, */
void linker_appeared(struct linker *linker, struct topic_name *name);
/* or in the runtime folder of a user's daemon. entry NULL: anything. */
void linker_appeared_in_runtime(struct linker *linker, const char *entry);

/* Do this user's openings of this topic have to wait for a link? */
bool linker_is_joining(const struct topic *topic, const struct user *user);

/* Leaves sidecars through lanes that are retired; who joins the topic anew has them linked again. The topic may end by that. */
void linker_leave_retired(struct linker *linker, struct topic *topic);

/* The user has no members left on the topic, and nothing is waited for. */
void linker_leave(struct linker *linker, struct topic *topic, const struct user *user);

/*
 * The user's last member has left, and posts were made: looks for sidecars that are not linked, as the one who left, links what
 * is found. True: this is under way, and setting.settled follows. linker_is_parting: must it go on, once settled?
 */
bool linker_part(struct linker *linker, struct topic *topic, struct user *user, struct identity *identity);
bool linker_is_parting(struct linker *linker, struct topic *topic, const struct user *user);

/* Is there something that could not be linked, and will be tried again later? */
bool linker_is_failing(const struct meeting *meeting);

void linker_reap(struct linker *linker); /* on SIGCHLD */

/* Kills an agent that does not answer; its end is dealt with as any other. */
void linker_replace_agent(struct meeting *meeting);

#endif
