/* SPDX-License-Identifier: MIT */
/*
 * address.h - where a daemon's sockets are: PATHBUS_ADDRESS, the system's, the user's own; and the control socket of each.
 *
 * Constant places, so that all processes of a user agree; XDG_RUNTIME_DIR is not asked (it differs between a
 * login, cron and sudo, and then they would never meet).
 */
#ifndef PATHBUS_COMMON_ADDRESS_H
#define PATHBUS_COMMON_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/un.h>

#ifdef __APPLE__
#define ADDRESS_SYSTEM "/var/run/pathbus/socket"
#define ADDRESS_SYSTEM_CONTROL "/var/run/pathbus/control"
#else
#define ADDRESS_SYSTEM "/run/pathbus/socket"
#define ADDRESS_SYSTEM_CONTROL "/run/pathbus/control"
#endif
#define ADDRESS_SIZE sizeof(((struct sockaddr_un *)0)->sun_path)

/* $PATHBUS_ADDRESS, or NULL if it is unset, empty, or the program runs set-uid. */
const char *address_from_environment(void);
/* The same of $PATHBUS_CONTROL, the control socket. */
const char *address_control_from_environment(void);

/* "/run/user/UID/pathbus/socket", or, where there is no /run/user/UID, a place in the runtime folder
 * ("/dev/shm/pathbus-UID/socket"). `ret` has ADDRESS_SIZE bytes. */
int address_of_user(uid_t uid, char *ret);

/* The control socket beside that: "/run/user/UID/pathbus/control". */
int address_control_of_user(uid_t uid, char *ret);

/* The control socket of a daemon that was given its address: ADDRESS.control. -ENAMETOOLONG. */
int address_control_of(const char *address, char *ret);

/* The runtime folder of a user, "/dev/shm/pathbus-UID". */
int address_runtime_folder(uid_t uid, char *ret, size_t size);

/*
 * May this user's process serve at the address? Root may anywhere, and this process's own user. At the system's places so may
 * the owner of its folder, since only root can have made that and given it to somebody: so it is root who says who the service
 * user is, and no configuration or environment. (A daemon that was started as root listens as root; this is for one that a
 * service manager starts as the service user.)
 */
bool address_may_be_served_by(const char *address, uid_t uid);

/* Fills a socket address in. -ENAMETOOLONG, -EINVAL (empty). */
int address_fill(const char *path, struct sockaddr_un *ret);

#endif
