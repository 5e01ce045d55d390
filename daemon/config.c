/* SPDX-License-Identifier: MIT */
/*
 * config.c - reads the configuration with inih; see config.h. config_files.c finds and reads the files.
 *
 * inih tells neither the number of a line nor a line that it cuts, nor a section without keys, and cuts the names of long ones. So it
 * gets its lines from here, where all that is looked at.
 *
 * A file that is still being written, or was cut off, must not pass for a whole one: each ends with the end of a line, none is empty,
 * and one that begins with the section [begin] ends with [end].
 */
#include <errno.h>
#include <ini.h>
#include <limits.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config_files.h"
#include "escape.h"
#include "keys.h"
#include "narrow.h"
#include "options.h"
#include "topic_rules.h"

#define SHOWN_SIZE 256u
#define SPACES " \t\r"

struct config {
	struct config_file *file;
	struct sources *sources;
	struct options scratch; /* where values are tried */
	const char *at, *end;   /* at: what inih has not had yet */
	unsigned line;   /* that inih had last */
	bool has_key;    /* there was one in this section */
	bool continues;  /* the line is indented behind a key: more of the value before it */
	bool begins, ends;        /* [begin] and [end] were there */
	char *section, *argument; /* that the lines are in; "": none yet */
	/* Of [rights] or a [topic], which may go on in the next line: its text (of a [topic] only who is named), right and first
	 * line; else NULL. */
	char *rule;
	uint32_t rule_right;
	unsigned rule_line;
	unsigned first_at[KEY_MAX]; /* the line of each key; 0: not there */
};

