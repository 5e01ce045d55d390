/* SPDX-License-Identifier: MIT */
/*
 * show_config.c - see show_config.h. The text is a configuration again: to read it in place of what it was made from changes
 * nothing.
 */
#include "show_config.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "exit.h"
#include "version.h"

#define MAX_LINE 190u /* inih cuts longer ones */

int shown_key_init(struct shown_key *ret, const struct options *options, size_t index)
{
	const struct key *key = &keys[index];

	*ret = (struct shown_key){ .key = key, .restart_needed = options->kept_from[index] != NULL };
	key_normal(key, ret->normal);
	ret->is_set = ret->restart_needed || sources_find(&options->sources, key->name);
	ret->value = key_text(key, options);
	ret->from = ret->restart_needed ? strdup(options->kept_from[index]) :
	                                  setting_from(sources_find(&options->sources, key->name));
	if (ret->value && ret->from)
		return 0;
	shown_key_deinit(ret);
	return -ENOMEM;
}

void shown_key_deinit(struct shown_key *shown)
{
	free(shown->value);
	free(shown->from);
	shown->value = shown->from = NULL;
}

/* --- as text --------------------------------------------------------------------------------------- */

static void print_comment(const char *before, const char *text)
{
	char escaped[MAX_LINE - 32];

	escape(text, strlen(text), escaped, sizeof(escaped));
	printf("# %s%s\n", before, escaped);
}

static void print_key_line(const struct shown_key *shown)
{
	char escaped[MAX_LINE - 32];
	size_t size = strlen(shown->key->name) + strlen(shown->value);

	escape(shown->from, strlen(shown->from), escaped, sizeof(escaped));
	/* With a longer comment it would not be a line any more. */
	if (size + strlen(escaped) + 24 > MAX_LINE) {
		printf("# %s\n", escaped);
		escaped[0] = '\0';
	}
	/* Some defaults are not what is to be set, but what comes of nothing's being set. */
	printf("%s%s =%s%s", key_is_text(shown->key) && !shown->is_set ? "#" : "", shown->key->name, shown->value[0] ? " " : "",
	       shown->value);
	if (escaped[0])
		printf("%*s ; %s", size < 40 ? (int)(40 - size) : 0, "", escaped);
	putchar('\n');
	if (shown->restart_needed)
		puts("# (another value was read since; it needs a restart)");
}

static int print_keys(const struct options *options)
{
	const char *section = "";

	for (size_t i = 0; i < n_keys; i++) {
		struct shown_key shown;

		if (shown_key_init(&shown, options, i) < 0)
			return -ENOMEM;
		if (strcmp(section, keys[i].section) != 0) {
			section = keys[i].section;
			printf("\n[%s]\n", section);
		}
		print_key_line(&shown);
		shown_key_deinit(&shown);
	}
	return 0;
}

/* A list that is too long for one line goes on in indented ones. */
static void print_setting(const struct setting *setting)
{
	const char *at = setting->value, *comma;
	bool fits = strlen(setting->name) + strlen(at) + 3 <= MAX_LINE;

	printf("%s = ", setting->name);
	if (!fits && strrchr(at, ':')) {
		const char *behind = strrchr(at, ':') + 1;

		printf("%.*s\n ", (int)(behind - at), at);
		at = behind;
	}
	while (!fits && (comma = strchr(at, ','))) {
		printf("%.*s\n ", (int)(comma + 1 - at), at);
		at = comma + 1;
	}
	puts(at);
}

/* Those that are in no table. */
static bool is_listed(const struct setting *setting)
{
	return setting->argument || strcmp(setting->section, KEY_SECTION_RIGHTS) == 0;
}

static int print_lists(const struct options *options)
{
	const struct setting *before = NULL;

	for (size_t i = 0; i < options->sources.n; i++) {
		const struct setting *setting = &options->sources.list[i];
		char *from;

		if (!is_listed(setting))
			continue;
		from = setting_from(setting);
		if (!from)
			return -ENOMEM;
		if (setting->argument && !setting->name[0])
			printf("\n[%s \"%s\"]\n", setting->section, setting->argument);
		else if (!setting->argument && (!before || before->argument))
			printf("\n[%s]\n", setting->section);
		print_comment("", from);
		if (setting->name[0])
			print_setting(setting);
		free(from);
		before = setting;
	}
	return 0;
}

