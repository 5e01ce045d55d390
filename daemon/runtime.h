/* SPDX-License-Identifier: MIT */
/*
 * runtime.h - the user's runtime folder, where sidecars lie whose own folder takes none.
 *
 * The daemon makes it at its start so that it can be watched, makes it anew when somebody removes it, and
 * removes it at its end if nothing is in it.
 */
#ifndef PATHBUS_DAEMON_RUNTIME_H
#define PATHBUS_DAEMON_RUNTIME_H

#include <stdbool.h>

#include "folders.h"
#include "key.h"

struct runtime;

/* Something may have appeared in it. entry NULL: anything. */
typedef void runtime_appeared_fn(void *arg, const char *entry);

/* Where the folder cannot be had that is logged, and nothing is found in it. -ENOMEM. */
int runtime_new(struct folders *folders, runtime_appeared_fn *appeared, void *arg, struct runtime **ret);
/* The folder stays: it is shared with programs and other daemons of the user, and its removal would make each of them
 * look for what may have been in it, and wake all their subscribers. */
struct runtime *runtime_free(struct runtime *runtime);

/* May there be a sidecar of this key in it? */
bool runtime_may_have(struct runtime *runtime, const struct topic_key *key);
int runtime_open(const struct runtime *runtime, int *ret_dir); /* O_PATH, the caller's; 0 or -errno */

#endif
