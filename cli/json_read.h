/* SPDX-License-Identifier: MIT */
/*
 * json_read.h - JSON that comes from elsewhere: read with care, never trusted to have what it should.
 *
 * A value that is missing, or of another kind, reads as nothing: NULL, 0 or false. So those who print need no checks, and
 * a daemon of another version is still of use.
 */
#ifndef PATHBUS_CLI_JSON_READ_H
#define PATHBUS_CLI_JSON_READ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json; /* any value */

/* NULL: it is no JSON object, nested too deeply, or there is no memory. To be freed, with all that is in it. */
struct json *json_parse(const char *text, size_t size);
struct json *json_free(struct json *); /* takes NULL, returns NULL */

/* Of an object. What is returned lives as long as the whole. */
const struct json *json_get(const struct json *object, const char *key); /* NULL: none */
const char *json_text(const struct json *object, const char *key);       /* valid UTF-8, unescaped; NULL: no string */
bool json_has_number(const struct json *object, const char *key);
uint64_t json_number(const struct json *object, const char *key);        /* a negative one: 0 */
bool json_flag(const struct json *object, const char *key);
/* Whatever it is, as text for people: a string as it is, a number, true or false; a list or an object as JSON. NULL: null,
 * or not there, or no memory. To be freed. */
char *json_shown(const struct json *object, const char *key);
/* A name of any bytes: exactly, by KEY_bytes in hexadecimal if that is there, else KEY. NULL: none. To be freed. */
char *json_name(const struct json *object, const char *key);
/* The members of an object in turn: an iterator, or NULL at the end. */
const void *json_first(const struct json *object);
const void *json_after(const struct json *object, const void *at);
const char *json_key(const void *at);

/* Of a list; anything else has no entries. */
size_t json_length(const struct json *list);
const struct json *json_at(const struct json *list, size_t i);
const char *json_as_text(const struct json *); /* of a value that is a string; else NULL */

/* Moves the entries of `from`'s list to the end of `to`'s. Returns how many; 0 too where there is no list or no memory. */
size_t json_move_entries(struct json *to, struct json *from, const char *key);

/* A line of compact JSON with its newline, safe for terminals. To be freed; NULL: out of memory. */
char *json_line(const struct json *);
/* {"KEY": TEXT}, for a request. `text` is UTF-8, else NULL is returned; NULL too without memory. To be freed. */
char *json_of_text(const char *key, const char *text);

/* As a line for terminals: what text output escapes and the library leaves as it is becomes \uXXXX. In json.c. */
char *json_safe_line(const char *text);

#endif
