/* SPDX-License-Identifier: MIT */
/*
 * identity.h - who is at the other end of a connection, as the kernel tells.
 *
 * Paths are looked at as that one would see them. In the daemon of all users this choice of a worker is main's, but whose
 * worker it becomes is decided by the files process, which asks the kernel itself (files_process.h).
 */
#ifndef PATHBUS_DAEMON_IDENTITY_H
#define PATHBUS_DAEMON_IDENTITY_H

#include <stdbool.h>
#include <sys/types.h>

#include "os/os.h"

struct identity {
	unsigned n_refs;
	unsigned n_holds;
	bool ended; /* the socket is ours, until nobody holds it */
	int socket; /* the connection's, which has it; -1: that has ended, so nothing can be asked for it any more */
	pid_t pid;  /* 0: not known */
	uid_t uid;
	gid_t gid;
	gid_t *groups; /* as the kernel sorts them; only where they matter */
	unsigned n_groups;
};

/* One reference, the caller's. With `groups` they are asked for: 0, -ENOMEM, -EOPNOTSUPP. */
int identity_new(int socket, const struct os_peer *peer, bool groups, struct identity **ret);
struct identity *identity_ref(struct identity *identity);
struct identity *identity_unref(struct identity *identity); /* returns NULL; takes NULL */
/* Its connection has ended, and gives its socket away: it is closed now, or when the last who holds it lets it go. */
void identity_end(struct identity *identity);
/* A reference, with which the socket stays after its connection's end: the kernel still tells whose it was. */
struct identity *identity_hold(struct identity *identity);
void identity_release(struct identity *identity); /* takes NULL */
/* May a file system not tell them apart? */
bool identity_is_same(const struct identity *a, const struct identity *b);

#endif
