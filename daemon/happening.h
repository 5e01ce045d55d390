/* SPDX-License-Identifier: MIT */
/*
 * happening.h - what happens in the daemon, for those who watch it.
 *
 * Where something happens is said with happening_note, which is one branch while nobody watches that kind: its arguments are
 * not even evaluated. Who watches says which kinds and, with a pattern, of which paths; it is called at once, and has to
 * keep what it wants of it. Nothing here waits, or is kept.
 */
#ifndef PATHBUS_DAEMON_HAPPENING_H
#define PATHBUS_DAEMON_HAPPENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum happening_kind {
	HAPPENING_CLIENT_CONNECTED,
	HAPPENING_CLIENT_GONE,
	HAPPENING_TOPIC_OPENED,
	HAPPENING_TOPIC_CLOSED,
	HAPPENING_MEMBER_JOINED, /* `what`: "memory" or "socket" */
	HAPPENING_MEMBER_LEFT,
	HAPPENING_POST,    /* `n` of them, merged; trace.c */
	HAPPENING_MESSAGE, /* of `n` bytes; trace.c */
	HAPPENING_GAP,     /* `n` messages that were too fast for who watches; trace.c */
	HAPPENING_RESYNC,   /* `what`: "died", if that was of a member's end */
	HAPPENING_LIMIT,    /* `name` is the limit's, `text` what its user is told */
	HAPPENING_LINK,     /* `what`: "linked" or "left" */
	HAPPENING_REGION,   /* `name` is its own; `what`: "made", "restored", "replaced", "freed" */
	HAPPENING_ENDPOINT, /* the same; `what`: "listening", "gone" */
	HAPPENING_LOG,      /* `name` is the reason, `what` the level, `text` the line */
	HAPPENING_RELOAD,   /* `text`; `what`: "done" or "failed" */
	N_HAPPENINGS
};

/* What is not known is 0 or NULL. All that it points to is the caller's. */
struct happening {
	enum happening_kind kind;
	uint64_t topic, client; /* their numbers */
	const char *path;       /* of the topic's file, as bytes */
	pid_t pid;
	uid_t uid;
	bool has_uid;
	const char *command; /* of `pid`; NULL: found out when it is told */
	const char *what, *name, *text;
	size_t name_size; /* 0: it has an end */
	uint64_t n;
	uint64_t time_ns; /* CLOCK_MONOTONIC; 0: now */
};

/* A bit for each kind that somebody watches; read by happening_note only. */
extern unsigned happening_watched;

static inline bool happening_is_watched(enum happening_kind kind)
{
	return __builtin_expect((happening_watched & 1u << kind) != 0, 0);
}

/* happening_note(HAPPENING_RESYNC, .topic = number, .path = path) */
#define happening_note(kind_, ...) \
	do { \
		if (happening_is_watched(kind_)) \
			happening_tell(&(struct happening){ .kind = (kind_), __VA_ARGS__ }); \
	} while (0)

void happening_tell(const struct happening *happening);

struct watcher;
/* It may not watch, nor end a watcher, its own or another's. */
typedef void happening_fn(void *arg, const struct happening *happening);

/*
 * `kinds`: a bit for each. `pattern`: of paths, as narrow.h has them, or NULL; what has no path is told to all but those who have
 * asked for a pattern. Returns NULL where memory is short.
 */
struct watcher *watcher_new(unsigned kinds, const char *pattern, happening_fn *fn, void *arg);
struct watcher *watcher_free(struct watcher *watcher); /* takes NULL; returns NULL */
/* Does anybody watch this kind for files of this path? */
bool watchers_want(enum happening_kind kind, const char *path);
/* Somebody has come or gone who watches posts or messages: `fn` is called; NULL: nobody is. */
void watchers_set_changed(void (*fn)(void *arg), void *arg);

const char *happening_name(enum happening_kind kind); /* "client-connected" ... */
bool happening_from(const char *name, size_t size, enum happening_kind *ret);

#endif