static int print_text(const struct options *options)
{
	int r;

	puts("# pathbusd " PATHBUS_VERSION ": what is in force, and from where");
	for (size_t i = 0; i < options->sources.n_files; i++)
		print_comment("read: ", options->sources.files[i]);
	r = print_keys(options);
	return r < 0 ? r : print_lists(options);
}

/* --- as JSON --------------------------------------------------------------------------------------- */

/* What is no text becomes U+FFFD. */
static void print_string(const char *text)
{
	const unsigned char *at = (const unsigned char *)text, *end = at + strlen(text);

	putchar('"');
	while (at < end) {
		size_t size = escape_printable(at, (size_t)(end - at));

		if (size == 0 || *at == '"' || *at == '\\') {
			printf("\\u%04x", *at < 0x80 ? (unsigned)*at : 0xfffdu);
			size = 1;
		} else {
			printf("%.*s", (int)size, (const char *)at);
		}
		at += size;
	}
	putchar('"');
}

static void print_member(const char *name, const char *value)
{
	printf("\"%s\": ", name);
	print_string(value);
}

static int print_json_keys(const struct options *options)
{
	for (size_t i = 0; i < n_keys; i++) {
		struct shown_key shown;

		if (shown_key_init(&shown, options, i) < 0)
			return -ENOMEM;
		fputs(i > 0 ? ",\n    {" : "\n    {", stdout);
		print_member("section", keys[i].section);
		fputs(", ", stdout);
		print_member("key", keys[i].name);
		fputs(", ", stdout);
		print_member("value", shown.value);
		fputs(", ", stdout);
		print_member("default", shown.normal);
		fputs(", ", stdout);
		print_member("from", shown.from);
		printf(", \"restart\": %s}", keys[i].live ? "false" : "true");
		shown_key_deinit(&shown);
	}
	return 0;
}

/* Those of sections with a pattern, or those without. One without a name only begins its section. */
static int print_json_lists(const struct options *options, bool with_pattern)
{
	bool first = true;

	for (size_t i = 0; i < options->sources.n; i++) {
		const struct setting *setting = &options->sources.list[i];
		char *from;

		if (!is_listed(setting) || !setting->name[0] || (setting->argument != NULL) != with_pattern)
			continue;
		from = setting_from(setting);
		if (!from)
			return -ENOMEM;
		fputs(first ? "\n    {" : ",\n    {", stdout);
		if (with_pattern) {
			print_member("pattern", setting->argument);
			fputs(", ", stdout);
		}
		print_member("key", setting->name);
		fputs(", ", stdout);
		print_member("value", setting->value);
		fputs(", ", stdout);
		print_member("from", from);
		putchar('}');
		free(from);
		first = false;
	}
	return 0;
}

static int print_json(const struct options *options)
{
	int r;

	fputs("{\n  \"files\": [", stdout);
	for (size_t i = 0; i < options->sources.n_files; i++) {
		fputs(i > 0 ? ", " : "", stdout);
		print_string(options->sources.files[i]);
	}
	fputs("],\n  \"keys\": [", stdout);
	r = print_json_keys(options);
	fputs("\n  ],\n  \"rights\": [", stdout);
	if (r == 0)
		r = print_json_lists(options, false);
	fputs("\n  ],\n  \"topic_sections\": [", stdout);
	if (r == 0)
		r = print_json_lists(options, true);
	puts("\n  ]\n}");
	return r;
}

/* --- */

static int finish(int r)
{
	if (r == 0 && fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_STOPPED;
	fprintf(stderr, "pathbusd: %s\n", r < 0 ? "no memory" : "what is to be printed cannot be written");
	return EXIT_FAILED;
}

int show_config(const struct options *options, bool json)
{
	return finish(json ? print_json(options) : print_text(options));
}

int show_config_is_good(const struct options *options)
{
	char escaped[CONFIG_ERROR_SIZE];

	if (!options->config)
		puts("No configuration is read: name one with --config, or ask for the system's with --system.");
	else if (options->sources.n_files == 0)
		printf("There is no %s, nor anything in its .d folder: all is at its default.\n", options->config);
	for (size_t i = 0; i < options->sources.n_files; i++) {
		escape(options->sources.files[i], strlen(options->sources.files[i]), escaped, sizeof(escaped));
		printf("%s: good\n", escaped);
	}
	return finish(0);
}
