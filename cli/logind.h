/* SPDX-License-Identifier: MIT */
/* logind.h - does systemd's login manager empty /dev/shm of a user's files when its last session ends (RemoveIPC)? */
#ifndef PATHBUS_CLI_LOGIND_H
#define PATHBUS_CLI_LOGIND_H

#include <stdbool.h>
#include <sys/types.h>

/* True: it does, of this user. */
bool logind_removes_ipc(uid_t uid);

#endif
