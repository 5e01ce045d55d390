/* SPDX-License-Identifier: MIT */
/*
 * config.c - reads the configuration with inih; see config.h.
 *
 * inih tells neither the number of a line nor a line that it cuts, nor a section without keys. So it gets its lines from here,
 * where all that is looked at. Whatever is wrong, the daemon does not start: half a configuration is none.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "escape.h"
#include "exit.h"
#include "keys.h"
#include "narrow.h"

#define MAX_SIZE (UINT64_C(1) << 20)
#define SHOWN_SIZE 256u

struct config {
	const char *path;
	struct options *options;
	char *text, *at, *end; /* at: what inih has not had yet */
	unsigned line;   /* that inih had last */
	bool continues;  /* it is indented: more of the value before it */
	char *rule;      /* of [rights], which may go on in the next line: its text, right and first line; else NULL */
	uint32_t rule_right;
	unsigned rule_line;
	int status;      /* -1 until something is wrong: what, and in which line */
	unsigned wrong_line;
	char wrong[2 * SHOWN_SIZE];
	unsigned first_at[KEY_MAX]; /* the line of each key; 0: not there */
};

static void fail(struct config *config, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Only the first mistake is told; the others may come of it. */
static void fail(struct config *config, const char *format, ...)
{
	va_list args;

	if (config->status >= 0)
		return;
	config->status = EXIT_USAGE;
	config->wrong_line = config->line;
	va_start(args, format);
	vsnprintf(config->wrong, sizeof(config->wrong), format, args);
	va_end(args);
}

static void tell(const struct config *config)
{
	if (config->status < 0)
		return;
	fprintf(stderr, "pathbusd: %s", config->path);
	if (config->wrong_line > 0)
		fprintf(stderr, ":%u", config->wrong_line);
	fprintf(stderr, ": %s\n", config->wrong);
}

static const char *shown(const char *text, char *ret)
{
	escape(text, strlen(text), ret, SHOWN_SIZE);
	return ret;
}

/* --- rules ----------------------------------------------------------------------------------------- */

static void end_rule(struct config *config)
{
	char error[NARROW_ERROR_SIZE];
	unsigned line = config->line;
	int r;

	if (!config->rule)
		return;
	r = config->status < 0 ? narrow_add(&config->options->narrow, config->rule_right, config->rule, error) : 0;
	config->line = config->rule_line;
	if (r < 0)
		fail(config, "%s: %s", config->rule_right == narrow_right("post") ? "post" : "subscribe",
		     r == -ENOMEM ? "no memory" : error);
	config->line = line;
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
		fail(config, "no memory");
}

/* --- lines ----------------------------------------------------------------------------------------- */

static void check_section(struct config *config, const char *line)
{
	char name[64], text[SHOWN_SIZE];
	const char *end = strchr(line, ']');
	size_t size = end ? (size_t)(end - line) - 1 : 0;

	if (!end)
		fail(config, "a section is written [NAME]");
	else if (size >= sizeof(name))
		fail(config, "there is no section of so long a name");
	else {
		memcpy(name, line + 1, size);
		name[size] = '\0';
		if (!key_section_exists(name))
			fail(config, "there is no section [%s]", shown(name, text));
	}
}

/* As fgets. A line that does not fit would be cut in two. */
static char *next_line(char *ret, int size, void *stream)
{
	struct config *config = stream;
	size_t left = (size_t)(config->end - config->at), n;
	const char *newline = memchr(config->at, '\n', left);

	if (left == 0 || config->status >= 0)
		return NULL;
	n = newline ? (size_t)(newline - config->at) : left;
	config->line++;
	if (n + 3 > (size_t)size) {
		fail(config, "the line is longer than %d bytes; a value goes on in indented lines", size - 3);
		return NULL;
	}
	memcpy(ret, config->at, n);
	config->at += n + (newline != NULL);
	ret[n] = '\n';
	ret[n + 1] = '\0';
	config->continues = ret[0] == ' ' || ret[0] == '\t';
	if (ret[strspn(ret, " \t")] == '[') {
		if (config->continues)
			fail(config, "a section's name stands at the beginning of its line");
		else
			check_section(config, ret);
	}
	return ret;
}

/* --- keys ------------------------------------------------------------------------------------------ */

static void take_key(struct config *config, const struct key *key, const char *section, const char *value)
{
	unsigned *first_at = &config->first_at[key - keys];
	char range[KEY_TEXT_SIZE], text[SHOWN_SIZE];

	if (strcmp(section, key->section) != 0) {
		fail(config, "%s belongs in the section [%s]", key->name, key->section);
		return;
	}
	if (*first_at > 0) {
		fail(config, config->continues ? "%s takes one line (line %u)" : "%s is set already, in line %u", key->name,
		     *first_at);
		return;
	}
	*first_at = config->line;
	switch (key_set(key, value, config->options)) {
	case 0:
		return;
	case -ENOMEM:
		fail(config, "no memory");
		config->status = EXIT_FAILED;
		return;
	default:
		key_range(key, range);
		fail(config, "%s takes %s, not '%s'", key->name, range, shown(value, text));
	}
}

/* 1: go on. */
static int take(void *arg, const char *section, const char *name, const char *value)
{
	struct config *config = arg;
	const struct key *key = name ? key_find(name) : NULL;
	char text[SHOWN_SIZE];

	if (!name)
		return 1; /* a section begins: some builds of inih tell that */
	if (key)
		take_key(config, key, section, value ? value : "");
	else if (strcmp(section, KEY_SECTION_RIGHTS) == 0 && narrow_right(name))
		take_rule(config, narrow_right(name), value ? value : "");
	else
		fail(config, "there is no key '%s' in section [%s]", shown(name, text), section);
	return config->status < 0;
}

/* --- the file -------------------------------------------------------------------------------------- */

static bool check_file(struct config *config, const struct stat *st, bool trusted)
{
	if (!S_ISREG(st->st_mode))
		fail(config, "is no regular file");
	else if (st->st_size < 0 || (uint64_t)st->st_size > MAX_SIZE)
		fail(config, "is larger than 1M");
	else if (trusted && st->st_uid != 0 && st->st_uid != geteuid())
		fail(config, "belongs to user %u, who could change what all users may do; make it root's", st->st_uid);
	else if (trusted && st->st_mode & (S_IWGRP | S_IWOTH))
		fail(config, "others than its owner may write it; take that away with chmod go-w");
	else
		return true;
	return false;
}

/* The whole file: what is checked is what is read. NULL: told why. */
static char *read_file(struct config *config, int fd, size_t size)
{
	char *text = malloc(size + 1);
	size_t used = 0;
	ssize_t n = 1;

	if (!text) {
		fail(config, "no memory");
		return NULL;
	}
	while (used < size && n > 0) {
		n = read(fd, text + used, size - used);
		if (n < 0 && errno == EINTR)
			n = 1;
		else if (n > 0)
			used += (size_t)n;
	}
	text[used] = '\0';
	config->end = text + used;
	if (n < 0)
		fail(config, "cannot be read: %s", strerror(errno));
	else if (strlen(text) != used)
		fail(config, "is no text: it has a zero byte");
	else
		return text;
	free(text);
	return NULL;
}

static void parse(struct config *config)
{
	int r = ini_parse_stream(next_line, config, take, config);

	end_rule(config);
	/* What inih finds itself it tells at the end only: it may have come before. */
	if (r == 0 || (config->status >= 0 && (r < 0 || config->wrong_line <= (unsigned)r)))
		return;
	config->status = -1;
	config->line = r > 0 ? (unsigned)r : 0;
	fail(config, r > 0 ? "neither [SECTION] nor KEY = VALUE" : "no memory");
}

int config_read(const char *path, bool trusted, struct options *options)
{
	struct config config = { .path = path, .options = options, .status = -1 };
	struct stat st;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

	if (fd < 0 || fstat(fd, &st) < 0)
		fail(&config, "cannot be read: %s", strerror(errno));
	else if (check_file(&config, &st, trusted))
		config.text = read_file(&config, fd, (size_t)st.st_size);
	if (fd >= 0)
		close(fd);
	if (config.text) {
		config.at = config.text;
		parse(&config);
		free(config.text);
	}
	tell(&config);
	return config.status;
}
