/* SPDX-License-Identifier: MIT */
/* keys.c - see keys.h. A new key is a line of the table here, and its commented line in conf/pathbusd.conf; where something else
 * than `options` has its value, reload.c has to tell that, or the key is not live. */
#include "keys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "limit.h"
#include "log_target.h"
#include "page.h"

#define MEMBER(member) offsetof(struct options, member), sizeof(((struct options *)0)->member)
/* These are live; the others say so. */
#define NUMBER(section, name, member, min, max, normal, help) \
	{ name, section, KEY_NUMBER, MEMBER(member), min, max, normal, help, true }
#define BYTES(section, name, member, min, max, normal, help) \
	{ name, section, KEY_BYTES, MEMBER(member), min, max, normal, help, true }
#define MS(section, name, member, min, max, normal, help) \
	{ name, section, KEY_MS, MEMBER(member), min, max, normal, help, true }

/* By sections, in the order of conf/pathbusd.conf. */
const struct key keys[] = {
	{ "address", "daemon", KEY_PATH, MEMBER(address), 0, 0, 0, "serve at this Unix socket", false },
	{ "user", "daemon", KEY_USER, MEMBER(user), 0, 0, 0, "whom the daemon of all users runs as", false },
	{ "control", "daemon", KEY_PATH, MEMBER(control), 0, 0, 0, "the control socket (off: none)", false },
	{ "control-group", "daemon", KEY_GROUP, MEMBER(control_group), 0, 0, 0, "who may use it, beside root", false },
	{ "log-level", "daemon", KEY_LEVEL, MEMBER(log_level), 0, 0, LOG_LEVEL_INFO, "what is written to the log", true },
	{ "log-target", "daemon", KEY_TARGET, MEMBER(log_target), 0, 0, 0, "where the log is written to", false },
	MS("daemon", "hello-timeout", hello_ms, 1, 3600000, LIMIT_HELLO_MS, "close a connection that says nothing for so long"),
	MS("daemon", "files-timeout", files_ms, 1, 3600000, LIMIT_FILES_MS,
	   "give up on a path whose file system does not answer"),
	MS("daemon", "helper-idle", idle_ms, 1, 3600000, LIMIT_HELPER_IDLE_MS,
	   "end a process that was started for a user and has nothing to do"),
	MS("daemon", "idle-exit", idle_exit_ms, 0, 604800000, 0, "end when nobody has needed it for so long, if it is started on demand"),

	NUMBER("lanes", "offload-members", offload_members, 1, 1000000, LIMIT_OFFLOAD_MEMBERS,
	       "ring for the posters of files that more than so many have open"),
	NUMBER("lanes", "offload-message-members", offload_message_members, 1, 1000000, LIMIT_OFFLOAD_MESSAGE_MEMBERS,
	       "the same for files with messages"),
	BYTES("lanes", "max-message", max_message, LANE_MIN_MESSAGE, LANE_MAX_MESSAGE, LANE_MAX_MESSAGE,
	      "the largest message that a program may ask a topic to take"),

	BYTES("regions", "max-region-bytes", user_most[CHARGE_REGION_BYTES], 0, UINT64_C(1) << 60, LIMIT_REGION_BYTES,
	      "all regions of a user together"),
	NUMBER("regions", "max-regions", user_most[CHARGE_REGIONS], 0, 100000, LIMIT_REGIONS, "how many regions a user may have"),

	NUMBER("limits", "max-user-connections", user_most[CHARGE_CONNECTIONS], 0, LIMIT_CLIENTS, 0, "connections of a user"),
	NUMBER("limits", "max-user-descriptors", user_most[CHARGE_DESCRIPTORS], 0, 1 << 30, 0,
	       "descriptors that pathbusd has open for a user"),
	NUMBER("limits", "max-user-topics", user_most[CHARGE_LANES], 0, LIMIT_TOPICS, 0, "topics of a user"),
	BYTES("limits", "max-user-topic-bytes", user_most[CHARGE_LANE_BYTES], 0, UINT64_C(1) << 60, LIMIT_USER_LANE_BYTES,
	      "memory of a user's topics, used or not"),
	NUMBER("limits", "max-user-open", user_most[CHARGE_MEMBERS], 0, 100000000, 0,
	       "topics that a user's programs have open, each as often"),
	NUMBER("limits", "max-user-watches", user_most[CHARGE_WATCHES], 0, 100000000, 0,
	       "names of files whose folders are watched for a user"),
	NUMBER("limits", "max-user-holders", user_most[CHARGE_HOLDERS], 0, LIMIT_HOLDERS, 0,
	       "regions that a user's programs have open, each as often"),
	NUMBER("limits", "max-user-endpoints", user_most[CHARGE_ENDPOINTS], 0, LIMIT_ENDPOINTS, 0,
	       "endpoints of a user, and names that it waits for"),
	NUMBER("limits", "max-user-connects", user_most[CHARGE_CONNECTS], 0, 1000000, LIMIT_USER_CONNECTS,
	       "connects of a user that wait"),
	NUMBER("limits", "max-user-tokens", user_most[CHARGE_TOKENS], 0, LIMIT_TOKENS, 0, "tokens of a user"),
	NUMBER("limits", "max-user-syncs", user_most[CHARGE_SYNCS], 0, 1000000, LIMIT_USER_SYNCS, "syncs of a user that wait"),
	NUMBER("limits", "max-user-requests", user_most[CHARGE_REQUESTS], 0, 100000, 0,
	       "paths of a user that are looked at, or wait for that"),
	BYTES("limits", "max-user-queue-bytes", user_most[CHARGE_QUEUE_BYTES], 0, UINT64_C(1) << 40, 0,
	      "what is sent to a user, or received, and not dealt with"),
	BYTES("limits", "max-user-history-bytes", user_most[CHARGE_HISTORY_BYTES], 0, UINT64_C(1) << 40, 0,
	      "what is remembered of what was told without shared memory"),
	NUMBER("limits", "max-user-kept", user_most[CHARGE_KEPT], 0, LIMIT_KEPT, 0,
	       "topics that nobody has open and whose state, set by a user, is kept"),
	NUMBER("limits", "max-user-rate", user_most[CHARGE_CARRIED], 0, 1000000000, 0,
	       "posts and messages of a user that are carried in a second"),
	NUMBER("limits", "max-user-burst", user_burst, 1, 1000000000, LIMIT_USER_BURST, "the same at once, after a rest"),
};
const size_t n_keys = sizeof(keys) / sizeof(keys[0]);
_Static_assert(sizeof(keys) / sizeof(keys[0]) <= KEY_MAX, "raise KEY_MAX");

