/* SPDX-License-Identifier: MIT */
/*
 * linker.h - main's side of the link agent: which lanes are linked with which sidecars (design 7.5).
 */
#ifndef PATHBUS_DAEMON_LINKER_H
#define PATHBUS_DAEMON_LINKER_H

#include <stdbool.h>

#include "files.h"
#include "folders.h"
#include "link/protocol.h"
#include "runtime.h"
#include "topic.h"

struct linker;

struct linker_setting {
	struct loop *loop;
	struct topics *topics;
	struct files *files;
	struct folders *folders;
	struct runtime *runtime;
	int death_fd;
	bool sandboxed; /* the agent */
	bool off; /* no sidecar is linked */
	/* No link of this topic is being made any more: openings that wait can be answered. */
	void (*settled)(void *arg, struct topic *topic);
	void *arg;
};

struct linker *linker_new(const struct linker_setting *setting);
/* Ends the agent's control socket: it carries what is in the lanes, leaves the sidecars and exits. */
struct linker *linker_free(struct linker *linker);

/* A worker that was asked at `since` (folders_clock) answered with this watch of the name's folder. Returns 1:
 * something may have appeared after it looked; 0; or the error, logged, why the folder is not watched. */
int linker_watch(struct linker *linker, struct topic_name *name, int watch, uint64_t since);
/* An opening found that the folder (O_PATH; stays the caller's) may hold a sidecar of the name. */
void linker_join(struct linker *linker, struct topic_name *name, int folder);
/* The same for the runtime folder: looks and joins. */
void linker_join_runtime(struct linker *linker, struct topic_name *name);

/* The watches say that a sidecar may have appeared. */
void linker_appeared(struct linker *linker, struct topic_name *name, enum link_place place);

/* Do openings of this topic have to wait for a link? */
static inline bool linker_is_joining(const struct topic *topic)
{
	return topic->n_joining > 0;
}

/* Leaves sidecars through lanes that are retired; who joins the topic anew has them linked again. The topic may end by that. */
void linker_leave_retired(struct linker *linker, struct topic *topic);

/* The topic has no members left and is about to be freed. */
void linker_leave(struct linker *linker, struct topic *topic);

/*
 * The last member has left, and posts were made: looks for sidecars that are not linked, links what is found. True:
 * this is under way, and setting.settled follows. linker_is_parting: must it go on, once settled?
 */
bool linker_part(struct linker *linker, struct topic *topic);
bool linker_is_parting(struct linker *linker, struct topic *topic);

/* Is there something that could not be linked, and will be tried again later? */
bool linker_is_failing(const struct topic_name *name);

void linker_reap(struct linker *linker);

/* Kills an agent that does not answer; its end is dealt with as any other. */
void linker_replace_agent(struct linker *linker); /* on SIGCHLD */

#endif
