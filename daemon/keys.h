/* SPDX-License-Identifier: MIT */
/*
 * keys.h - the table of what can be set: each as `--NAME VALUE` and as `NAME = VALUE` in the configuration.
 */
#ifndef PATHBUS_DAEMON_KEYS_H
#define PATHBUS_DAEMON_KEYS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"

enum key_type {
	KEY_NUMBER,
	KEY_BYTES, /* with K, M or G behind it if wanted */
	KEY_MS,    /* milliseconds */
	KEY_PATH,
	KEY_LEVEL, /* of the log */
	KEY_TARGET, /* the same */
	KEY_USER,  /* a name or a number */
	KEY_GROUP, /* the same */
};

/* Where it is and what may be there; a value's width is the member's. */
struct key {
	const char *name;
	const char *section; /* of the configuration */
	enum key_type type;
	size_t offset, width; /* in struct options */
	uint64_t min, max, normal;
	const char *help; /* one line */
	bool live;        /* a change of it takes effect while the daemon runs; else it needs a restart */
};

#define KEY_SECTION_BEGIN "begin" /* these two have no keys: config.c */
#define KEY_SECTION_END "end"
#define KEY_SECTION_RIGHTS "rights" /* not in the table: its keys may be there more than once (narrow.h) */

extern const struct key keys[];
extern const size_t n_keys;

const struct key *key_find(const char *name); /* NULL: there is none */
bool key_section_exists(const char *section);

/*
 * Sets it in `options`. `text` is copied where it is kept. 0, -ENOMEM, -EINVAL: not such a value (key_range says what is),
 * and nothing has changed.
 */
int key_set(const struct key *key, const char *text, struct options *options);
void key_set_normal(const struct key *key, struct options *options);
/* Is its value the same in both? */
bool key_is_same(const struct key *key, const struct options *a, const struct options *b);
/* Exchanges its value. */
void key_swap(const struct key *key, struct options *a, struct options *b);
/* Its value as it may be written, empty where nothing is set. The caller's; NULL: no memory. */
char *key_text(const struct key *key, const struct options *options);
static inline bool key_is_text(const struct key *key) /* a char * of its own */
{
	return key->type == KEY_PATH || key->type == KEY_USER || key->type == KEY_GROUP || key->type == KEY_TARGET;
}

/* Long enough for what the next two write. */
#define KEY_TEXT_SIZE 96u
/* "a number from 1 to 1000000" */
void key_range(const struct key *key, char *ret);
/* The default as it may be written, empty where nothing is set. */
void key_normal(const struct key *key, char *ret);

#endif
