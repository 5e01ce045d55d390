/* SPDX-License-Identifier: MIT */
/*
 * looks.c - looking again, through the files workers, whether a name has a sidecar.
 *
 * A few looks are under way at a time, so that an overflow of the kernel's queue, after which all topics are
 * looked at, leaves workers to the openings. What cannot be looked at is never taken for empty: its topic is
 * told that something may have been missed, and it is looked at again if that may help.
 */
#include "looks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "escape.h"
#include "identity.h"
#include "limit.h"
#include "log.h"

/* A question about a name that is under way. */
struct look {
	struct looks *looks;
	struct topic_name *name;
	struct files_question *question;
	uint64_t since; /* folders_clock */
};

struct name_list {
	struct topic_name *first, **last;
};

struct looks {
	struct looks_setting set;
	struct name_list queued, later;
	unsigned n_asked;
	struct loop_event *timer; /* for `later` */
	struct log_limit failures, unwatched;
};

/* --- the queue -------------------------------------------------------------------------------------- */

static void list_append(struct name_list *list, struct topic_name *name)
{
	name->look_next = NULL;
	name->look_at = list->last;
	*list->last = name;
	list->last = &name->look_next;
}

static void list_remove(struct name_list *list, struct topic_name *name)
{
	*name->look_at = name->look_next;
	if (name->look_next)
		name->look_next->look_at = name->look_at;
	else
		list->last = name->look_at;
}

void looks_enqueue(struct looks *looks, struct topic_name *name)
{
	if (name->look == LOOK_ASKED) {
		name->look_again = true;
	} else if (name->look != LOOK_QUEUED) {
		if (name->look == LOOK_LATER)
			list_remove(&looks->later, name);
		name->look = LOOK_QUEUED;
		list_append(&looks->queued, name);
	}
}

void looks_soon(struct looks *looks, struct topic_name *name)
{
	looks_enqueue(looks, name);
	looks_pump(looks);
}

void looks_later(struct looks *looks, struct topic_name *name)
{
	if (name->look != LOOK_NONE)
		return;
	if (!looks->later.first)
		loop_set(looks->timer, LIMIT_LOOK_AGAIN_MS);
	name->look = LOOK_LATER;
	list_append(&looks->later, name);
}

static void timer(void *arg)
{
	struct looks *looks = arg;

	if (!looks->later.first)
		return;
	if (!looks->set.may_look(looks->set.arg)) {
		loop_set(looks->timer, LIMIT_LOOK_AGAIN_MS);
		return;
	}
	while (looks->later.first)
		looks_enqueue(looks, looks->later.first);
	looks_pump(looks);
}

void looks_cancel(struct looks *looks, struct topic_name *name)
{
	struct look *look = name->look_request;

	if (name->look == LOOK_QUEUED)
		list_remove(&looks->queued, name);
	if (name->look == LOOK_LATER)
		list_remove(&looks->later, name);
	if (name->look == LOOK_ASKED) {
		files_forget(look->question);
		free(look);
		looks->n_asked--;
		name->look_request = NULL;
	}
	name->look = LOOK_NONE;
}

/* --- asking ----------------------------------------------------------------------------------------- */

/* Otherwise the path leads elsewhere by now, or nowhere. */
bool looks_may_pass(int error)
{
	return error == -ETIMEDOUT || error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EIO ||
	       error == -EAGAIN || error == -EBUSY;
}

void looks_log(const struct topic_name *name, const char *what, int error)
{
	const char *path = name->path ? name->path : "?";
	char text[512];

	escape(path, strlen(path), text, sizeof(text));
	log_warning("%s (%s): %s", what, strerror(-error), text);
}

/* The folder could not be looked at although a sidecar may be there. */
static void failed(struct looks *looks, struct topic_name *name, int error)
{
	if (log_allows(&looks->failures, "folders that could not be looked at"))
		looks_log(name, "cannot look for processes that meet beside a file", error);
	topic_resync(name->topic);
	if (looks_may_pass(error))
		looks_later(looks, name);
}

