/* SPDX-License-Identifier: MIT */
/* glob.c - see glob.h. */
#include "glob.h"

#include <ctype.h>
#include <string.h>

static const struct {
	const char *name;
	int (*is)(int c);
} classes[] = {
	{ "alpha", isalpha }, { "digit", isdigit }, { "alnum", isalnum }, { "upper", isupper }, { "lower", islower }, { "space", isspace },
	{ "blank", isblank }, { "punct", ispunct }, { "print", isprint }, { "graph", isgraph }, { "cntrl", iscntrl }, { "xdigit", isxdigit },
};

/* Behind "[:": whether it is one; then its size, with its end, and whether `c` is of it. */
static bool class_at(const char *at, const char *end, unsigned char c, size_t *ret_size, bool *ret_has)
{
	for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		size_t n = strlen(classes[i].name);

		if ((size_t)(end - at) < n + 2 || memcmp(at, classes[i].name, n) != 0 || at[n] != ':' || at[n + 1] != ']')
			continue;
		*ret_size = n + 2;
		*ret_has = classes[i].is(c) != 0;
		return true;
	}
	return false;
}

/* One byte of a set, which may have a backslash before it. */
static bool byte_at(const char **at, const char *end, unsigned char *ret)
{
	if (**at == '\\' && ++*at == end)
		return false;
	*ret = (unsigned char)*(*at)++;
	return true;
}

/* Behind the "[": where the set ends, and whether it has `c`; NULL: it has no end, and the [ stands for itself. */
static const char *set_at(const char *at, const char *end, unsigned char c, bool *ret_has)
{
	bool is_not = at < end && (*at == '!' || *at == '^'), has = false;
	const char *first;

	at += is_not;
	for (first = at; at < end; ) {
		unsigned char low, high;
		size_t size;
		bool is_of;

		if (*at == ']' && at != first) {
			*ret_has = has != is_not;
			return at + 1;
		}
		if (end - at > 2 && at[0] == '[' && at[1] == ':' && class_at(at + 2, end, c, &size, &is_of)) {
			has |= is_of;
			at += 2 + size;
			continue;
		}
		if (!byte_at(&at, end, &low))
			return NULL;
		high = low;
		if (end - at > 1 && at[0] == '-' && at[1] != ']') {
			at++;
			if (!byte_at(&at, end, &high))
				return NULL;
		}
		has |= low <= c && c <= high;
	}
	return NULL;
}

/* What stands for one byte, at `at`: whether that is `c`, and where it ends. */
static bool one_matches(const char *at, const char *end, unsigned char c, const char **ret_end)
{
	const char *behind;
	bool has;

	*ret_end = at + 1;
	switch (*at) {
	case '?':
		return true;
	case '[':
		behind = set_at(at + 1, end, c, &has);
		if (!behind)
			return c == '[';
		*ret_end = behind;
		return has;
	case '\\':
		if (at + 1 == end)
			return false;
		*ret_end = at + 2;
		return (unsigned char)at[1] == c;
	default:
		return (unsigned char)*at == c;
	}
}

/* Where it goes wrong behind a star that stands for one byte more: the last star will do, since what came before it matches. */
bool glob_matches(const char *pattern, size_t pattern_size, const char *name, size_t name_size)
{
	const char *end = pattern + pattern_size, *name_end = name + name_size, *star = NULL, *star_name = NULL;

	while (name < name_end) {
		const char *behind;

		if (pattern < end && *pattern == '*') {
			star = ++pattern;
			star_name = name;
		} else if (pattern < end && one_matches(pattern, end, (unsigned char)*name, &behind)) {
			pattern = behind;
			name++;
		} else if (star) {
			pattern = star;
			name = ++star_name;
		} else {
			return false;
		}
	}
	while (pattern < end && *pattern == '*')
		pattern++;
	return pattern == end;
}
