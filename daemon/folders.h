/* SPDX-License-Identifier: MIT */
/*
 * folders.h - the watches: which folder's events concern which names.
 *
 * Watches of topics' folders are added by the files workers, to the inotify descriptor that is made here; the
 * answer names the watch. Folders of the daemon's own (its runtime folder, /run) are watched directly.
 */
#ifndef PATHBUS_DAEMON_FOLDERS_H
#define PATHBUS_DAEMON_FOLDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "loop.h"
#include "topic.h"

struct folders;

/* A sidecar of `name` may have appeared beside its file. */
typedef void folders_appeared_fn(void *arg, struct topic_name *name);
/* Something appeared in an own folder. entry NULL: anything may have. gone: the watch has ended. */
typedef void folders_own_fn(void *arg, const char *entry, bool gone);

/* The number of the last question that a worker was given, and of the first of those that are not answered; 0: none is open. */
typedef void folders_asked_fn(void *arg, uint64_t *ret_last, uint64_t *ret_open);

/*
 * Something of the name `entry` has appeared in the folder of `name`, which is any of those that this folder has. entry NULL: the
 * file of `name` may be another.
 */
typedef void folders_touched_fn(void *arg, struct topic_name *name, const char *entry);

struct folders_setting {
	struct loop *loop;
	folders_appeared_fn *appeared;
	folders_touched_fn *touched;
	folders_asked_fn *asked;
	void *arg;
};
int folders_new(const struct folders_setting *setting, struct folders **ret);
struct folders *folders_free(struct folders *folders);
int folders_descriptor(const struct folders *folders); /* stays its own */

/* A number that grows with each event; to be taken before a worker is asked. */
uint64_t folders_clock(const struct folders *folders);
/*
 * The name's folder has this watch now, as a worker answered that was asked at `since`. Returns 0; 1: a
 * sidecar may have appeared in that folder since, perhaps after the worker looked; -ENOMEM, -ESTALE: not watched.
 */
int folders_attach(struct folders *folders, struct topic_name *name, int watch, uint64_t since);
/* Has anything appeared in the name's folder since, after the worker looked or before? */
bool folders_was_touched(const struct folders *folders, const struct topic_name *name, uint64_t since);
/* Is the name's folder not watched any more, since it is gone? Or never was. */
bool folders_is_gone(const struct folders *folders, const struct topic_name *name);
void folders_detach(struct folders *folders, struct topic_name *name);

/*
 * An answer names this watch, which ends after a while unless somebody takes it. False: it has been ended since the worker added
 * it, so the question is to be asked again.
 */
bool folders_note(struct folders *folders, int watch);
/*
 * Before an answer is looked at: events that were there by then are taken, those of one read. Are there still some? Then anything may have
 * come and gone that nobody has heard of yet.
 */
void folders_catch_up(struct folders *folders);
bool folders_are_behind(const struct folders *folders);
/* A worker may have added a watch that no answer names: it is looked for, and ends like those that nobody takes. */
void folders_note_lost(struct folders *folders);

/* The same for whoever wants to hear of everything in a folder: a user's runtime folder. Returns as folders_attach. It ends when
 * the folder is gone. */
int folders_hear(struct folders *folders, int watch, uint64_t since, folders_own_fn *fn, void *arg);
void folders_do_not_hear(struct folders *folders, int watch, folders_own_fn *fn, void *arg);

/* Watches a folder of the daemon's own until it is gone. `dir` stays the caller's. 0, -ENOSPC (too many
 * watches), -ENOMEM... */
int folders_watch_own(struct folders *folders, int dir, folders_own_fn *fn, void *arg);

#endif