static void fail(struct config *config, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Only the first mistake is told; the others may come of it. */
static void fail(struct config *config, int error, const char *format, ...)
{
	char text[3 * SHOWN_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	config_file_fail(config->file, error, config->line, text);
}

static bool has_failed(const struct config *config)
{
	return config->file->error < 0;
}

static const char *shown(const char *text, char *ret)
{
	escape(text, strlen(text), ret, SHOWN_SIZE);
	return ret;
}

/* --- what is taken --------------------------------------------------------------------------------- */

static void add(struct config *config, const char *name, const char *value, const char *plain, unsigned line)
{
	int r = sources_add(config->sources, &(struct setting){ .section = config->section,
	                                                        .argument = config->argument,
	                                                        .name = (char *)(uintptr_t)name,
	                                                        .value = (char *)(uintptr_t)value,
	                                                        .plain = (char *)(uintptr_t)plain,
	                                                        .file = config->file->path,
	                                                        .line = line });

	if (r < 0)
		fail(config, r, "no memory");
}

/* FILE:LINE */
static const char *place(const struct config *config, char ret[SHOWN_SIZE])
{
	snprintf(ret, SHOWN_SIZE, "%s:%u", config->file->path, config->line);
	return ret;
}

static const char *name_of_right(uint32_t right)
{
	return right == narrow_right("post") ? "post" : "subscribe";
}

/* The rule of [rights] that it is, or comes to. 0 or -errno. */
static int try_rule(struct config *config, char *ret_error)
{
	const char *name = name_of_right(config->rule_right);
	char from[SHOWN_SIZE], *rule;
	int r;

	if (!config->argument)
		return narrow_add(&config->scratch.narrow, config->rule_right, config->rule, ret_error);
	r = topic_rules_add(config->scratch.topic_rules, name, config->rule, place(config, from), ret_error);
	if (r < 0)
		return r;
	rule = topic_rules_right(config->scratch.topic_rules, config->rule);
	r = rule ? narrow_add(&config->scratch.narrow, config->rule_right, rule, ret_error) : -ENOMEM;
	free(rule);
	return r;
}

static void end_rule(struct config *config)
{
	char error[NARROW_ERROR_SIZE < TOPIC_RULES_ERROR_SIZE ? TOPIC_RULES_ERROR_SIZE : NARROW_ERROR_SIZE];
	unsigned line = config->line;
	char *plain = NULL;
	int r = 0;

	if (!config->rule)
		return;
	config->line = config->rule_line;
	if (!has_failed(config))
		r = try_rule(config, error);
	if (r == -EINVAL) {
		fail(config, r, "%s: %s", name_of_right(config->rule_right), error);
	} else if (r == 0 && !has_failed(config)) {
		plain = narrow_last(config->scratch.narrow);
		if (plain)
			add(config, name_of_right(config->rule_right), config->rule, plain, config->rule_line);
	}
	if (r == -ENOMEM || (r == 0 && !plain))
		fail(config, -ENOMEM, "no memory");
	config->line = line;
	free(plain);
	free(config->rule);
	config->rule = NULL;
}

static void take_rule(struct config *config, uint32_t right, const char *text)
{
	bool continues = config->continues && config->rule;
	char *rule = NULL;
	int n;

	if (!continues) {
		end_rule(config);
		config->rule_right = right;
		config->rule_line = config->line;
	}
	n = asprintf(&rule, "%s%s%s", continues ? config->rule : "", continues ? " " : "", text);
	free(config->rule);
	config->rule = n < 0 ? NULL : rule;
	if (n < 0)
		fail(config, -ENOMEM, "no memory");
}

static void take_topic_key(struct config *config, const char *name, const char *value)
{
	char error[TOPIC_RULES_ERROR_SIZE], from[SHOWN_SIZE], text[SHOWN_SIZE];
	int r;

	if (config->continues) {
		fail(config, -EINVAL, "%s takes one line", shown(name, text));
		return;
	}
	r = topic_rules_add(config->scratch.topic_rules, name, value, place(config, from), error);
	if (r == -ENOENT)
		fail(config, -EINVAL, "there is no key '%s' in sections [topic \"PATTERN\"]", shown(name, text));
	else if (r == -EINVAL)
		fail(config, r, "%s", error);
	else if (r < 0)
		fail(config, r, "no memory");
	else
		add(config, name, value, NULL, config->line);
}

static void take_key(struct config *config, const struct key *key, const char *value)
{
	unsigned *first_at = &config->first_at[key - keys];
	char range[KEY_TEXT_SIZE], text[SHOWN_SIZE];
	int r;

	if (strcmp(config->section, key->section) != 0) {
		fail(config, -EINVAL, "%s belongs in the section [%s]", key->name, key->section);
		return;
	}
	if (*first_at > 0) {
		fail(config, -EINVAL, config->continues ? "%s takes one line (line %u)" : "%s is set already, in line %u", key->name,
		     *first_at);
		return;
	}
	*first_at = config->line;
	r = key_set(key, value, &config->scratch);
	if (r == -EINVAL) {
		key_range(key, range);
		fail(config, r, "%s takes %s, not '%s'", key->name, range, shown(value, text));
	} else if (r < 0) {
		fail(config, r, "no memory");
	} else {
		add(config, key->name, value, NULL, config->line);
	}
}

/* 1: go on. */
static int take(void *arg, const char *section, const char *name, const char *value)
{
	struct config *config = arg;
	bool of_topic = config->argument != NULL;
	const struct key *key = name && !of_topic ? key_find(name) : NULL;
	char text[SHOWN_SIZE];

	(void)section; /* next_line knows it whole */
	if (!name)
		return 1; /* a section begins: some builds of inih tell that */
	if (!value)
		value = "";
	config->has_key = true;
	if (!config->continues)
		end_rule(config);
	if (config->ends)
		fail(config, -EINVAL, "nothing may stand behind [%s]", KEY_SECTION_END);
	else if (of_topic && !narrow_right(name))
		take_topic_key(config, name, value);
	else if (key)
		take_key(config, key, value);
	else if ((of_topic || strcmp(config->section, KEY_SECTION_RIGHTS) == 0) && narrow_right(name))
		take_rule(config, narrow_right(name), value);
	else
		fail(config, -EINVAL, "there is no key '%s' in section [%s]", shown(name, text), config->section);
	return !has_failed(config);
}

/* --- lines ----------------------------------------------------------------------------------------- */

static bool is_nothing(const char *text)
{
	text += strspn(text, SPACES);
	return text[0] == '\n' || text[0] == '\0' || text[0] == '#' || text[0] == ';';
}

/* The section's name, cut out of the line; *ret_whole: nothing is behind it. */
static const char *split_section(char *line, bool *ret_whole)
{
	char *name = line + 1 + strspn(line + 1, SPACES), *end = name + strcspn(name, "]\" \t\r\n"), *at = end + strspn(end, SPACES);

	*ret_whole = at[0] == ']' && is_nothing(at + 1);
	*end = '\0';
	return name;
}

static void begin_or_end(struct config *config, const char *name)
{
	if (strcmp(name, KEY_SECTION_END) == 0)
		config->ends = true;
	else if (config->section[0] || config->begins)
		fail(config, -EINVAL, "[%s] stands before everything else", KEY_SECTION_BEGIN);
	else
		config->begins = true;
}

/* [topic "PATTERN"]. Even one without keys is noted. */
static int begin_topic(struct config *config, const char *pattern)
{
	char error[TOPIC_RULES_ERROR_SIZE], from[SHOWN_SIZE];
	int r = topic_rules_begin(&config->scratch.topic_rules, pattern, place(config, from), error);

	if (r == 0)
		r = narrow_check_links(pattern, error);
	if (r == -EINVAL)
		fail(config, r, "%s", error);
	else if (r < 0)
		fail(config, r, "no memory");
	return r;
}

/* `pattern`: of a [topic]; NULL: it is another section. */
static void enter_section(struct config *config, const char *name, const char *pattern)
{
	char *section, *argument;

	if (config->ends) {
		fail(config, -EINVAL, "nothing may stand behind [%s]", KEY_SECTION_END);
		return;
	}
	if (pattern && begin_topic(config, pattern) < 0)
		return;
	if (strcmp(name, KEY_SECTION_BEGIN) == 0 || strcmp(name, KEY_SECTION_END) == 0)
		begin_or_end(config, name);
	section = strdup(name);
	argument = pattern ? strdup(pattern) : NULL;
	if (!section || (pattern && !argument)) {
		fail(config, -ENOMEM, "no memory");
		free(section);
		free(argument);
		return;
	}
	free(config->section);
	free(config->argument);
	config->section = section;
	config->argument = argument;
	if (pattern)
		add(config, "", "", NULL, config->line);
}

/* inih need not know it, and would take none that is so long as a pattern may be, or has a ] in it. */
static void take_section(struct config *config, char *line)
{
	char pattern[PATH_MAX], error[TOPIC_RULES_ERROR_SIZE], text[SHOWN_SIZE];
	const char *name;
	bool is_whole;
	int r;

	end_rule(config);
	r = topic_rules_header(line, pattern, sizeof(pattern), error);
	if (r != 0) {
		if (r > 0)
			enter_section(config, TOPIC_RULES_SECTION, pattern);
		else
			fail(config, -EINVAL, "%s", error);
		return;
	}
	name = split_section(line, &is_whole);
	if (name[0] && !key_section_exists(name))
		fail(config, -EINVAL, "there is no section [%s]", shown(name, text));
	else if (!is_whole || !name[0])
		fail(config, -EINVAL, "a section is written [NAME], or [topic \"PATTERN\"]");
	else
		enter_section(config, name, NULL);
}

/* As fgets. A line that does not fit would be cut in two. */
static char *next_line(char *ret, int size, void *stream)
{
	struct config *config = stream;
	size_t left = (size_t)(config->end - config->at), n;
	const char *newline = memchr(config->at, '\n', left);

	if (left == 0 || has_failed(config))
		return NULL;
	config->line++;
	if (!newline) {
		fail(config, -EINVAL, "the last line has no end: was the file cut off, or is it still being written?");
		return NULL;
	}
	n = (size_t)(newline - config->at);
	if (config->at[0] == '[') {
		char *line = strndup(config->at, n);

		config->at += n + 1;
		config->has_key = config->continues = false;
		if (line)
			take_section(config, line);
		else
			fail(config, -ENOMEM, "no memory");
		free(line);
		return strcpy(ret, "[]\n");
	}
	if (n + 3 > (size_t)size) {
		fail(config, -EINVAL, "the line is longer than %d bytes; a value goes on in indented lines", size - 3);
		return NULL;
	}
	memcpy(ret, config->at, n);
	config->at += n + 1;
	ret[n] = '\n';
	ret[n + 1] = '\0';
	config->continues = config->has_key && (ret[0] == ' ' || ret[0] == '\t');
	if (ret[strspn(ret, " \t")] == '[')
		fail(config, -EINVAL, "a section's name stands at the beginning of its line");
	return ret;
}

/* --- a file ---------------------------------------------------------------------------------------- */

static void parse(struct config *config)
{
	int r = ini_parse_stream(next_line, config, take, config);

	end_rule(config);
	/* What inih finds itself it tells at the end only: it may have come before. */
	if (r != 0 && (!has_failed(config) || (r > 0 && config->file->wrong_line > (unsigned)r))) {
		config->file->error = 0;
		config->line = r > 0 ? (unsigned)r : 0;
		fail(config, r > 0 ? -EINVAL : -ENOMEM, r > 0 ? "neither [SECTION] nor KEY = VALUE" : "no memory");
	}
	if (config->begins && !config->ends)
		fail(config, -EINVAL, "it begins with [%s], and does not end with [%s]: was the file cut off, or is it still being "
		     "written?", KEY_SECTION_BEGIN, KEY_SECTION_END);
}

void config_parse(struct config_file *file, const char *text, size_t size, struct sources *sources)
{
	static const char mark[] = "\xef\xbb\xbf"; /* of UTF-8, which some editors write */
	struct config config = { .file = file, .sources = sources, .at = text, .end = text + size, .section = strdup("") };

	if (size >= sizeof(mark) - 1 && memcmp(text, mark, sizeof(mark) - 1) == 0)
		config.at += sizeof(mark) - 1;
	if (!config.section)
		fail(&config, -ENOMEM, "no memory");
	else if (config.at == config.end)
		fail(&config, -EINVAL, "is empty: was the file cut off, or is it still being written? A comment is enough where nothing "
		     "is to be set");
	else
		parse(&config);
	free(config.section);
	free(config.argument);
	options_deinit(&config.scratch);
}
