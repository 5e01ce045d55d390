/* SPDX-License-Identifier: MIT */
/* glob.h - patterns of names: *, ? and [...], as fnmatch(3) has them for bytes; but whatever they look like, in bounded time. */
#ifndef PATHBUS_DAEMON_GLOB_H
#define PATHBUS_DAEMON_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* Neither need be terminated. At most so many steps as the product of both sizes: fnmatch may take as many as there are ways to
 * place the stars, and names are chosen by those who are looked for. */
bool glob_matches(const char *pattern, size_t pattern_size, const char *name, size_t name_size);

#endif
