/* SPDX-License-Identifier: MIT */
/* control_pages.c - what is asked for, with its query; and lists that come page by page. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "control.h"
#include "control_internal.h"

#define PAGE_LIMIT "500"

static char *add_escaped(char *to, const char *from)
{
	static const char digits[] = "0123456789ABCDEF";
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/";

	for (; *from; from++) {
		unsigned char c = (unsigned char)*from;

		if (strchr(plain, *from)) {
			*to++ = *from;
			continue;
		}
		*to++ = '%';
		*to++ = digits[c >> 4];
		*to++ = digits[c & 15];
	}
	*to = '\0';
	return to;
}

char *control_target(const char *path, const char *const *pairs)
{
	size_t size = strlen(path) + 1;
	char *target, *to, separator = '?';

	for (const char *const *at = pairs; at && at[0]; at += 2)
		size += at[1] ? strlen(at[0]) + 3 * strlen(at[1]) + 2 : 0;
	target = malloc(size);
	if (!target)
		return NULL;
	memcpy(target, path, strlen(path) + 1);
	to = target + strlen(path);
	for (const char *const *at = pairs; at && at[0]; at += 2) {
		if (!at[1])
			continue;
		*to++ = separator;
		separator = '&';
		to = add_escaped(stpcpy(stpcpy(to, at[0]), "="), at[1]);
	}
	return target;
}

enum { MAX_PAIRS = 8 };

/* *after: the cursor, which this replaces by the next one; NULL: it was the last page. */
static int get_page(struct control *control, const char *path, const char *const *pairs, char **after, struct json **ret)
{
	const char *all[2 * MAX_PAIRS + 5] = { "limit", PAGE_LIMIT, "after", *after };
	size_t n = 4;
	char *target, *next;
	int status;

	for (const char *const *at = pairs; at && at[0] && n < 2 * MAX_PAIRS + 4; at += 2) {
		all[n++] = at[0];
		all[n++] = at[1];
	}
	target = control_target(path, all);
	if (!target)
		return control_fail(control, -ENOMEM);
	status = control_get(control, target, ret);
	free(target);
	if (status != STATUS_OK)
		return status;
	next = json_shown(*ret, "next");
	if (next && *after && strcmp(next, *after) == 0) { /* it would never end */
		free(next);
		*ret = json_free(*ret);
		return control_fail(control, -EPROTO);
	}
	free(*after);
	*after = next;
	return STATUS_OK;
}

int control_pages(struct control *control, const char *path, const char *const *pairs, control_page *take, void *userdata)
{
	char *after = NULL;
	struct json *page;
	bool more = true;
	int status;

	do {
		status = get_page(control, path, pairs, &after, &page);
		if (status != STATUS_OK || !page) /* no page: given up */
			break;
		more = take(page, userdata);
		json_free(page);
	} while (more && after);
	free(after);
	return status;
}