const struct key *key_find(const char *name)
{
	for (size_t i = 0; i < n_keys; i++)
		if (strcmp(keys[i].name, name) == 0)
			return &keys[i];
	return NULL;
}

bool key_section_exists(const char *section)
{
	static const char *const others[] = { KEY_SECTION_BEGIN, KEY_SECTION_RIGHTS, KEY_SECTION_END };

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcmp(section, others[i]) == 0)
			return true;
	for (size_t i = 0; i < n_keys; i++)
		if (strcmp(keys[i].section, section) == 0)
			return true;
	return false;
}

/* --- values ---------------------------------------------------------------------------------------- */

/* Digits, and for bytes a suffix: nothing else, no sign and no space. */
static int parse_number(const char *text, bool suffixes, uint64_t *ret)
{
	uint64_t value = 0, unit = 1;
	const char *at = text;

	for (; *at >= '0' && *at <= '9'; at++) {
		uint64_t digit = (uint64_t)(*at - '0');

		if (value > (UINT64_MAX - digit) / 10)
			return -EINVAL;
		value = value * 10 + digit;
	}
	if (at == text)
		return -EINVAL;
	if (suffixes && *at != '\0') {
		const char *units = "KMG", *found = strchr(units, *at++);

		if (!found)
			return -EINVAL;
		unit = UINT64_C(1) << 10 * (found - units + 1);
	}
	if (*at != '\0' || value > UINT64_MAX / unit)
		return -EINVAL;
	*ret = value * unit;
	return 0;
}

static void store_number(const struct key *key, uint64_t value, struct options *options)
{
	char *at = (char *)options + key->offset;
	uint32_t narrow = (uint32_t)value;

	if (key->width == sizeof(value))
		memcpy(at, &value, sizeof(value));
	else
		memcpy(at, &narrow, sizeof(narrow));
}

static int set_text(const struct key *key, const char *text, struct options *options)
{
	char **at = (char **)(void *)((char *)options + key->offset);
	char *copy;

	if (text[0] == '\0')
		return -EINVAL;
	copy = strdup(text);
	if (!copy)
		return -ENOMEM;
	free(*at);
	*at = copy;
	return 0;
}

