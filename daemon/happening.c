/* SPDX-License-Identifier: MIT */
/* happening.c - who watches what, and telling them. */
#include "happening.h"

#include <stdlib.h>
#include <string.h>

#include "narrow.h"
#include "os/os.h"

#define OF_LANES (1u << HAPPENING_POST | 1u << HAPPENING_MESSAGE | 1u << HAPPENING_GAP)

struct watcher {
	struct watcher *next;
	unsigned kinds;
	char *pattern; /* NULL: all, with a path or without */
	happening_fn *fn;
	void *arg;
};

static const char *const names[N_HAPPENINGS] = {
	[HAPPENING_CLIENT_CONNECTED] = "client-connected",
	[HAPPENING_CLIENT_GONE] = "client-gone",
	[HAPPENING_TOPIC_OPENED] = "topic-opened",
	[HAPPENING_TOPIC_CLOSED] = "topic-closed",
	[HAPPENING_MEMBER_JOINED] = "member-joined",
	[HAPPENING_MEMBER_LEFT] = "member-left",
	[HAPPENING_POST] = "post",
	[HAPPENING_MESSAGE] = "message",
	[HAPPENING_GAP] = "gap",
	[HAPPENING_RESYNC] = "resync",
	[HAPPENING_LIMIT] = "limit",
	[HAPPENING_LINK] = "link",
	[HAPPENING_REGION] = "region",
	[HAPPENING_ENDPOINT] = "endpoint",
	[HAPPENING_LOG] = "log",
	[HAPPENING_RELOAD] = "reload",
};

_Static_assert(N_HAPPENINGS <= sizeof(unsigned) * 8, "a bit for each");

unsigned happening_watched;

static struct watcher *watchers;
static bool is_telling; /* what happens while something is told is not: telling it may be why */
static void (*changed)(void *arg);
static void *changed_arg;

static bool wants(const struct watcher *watcher, enum happening_kind kind, const char *path)
{
	if (!(watcher->kinds & 1u << kind))
		return false;
	return !watcher->pattern || (path && narrow_matches(watcher->pattern, path));
}

bool watchers_want(enum happening_kind kind, const char *path)
{
	for (const struct watcher *watcher = happening_is_watched(kind) ? watchers : NULL; watcher; watcher = watcher->next)
		if (wants(watcher, kind, path))
			return true;
	return false;
}

static void tell_all(const struct happening *happening)
{
	struct happening told = *happening;
	char command[64];
	uid_t uid;

	for (const struct watcher *watcher = watchers; watcher; watcher = watcher->next) {
		if (!wants(watcher, told.kind, told.path))
			continue;
		if (told.time_ns == 0)
			told.time_ns = os_now_ns();
		if (!told.command && told.pid > 0) {
			/* Another user's is another process, that has its number by now. */
			if (os_process_name(told.pid, &uid, command, sizeof(command)) < 0 || (told.has_uid && uid != told.uid))
				command[0] = '\0';
			command[sizeof(command) - 1] = '\0';
			told.command = command;
		}
		watcher->fn(watcher->arg, &told);
	}
}

void happening_tell(const struct happening *happening)
{
	if (is_telling)
		return;
	is_telling = true;
	tell_all(happening);
	is_telling = false;
}

/* --- who watches ----------------------------------------------------------------------------------- */

static void look_who(void)
{
	happening_watched = 0;
	for (const struct watcher *watcher = watchers; watcher; watcher = watcher->next)
		happening_watched |= watcher->kinds;
}

struct watcher *watcher_new(unsigned kinds, const char *pattern, happening_fn *fn, void *arg)
{
	struct watcher *watcher = calloc(1, sizeof(*watcher));

	if (!watcher)
		return NULL;
	*watcher = (struct watcher){ .next = watchers, .kinds = kinds, .fn = fn, .arg = arg };
	if (pattern) {
		watcher->pattern = strdup(pattern);
		if (!watcher->pattern) {
			free(watcher);
			return NULL;
		}
	}
	watchers = watcher;
	look_who();
	if (changed && (kinds & OF_LANES))
		changed(changed_arg);
	return watcher;
}

struct watcher *watcher_free(struct watcher *watcher)
{
	struct watcher **at = &watchers;
	unsigned kinds;

	if (!watcher)
		return NULL;
	while (*at != watcher)
		at = &(*at)->next;
	*at = watcher->next;
	kinds = watcher->kinds;
	free(watcher->pattern);
	free(watcher);
	look_who();
	if (changed && (kinds & OF_LANES))
		changed(changed_arg);
	return NULL;
}

void watchers_set_changed(void (*fn)(void *arg), void *arg)
{
	changed = fn;
	changed_arg = arg;
}

/* --- names ----------------------------------------------------------------------------------------- */

const char *happening_name(enum happening_kind kind)
{
	return names[kind];
}

bool happening_from(const char *name, size_t size, enum happening_kind *ret)
{
	for (unsigned i = 0; i < N_HAPPENINGS; i++) {
		if (strlen(names[i]) == size && memcmp(names[i], name, size) == 0) {
			*ret = (enum happening_kind)i;
			return true;
		}
	}
	return false;
}
