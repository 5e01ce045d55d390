/* SPDX-License-Identifier: MIT */
/*
 * lockers.h - processes that take locks when they are told to. They have no copies of each other's descriptors; of
 * the case's they have what it has open when it starts them, so it starts them first.
 */
#ifndef PATHBUS_TESTS_LOCKERS_H
#define PATHBUS_TESTS_LOCKERS_H

#include <stdbool.h>

#include "harness/process.h"

struct locker {
	struct harness_process process;
	const char *path, *lock; /* of the file */
	unsigned uid, gid;       /* who it becomes, on no channel; 0: stays */
};

/* Opens the lock of this file, by the case's transport. */
void locker_start(struct locker *, const char *path, const char *lock);
/* The same as another user, if uid is not 0; returns what pathbus_lock_open returned, or pathbus_open. */
int locker_start_as(struct locker *, const char *path, const char *lock, unsigned uid, unsigned gid);

/*
 * "try", "share" (tries), "acquire", "acquire shared", "within MS", "near" (and keeps it near), "keep" (takes it and
 * gives it back, often enough to keep it near), "consistent", "release", "close" (the lock), "open",
 * "stop N" (stands still at the step N from now on, once).
 */
void locker_tell(struct locker *, const char *format, ...) __attribute__((format(printf, 2, 3)));
int locker_hear(struct locker *);
/* Both. */
int locker_ask(struct locker *, const char *command);
#define locker_expect(locker, command, error) ck_assert_int_eq(locker_ask(locker, command), error)
/* Stands still, at a step or by SIGSTOP. */
void locker_await_stop(struct locker *);
void locker_end(struct locker *);
void locker_kill(struct locker *);

/* Waits until so many wait for the lock, and hold it. */
void lock_await(const char *path, const char *lock, unsigned n_holders, unsigned n_waiters);

/* The file that holds the locks of `path`, and whether it is there. */
const char *lock_path(const char *path);
bool lock_is_there(const char *path);

#endif
