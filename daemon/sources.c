/* SPDX-License-Identifier: MIT */
/*
 * sources.c - see sources.h.
 *
 * As one piece of memory: texts that end with a zero byte. First how many files, then each; how many settings, then each one's
 * section, argument, name, value, plain value, file and line. Each has a = before it, and what is not there is a single -.
 */
#include "sources.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_SETTINGS (1u << 20)

/* --- the list -------------------------------------------------------------------------------------- */

static void setting_deinit(struct setting *setting)
{
	free(setting->section);
	free(setting->argument);
	free(setting->name);
	free(setting->value);
	free(setting->plain);
	free(setting->file);
}

static bool copy(const char *from, char **ret)
{
	*ret = from ? strdup(from) : NULL;
	return !from || *ret;
}

int sources_add(struct sources *sources, const struct setting *setting)
{
	struct setting made = { .line = setting->line };

	if (sources->n == sources->n_room) {
		size_t n_room = sources->n_room > 0 ? 2 * sources->n_room : 16;
		struct setting *list = realloc(sources->list, n_room * sizeof(*list));

		if (!list)
			return -ENOMEM;
		sources->list = list;
		sources->n_room = n_room;
	}
	if (!copy(setting->section, &made.section) || !copy(setting->argument, &made.argument) ||
	    !copy(setting->name, &made.name) || !copy(setting->value, &made.value) || !copy(setting->plain, &made.plain) ||
	    !copy(setting->file, &made.file)) {
		setting_deinit(&made);
		return -ENOMEM;
	}
	sources->list[sources->n++] = made;
	return 0;
}

int sources_add_file(struct sources *sources, const char *file)
{
	char **files = realloc(sources->files, (sources->n_files + 1) * sizeof(*files));

	if (!files)
		return -ENOMEM;
	sources->files = files;
	if (!copy(file, &files[sources->n_files]))
		return -ENOMEM;
	sources->n_files++;
	return 0;
}

static void shorten(struct sources *sources, size_t n, size_t n_files)
{
	while (sources->n > n)
		setting_deinit(&sources->list[--sources->n]);
	while (sources->n_files > n_files)
		free(sources->files[--sources->n_files]);
}

int sources_add_all(struct sources *sources, const struct sources *more)
{
	size_t n = sources->n, n_files = sources->n_files;
	int r = 0;

	for (size_t i = 0; r == 0 && i < more->n_files; i++)
		r = sources_add_file(sources, more->files[i]);
	for (size_t i = 0; r == 0 && i < more->n; i++)
		r = sources_add(sources, &more->list[i]);
	if (r < 0)
		shorten(sources, n, n_files);
	return r;
}

void sources_deinit(struct sources *sources)
{
	shorten(sources, 0, 0);
	free(sources->list);
	free(sources->files);
	*sources = (struct sources){ 0 };
}

/* --- looking --------------------------------------------------------------------------------------- */

const struct setting *sources_find(const struct sources *sources, const char *name)
{
	for (size_t i = sources->n; i-- > 0;)
		if (!sources->list[i].argument && strcmp(sources->list[i].name, name) == 0)
			return &sources->list[i];
	return NULL;
}

static const struct setting *next_of(const struct sources *sources, const char *section, size_t *at)
{
	while (*at < sources->n) {
		const struct setting *setting = &sources->list[(*at)++];

		if (strcmp(setting->section, section) == 0)
			return setting;
	}
	return NULL;
}

static bool is_same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

bool sources_is_same_section(const struct sources *a, const struct sources *b, const char *section)
{
	size_t at_a = 0, at_b = 0;

	for (;;) {
		const struct setting *of_a = next_of(a, section, &at_a), *of_b = next_of(b, section, &at_b);

		if (!of_a || !of_b)
			return of_a == of_b;
		if (!is_same_text(of_a->argument, of_b->argument) || strcmp(of_a->name, of_b->name) != 0 ||
		    strcmp(setting_plain(of_a), setting_plain(of_b)) != 0)
			return false;
	}
}

