/* SPDX-License-Identifier: MIT */
/*
 * sandbox_landlock.h - the part of the sandbox that restricts access to files (Landlock); see sandbox.h.
 */
#ifndef PATHBUS_DAEMON_SANDBOX_LANDLOCK_H
#define PATHBUS_DAEMON_SANDBOX_LANDLOCK_H

#include "sandbox.h"

/* Its version in this kernel, or 0 with the reason in *ret_why. */
int sandbox_landlock_version(const char **ret_why);

/* Restricts this thread; no_new_privs must be set. 0 or -errno. */
int sandbox_landlock_enter(enum sandbox_role role, const struct sandbox_setting *setting, int version);

#endif
