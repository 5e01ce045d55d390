/* SPDX-License-Identifier: MIT */
/*
 * config_files.h - within the reading of the configuration: a file of it, and what is wrong there.
 */
#ifndef PATHBUS_DAEMON_CONFIG_FILES_H
#define PATHBUS_DAEMON_CONFIG_FILES_H

#include <stddef.h>

#include "config.h"

struct config_file {
	char *path;
	char *error_text; /* CONFIG_ERROR_SIZE */
	int error;        /* 0, or -errno: the first */
	unsigned wrong_line;
};

/* config_files.c. Notes it, if it is the first; line 0: the file as a whole. */
void config_file_fail(struct config_file *file, int error, unsigned line, const char *what);
/* config.c: adds what this file's text sets, or fails. */
void config_parse(struct config_file *file, const char *text, size_t size, struct sources *sources);

#endif