int key_set(const struct key *key, const char *text, struct options *options)
{
	uint64_t value;

	switch (key->type) {
	case KEY_PATH:
	case KEY_USER:
	case KEY_GROUP:
		return set_text(key, text, options);
	case KEY_TARGET:
		return log_target_is_valid(text) ? set_text(key, text, options) : -EINVAL;
	case KEY_LEVEL:
		return log_level_from(text, (enum log_level *)(void *)((char *)options + key->offset)) ? 0 : -EINVAL;
	case KEY_NUMBER:
	case KEY_BYTES:
	case KEY_MS:
		break;
	}
	if (parse_number(text, key->type == KEY_BYTES, &value) < 0 || value < key->min || value > key->max)
		return -EINVAL;
	store_number(key, value, options);
	return 0;
}

void key_set_normal(const struct key *key, struct options *options)
{
	if (key_is_text(key))
		memset((char *)options + key->offset, 0, key->width);
	else if (key->type == KEY_LEVEL)
		memcpy((char *)options + key->offset, &(enum log_level){ (enum log_level)key->normal }, key->width);
	else
		store_number(key, key->normal, options);
}

bool key_is_same(const struct key *key, const struct options *a, const struct options *b)
{
	const char *of_a, *of_b;

	if (!key_is_text(key))
		return memcmp((const char *)a + key->offset, (const char *)b + key->offset, key->width) == 0;
	memcpy(&of_a, (const char *)a + key->offset, sizeof(of_a));
	memcpy(&of_b, (const char *)b + key->offset, sizeof(of_b));
	return of_a == of_b || (of_a && of_b && strcmp(of_a, of_b) == 0);
}

void key_swap(const struct key *key, struct options *a, struct options *b)
{
	char *at_a = (char *)a + key->offset, *at_b = (char *)b + key->offset, byte;

	for (size_t i = 0; i < key->width; i++) {
		byte = at_a[i];
		at_a[i] = at_b[i];
		at_b[i] = byte;
	}
}

/* --- words ----------------------------------------------------------------------------------------- */

/* As short as it can be written without loss. */
static void put_number(const struct key *key, uint64_t value, char *ret, size_t size)
{
	static const char units[] = "KMG";
	unsigned unit = 0;

	while (key->type == KEY_BYTES && unit < 3 && value > 0 && value % 1024 == 0) {
		value /= 1024;
		unit++;
	}
	if (unit > 0)
		snprintf(ret, size, "%" PRIu64 "%c", value, units[unit - 1]);
	else
		snprintf(ret, size, "%" PRIu64, value);
}

void key_range(const struct key *key, char *ret)
{
	char min[24], max[24];

	put_number(key, key->min, min, sizeof(min));
	put_number(key, key->max, max, sizeof(max));
	switch (key->type) {
	case KEY_PATH:
		strcpy(ret, "a path");
		return;
	case KEY_USER:
		strcpy(ret, "a user's name or number");
		return;
	case KEY_GROUP:
		strcpy(ret, "a group's name or number");
		return;
	case KEY_TARGET:
		strcpy(ret, "auto, stderr, journal, syslog or file:PATH");
		return;
	case KEY_LEVEL:
		strcpy(ret, "error, warning, info or debug");
		return;
	case KEY_NUMBER:
		snprintf(ret, KEY_TEXT_SIZE, "a number from %s to %s", min, max);
		return;
	case KEY_BYTES:
		snprintf(ret, KEY_TEXT_SIZE, "bytes from %s to %s (K, M and G are units)", min, max);
		return;
	case KEY_MS:
		snprintf(ret, KEY_TEXT_SIZE, "milliseconds from %s to %s", min, max);
		return;
	}
}

void key_normal(const struct key *key, char *ret)
{
	if (key->type == KEY_PATH || key->type == KEY_GROUP)
		ret[0] = '\0';
	else if (key->type == KEY_USER)
		strcpy(ret, SERVICE_USER);
	else if (key->type == KEY_TARGET)
		strcpy(ret, "auto");
	else if (key->type == KEY_LEVEL)
		strcpy(ret, log_level_name((enum log_level)key->normal));
	else
		put_number(key, key->normal, ret, KEY_TEXT_SIZE);
}

char *key_text(const struct key *key, const struct options *options)
{
	const char *at = (const char *)options + key->offset;
	char text[KEY_TEXT_SIZE];
	uint64_t value = 0;
	uint32_t narrow;
	enum log_level level;

	if (key_is_text(key)) {
		const char *set;

		memcpy(&set, at, sizeof(set));
		return strdup(set ? set : "");
	}
	if (key->type == KEY_LEVEL) {
		memcpy(&level, at, sizeof(level));
		return strdup(log_level_name(level));
	}
	if (key->width == sizeof(value)) {
		memcpy(&value, at, sizeof(value));
	} else {
		memcpy(&narrow, at, sizeof(narrow));
		value = narrow;
	}
	put_number(key, value, text, sizeof(text));
	return strdup(text);
}
