/* SPDX-License-Identifier: MIT */
/*
 * agent_program.h - where the program of the link agent is.
 */
#ifndef PATHBUS_DAEMON_AGENT_PROGRAM_H
#define PATHBUS_DAEMON_AGENT_PROGRAM_H

#include <limits.h>
#include <stddef.h>

#define AGENT_PROGRAM "pathbus-link"
#define AGENT_PROGRAM_SIZE (PATH_MAX + sizeof(AGENT_PROGRAM))

/* Beside our own program, as in a build folder, else where it is installed. */
void agent_program_find(char *ret, size_t size);
/* Opens it (O_PATH); the caller's. -errno. */
int agent_program_open(void);
/* Becomes it. Its environment is empty: whoever it is for can read that. Returns only if it fails: -errno. */
int agent_program_become(int program, const char *argument);

#endif
