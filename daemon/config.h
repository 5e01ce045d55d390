/* SPDX-License-Identifier: MIT */
/*
 * config.h - the configuration's files: `KEY = VALUE` in [SECTION]s, as keys.c names them.
 *
 * First FILE, then those in FILE.d whose names end with .conf, in the order of their names; what is read later wins. Whatever is wrong in one of them, nothing is
 * taken: half a configuration is none.
 */
#ifndef PATHBUS_DAEMON_CONFIG_H
#define PATHBUS_DAEMON_CONFIG_H

#include <stdbool.h>

#include "sources.h"

struct config_place {
	const char *path; /* FILE */
	bool may_be_missing;
	bool trusted; /* nobody but root and this process's user may be able to write what is read */
};

#define CONFIG_ERROR_SIZE 1024u

/*
 * Adds what they set to *sources. Looks names of users and groups up, and may wait for files: not for main once it serves. 0;
 * -EINVAL: something is wrong; -ENOMEM; another -errno: something cannot be read. Then `ret_error` (CONFIG_ERROR_SIZE) says in one
 * line which file, line and key, and what it takes.
 */
int config_read(const struct config_place *place, struct sources *sources, char *ret_error);

#endif
