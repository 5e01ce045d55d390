/* SPDX-License-Identifier: MIT */
/* narrow.c - see narrow.h. */
#include "narrow.h"

#include <errno.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "glob.h"
#include "wire.h"

#define MAX_COMPARED 1000000u /* rules with each other */

struct named {
	bool is_group;
	uint32_t id;
};

struct rule {
	struct rule *next;
	uint32_t right;
	char *pattern;
	struct named *named;
	size_t n_named;
	bool differs; /* narrow_compare */
};

struct narrow {
	struct rule *first, **last;
	size_t n;
};

/* --- patterns -------------------------------------------------------------------------------------- */

/* The component at `at`, without slashes: its length. */
static size_t component(const char *at)
{
	return strcspn(at, "/");
}

static const char *next_component(const char *at)
{
	at += component(at);
	return at + strspn(at, "/");
}

static bool is_any_number(const char *at)
{
	return component(at) == 2 && at[0] == '*' && at[1] == '*';
}

static bool component_matches(const char *pattern, const char *path)
{
	return glob_matches(pattern, component(pattern), path, component(path));
}

/* Where it goes wrong behind a "**" that stands for one component more. */
bool narrow_matches(const char *pattern, const char *path)
{
	const char *again_pattern = NULL, *again_path = NULL;

	pattern += strspn(pattern, "/");
	path += strspn(path, "/");
	while (*path || *pattern) {
		if (is_any_number(pattern)) {
			again_pattern = pattern = next_component(pattern);
			again_path = path;
		} else if (*pattern && *path && component_matches(pattern, path)) {
			pattern = next_component(pattern);
			path = next_component(path);
		} else if (again_pattern && *again_path) {
			pattern = again_pattern;
			path = again_path = next_component(again_path);
		} else {
			return false;
		}
	}
	return true;
}

static bool escapes_nothing(const char *at, size_t size)
{
	size_t n = 0;

	while (n < size && at[size - 1 - n] == '\\')
		n++;
	return n % 2;
}

/* Why no path can ever be like this; NULL: it is a pattern. */
static const char *pattern_error(const char *pattern)
{
	if (pattern[0] != '/')
		return "a pattern begins with /";
	for (const char *at = pattern + 1; *at; at += component(at), at += *at == '/') {
		size_t size = component(at);

		if (size == 0 || (size == 1 && at[0] == '.') || (size == 2 && memcmp(at, "..", 2) == 0))
			return "a pattern has no empty component, no . and no ..";
		if (size > NAME_MAX)
			return "a component of the pattern is longer than a file's name may be";
		if (escapes_nothing(at, size))
			return "a \\ in the pattern has nothing behind it";
		if (at[size] == '/' && at[size + 1] == '\0')
			return "a pattern does not end with /";
	}
	return NULL;
}

int narrow_check_pattern(const char *pattern, char *ret_error)
{
	const char *wrong = pattern_error(pattern);

	if (wrong)
		snprintf(ret_error, NARROW_ERROR_SIZE, "%s", wrong);
	return wrong ? -EINVAL : 0;
}

/* --- rules ----------------------------------------------------------------------------------------- */

uint32_t narrow_right(const char *key)
{
	if (strcmp(key, "subscribe") == 0)
		return WIRE_RIGHT_SUBSCRIBE;
	return strcmp(key, "post") == 0 ? WIRE_RIGHT_POST : 0;
}

static bool parse_number(const char *text, uint32_t *ret)
{
	uint64_t value = 0;

	if (text[0] == '\0')
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value >= UINT32_MAX) /* (uid_t)-1 is nobody's */
			return false;
	}
	*ret = (uint32_t)value;
	return true;
}

/* `plain`: there are only numbers. */
static bool find_named(const char *text, bool plain, struct named *ret)
{
	*ret = (struct named){ .is_group = text[0] == '@' };
	if (ret->is_group)
		text++;
	if (parse_number(text, &ret->id))
		return true;
	if (plain)
		return false;
	if (ret->is_group) {
		const struct group *group = getgrnam(text);

		if (group)
			ret->id = group->gr_gid;
		return group != NULL;
	}
	const struct passwd *user = getpwnam(text);

	if (user)
		ret->id = user->pw_uid;
	return user != NULL;
}

