/* SPDX-License-Identifier: MIT */
/* topic_rules.c - see topic_rules.h. */
#include "topic_rules.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "narrow.h"
#include "page.h"

enum rule_key { KEY_RING, KEY_MAX_RING, KEY_MAX_MESSAGE, KEY_KEEP_STATE, KEY_LOG, KEY_SUBSCRIBE, KEY_POST, N_RULE_KEYS };

static const char *const key_names[N_RULE_KEYS] = {
	[KEY_RING] = "ring",
	[KEY_MAX_RING] = "max-ring",
	[KEY_MAX_MESSAGE] = "max-message",
	[KEY_KEEP_STATE] = "keep-state",
	[KEY_LOG] = "log",
	[KEY_SUBSCRIBE] = "subscribe",
	[KEY_POST] = "post",
};

struct rule {
	struct rule *next;
	struct topic_section section; /* as it was written */
	bool has[N_RULE_KEYS];
	struct topic_setting set;
};

struct topic_rules {
	struct rule *first, *last;
};

/* --- looking up ------------------------------------------------------------------------------------ */

static bool applies(const struct rule *rule, const char *path)
{
	return path[0] == '\0' || narrow_matches(rule->section.pattern, path);
}

/* The last one wins. */
static void take(const struct rule *rule, struct topic_setting *ret)
{
	if (rule->has[KEY_RING])
		ret->ring_slots = rule->set.ring_slots;
	if (rule->has[KEY_MAX_RING])
		ret->max_ring_slots = rule->set.max_ring_slots;
	if (rule->has[KEY_MAX_MESSAGE])
		ret->max_message = rule->set.max_message;
	if (rule->has[KEY_KEEP_STATE])
		ret->keep_s = rule->set.keep_s;
	if (rule->has[KEY_LOG])
		ret->log = rule->set.log;
}

static uint32_t smaller(uint32_t a, uint32_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* It may be any path: what is least of all. */
static void take_least(const struct rule *rule, struct topic_setting *ret)
{
	ret->max_ring_slots = smaller(ret->max_ring_slots, rule->set.max_ring_slots);
	ret->max_message = smaller(ret->max_message, rule->set.max_message);
	ret->log |= rule->set.log;
}

void topic_rules_find(const struct topic_rules *rules, const char *path, struct topic_setting *ret)
{
	*ret = (struct topic_setting){ 0 };
	for (const struct rule *rule = rules ? rules->first : NULL; rule; rule = rule->next) {
		if (path[0] == '\0')
			take_least(rule, ret);
		else if (applies(rule, path))
			take(rule, ret);
	}
	/* Of two sections, the limit of one. */
	if (ret->max_ring_slots > 0 && ret->ring_slots > ret->max_ring_slots)
		ret->ring_slots = ret->max_ring_slots;
}

bool topic_rules_is_same(const struct topic_rules *rules, const char *a, const char *b)
{
	for (const struct rule *rule = rules ? rules->first : NULL; rule; rule = rule->next)
		if (applies(rule, a) != applies(rule, b))
			return false;
	return true;
}

/* --- values ---------------------------------------------------------------------------------------- */

/* Digits only; what is behind them is left in *end. */
static bool parse_digits(const char *text, uint64_t *ret, const char **end)
{
	uint64_t value = 0;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++) {
		uint64_t digit = (uint64_t)(*at - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return false;
		value = value * 10 + digit;
	}
	*ret = value;
	*end = at;
	return at != text;
}

static bool parse_in(const char *text, bool is_bytes, uint32_t min, uint32_t max, uint32_t *ret)
{
	const char *end;
	uint64_t value;

	if (!parse_digits(text, &value, &end))
		return false;
	if (is_bytes && end[0] == 'K' && value <= max) {
		value *= 1024;
		end++;
	}
	if (end[0] != '\0' || value < min || value > max)
		return false;
	*ret = (uint32_t)value;
	return true;
}

static bool parse_yes(const char *text, bool *ret)
{
	*ret = strcmp(text, "yes") == 0;
	return *ret || strcmp(text, "no") == 0;
}

/* As long as nobody counts days in more than nine digits. */
#define MOST_DAYS 36500u

static bool parse_keep(const char *text, uint64_t *ret)
{
	static const struct {
		char unit;
		uint64_t seconds;
	} units[] = { { 's', 1 }, { 'm', 60 }, { 'h', 3600 }, { 'd', 86400 } };
	const char *end;
	uint64_t value;
	bool yes;

	if (parse_yes(text, &yes)) {
		*ret = yes ? TOPIC_KEEP_EVER : 0;
		return true;
	}
	if (!parse_digits(text, &value, &end) || value == 0)
		return false;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		if (end[0] != units[i].unit || end[1] != '\0')
			continue;
		if (value > MOST_DAYS * UINT64_C(86400) / units[i].seconds)
			return false;
		*ret = value * units[i].seconds;
		return true;
	}
	return false;
}

