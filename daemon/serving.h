/* SPDX-License-Identifier: MIT */
/*
 * serving.h - the place where the daemon serves: one lock file, one socket.
 *
 * Whoever holds the lock (an open file description lock on SOCKET.lock, which ends with the process) may
 * replace the socket file; a socket file without a holder is stale. So no instance ever removes another's.
 *
 * A socket that a service manager has made and handed over is used as it is, and its file is left: the manager listens there
 * when we are gone. The lock is taken all the same.
 */
#ifndef PATHBUS_DAEMON_SERVING_H
#define PATHBUS_DAEMON_SERVING_H

#include <stdbool.h>
#include <sys/types.h>

#include "address.h"
#include "privileges.h"
#include "service_manager.h"

struct serving {
	const char *option; /* that names another place */
	mode_t mode;        /* of the socket */
	gid_t group;        /* its; (gid_t)-1: as it comes */
	char path[ADDRESS_SIZE]; /* of the socket */
	const char *name;        /* its last component, in path */
	int dir;                 /* O_PATH, of its folder */
	int lock;
	int listener;            /* non-blocking */
	dev_t dev;               /* of the socket file */
	ino_t ino;               /* 0: it is not ours to remove */
	bool is_own_place;       /* of the instance: the system's, or the user's */
};

/*
 * Takes the place and listens. address NULL: the user's own place, whose folder is made; or, with the service user of the
 * daemon of all users, the system's. Then all may connect, and the files can be removed as that user. With an inherited socket
 * it is that one's place, and an address has to be the same. Returns EXIT_STOPPED (0) and fills *ret in (the inherited
 * descriptor is its then), or logs why not and returns the exit status.
 */
int serving_start(const char *address, const struct service_user *user, const struct inherited_socket *inherited,
                  struct serving *ret);
/* The same for the control socket, at `path`: for its user alone, or for that one and a group (else (gid_t)-1). */
int serving_start_control(const char *path, const struct service_user *user, gid_t group, struct serving *ret);
/* Closes; removes the socket file if it is still ours, and the lock file. */
void serving_stop(struct serving *serving);

#endif
