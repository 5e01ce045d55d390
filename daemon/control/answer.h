/* SPDX-License-Identifier: MIT */
/*
 * answer.h - writes JSON, as text from the start: a page is made in pieces, and a tree of values would be several times as large.
 *
 * Text that others chose is made valid here: what is no UTF-8 becomes U+FFFD. Where memory is short, or the answer would be larger
 * than it may be, nothing more is written, and answer_failed tells.
 */
#ifndef PATHBUS_DAEMON_CONTROL_ANSWER_H
#define PATHBUS_DAEMON_CONTROL_ANSWER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct answer;

struct answer *answer_new(size_t most); /* bytes; NULL: no memory */
struct answer *answer_free(struct answer *answer); /* takes NULL; returns NULL */

/* Begins an object or a list; `key` NULL: within a list, or the whole. */
void answer_object(struct answer *answer, const char *key);
void answer_list(struct answer *answer, const char *key);
void answer_end(struct answer *answer); /* of what was begun last */

void answer_number(struct answer *answer, const char *key, uint64_t number);
void answer_signed(struct answer *answer, const char *key, int64_t number);
void answer_bool(struct answer *answer, const char *key, bool value);
void answer_null(struct answer *answer, const char *key);
void answer_text(struct answer *answer, const char *key, const char *text); /* NULL: null */
void answer_bytes(struct answer *answer, const char *key, const char *bytes, size_t size);
/* As text; and if that does not tell all of it, its bytes in hexadecimal under "KEY_bytes". */
void answer_path(struct answer *answer, const char *key, const char *path);
/* "2026-01-31T12:00:00.123Z", of the system's clock. */
void answer_time(struct answer *answer, const char *key, uint64_t unix_ns);

size_t answer_size(const struct answer *answer);
bool answer_failed(const struct answer *answer);
/* The text so far; valid until the next call. */
const char *answer_bytes_of(const struct answer *answer);
/* Starts anew with the same memory: for lines of a stream. */
void answer_clear(struct answer *answer);
/* The text, which is the caller's to free; the answer has none any more. NULL: it has failed. */
char *answer_take(struct answer *answer, size_t *ret_size);

#endif