/* Without the spaces around it, in place. */
static char *trim(char *text)
{
	size_t size;

	text += strspn(text, " \t");
	size = strlen(text);
	while (size > 0 && (text[size - 1] == ' ' || text[size - 1] == '\t'))
		size--;
	text[size] = '\0';
	return text;
}

static int take_named(struct rule *rule, char *list, bool plain, char *ret_error)
{
	char *rest = trim(list), *text;

	while (*rest) {
		char shown[128];
		struct named named, *all;

		text = strsep(&rest, ",");
		text = trim(text);
		if (!find_named(text, plain, &named)) {
			escape(text, strlen(text), shown, sizeof(shown));
			snprintf(ret_error, NARROW_ERROR_SIZE, text[0] == '@' ? "there is no group '%s'" : "there is no user '%s'",
			         shown);
			return -EINVAL;
		}
		all = realloc(rule->named, (rule->n_named + 1) * sizeof(*all));
		if (!all)
			return -ENOMEM;
		rule->named = all;
		all[rule->n_named++] = named;
		if (!rest)
			break;
		rest = trim(rest);
		if (!*rest) {
			snprintf(ret_error, NARROW_ERROR_SIZE, "nobody is named behind the last comma");
			return -EINVAL;
		}
	}
	return 0;
}

/*
 * Paths are compared without their symbolic links, so a pattern that has one matches nothing. Its folders are looked at as far as
 * they are plain text and exist now.
 */
int narrow_check_links(const char *pattern, char *ret_error)
{
	char folder[PATH_MAX], shown[NARROW_ERROR_SIZE / 2], *real;
	size_t size = strcspn(pattern, "*?[\\");
	int r = 0;

	if (size >= sizeof(folder))
		return 0;
	memcpy(folder, pattern, size);
	folder[size] = '\0';
	for (char *end; (end = strrchr(folder, '/')) && end != folder;) {
		*end = '\0';
		real = realpath(folder, NULL);
		if (!real)
			continue;
		if (strcmp(real, folder) != 0) {
			escape(real, strlen(real), shown, sizeof(shown));
			snprintf(ret_error, NARROW_ERROR_SIZE, "there is a symbolic link in the pattern: its folder is %s", shown);
			r = -EINVAL;
		}
		free(real);
		break;
	}
	return r;
}

static void rule_free(struct rule *rule)
{
	free(rule->pattern);
	free(rule->named);
	free(rule);
}

/* `text` is cut up. */
static int rule_fill(struct rule *rule, char *text, bool plain, char *ret_error)
{
	char *colon = strrchr(text, ':'), *pattern;

	if (!colon) {
		snprintf(ret_error, NARROW_ERROR_SIZE, "takes PATTERN : WHO, WHO...");
		return -EINVAL;
	}
	*colon = '\0';
	pattern = trim(text);
	if (narrow_check_pattern(pattern, ret_error) < 0 || (!plain && narrow_check_links(pattern, ret_error) < 0))
		return -EINVAL;
	rule->pattern = strdup(pattern);
	return rule->pattern ? take_named(rule, colon + 1, plain, ret_error) : -ENOMEM;
}

static int add(struct narrow **narrow, uint32_t right, const char *text, bool plain, char *ret_error)
{
	struct rule *rule = calloc(1, sizeof(*rule));
	char *copy = strdup(text);
	int r = -ENOMEM;

	if (rule && copy) {
		rule->right = right;
		r = rule_fill(rule, copy, plain, ret_error);
	}
	free(copy);
	if (r == 0 && !*narrow) {
		*narrow = malloc(sizeof(**narrow));
		if (*narrow)
			**narrow = (struct narrow){ .last = &(*narrow)->first };
		else
			r = -ENOMEM;
	}
	if (r < 0) {
		if (rule)
			rule_free(rule);
		return r;
	}
	*(*narrow)->last = rule;
	(*narrow)->last = &rule->next;
	(*narrow)->n++;
	return 0;
}

