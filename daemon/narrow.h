/* SPDX-License-Identifier: MIT */
/*
 * narrow.h - what the configuration takes away from the rights that files give: [rights], `RIGHT = PATTERN : WHO, WHO...`.
 *
 * Of files whose path matches the pattern only those who are named have that right, if they have it at all; of several rules that
 * match each has to name them. Nobody gains a right.
 *
 * A pattern is a path whose components may have *, ? and [...] in them, dots not excepted; a component that is ** stands for any
 * number of them, none too. The path is that of the file without symbolic links, as the daemon sees it (a file that is mounted
 * at two places has two). Where that is not known (a folder that has been removed, a client in another root folder or with mounts of its own) all rules apply.
 *
 * WHO is a user's name or number, or a group's behind an @. Names are looked up when the rule is read. Nobody may be named.
 */
#ifndef PATHBUS_DAEMON_NARROW_H
#define PATHBUS_DAEMON_NARROW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct narrow;

struct narrow_who {
	uid_t uid;
	gid_t gid;
	const gid_t *groups;
	size_t n_groups;
};

/* Is this the key of a right? Its WIRE_RIGHT_*, or 0. */
uint32_t narrow_right(const char *key);

#define NARROW_ERROR_SIZE 320u
/* Adds a rule; *narrow is NULL at first. 0; -ENOMEM; -EINVAL: `ret_error` says what is wrong. */
int narrow_add(struct narrow **narrow, uint32_t right, const char *rule, char *ret_error);
/* The same without looking at files, users or groups: who is named has to be so by number. */
int narrow_add_plain(struct narrow **narrow, uint32_t right, const char *rule, char *ret_error);
/* The rule that was added last, as narrow_add_plain takes it. The caller's; NULL: no memory. */
char *narrow_last(const struct narrow *narrow);
struct narrow *narrow_free(struct narrow *narrow); /* takes NULL, returns it */

/* What is left of `rights`. `path` empty: not known. `narrow` NULL: no rules. */
uint32_t narrow_rights(const struct narrow *narrow, const char *path, const struct narrow_who *who, uint32_t rights);
/* Do the same rules apply to both? Else the two are not to be one topic, though they be one file. */
bool narrow_is_same(const struct narrow *narrow, const char *a, const char *b);

/* Which rules are not in both? Noted in them, until it is asked again. Either may be NULL. */
void narrow_compare(struct narrow *a, struct narrow *b);
/* Does one of those apply to this path? */
bool narrow_concerns(const struct narrow *narrow, const char *path);

/* The patterns by themselves. */
bool narrow_matches(const char *pattern, const char *path);
/* 0; -EINVAL: `ret_error` (NARROW_ERROR_SIZE) says why no path can be like this, */
int narrow_check_pattern(const char *pattern, char *ret_error);
/* or why none is: there is a symbolic link in it now. Looks at the file system. */
int narrow_check_links(const char *pattern, char *ret_error);

#endif
