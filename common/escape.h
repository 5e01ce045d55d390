/* SPDX-License-Identifier: MIT */
/*
 * escape.h - names are bytes; people and logs get printable text.
 */
#ifndef PATHBUS_COMMON_ESCAPE_H
#define PATHBUS_COMMON_ESCAPE_H

#include <stddef.h>

/* The length of the valid UTF-8 character at `at` that may be shown as it is; 0: it is a control character, one that turns
 * the direction of writing, a backslash, or none at all. */
size_t escape_printable(const unsigned char *at, size_t size);

/* Enough for any `size` bytes. */
#define ESCAPE_SIZE(size) (4 * (size) + 1)

/*
 * Copies valid UTF-8 without control characters as it is; writes every other byte as \xHH, a backslash as
 * "\\". Cuts at whole characters where `ret` is too small. Returns the length.
 */
size_t escape(const char *from, size_t size, char *ret, size_t ret_size);

#endif
