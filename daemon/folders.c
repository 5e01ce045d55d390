/* SPDX-License-Identifier: MIT */
/*
 * folders.c - one inotify descriptor for all folders, read here and nowhere else.
 *
 * A watch that nobody needs rests for a while and is ended then. A worker may be adding it at that very moment, and its answer
 * names what has ended: so the entry stays until all questions that were open have been answered (their numbers
 * tell), and an answer that names such a watch is asked for again.
 */
#include "folders.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "queue.h"

struct folder_watch {
	struct table_entry by_id;
	int id;
	bool gone;         /* the kernel has ended it */
	bool ended;        /* so have we: nobody can get it any more */
	struct own_watch *own; /* who else wants to hear of it */
	uint64_t event;    /* folders->clock at the last event that may have been a sidecar's */
	uint64_t touched;  /* the same at the last event of any name */
	struct topic_name *names;
	struct queue place;  /* in folders->resting or, once it has ended, in folders->ended; else zeroed */
	uint64_t resting_ns; /* since then */
	uint64_t asked;      /* the number of the last question when it ended */
};

struct own_watch {
	struct own_watch *next;
	folders_own_fn *fn;
	void *arg;
};

struct folders {
	int watch;
	struct loop_event *readable;
	struct table by_id;
	uint64_t clock;
	uint64_t overflow;          /* the clock when the kernel's queue overflowed last */
	struct queue resting, ended; /* nobody may be left, the one for longest first; and those that were ended */
	unsigned n_resting;
	struct loop_event *timer, *lost_timer;
	bool timed, lost_timed;
	uint64_t lost_again_ns; /* not before are lost ones looked for */
	struct topic_name **walk;   /* where a walk over a watch's names goes on; NULL: none */
	struct own_watch **own_walk; /* the same among those who hear of a folder */
	struct folders_setting set;
};

static struct folder_watch *find(const struct folders *folders, int id)
{
	struct table_entry *entry = table_first(&folders->by_id, table_mix((uint64_t)id));

	return entry ? table_container(entry, struct folder_watch, by_id) : NULL;
}

static struct folder_watch *find_or_add(struct folders *folders, int id)
{
	struct folder_watch *watch = find(folders, id);

	if (watch)
		return watch;
	watch = calloc(1, sizeof(*watch));
	if (!watch)
		return NULL;
	watch->id = id;
	table_add(&folders->by_id, &watch->by_id, table_mix((uint64_t)id));
	return watch;
}

static void tidy_after(struct folders *folders, unsigned ms)
{
	if (!folders->timed || ms == 0)
		loop_set(folders->timer, ms);
	folders->timed = true;
}

static void unrest(struct folders *folders, struct folder_watch *watch)
{
	if (!queue_has(&watch->place))
		return;
	queue_remove(&watch->place);
	folders->n_resting--;
}

static void note_empty(struct folders *folders, struct folder_watch *watch)
{
	if (queue_has(&watch->place) || watch->names || watch->own)
		return;
	watch->resting_ns = os_now_ns();
	queue_move(&folders->resting, &watch->place);
	folders->n_resting++;
	tidy_after(folders, folders->n_resting > LIMIT_RESTING_WATCHES ? 0 : LIMIT_WATCH_REST_MS);
}

uint64_t folders_clock(const struct folders *folders)
{
	return folders->clock;
}

int folders_attach(struct folders *folders, struct topic_name *name, int id, uint64_t since)
{
	struct folder_watch *watch = find_or_add(folders, id);
	int appeared;

	if (!watch)
		return -ENOMEM;
	if (watch->ended)
		return -ESTALE;
	unrest(folders, watch);
	appeared = watch->event > since || folders->overflow > since;
	if (name->watch == id)
		return appeared;
	folders_detach(folders, name);
	name->watch = id;
	name->watch_next = watch->names;
	name->watch_at = &watch->names;
	if (watch->names)
		watch->names->watch_at = &name->watch_next;
	watch->names = name;
	return appeared;
}

