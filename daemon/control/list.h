/* SPDX-License-Identifier: MIT */
/*
 * list.h - answers with long lists: a page of so many entries, made a few at a time, and a cursor that says where the next begins.
 *
 * A cursor is the number of the last entry that was told. Numbers are not used again and only grow, or only fall, along the list: so
 * nobody who stays is passed over or told twice, whatever comes and goes between two pages.
 */
#ifndef PATHBUS_DAEMON_CONTROL_LIST_H
#define PATHBUS_DAEMON_CONTROL_LIST_H

#include <stdbool.h>
#include <stdint.h>

#include "request.h"

/* Of one list of an answer. */
struct list_page {
	uint64_t limit, n; /* entries: how many may be told, how many were */
	uint64_t at;       /* the last that was looked at; at first the query's cursor */
};

/* From the query: limit=, and the cursor under this name, or where the list begins. False: that has been answered. */
bool list_begin(struct control_request *request, const char *cursor, uint64_t first, struct list_page *ret);
/* Is the page full, or the answer as large as it may be? */
bool list_is_full(const struct control_request *request, const struct list_page *page);
/* Ends the list that is being written, and tells where it goes on; `at_end`: nowhere. */
void list_end(struct control_request *request, const struct list_page *page, const char *next, bool at_end);

/*
 * A whole answer of one list, whose numbers grow. The request's answer is its object; all of it is written by this. `look` is called
 * with the number of the last entry, looks at the next one, tells it if it is wanted and returns its number: 0: there are no more.
 */
typedef uint64_t list_fn(struct control_request *request, uint64_t after, bool *ret_told);
void control_tell_list(struct control_request *request, const char *name, list_fn *look);

#endif