char *setting_from(const struct setting *setting)
{
	char *text;

	if (!setting)
		return strdup("default");
	if (!setting->file)
		return strdup("command line");
	return asprintf(&text, "%s:%u", setting->file, setting->line) < 0 ? NULL : text;
}

/* --- as one piece ---------------------------------------------------------------------------------- */

struct writer {
	char *data; /* NULL: it is only measured */
	size_t used;
};

static void put_bytes(struct writer *writer, const char *bytes, size_t size)
{
	if (writer->data)
		memcpy(writer->data + writer->used, bytes, size);
	writer->used += size;
}

static void put_text(struct writer *writer, const char *text)
{
	put_bytes(writer, text ? "=" : "-", 1);
	put_bytes(writer, text ? text : "", text ? strlen(text) + 1 : 1);
}

static void put_number(struct writer *writer, size_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%zu", number);
	put_text(writer, text);
}

static void put(struct writer *writer, const struct sources *sources)
{
	put_number(writer, sources->n_files);
	for (size_t i = 0; i < sources->n_files; i++)
		put_text(writer, sources->files[i]);
	put_number(writer, sources->n);
	for (size_t i = 0; i < sources->n; i++) {
		const struct setting *setting = &sources->list[i];

		put_text(writer, setting->section);
		put_text(writer, setting->argument);
		put_text(writer, setting->name);
		put_text(writer, setting->value);
		put_text(writer, setting->plain);
		put_text(writer, setting->file);
		put_number(writer, setting->line);
	}
}

int sources_write(const struct sources *sources, char **ret, size_t *ret_size)
{
	struct writer writer = { 0 };

	put(&writer, sources);
	writer.data = malloc(writer.used);
	if (!writer.data)
		return -ENOMEM;
	*ret_size = writer.used;
	writer.used = 0;
	put(&writer, sources);
	*ret = writer.data;
	return 0;
}

struct reading {
	const char *at, *end;
	bool failed;
};

/* NULL: it is absent, or reading has failed. */
static char *get_text(struct reading *reading)
{
	const char *text = reading->at, *zero = memchr(text, '\0', (size_t)(reading->end - text));

	if (reading->failed || !zero || (text[0] != '=' && strcmp(text, "-") != 0)) {
		reading->failed = true;
		return NULL;
	}
	reading->at = zero + 1;
	return text[0] == '=' ? (char *)(uintptr_t)(text + 1) : NULL;
}

static char *get_present(struct reading *reading)
{
	char *text = get_text(reading);

	if (!text)
		reading->failed = true;
	return text;
}

static unsigned get_number(struct reading *reading)
{
	const char *text = get_present(reading);
	unsigned number = 0;

	for (; text && *text; text++) {
		if (*text < '0' || *text > '9' || number > MAX_SETTINGS) {
			reading->failed = true;
			return 0;
		}
		number = 10 * number + (unsigned)(*text - '0');
	}
	return number;
}

int sources_read(const char *data, size_t size, struct sources *ret)
{
	struct reading reading = { .at = data, .end = data + size };
	struct sources made = { 0 };
	unsigned n = get_number(&reading);
	int r = 0;

	for (unsigned i = 0; i < n && r == 0 && !reading.failed; i++) {
		const char *file = get_present(&reading);

		r = file ? sources_add_file(&made, file) : 0;
	}
	n = get_number(&reading);
	for (unsigned i = 0; i < n && r == 0 && !reading.failed; i++) {
		struct setting setting = { 0 };

		setting.section = get_present(&reading);
		setting.argument = get_text(&reading);
		setting.name = get_present(&reading);
		setting.value = get_present(&reading);
		setting.plain = get_text(&reading);
		setting.file = get_text(&reading);
		setting.line = get_number(&reading);
		if (!reading.failed)
			r = sources_add(&made, &setting);
	}
	if (r == 0 && (reading.failed || reading.at != reading.end))
		r = -EPROTO;
	if (r < 0)
		sources_deinit(&made);
	else
		*ret = made;
	return r;
}
