/* SPDX-License-Identifier: MIT */
/* config.c - `pathbusctl config`: which configuration is in effect, and where each value comes from. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "control.h"
#include "table.h"
#include "tell.h"

enum { OPTION_CHANGED = OPTION_LONG, OPTION_JSON };

static const struct option_spec specs[] = {
	{ OPTION_CHANGED, "changed", NULL, "only what is not at its default" },
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static bool only_changed, as_json;

static bool set(int id, const char *value)
{
	(void)value;
	*(id == OPTION_CHANGED ? &only_changed : &as_json) = true;
	return true;
}

/* Printable, to be freed; NULL: there is none, or no memory. */
static char *shown(const struct json *object, const char *key)
{
	char *text = json_name(object, key), *plain = text ? text : json_shown(object, key), *ret;

	ret = plain ? strdup(tell_name(plain)) : NULL;
	free(plain);
	return ret;
}

static bool is_changed(const struct json *key)
{
	const char *from = json_text(key, "from");

	return !from || strcmp(from, "default") != 0;
}

static void add_key(struct table *table, const char *section, const struct json *key)
{
	char *name = shown(key, "key"), *value = shown(key, "value"), *from = shown(key, "from"), *own = NULL;

	if (!section)
		section = own = shown(key, "section");
	table_add(table, (const char *const[]){ section, name, value, from, json_flag(key, "restart") ? "restart" : "reload" });
	free(name);
	free(value);
	free(from);
	free(own);
}

/* Of a section that may have a key more than once, and of one for topics, which is told as the others are, with its pattern. */
static void add_setting(struct table *table, const char *section, const struct json *setting)
{
	char *pattern = shown(setting, "pattern"), *title = NULL;

	if (pattern && asprintf(&title, "%s \"%s\"", section, pattern) < 0) {
		title = NULL;
		table->failed = true;
	}
	add_key(table, title ? title : section, setting);
	free(title);
	free(pattern);
}

static void print_list(const char *title, const struct json *list)
{
	for (size_t i = 0; i < json_length(list); i++) {
		const char *text = json_as_text(json_at(list, i));

		printf("%-16s %s\n", i ? "" : title, text ? tell_name(text) : "?");
	}
}

static int print(const struct json *config)
{
	const struct json *keys = json_get(config, "keys"), *rights = json_get(config, "rights");
	const struct json *topics = json_get(config, "topic_sections");
	struct table table = { .n_columns = 5, .titled = true };
	char *line;

	if (as_json) {
		line = json_line(config);
		if (!line) {
			tell("out of memory");
			return STATUS_FAILED;
		}
		fputs(line, stdout);
		free(line);
		return tell_flush();
	}
	if (json_length(json_get(config, "files")) == 0)
		printf("%-16s none\n", "files read");
	print_list("files read", json_get(config, "files"));
	print_list("needs a restart", json_get(config, "restart_needed"));
	printf("\n");
	table_add(&table, (const char *const[]){ "SECTION", "KEY", "VALUE", "FROM", "CHANGED BY" });
	for (size_t i = 0; i < json_length(keys); i++)
		if (!only_changed || is_changed(json_at(keys, i)))
			add_key(&table, NULL, json_at(keys, i));
	for (size_t i = 0; i < json_length(rights); i++)
		add_setting(&table, "rights", json_at(rights, i));
	for (size_t i = 0; i < json_length(topics); i++)
		add_setting(&table, "topic", json_at(topics, i));
	if (!table_print(&table))
		return STATUS_FAILED;
	if (json_flag(config, "cut"))
		printf("\nThere is more than the daemon tells at once; its files have it all.\n");
	return tell_flush();
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct control *control;
	struct json *config = NULL;
	int status = control_open(options, &control);

	(void)n_words, (void)words;
	if (status != STATUS_OK)
		return status;
	status = control_get(control, "/v1/config", &config);
	status = status == STATUS_OK ? print(config) : control_tell(control, status);
	json_free(config);
	control_close(control);
	return status;
}

const struct command command_config = {
	.name = "config",
	.summary = "print the daemon's configuration as it is in effect",
	.about = "FROM is where a value comes from: \"default\", the file and its line, or the command line. CHANGED BY says\n"
		 "whether `pathbusctl reload` is enough to change it. What was changed and still needs a restart is\n"
		 "named first.",
	.options = specs,
	.set = set,
	.run = run,
};