/* NULL: it is such a value, and set; else what the key takes. */
static const char *set_key(struct topic_setting *set, enum rule_key key, const char *value)
{
	_Static_assert(LANE_MIN_SLOTS == 8 && LANE_MAX_SLOTS == 65536, "said below");
	_Static_assert(LANE_MIN_MESSAGE == 128 && LANE_MAX_MESSAGE == 65536, "said below");
	bool is_good = true;

	switch (key) {
	case KEY_RING:
		is_good = parse_in(value, false, LANE_MIN_SLOTS, LANE_MAX_SLOTS, &set->ring_slots);
		return is_good ? NULL : "a number of messages from 8 to 65536";
	case KEY_MAX_RING:
		is_good = parse_in(value, false, LANE_MIN_SLOTS, LANE_MAX_SLOTS, &set->max_ring_slots);
		return is_good ? NULL : "a number of messages from 8 to 65536";
	case KEY_MAX_MESSAGE:
		is_good = parse_in(value, true, LANE_MIN_MESSAGE, LANE_MAX_MESSAGE, &set->max_message);
		return is_good ? NULL : "bytes from 128 to 64K (K is a unit)";
	case KEY_KEEP_STATE:
		is_good = parse_keep(value, &set->keep_s);
		return is_good ? NULL : "yes, no, or a time such as 90s, 10m, 24h or 7d (100 years at most)";
	case KEY_LOG:
		return parse_yes(value, &set->log) ? NULL : "yes or no";
	case KEY_SUBSCRIBE:
	case KEY_POST:
	case N_RULE_KEYS:
		break;
	}
	return NULL;
}

/* --- sections -------------------------------------------------------------------------------------- */

static const char *behind_blanks(const char *at)
{
	return at + strspn(at, " \t");
}

static bool ends_line(const char *at)
{
	at += strspn(at, " \t\r\n");
	return *at == '\0' || *at == ';' || *at == '#';
}

/* The quote that ends the pattern: one with a ] behind it, and then nothing more. NULL: there is none. */
static const char *closing_quote(const char *at)
{
	for (; *at; at++) {
		if (*at == '\\' && at[1] != '\0') {
			at++;
			continue;
		}
		if (*at == '"') {
			const char *bracket = behind_blanks(at + 1);

			if (*bracket == ']' && ends_line(bracket + 1))
				return at;
		}
	}
	return NULL;
}

_Static_assert(TOPIC_RULES_ERROR_SIZE >= NARROW_ERROR_SIZE, "its errors are told, too");

int topic_rules_header(const char *line, char *ret_pattern, size_t size, char *ret_error)
{
	const char *at = line, *end;
	size_t n = strlen(TOPIC_RULES_SECTION);

	if (at[0] != '[')
		return 0;
	at = behind_blanks(at + 1);
	if (strncmp(at, TOPIC_RULES_SECTION, n) != 0 || !strchr(" \t\"]\r\n", at[n]))
		return 0;
	at = behind_blanks(at + n);
	end = at[0] == '"' ? closing_quote(at + 1) : NULL;
	if (!end) {
		snprintf(ret_error, TOPIC_RULES_ERROR_SIZE, "a section of topics is written [topic \"PATTERN\"]");
		return -EINVAL;
	}
	n = (size_t)(end - at) - 1;
	if (n >= size) {
		snprintf(ret_error, TOPIC_RULES_ERROR_SIZE, "the pattern is longer than a path may be");
		return -EINVAL;
	}
	memcpy(ret_pattern, at + 1, n);
	ret_pattern[n] = '\0';
	return 1;
}

