/* SPDX-License-Identifier: MIT */
/*
 * anchor.h - files in the runtime folder by which the holders of a region know each other, whichever way they came.
 *
 * Without a daemon the file is the memory. With one it is empty, and only says that the name is in use there: so one
 * name is never alive in both places. See the head of anchor.c for the rules.
 */
#ifndef PATHBUS_ANCHOR_H
#define PATHBUS_ANCHOR_H

#include <stdbool.h>
#include <stdint.h>

#include "hash.h"

#define ANCHOR_SUFFIX ".region"
#define ANCHOR_NAME_SIZE (HASH_TEXT_SIZE + sizeof(ANCHOR_SUFFIX))

struct anchor {
	int file; /* its holder's locks; owned; -1: none */
	char name[ANCHOR_NAME_SIZE];
};
#define ANCHOR_NONE ((struct anchor){ .file = -1 })

/* Fills a new file in, before it has a name. 0 or -errno. NULL: it stays empty. */
typedef int anchor_fill_fn(int file, void *arg);

/* `name` has ANCHOR_NAME_SIZE bytes. -EEXIST: it is alive, or something else is in the way; -EBUSY: somebody who makes or
 * removes it does not go on; -EMFILE, -ENFILE, -ENOMEM, -ENOSPC; another: there is no runtime folder. What a crash has left is
 * removed. */
int anchor_make(const char *name, anchor_fill_fn *fill, void *arg, struct anchor *ret);
/* -ENOENT: nobody holds it; else the same, -EEXIST: something else is in the way. */
int anchor_join(const char *name, struct anchor *ret);
/* Puts a new one in the place of one that is held, whose holders keep theirs. -ESTALE: that has been done already. */
int anchor_replace(const struct anchor *held, anchor_fill_fn *fill, void *arg, struct anchor *ret);
/* The last one removes the file. */
void anchor_leave(struct anchor *anchor);
/* In a forked child: its own descriptor only. */
void anchor_drop(struct anchor *anchor);

/* There can be no such files here, so the daemon alone decides. */
bool anchor_is_impossible(int error);
/* What a crash has left under this name is removed. */
void anchor_tidy(int dir, const char *name);

#endif
