/* SPDX-License-Identifier: MIT */
/*
 * listing.h - a list that the daemon has, page by page, as a table or as lines of JSON; in the daemon's order, or sorted.
 */
#ifndef PATHBUS_CLI_LISTING_H
#define PATHBUS_CLI_LISTING_H

#include <stdbool.h>
#include <stddef.h>

#include "pathbus.h"

struct json;

enum listing_kind {
	LISTING_NUMBER,
	LISTING_BYTES,
	LISTING_AGE,   /* of something that happened at so many milliseconds of the monotonic clock */
	LISTING_USER,  /* by number */
	LISTING_NAME,  /* any bytes */
	LISTING_NOTES, /* made by `notes`; not to be sorted by */
};

struct listing_column {
	const char *title; /* in small letters it is the key to sort by */
	const char *key;   /* the member of each entry */
	enum listing_kind kind;
};

struct listing {
	const char *path;                     /* what is asked for */
	const char *list;                     /* the member of the answer that has the entries */
	const struct listing_column *columns; /* the last has a title of NULL */
	/* For people, printable; the buffer has LISTING_NOTES_SIZE bytes and is empty. */
	void (*notes)(const struct json *entry, char *ret);
	/* what the user wants */
	const char *const *pairs;             /* of the query, as in control.h */
	const struct listing_column *sort;    /* NULL: as it comes */
	bool reverse, as_json;
};

enum { LISTING_NOTES_SIZE = 160 };

/* The column to sort by; NULL: there is none (told). */
const struct listing_column *listing_sort(const struct listing_column *columns, const char *title);
/* Adds to notes, after a comma. */
void listing_note(char *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Asks and prints. Returns the exit status. */
int listing_run(const struct pathbus_options *options, const struct listing *listing);

#endif
