/* SPDX-License-Identifier: MIT */
/* top_view.h - what `pathbusctl top` shows, as lines of text of at most so many columns. */
#ifndef PATHBUS_CLI_TOP_VIEW_H
#define PATHBUS_CLI_TOP_VIEW_H

#include <stddef.h>
#include <stdint.h>

#include "top_model.h"

enum { TOP_VIEW_WIDE = 100, TOP_VIEW_SIZE = 1024, TOP_VIEW_NO_LIMIT = 100000 };

/* Each line has no newline. Buffers have TOP_VIEW_SIZE bytes, but for rows, which are to be freed (NULL: out of memory). */
void top_view_daemon(const struct top_model *, char *ret);
void top_view_sums(const struct top_model *, double interval_s, char *ret);
void top_view_titles(size_t columns, char *ret);
/* Cut at the left, where it is too wide: the end of a path says more than its beginning. To be freed. */
char *top_view_cut(const char *text, size_t columns);
char *top_view_row(const struct top_topic *, uint64_t now_ms, size_t columns);

#endif
