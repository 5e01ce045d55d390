/* SPDX-License-Identifier: MIT */
/* table.c - columns for people. */
#include "table.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "paint.h"
#include "tell.h"
#include "width.h"

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

static void print_cell(const struct table *table, size_t i, size_t width)
{
	size_t column = i % table->n_columns;
	bool is_last = column + 1 == table->n_columns, is_right = table->right >> column & 1;
	enum paint colour = table->titled && i < table->n_columns ? PAINT_BOLD : PAINT_PLAIN;
	const char *text = table->cells[i];
	int blanks = (int)(width - width_of(text));

	if (column == 0)
		fputs(paint(colour), stdout);
	/* Nothing behind the last one: no blanks at the end of a line. */
	printf("%*s%s%*s", is_right ? blanks : 0, "", text, is_last ? 0 : is_right ? 2 : blanks + 2, "");
	if (is_last)
		printf("%s\n", paint_end(colour));
}

static void print_rows(const struct table *table)
{
	size_t widths[TABLE_MAX_COLUMNS] = { 0 };

	for (size_t i = 0; i < table->n_cells; i++) {
		size_t width = width_of(table->cells[i]);

		if (width > widths[i % table->n_columns])
			widths[i % table->n_columns] = width;
	}
	for (size_t i = 0; i < table->n_cells; i++)
		print_cell(table, i, widths[i % table->n_columns]);
}

void table_clear(struct table *table)
{
	for (size_t i = 0; i < table->n_cells; i++)
		free(table->cells[i]);
	free(table->cells);
	*table = (struct table){ .n_columns = table->n_columns, .right = table->right, .titled = table->titled };
}

bool table_print(struct table *table)
{
	bool done = !table->failed;

	if (done)
		print_rows(table);
	else
		tell("out of memory");
	table_clear(table);
	return done;
}
