/* SPDX-License-Identifier: MIT */
/*
 * topic_rules.h - what the configuration says about the topics of some paths: its sections [topic "PATTERN"].
 *
 * Patterns and paths are those of narrow.h. Of several sections that match, the last one that sets a key decides about that key. Who
 * may subscribe and post (`subscribe`, `post`) is not decided here: those are rules of narrow.h with the section's pattern, all of
 * which count. Here they are only kept as they were written, for who lists the sections.
 *
 * Where a path is not known (narrow.h), what is least is taken: the smallest limit of all sections, no larger ring, no state is
 * kept; and it is logged if any section says so.
 */
#ifndef PATHBUS_DAEMON_TOPIC_RULES_H
#define PATHBUS_DAEMON_TOPIC_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct topic_rules;

#define TOPIC_RULES_SECTION "topic"
#define TOPIC_RULES_ERROR_SIZE 320u
#define TOPIC_KEEP_EVER UINT64_MAX

/* What holds for one path; 0 where no section says anything. */
struct topic_setting {
	uint32_t ring_slots;     /* `ring`: who asks for fewer, or for nothing, gets so many */
	uint32_t max_ring_slots; /* `max-ring`: who asks for more is refused */
	uint32_t max_message;    /* `max-message`: the same for messages' bytes; in place of [lanes] max-message */
	uint64_t keep_s;         /* `keep-state`: seconds for which the state is kept without members, or TOPIC_KEEP_EVER */
	bool log;                /* `log`: what happens is logged */
};

/* `rules` NULL: there are none. `path` empty: not known. */
void topic_rules_find(const struct topic_rules *rules, const char *path, struct topic_setting *ret);
/* Do the same sections hold for both? Else the two are not to be one topic, though they be one file. */
bool topic_rules_is_same(const struct topic_rules *rules, const char *a, const char *b);

/* --- reading the configuration: no file is opened, and no name is looked up ----------------------------------------------------- */

/*
 * Is this line the beginning of such a section? 1: its pattern, unquoted, is in `ret_pattern`, of `size` bytes; 0: it is another
 * line; -EINVAL: `ret_error` (TOPIC_RULES_ERROR_SIZE) says what is wrong. Between the quotes stands the pattern as it is; a " in
 * it is written \".
 */
int topic_rules_header(const char *line, char *ret_pattern, size_t size, char *ret_error);

/* A section begins; *rules is NULL at first. `from`: where it stands, FILE:LINE. 0; -ENOMEM; -EINVAL: ret_error says why. */
int topic_rules_begin(struct topic_rules **rules, const char *pattern, const char *from, char *ret_error);

/*
 * A key of the section that began last; its value whole. 0; -ENOENT: there is no such key; -ENOMEM; -EINVAL: `ret_error` says
 * what is wrong. That of `subscribe` and `post` is not looked at: narrow_add is to be given topic_rules_right as well.
 */
int topic_rules_add(struct topic_rules *rules, const char *key, const char *value, const char *from, char *ret_error);
/* "PATTERN : WHO", of the section that began last, as narrow_add takes it. To be freed; NULL: no memory. */
char *topic_rules_right(const struct topic_rules *rules, const char *who);

struct topic_rules *topic_rules_free(struct topic_rules *rules); /* takes NULL, returns it */

/* --- listing: the sections as they were written, in their order; valid as long as the rules are ------------------------------------ */

struct topic_section_key {
	char *key, *value, *from;
};
struct topic_section {
	char *pattern, *from;
	struct topic_section_key *keys;
	size_t n_keys;
};
const struct topic_section *topic_rules_section(const struct topic_rules *rules, size_t at); /* NULL: there are no more */

#endif
