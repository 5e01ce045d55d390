/* SPDX-License-Identifier: MIT */
/*
 * config.h - the configuration file: `KEY = VALUE` in [SECTION]s, as keys.c names them.
 */
#ifndef PATHBUS_DAEMON_CONFIG_H
#define PATHBUS_DAEMON_CONFIG_H

#include <stdbool.h>

#include "options.h"

/*
 * Reads `path` into `options`. `trusted`: nobody but root and this process's user may be able to write it. Returns -1: go on; else
 * the exit status, after it has told on stderr which file, line and key is wrong, and what it takes.
 */
int config_read(const char *path, bool trusted, struct options *options);

#endif
