/* SPDX-License-Identifier: MIT */
/*
 * table.h - columns for people, as wide as what is in them.
 */
#ifndef PATHBUS_CLI_TABLE_H
#define PATHBUS_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

enum { TABLE_MAX_COLUMNS = 16 };

struct table {
	size_t n_columns;
	size_t n_cells;
	char **cells;
	unsigned right; /* bits: these columns are set to the right, as numbers are */
	bool titled;    /* the first row names the columns, and stands out on a terminal */
	bool failed;    /* no memory: nothing is printed */
};

/* A row of n_columns texts, which are copied; NULL: "-". */
void table_add(struct table *, const char *const *row);
/* Prints it on stdout, and frees it. False: there was not enough memory (told). */
bool table_print(struct table *);
/* Forgets all rows: then nothing is printed. */
void table_clear(struct table *);

#endif
