/* SPDX-License-Identifier: MIT */
/*
 * rights_watch.h - decides the rights of a topic's members anew when its file appears or becomes another inode.
 *
 * Each of them is asked for as itself; equal ones once. Where somebody's rights are others now, or cannot be told, the lane is
 * retired: its members join anew, and get what the file gives them.
 */
#ifndef PATHBUS_DAEMON_RIGHTS_WATCH_H
#define PATHBUS_DAEMON_RIGHTS_WATCH_H

#include "context.h"
#include "topic.h"

struct rights_watch;

struct rights_watch *rights_watch_new(const struct context *context); /* NULL: no memory */
struct rights_watch *rights_watch_free(struct rights_watch *watch);   /* before the files; takes NULL */

/* The file of this name may be another one. */
void rights_watch_note(struct rights_watch *watch, struct topic_name *name);
/* So may those of all names for which `is_concerned` says so: other rules are in force. */
void rights_watch_note_all(struct rights_watch *watch, bool (*is_concerned)(const struct topic_name *name, void *arg), void *arg);
/* The member is about to go. */
void rights_watch_left(struct member *member);
/* The topic ends. */
/* All members of the topic join it anew, with RESYNC. The topic may end by that. */
void rights_watch_rejoin(struct rights_watch *watch, struct topic *topic);
void rights_watch_forget(struct rights_watch *watch, struct topic *topic);

#endif