/* A look at it has ended: what waited for it no longer does. */
static void tell(struct looks *looks, struct topic_name *name, int error, int folder)
{
	bool held = name->look_holds;

	name->look_holds = false;
	looks->set.looked(looks->set.arg, name, error, folder, held);
}

static void answered(void *arg, int error, const struct files_reply *reply, int folder)
{
	struct look *look = arg;
	struct looks *looks = look->looks;
	struct topic_name *name = look->name;
	bool again = name->look_again;

	looks->n_asked--;
	name->look = LOOK_NONE;
	name->look_request = NULL;
	name->look_again = false;
	if (error == 0 && !key_equal(&reply->key, &name->key)) {
		error = -ESTALE; /* another folder has that path now */
		if (folder >= 0)
			close(folder);
		folder = -1;
	}
	if (error < 0)
		failed(looks, name, error);
	else if (looks_watch(looks, name, reply->watch, look->since) > 0)
		again = true;
	/* Queued before it is told, so that a name which is told of is in no doubtful state. */
	if (again)
		looks_enqueue(looks, name);
	tell(looks, name, error, folder);
	if (folder >= 0)
		close(folder);
	free(look);
	looks_pump(looks);
}

/* In whose root the path is to be seen: that of a member who opened this very name. */
static struct identity *some_identity(const struct topic_name *name)
{
	struct identity *identity = NULL;

	for (const struct member *member = name->topic->members; member; member = member->next) {
		if (!member->identity || member->identity->socket < 0)
			continue;
		identity = member->identity;
		if (member->name == name)
			break;
	}
	return identity;
}

static int ask(struct looks *looks, struct topic_name *name)
{
	struct look *look = calloc(1, sizeof(*look));

	if (!look)
		return -ENOMEM;
	*look = (struct look){ .looks = looks, .name = name, .since = folders_clock(looks->set.folders) };
	look->question = files_ask(looks->set.files, name->path, some_identity(name), NULL, answered, look);
	if (!look->question) {
		free(look);
		return -ENOMEM;
	}
	name->look_request = look;
	name->look = LOOK_ASKED;
	name->look_again = false;
	looks->n_asked++;
	return 0;
}

void looks_pump(struct looks *looks)
{
	while (looks->queued.first && looks->n_asked < LIMIT_LOOKS) {
		struct topic_name *name = looks->queued.first;
		int r;

		list_remove(&looks->queued, name);
		name->look = LOOK_NONE;
		r = name->path ? ask(looks, name) : -ENOENT;
		if (r < 0) {
			failed(looks, name, r);
			tell(looks, name, r, -1);
		}
	}
}

int looks_watch(struct looks *looks, struct topic_name *name, int watch, uint64_t since)
{
	int r = watch;

	if (watch > 0)
		r = folders_attach(looks->set.folders, name, watch, since);
	if (r < 0 && log_allows(&looks->unwatched, "folders that cannot be watched"))
		looks_log(name, "a folder cannot be watched: processes that meet there later are not heard of", r);
	return r;
}

/* --- life ------------------------------------------------------------------------------------------- */

struct looks *looks_new(const struct looks_setting *setting)
{
	struct looks *looks = calloc(1, sizeof(*looks));

	if (!looks)
		return NULL;
	looks->set = *setting;
	looks->queued.last = &looks->queued.first;
	looks->later.last = &looks->later.first;
	looks->timer = loop_timer(setting->loop, timer, looks);
	if (!looks->timer) {
		free(looks);
		return NULL;
	}
	return looks;
}

static void cancel(struct topic_name *name, void *arg)
{
	looks_cancel(arg, name);
}

struct looks *looks_free(struct looks *looks)
{
	if (!looks)
		return NULL;
	topics_each(looks->set.topics, cancel, looks);
	loop_event_free(looks->timer);
	free(looks);
	return NULL;
}