bool folders_was_touched(const struct folders *folders, const struct topic_name *name, uint64_t since)
{
	const struct folder_watch *watch = name->watch ? find(folders, name->watch) : NULL;

	return folders->overflow > since || (watch && watch->touched > since);
}

bool folders_is_gone(const struct folders *folders, const struct topic_name *name)
{
	const struct folder_watch *watch = name->watch > 0 ? find(folders, name->watch) : NULL;

	return !watch || watch->gone;
}

void folders_detach(struct folders *folders, struct topic_name *name)
{
	if (name->watch == 0)
		return;
	/* A walk that stands before this name goes on behind it. */
	if (folders->walk == &name->watch_next)
		folders->walk = name->watch_at;
	*name->watch_at = name->watch_next;
	if (name->watch_next)
		name->watch_next->watch_at = name->watch_at;
	note_empty(folders, find(folders, name->watch));
	name->watch = 0;
}

bool folders_note(struct folders *folders, int id)
{
	struct folder_watch *watch = find_or_add(folders, id);

	if (watch && watch->ended)
		return false;
	if (watch)
		note_empty(folders, watch);
	return true;
}

/* --- what nobody needs ------------------------------------------------------------------------------- */

/* Returns in how many milliseconds there may be more to end; 0: nothing rests. */
static unsigned end_rested(struct folders *folders, uint64_t last)
{
	uint64_t now = os_now_ns(), rest = UINT64_C(1000000) * LIMIT_WATCH_REST_MS;
	struct queue *first;

	while ((first = queue_first(&folders->resting))) {
		struct folder_watch *watch = queue_container(first, struct folder_watch, place);

		if (folders->n_resting <= LIMIT_RESTING_WATCHES && now - watch->resting_ns < rest)
			return (unsigned)((rest - (now - watch->resting_ns)) / 1000000) + 1;
		unrest(folders, watch);
		if (!watch->gone)
			os_watch_remove(folders->watch, watch->id);
		watch->ended = true;
		watch->asked = last;
		queue_move(&folders->ended, &watch->place);
	}
	return 0;
}

/* `open`: the first question without an answer; 0: there is none. */
static void forget_ended(struct folders *folders, uint64_t open)
{
	struct queue *first;

	while ((first = queue_first(&folders->ended))) {
		struct folder_watch *watch = queue_container(first, struct folder_watch, place);

		if (open != 0 && open <= watch->asked)
			return;
		queue_remove(&watch->place);
		table_remove(&folders->by_id, &watch->by_id);
		free(watch);
	}
}

static void tidy(void *arg)
{
	struct folders *folders = arg;
	uint64_t last, open;
	unsigned more_ms;

	folders->timed = false;
	folders->set.asked(folders->set.arg, &last, &open);
	more_ms = end_rested(folders, last);
	forget_ended(folders, open);
	if (more_ms > 0)
		tidy_after(folders, more_ms);
	else if (queue_first(&folders->ended))
		tidy_after(folders, LIMIT_WATCH_REST_MS);
}

static void note_unknown(void *arg, int id)
{
	struct folders *folders = arg;

	if (!find(folders, id))
		(void)folders_note(folders, id);
}

static void look_for_lost(void *arg)
{
	struct folders *folders = arg;
	uint64_t began = os_now_ns(), now;
	int r = os_watch_each(folders->watch, note_unknown, folders);

	if (r < 0)
		log_event(REASON_DEBUG, "watches that are not needed any more may stay: %s", strerror(-r));
	now = os_now_ns();
	folders->lost_timed = false;
	folders->lost_again_ns = now + 100 * (now - began) + UINT64_C(1000000) * LIMIT_LOST_WATCHES_MS;
}

void folders_note_lost(struct folders *folders)
{
	uint64_t now = os_now_ns();

	if (folders->lost_timed)
		return;
	folders->lost_timed = true;
	loop_set(folders->lost_timer, now < folders->lost_again_ns ? (unsigned)((folders->lost_again_ns - now) / 1000000 + 1) : 0);
}

