/* SPDX-License-Identifier: MIT */
/*
 * sources.h - what was set, where: each line of the configuration's files that sets something, and each option of the command line.
 *
 * The order is that of precedence: of a key the last setting counts; those of sections whose keys may be there more than once ([rights],
 * [topic "PATTERN"]) all do, in that order. What is not there is at its default. Knows neither which values are good nor what they
 * mean (keys.h, narrow.h); can be written as one piece of memory for another process (config_reader.h).
 */
#ifndef PATHBUS_DAEMON_SOURCES_H
#define PATHBUS_DAEMON_SOURCES_H

#include <stdbool.h>
#include <stddef.h>

struct setting {
	char *section;
	char *argument; /* of [SECTION "ARGUMENT"]; NULL: it has none */
	char *name, *value; /* as they were written */
	char *plain;    /* the value with numbers in place of users' and groups' names; NULL: it is the same */
	char *file;     /* NULL: the command line */
	unsigned line;
};

struct sources {
	struct setting *list;
	size_t n, n_room;
	char **files; /* that were read, in this order */
	size_t n_files;
};

/* All return 0 or -ENOMEM, and then nothing has changed. Strings are copied. */
int sources_add(struct sources *sources, const struct setting *setting);
int sources_add_file(struct sources *sources, const char *file);
int sources_add_all(struct sources *sources, const struct sources *more);
void sources_deinit(struct sources *sources);

/* The setting that counts of a key that has one value; NULL: the default does. */
const struct setting *sources_find(const struct sources *sources, const char *name);
/* What a value is where names must not be looked up. */
static inline const char *setting_plain(const struct setting *setting)
{
	return setting->plain ? setting->plain : setting->value;
}
/* Are the settings of this section the same in both, in the same order, wherever they stand? */
bool sources_is_same_section(const struct sources *a, const struct sources *b, const char *section);

/* "default" (NULL), "command line", "FILE:LINE". The caller's; NULL: no memory. */
char *setting_from(const struct setting *setting);

/* One piece of memory, the caller's. 0 or -ENOMEM. */
int sources_write(const struct sources *sources, char **ret, size_t *ret_size);
/* Back from it. Nothing in it is trusted, but that it names no sections and values that are good is the caller's to find. 0, -ENOMEM,
 * -EPROTO: it is none. */
int sources_read(const char *data, size_t size, struct sources *ret);

#endif
