/* SPDX-License-Identifier: MIT */
/*
 * options.c - command lines by a table.
 *
 * getopt_long would do most of it, but takes abbreviations, which scripts then depend on, and tells errors in
 * words of its own.
 */
#include "options.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tell.h"

#define MAX_SECONDS 1e9 /* 31 years; what is longer is a mistake, or means "no limit" */

/* By long name (length `size`), or by letter if `name` is NULL. */
static const struct option_spec *find(const struct option_group groups[2], const char *name, size_t size,
				      int letter, option_set **ret_set)
{
	for (int i = 0; i < 2; i++)
		for (const struct option_spec *at = groups[i].specs; at && at->name; at++)
			if (name ? strlen(at->name) == size && memcmp(at->name, name, size) == 0
				 : at->id == letter) {
				*ret_set = groups[i].set;
				return at;
			}
	return NULL;
}

/* `next` is the following word or NULL. Returns how many words were used, or -1. */
static int take_long(const struct option_group groups[2], const char *word, const char *next)
{
	size_t size = strcspn(word + 2, "=");
	const char *value = word[2 + size] ? word + 2 + size + 1 : NULL;
	option_set *set;
	const struct option_spec *spec = find(groups, word + 2, size, 0, &set);

	if (!spec) {
		tell("unknown option %s", tell_part(word, size + 2));
		return -1;
	}
	if (!spec->value && value) {
		tell("option --%s takes no value", spec->name);
		return -1;
	}
	if (!spec->value)
		return set(spec->id, NULL) ? 1 : -1;
	if (value)
		return set(spec->id, value) ? 1 : -1;
	if (!next) {
		tell("option --%s needs a value: --%s %s", spec->name, spec->name, spec->value);
		return -1;
	}
	return set(spec->id, next) ? 2 : -1;
}

/* -vq is -v -q. A letter with a value is the last of its word: -vm TEXT, or -vmTEXT. Returns as take_long. */
static int take_letters(const struct option_group groups[2], const char *word, const char *next)
{
	for (const char *at = word + 1; *at; at++) {
		option_set *set;
		const struct option_spec *spec = find(groups, NULL, 0, *at, &set);

		if (!spec) {
			if (*at >= '0' && *at <= '9' && at == word + 1)
				tell("unknown option %s; numbers are from 0 to 18446744073709551615, and a word that begins "
				     "with - comes after --", tell_name(word));
			else
				tell("unknown option -%c", *at >= ' ' && *at <= '~' ? *at : '?');
			return -1;
		}
		if (spec->value && at[1])
			return set(spec->id, at + 1) ? 1 : -1;
		if (spec->value && !next) {
			tell("option -%c needs a value: -%c %s", *at, *at, spec->value);
			return -1;
		}
		if (!set(spec->id, spec->value ? next : NULL))
			return -1;
		if (spec->value)
			return 2;
	}
	return 1;
}

int options_take(const struct option_group groups[2], int argc, char **argv, bool stop_at_word)
{
	int at = 0, n_words = 0;

	while (at < argc) {
		const char *next = at + 1 < argc ? argv[at + 1] : NULL;
		int used;

		if (argv[at][0] != '-' || argv[at][1] == '\0') {
			if (stop_at_word)
				break;
			argv[n_words++] = argv[at++];
			continue;
		}
		if (strcmp(argv[at], "--") == 0) {
			at++;
			break;
		}
		if (argv[at][1] == '-')
			used = take_long(groups, argv[at], next);
		else
			used = take_letters(groups, argv[at], next);
		if (used < 0)
			return -1;
		at += used;
	}
	while (at < argc)
		argv[n_words++] = argv[at++];
	return n_words;
}

void options_help(const struct option_spec *specs)
{
	for (const struct option_spec *at = specs; at->name; at++) {
		char left[64];

		snprintf(left, sizeof(left), "%c%c%s --%s%s%s", at->id < OPTION_LONG ? '-' : ' ',
			 at->id < OPTION_LONG ? at->id : ' ', at->id < OPTION_LONG ? "," : " ", at->name,
			 at->value ? " " : "", at->value ? at->value : "");
		for (const char *line = at->help; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL)
			printf("  %-26s %.*s\n", line == at->help ? left : "", (int)strcspn(line, "\n"), line);
	}
}

bool options_word_number(const char *name, const char *value, uint64_t min, uint64_t max, uint64_t *ret)
{
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(value, &end, 10);
	/* strtoull takes blanks and a sign */
	if (value[0] < '0' || value[0] > '9' || *end || errno || number < min || number > max) {
		tell("%s needs a number from %llu to %llu, not \"%s\"", name, (unsigned long long)min,
		     (unsigned long long)max, tell_name(value));
		return false;
	}
	*ret = number;
	return true;
}

bool options_number(const char *option, const char *value, uint64_t min, uint64_t max, uint64_t *ret)
{
	char name[64];

	snprintf(name, sizeof(name), "--%s", option);
	return options_word_number(name, value, min, max, ret);
}

bool options_value(const char *name, const char *value, uint64_t *ret)
{
	bool hex = value[0] == '0' && (value[1] == 'x' || value[1] == 'X');
	char *end;
	unsigned long long number;

	errno = 0;
	number = strtoull(value, &end, hex ? 16 : 10); /* not 0: a leading 0 must not make it octal */
	if (value[0] < '0' || value[0] > '9' || *end) {
		tell("%s needs a number from 0 to 18446744073709551615, decimal or as 0x and hexadecimal digits, "
		     "not \"%s\"", name, tell_name(value));
		return false;
	}
	if (errno) {
		tell("%s has 64 bits: %s is more than 18446744073709551615 (0xffffffffffffffff)", name,
		     tell_name(value));
		return false;
	}
	*ret = number;
	return true;
}

bool options_size(const char *name, const char *value, uint64_t *ret)
{
	static const char suffixes[] = "KMGT";
	char *end;
	unsigned long long number;
	const char *suffix;
	unsigned shift = 0;

	errno = 0;
	number = strtoull(value, &end, 10);
	suffix = *end ? strchr(suffixes, *end >= 'a' ? *end - 'a' + 'A' : *end) : NULL;
	if (suffix) {
		shift = 10 * (unsigned)(suffix - suffixes + 1);
		end++;
	}
	if (value[0] < '0' || value[0] > '9' || *end || errno || number == 0 || number > UINT64_MAX >> shift) {
		tell("%s needs a number of bytes, such as 4096, 64K, 100M or 2G, not \"%s\"", name, tell_name(value));
		return false;
	}
	*ret = number << shift;
	return true;
}

bool options_seconds(const char *option, const char *value, uint64_t *ret_ns)
{
	char *end;
	double seconds = strtod(value, &end);

	if (strspn(value, "0123456789.") != strlen(value) || end == value || *end || !isfinite(seconds) ||
	    seconds > MAX_SECONDS) {
		tell("--%s needs seconds, such as 2 or 0.5, not \"%s\"", option, tell_name(value));
		return false;
	}
	*ret_ns = (uint64_t)(seconds * 1e9);
	return true;
}