static void rule_free(struct rule *rule)
{
	struct topic_section *section = &rule->section;

	for (size_t i = 0; i < section->n_keys; i++) {
		free(section->keys[i].key);
		free(section->keys[i].value);
		free(section->keys[i].from);
	}
	free(section->keys);
	free(section->pattern);
	free(section->from);
	free(rule);
}

int topic_rules_begin(struct topic_rules **rules, const char *pattern, const char *from, char *ret_error)
{
	struct rule *rule;

	if (narrow_check_pattern(pattern, ret_error) < 0)
		return -EINVAL;
	if (strchr(" \t", pattern[strlen(pattern) - 1])) {
		snprintf(ret_error, TOPIC_RULES_ERROR_SIZE, "a pattern does not end with a blank");
		return -EINVAL;
	}
	rule = calloc(1, sizeof(*rule));
	if (rule) {
		rule->section.pattern = strdup(pattern);
		rule->section.from = strdup(from);
	}
	if (!rule || !rule->section.pattern || !rule->section.from || (!*rules && !(*rules = calloc(1, sizeof(**rules))))) {
		if (rule)
			rule_free(rule);
		return -ENOMEM;
	}
	if ((*rules)->last)
		(*rules)->last->next = rule;
	else
		(*rules)->first = rule;
	(*rules)->last = rule;
	return 0;
}

/* As it was written. */
static int note(struct topic_section *section, const char *key, const char *value, const char *from)
{
	struct topic_section_key *keys = realloc(section->keys, (section->n_keys + 1) * sizeof(*keys)), noted;

	if (!keys)
		return -ENOMEM;
	section->keys = keys;
	noted = (struct topic_section_key){ .key = strdup(key), .value = strdup(value), .from = strdup(from) };
	if (!noted.key || !noted.value || !noted.from) {
		free(noted.key);
		free(noted.value);
		free(noted.from);
		return -ENOMEM;
	}
	keys[section->n_keys++] = noted;
	return 0;
}

int topic_rules_add(struct topic_rules *rules, const char *key, const char *value, const char *from, char *ret_error)
{
	struct rule *rule = rules->last;
	struct topic_setting set = rule->set;
	enum rule_key at = KEY_RING;
	const char *takes;
	int r;

	while (at < N_RULE_KEYS && strcmp(key_names[at], key) != 0)
		at++;
	if (at == N_RULE_KEYS)
		return -ENOENT;
	if (rule->has[at]) {
		snprintf(ret_error, TOPIC_RULES_ERROR_SIZE, "%s is set already in this section", key);
		return -EINVAL;
	}
	takes = set_key(&set, at, value);
	if (takes) {
		char shown[TOPIC_RULES_ERROR_SIZE / 2];

		escape(value, strlen(value), shown, sizeof(shown));
		snprintf(ret_error, TOPIC_RULES_ERROR_SIZE, "%s takes %s, not '%s'", key, takes, shown);
		return -EINVAL;
	}
	if (set.ring_slots > 0 && set.max_ring_slots > 0 && set.ring_slots > set.max_ring_slots) {
		snprintf(ret_error, TOPIC_RULES_ERROR_SIZE, "ring (%u) is more than max-ring (%u)", set.ring_slots, set.max_ring_slots);
		return -EINVAL;
	}
	r = note(&rule->section, key, value, from);
	if (r < 0)
		return r;
	rule->has[at] = true;
	rule->set = set;
	return 0;
}

char *topic_rules_right(const struct topic_rules *rules, const char *who)
{
	char *text;

	return asprintf(&text, "%s : %s", rules->last->section.pattern, who) < 0 ? NULL : text;
}

struct topic_rules *topic_rules_free(struct topic_rules *rules)
{
	while (rules && rules->first) {
		struct rule *rule = rules->first;

		rules->first = rule->next;
		rule_free(rule);
	}
	free(rules);
	return NULL;
}

const struct topic_section *topic_rules_section(const struct topic_rules *rules, size_t at)
{
	const struct rule *rule = rules ? rules->first : NULL;

	while (rule && at-- > 0)
		rule = rule->next;
	return rule ? &rule->section : NULL;
}
