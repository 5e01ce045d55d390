/* SPDX-License-Identifier: MIT */
/*
 * escape.h - names are bytes; people and logs get printable text.
 */
#ifndef PATHBUS_COMMON_ESCAPE_H
#define PATHBUS_COMMON_ESCAPE_H

#include <stddef.h>

/* Enough for any `size` bytes. */
#define ESCAPE_SIZE(size) (4 * (size) + 1)

/*
 * Copies valid UTF-8 without control characters as it is; writes every other byte as \xHH, a backslash as
 * "\\". Cuts at whole characters where `ret` is too small. Returns the length.
 */
size_t escape(const char *from, size_t size, char *ret, size_t ret_size);

#endif