/* --- events ---------------------------------------------------------------------------------------- */

static bool looks_like_a_sidecar(const char *entry)
{
	static const char suffix[] = ".pathbus"; /* in runtime folders too */
	size_t size = strlen(entry);

	return size > sizeof(suffix) && strcmp(entry + size - (sizeof(suffix) - 1), suffix) == 0;
}

/* Tells each name of the folder that the event concerns. entry NULL: all. */
static void tell(struct folders *folders, struct folder_watch *watch, const char *entry)
{
	struct topic_name *name;

	for (folders->walk = &watch->names; (name = *folders->walk);) {
		char sidecar[KEY_NAME_MAX + 1];

		folders->walk = &name->watch_next;
		if (entry) {
			key_sidecar_name(&name->key, sidecar);
			if (strcmp(sidecar, entry) != 0)
				continue;
		}
		folders->set.appeared(folders->set.arg, name);
	}
	folders->walk = NULL;
}

/* entry NULL: anything may have appeared. */
static void tell_touched(struct folders *folders, const struct folder_watch *watch, const char *entry)
{
	if (entry && watch->names) {
		folders->set.touched(folders->set.arg, watch->names, entry);
		return;
	}
	for (struct topic_name *name = watch->names; name; name = name->watch_next)
		folders->set.touched(folders->set.arg, name, NULL);
}

static void tell_own(struct folders *folders, struct folder_watch *watch, const char *entry)
{
	struct own_watch *own;

	for (folders->own_walk = &watch->own; (own = *folders->own_walk);) {
		folders->own_walk = &own->next;
		own->fn(own->arg, entry, false);
	}
	folders->own_walk = NULL;
}

static void tell_both(struct folders *folders, struct folder_watch *watch, const char *entry)
{
	tell_touched(folders, watch, entry);
	tell(folders, watch, entry);
}

/* The kernel's queue has overflowed: anything may have appeared anywhere. */
static void tell_all(struct folders *folders)
{
	log_event(REASON_FOLDER_OVERFLOW, "the queue of folder events has overflowed: looking at all topics again");
	folders->overflow = ++folders->clock;
	for (size_t i = 0; i < folders->by_id.n_buckets; i++)
		for (struct table_entry *entry = folders->by_id.buckets[i]; entry; entry = entry->next) {
			tell_both(folders, table_container(entry, struct folder_watch, by_id), NULL);
			tell_own(folders, table_container(entry, struct folder_watch, by_id), NULL);
		}
}

static void disown(struct folders *folders, struct folder_watch *watch, struct own_watch **at)
{
	struct own_watch *own = *at;

	/* A walk that stands before it goes on behind it. */
	if (folders->own_walk == &own->next)
		folders->own_walk = at;
	*at = own->next;
	free(own);
	note_empty(folders, watch);
}

static void tell_own_of_end(struct folders *folders, struct folder_watch *watch)
{
	while (watch->own) {
		const struct own_watch ended = *watch->own;

		disown(folders, watch, &watch->own);
		ended.fn(ended.arg, NULL, true);
	}
}

/* A watch that is not known may be one that an answer on its way names, so what happens to it is kept. */
static void take(struct folders *folders, const struct os_watch_event *event)
{
	bool may_be_sidecar = event->gone || !event->name || looks_like_a_sidecar(event->name);
	struct folder_watch *watch = find_or_add(folders, event->id);

	if (watch) {
		watch->touched = ++folders->clock;
		if (may_be_sidecar)
			watch->event = watch->touched;
		if (event->gone)
			watch->gone = true;
		if (!event->gone)
			tell_touched(folders, watch, event->name);
		if (may_be_sidecar)
			tell(folders, watch, event->gone ? NULL : event->name);
	}
	if (!watch)
		return;
	if (event->gone)
		tell_own_of_end(folders, watch);
	else
		tell_own(folders, watch, event->name);
	note_empty(folders, watch);
}

