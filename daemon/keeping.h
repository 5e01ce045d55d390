/* SPDX-License-Identifier: MIT */
/*
 * keeping.h - states that outlive the last member of their topic: `keep-state` in a section [topic] of the configuration.
 *
 * Such a topic stays where it is found, without members and lanes, with what main knows of its state: what a lane said last whose
 * members may post, whoever else is on the topic. It goes after its time, with its folder, by topic_forget, or with the daemon; and
 * it is charged to the user who has set the state.
 */
#ifndef PATHBUS_DAEMON_KEEPING_H
#define PATHBUS_DAEMON_KEEPING_H

#include <stdbool.h>
#include <stddef.h>

#include "context.h"
#include "files_protocol.h"
#include "state.h"
#include "topic.h"

struct keeper;
struct kept;

struct keeper *keeper_new(const struct context *context); /* NULL: no memory */
struct keeper *keeper_free(struct keeper *keeper);        /* there are no topics any more; takes NULL */

/* Topics without members. */
size_t topics_n_kept(const struct topics *topics);
bool topic_is_kept(const struct topic *topic);

/*
 * What is kept of it is forgotten. One without members is gone then. The members of others join anew, with RESYNC, and what their
 * programs know of the state comes back with them. The topic is not to be used any more.
 */
void topic_forget(const struct context *context, struct topic *topic);

/* --- for the topics themselves -------------------------------------------------------------------------------------------------- */

/* The topic has lost its last member, this user's: it goes now, unless it is kept. */
void keeping_end(const struct context *context, struct topic *topic, struct user *user);
/* Other settings are in force: for so long from now, which may be no longer (topic->keep_s). */
void keeping_set(struct topic *topic, uint64_t keep_s);
/* It is about to be opened by this name, as a worker has answered; its settings are those in force now. What is over is forgotten. */
void keeping_look(struct topic_name *name, const struct files_reply *reply);
/* It has a member again. */
void keeping_begin(struct topic_name *name, struct user *user);
/* The folder of this name is gone: if the topic is kept it goes soon. */
void keeping_folder_gone(const struct context *context, struct topic_name *name);

/* The topic's only lane is new: it begins with what is kept. */
void keeping_put(struct topic_lane *lane);
/* A lane, of one that has no other or of a crossing that could not be made, is about to go, or nobody may post in it any more. */
void keeping_take_lane(struct topic_lane *lane);
/* The state by a user who may set it. The same one again changes nothing. */
void keeping_take(struct topic *topic, const struct state *state, struct user *user);
/* NULL: none is kept, or was. */
const struct state *keeping_state(const struct topic *topic);
struct user *keeping_user(const struct topic *topic);
/* Releases what it is charged for. Takes NULL, returns it. */
struct kept *keeping_free(struct kept *kept);

#endif
