/* SPDX-License-Identifier: MIT */
/*
 * sidecar.h - the hidden folder that holds a lane when no daemon runs: made, joined, left, cleaned up.
 *
 * Knows files and locks, not topics and not the wake-up protocol; peer.c and the link agent use it. See the
 * head of sidecar.c for the rules.
 */
#ifndef PATHBUS_SIDECAR_H
#define PATHBUS_SIDECAR_H

#include <stdbool.h>

#include "key.h"
#include "lane.h"

struct sidecar {
	int parent;                  /* folder it lies in; O_PATH; owned */
	int file;                    /* its `page`, holding the member's locks; owned */
	int bell;                    /* its FIFO; owned */
	int slot;                    /* index in the member table, -1: none */
	char name[KEY_NAME_MAX + 1]; /* in `parent` */
};

#define SIDECAR_NONE ((struct sidecar){ .parent = -1, .file = -1, .bell = -1, .slot = -1 })

/*
 * Joins the sidecar `name` in folder `parent` (the descriptor stays the caller's) if it is there.
 * Returns 0, -ENOENT (none), -EPERM (another user's), -EEXIST (something that is no sidecar), -EROFS,
 * -EBUSY (somebody is half-way through leaving and does not go on; waits for it until `deadline_ns`, and some
 * milliseconds in any case), -EPROTONOSUPPORT (another version's).
 * A sidecar that a crash, a copy or a restore left behind is removed: -ENOENT.
 */
int sidecar_join(int parent, const char *name, const struct topic_key *key, uint64_t deadline_ns, struct sidecar *ret);

/*
 * As sidecar_join, and makes it if it is not there. An error that concerns the making and not something found
 * (with this shape) sets *ret_unmakeable: EROFS, EACCES, EPERM (no FIFOs, no folders), ENOSPC, EDQUOT, ...; nothing is left.
 */
int sidecar_enter(int parent, const char *name, const struct topic_key *key, const struct lane_shape *shape,
                  uint64_t deadline_ns, struct sidecar *ret, bool *ret_unmakeable);

/*
 * Leaves; the last one out removes the folder. Rings for those who stay, so that a link can see whether it is
 * alone. `page` is the caller's mapping of it; NULL: the caller has cleared its slot. *sidecar becomes
 * SIDECAR_NONE.
 */
void sidecar_leave(struct sidecar *sidecar, struct page *page);

/* Am I the only member? Then takes the place apart as sidecar_leave does and returns true. */
bool sidecar_leave_if_alone(struct sidecar *sidecar, struct page *page);

/* Releases descriptors only: for forked children. */
void sidecar_drop(struct sidecar *sidecar);

/* Has the folder been removed under its members? */
bool sidecar_is_gone(const struct sidecar *sidecar);

/* Tells the members of a sidecar, if there is one, to join anew: sets `closed` and wakes them. Returns 0, or an
 * error, and then they have not been told. */
int sidecar_kick(int parent, const char *name, const struct topic_key *key);

/* The user's runtime folder, made if need be: an O_PATH descriptor, or -EPERM (somebody else's), -errno. */
int sidecar_runtime_folder(void);

#endif
