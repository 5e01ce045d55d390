/* SPDX-License-Identifier: MIT */
/* width.h - how many columns of a terminal a text takes. */
#ifndef PATHBUS_CLI_WIDTH_H
#define PATHBUS_CLI_WIDTH_H

#include <stddef.h>

/* Of UTF-8 without control characters: a wide character takes two, one that is put on another none. */
size_t width_of(const char *text);
/* The bytes of its longest beginning that takes at most so many columns: whole characters, with what is put on them. */
size_t width_fit(const char *text, size_t columns);

#endif
