/* SPDX-License-Identifier: MIT */
/* listing.c - a list that the daemon has. */
#include "listing.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "control.h"
#include "line.h"
#include "os/os.h"
#include "table.h"
#include "tell.h"

struct row {
	size_t index;             /* as it came */
	uint64_t number;          /* to sort by */
	char *text;               /* the same, of what is no number; else NULL */
	char *cells[TABLE_MAX_COLUMNS];
	char *line;               /* of JSON */
};

struct rows {
	const struct listing *listing;
	struct row *rows;
	size_t n, capacity, n_columns;
	uint64_t now_ms;
	bool failed; /* no memory */
};

/* --- one cell ------------------------------------------------------------------------------------------------------ */

static char *number_text(uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	return strdup(text);
}

/* NULL: no memory. */
static char *cell(const struct rows *rows, const struct listing_column *column, const struct json *entry)
{
	uint64_t number = json_number(entry, column->key);
	char text[LISTING_NOTES_SIZE] = "", *name, *shown;

	if (column->kind == LISTING_NOTES) {
		rows->listing->notes(entry, text);
		return strdup(text);
	}
	if (column->kind == LISTING_NAME) {
		name = json_name(entry, column->key);
		shown = strdup(name ? tell_name(name) : "");
		free(name);
		return shown;
	}
	if (!json_has_number(entry, column->key))
		return strdup("");
	switch (column->kind) {
	case LISTING_BYTES:
		line_bytes(number, text);
		return strdup(text);
	case LISTING_AGE:
		line_duration(number < rows->now_ms ? rows->now_ms - number : 0, text);
		return strdup(text);
	case LISTING_USER:
		return strdup(tell_name(line_user((uid_t)number)));
	default:
		return number_text(number);
	}
}

/* --- the rows ------------------------------------------------------------------------------------------------------ */

static void set_order(struct row *row, const struct listing_column *sort, const struct json *entry)
{
	if (sort->kind == LISTING_NAME)
		row->text = json_name(entry, sort->key);
	else if (sort->kind == LISTING_USER)
		row->text = json_has_number(entry, sort->key) ? strdup(line_user((uid_t)json_number(entry, sort->key))) : NULL;
	else
		row->number = json_number(entry, sort->key);
	if (sort->kind == LISTING_AGE)
		row->number = UINT64_MAX - row->number; /* the oldest first */
}

static struct row *new_row(struct rows *rows)
{
	if (rows->n == rows->capacity) {
		size_t capacity = rows->capacity ? 2 * rows->capacity : 64;
		struct row *grown = realloc(rows->rows, capacity * sizeof(*grown));

		if (!grown)
			return NULL;
		rows->rows = grown;
		rows->capacity = capacity;
	}
	rows->rows[rows->n] = (struct row){ .index = rows->n };
	return &rows->rows[rows->n++];
}

static void add(struct rows *rows, const struct json *entry)
{
	const struct listing *listing = rows->listing;
	struct row *row = new_row(rows);

	if (!row) {
		rows->failed = true;
		return;
	}
	if (listing->sort)
		set_order(row, listing->sort, entry);
	if (listing->as_json) {
		row->line = json_line(entry);
		rows->failed |= !row->line;
	}
	for (size_t i = 0; !listing->as_json && i < rows->n_columns; i++) {
		row->cells[i] = cell(rows, &listing->columns[i], entry);
		rows->failed |= !row->cells[i];
	}
}

static bool take_page(const struct json *page, void *userdata)
{
	struct rows *rows = userdata;
	const struct json *list = json_get(page, rows->listing->list);

	for (size_t i = 0; i < json_length(list) && !rows->failed; i++)
		add(rows, json_at(list, i));
	return !rows->failed;
}

static void free_rows(struct rows *rows)
{
	for (size_t i = 0; i < rows->n; i++) {
		free(rows->rows[i].text);
		free(rows->rows[i].line);
		for (size_t k = 0; k < rows->n_columns; k++)
			free(rows->rows[i].cells[k]);
	}
	free(rows->rows);
}

/* Names from a to z, numbers from the largest on; what is alike stays as it came. */
static int compare(const void *a, const void *b)
{
	const struct row *one = a, *other = b;
	int order = 0;

	if (one->text || other->text)
		order = strcmp(one->text ? one->text : "", other->text ? other->text : "");
	if (order == 0 && one->number != other->number)
		order = one->number > other->number ? -1 : 1;
	if (order == 0)
		order = one->index < other->index ? -1 : 1;
	return order;
}

/* --- printing ------------------------------------------------------------------------------------------------------ */

static const struct row *row_at(const struct rows *rows, size_t i)
{
	return &rows->rows[rows->listing->reverse ? rows->n - 1 - i : i];
}

static int print(const struct rows *rows)
{
	struct table table = { .n_columns = rows->n_columns, .titled = true };
	const char *titles[TABLE_MAX_COLUMNS];

	for (size_t i = 0; i < rows->n_columns; i++) {
		enum listing_kind kind = rows->listing->columns[i].kind;

		titles[i] = rows->listing->columns[i].title;
		if (kind == LISTING_NUMBER || kind == LISTING_BYTES || kind == LISTING_AGE)
			table.right |= 1u << i;
	}
	if (rows->listing->as_json) {
		for (size_t i = 0; i < rows->n; i++)
			fputs(row_at(rows, i)->line, stdout);
		return tell_flush();
	}
	table_add(&table, titles);
	for (size_t i = 0; i < rows->n; i++)
		table_add(&table, (const char *const *)row_at(rows, i)->cells);
	return table_print(&table) ? tell_flush() : STATUS_FAILED;
}

static char small(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

const struct listing_column *listing_sort(const struct listing_column *columns, const char *title)
{
	char all[200] = "";
	size_t used = 0;

	for (const struct listing_column *at = columns; at->title; at++) {
		char name[24];
		size_t size = strlen(at->title);

		if (at->kind == LISTING_NOTES || size >= sizeof(name))
			continue;
		for (size_t i = 0; i <= size; i++)
			name[i] = small(at->title[i]);
		if (strcmp(name, title) == 0)
			return at;
		used += (size_t)snprintf(all + used, used < sizeof(all) ? sizeof(all) - used : 0, "%s%s", used ? ", " : "", name);
	}
	tell("--sort takes one of %s, not \"%s\"", all, tell_name(title));
	return NULL;
}

void listing_note(char *notes, const char *format, ...)
{
	size_t used = strlen(notes);
	va_list list;

	if (used > 0)
		used += (size_t)snprintf(notes + used, LISTING_NOTES_SIZE - used, ", ");
	if (used >= LISTING_NOTES_SIZE)
		return;
	va_start(list, format);
	vsnprintf(notes + used, LISTING_NOTES_SIZE - used, format, list);
	va_end(list);
}

int listing_run(const struct pathbus_options *options, const struct listing *listing)
{
	struct rows rows = { .listing = listing, .now_ms = os_now_ns() / 1000000 };
	struct control *control;
	int status = control_open(options, &control);

	if (status != STATUS_OK)
		return status;
	while (listing->columns[rows.n_columns].title)
		rows.n_columns++;
	status = control_pages(control, listing->path, listing->pairs, take_page, &rows);
	if (status != STATUS_OK) {
		control_tell(control, status);
	} else if (rows.failed) {
		tell("out of memory");
		status = STATUS_FAILED;
	} else {
		if (listing->sort && rows.n > 0)
			qsort(rows.rows, rows.n, sizeof(*rows.rows), compare);
		status = print(&rows);
	}
	free_rows(&rows);
	control_close(control);
	return status;
}
