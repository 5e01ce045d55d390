/* SPDX-License-Identifier: MIT */
/* table.c - columns for people. */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tell.h"

/* Characters, not bytes: names may have any, as far as they are printable. */
static size_t width_of(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

void table_add(struct table *table, const char *const *row)
{
	char **cells = realloc(table->cells, (table->n_cells + table->n_columns) * sizeof(*cells));

	if (!cells) {
		table->failed = true;
		return;
	}
	table->cells = cells;
	for (size_t i = 0; i < table->n_columns; i++) {
		cells[table->n_cells] = strdup(row[i] && row[i][0] ? row[i] : "-");
		if (!cells[table->n_cells++])
			table->failed = true;
	}
}

static void print_rows(const struct table *table)
{
	size_t widths[TABLE_MAX_COLUMNS] = { 0 };

	for (size_t i = 0; i < table->n_cells; i++) {
		size_t width = width_of(table->cells[i]);

		if (width > widths[i % table->n_columns])
			widths[i % table->n_columns] = width;
	}
	for (size_t i = 0; i < table->n_cells; i++) {
		size_t column = i % table->n_columns;

		/* Nothing behind the last one: no blanks at the end of a line. */
		if (column + 1 == table->n_columns)
			printf("%s\n", table->cells[i]);
		else
			printf("%s%*s", table->cells[i], (int)(widths[column] - width_of(table->cells[i])) + 2, "");
	}
}

bool table_print(struct table *table)
{
	bool done = !table->failed;

	if (done)
		print_rows(table);
	else
		tell("out of memory");
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){ .n_columns = table->n_columns };
	return done;
}