int narrow_add(struct narrow **narrow, uint32_t right, const char *text, char *ret_error)
{
	return add(narrow, right, text, false, ret_error);
}

int narrow_add_plain(struct narrow **narrow, uint32_t right, const char *text, char *ret_error)
{
	return add(narrow, right, text, true, ret_error);
}

char *narrow_last(const struct narrow *narrow)
{
	const struct rule *rule = narrow->first;
	size_t size, used;
	char *text;

	while (rule->next)
		rule = rule->next;
	size = strlen(rule->pattern) + sizeof(" :") + rule->n_named * sizeof(" @4294967295,");
	text = malloc(size);
	if (!text)
		return NULL;
	used = (size_t)snprintf(text, size, "%s :", rule->pattern);
	for (size_t i = 0; i < rule->n_named; i++)
		used += (size_t)snprintf(text + used, size - used, "%s %s%u", i > 0 ? "," : "", rule->named[i].is_group ? "@" : "",
		                         (unsigned)rule->named[i].id);
	return text;
}

struct narrow *narrow_free(struct narrow *narrow)
{
	while (narrow && narrow->first) {
		struct rule *rule = narrow->first;

		narrow->first = rule->next;
		rule_free(rule);
	}
	free(narrow);
	return NULL;
}

/* --- what is left ---------------------------------------------------------------------------------- */

static bool is_in(const struct narrow_who *who, gid_t gid)
{
	if (who->gid == gid)
		return true;
	for (size_t i = 0; i < who->n_groups; i++)
		if (who->groups[i] == gid)
			return true;
	return false;
}

static bool names(const struct rule *rule, const struct narrow_who *who)
{
	for (size_t i = 0; i < rule->n_named; i++)
		if (rule->named[i].is_group ? is_in(who, rule->named[i].id) : who->uid == rule->named[i].id)
			return true;
	return false;
}

static bool applies(const struct rule *rule, const char *path)
{
	return path[0] == '\0' || narrow_matches(rule->pattern, path);
}

uint32_t narrow_rights(const struct narrow *narrow, const char *path, const struct narrow_who *who, uint32_t rights)
{
	for (const struct rule *rule = narrow ? narrow->first : NULL; rule && rights; rule = rule->next)
		if (rights & rule->right && !names(rule, who) && applies(rule, path))
			rights &= ~rule->right;
	return rights;
}

static bool is_equal(const struct rule *a, const struct rule *b)
{
	if (a->right != b->right || a->n_named != b->n_named || strcmp(a->pattern, b->pattern) != 0)
		return false;
	for (size_t i = 0; i < a->n_named; i++)
		if (a->named[i].is_group != b->named[i].is_group || a->named[i].id != b->named[i].id)
			return false;
	return true;
}

static void mark_all(struct narrow *narrow)
{
	for (struct rule *rule = narrow ? narrow->first : NULL; rule; rule = rule->next)
		rule->differs = true;
}

void narrow_compare(struct narrow *a, struct narrow *b)
{
	mark_all(a);
	mark_all(b);
	if (!a || !b || a->n > MAX_COMPARED / b->n)
		return;
	for (struct rule *of_a = a->first; of_a; of_a = of_a->next) {
		struct rule *of_b = b->first;

		while (of_b && (!of_b->differs || !is_equal(of_a, of_b)))
			of_b = of_b->next;
		if (of_b)
			of_a->differs = of_b->differs = false;
	}
}

bool narrow_concerns(const struct narrow *narrow, const char *path)
{
	for (const struct rule *rule = narrow ? narrow->first : NULL; rule; rule = rule->next)
		if (rule->differs && applies(rule, path))
			return true;
	return false;
}

bool narrow_is_same(const struct narrow *narrow, const char *a, const char *b)
{
	for (const struct rule *rule = narrow ? narrow->first : NULL; rule; rule = rule->next)
		if (applies(rule, a) != applies(rule, b))
			return false;
	return true;
}