static void readable(void *arg)
{
	struct folders *folders = arg;
	static struct os_watch_buffer buffer;
	struct os_watch_event event;

	/* At most what one read gives, so that a busy folder does not hold up everything else. */
	do {
		if (os_watch_next(folders->watch, &buffer, &event) <= 0)
			return;
		if (event.id == 0)
			tell_all(folders);
		else
			take(folders, &event);
	} while (buffer.at < buffer.used);
}

void folders_catch_up(struct folders *folders)
{
	readable(folders);
}

bool folders_are_behind(const struct folders *folders)
{
	return os_watch_has_next(folders->watch);
}

/* --- the daemon's own folders ------------------------------------------------------------------------ */

int folders_hear(struct folders *folders, int id, uint64_t since, folders_own_fn *fn, void *arg)
{
	struct folder_watch *watch = find_or_add(folders, id);
	struct own_watch *own = watch ? watch->own : NULL;

	if (!watch)
		return -ENOMEM;
	if (watch->ended)
		return -ESTALE;
	while (own && (own->fn != fn || own->arg != arg))
		own = own->next;
	if (!own) {
		own = calloc(1, sizeof(*own));
		if (!own) {
			note_empty(folders, watch);
			return -ENOMEM;
		}
		*own = (struct own_watch){ .next = watch->own, .fn = fn, .arg = arg };
		watch->own = own;
	}
	unrest(folders, watch);
	return watch->event > since || folders->overflow > since;
}

void folders_do_not_hear(struct folders *folders, int id, folders_own_fn *fn, void *arg)
{
	struct folder_watch *watch = find(folders, id);

	for (struct own_watch **at = watch ? &watch->own : NULL; at && *at; at = &(*at)->next)
		if ((*at)->fn == fn && (*at)->arg == arg) {
			disown(folders, watch, at);
			return;
		}
}

int folders_watch_own(struct folders *folders, int dir, folders_own_fn *fn, void *arg)
{
	int id = os_watch_add(folders->watch, dir);
	int r = id < 0 ? id : folders_hear(folders, id, folders->clock, fn, arg);

	return r < 0 ? r : 0;
}

/* --- life ------------------------------------------------------------------------------------------ */

int folders_new(const struct folders_setting *setting, struct folders **ret)
{
	struct folders *folders = calloc(1, sizeof(*folders));
	int r;

	if (!folders)
		return -ENOMEM;
	*folders = (struct folders){ .watch = -1, .set = *setting };
	queue_init(&folders->resting);
	queue_init(&folders->ended);
	folders->timer = loop_timer(setting->loop, tidy, folders);
	folders->lost_timer = loop_timer(setting->loop, look_for_lost, folders);
	r = folders->timer && folders->lost_timer ? table_init(&folders->by_id) : -ENOMEM;
	if (r == 0) {
		r = folders->watch = os_watch_new();
		if (r >= 0)
			folders->readable = loop_on_readable(setting->loop, folders->watch, readable, folders);
		if (r >= 0 && !folders->readable)
			r = -ENOMEM;
	}
	if (r < 0) {
		folders_free(folders);
		return r;
	}
	*ret = folders;
	return 0;
}

struct folders *folders_free(struct folders *folders)
{
	struct table_entry *entry;

	if (!folders)
		return NULL;
	while (folders->by_id.buckets && (entry = table_any(&folders->by_id))) {
		struct folder_watch *watch = table_container(entry, struct folder_watch, by_id);

		table_remove(&folders->by_id, entry);
		while (watch->own)
			disown(folders, watch, &watch->own);
		queue_remove(&watch->place);
		free(watch);
	}
	if (folders->by_id.buckets)
		table_deinit(&folders->by_id);
	loop_event_free(folders->readable);
	loop_event_free(folders->timer);
	loop_event_free(folders->lost_timer);
	if (folders->watch >= 0)
		close(folders->watch);
	free(folders);
	return NULL;
}

int folders_descriptor(const struct folders *folders)
{
	return folders->watch;
}
