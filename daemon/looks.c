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
	struct meeting *meeting;
	struct files_question *question;
	uint64_t since; /* folders_clock */
};

struct look_list {
	struct meeting *first, **last;
};

struct looks {
	struct looks_setting set;
	struct look_list queued, later;
	unsigned n_asked;
	struct loop_event *timer; /* for `later` */
};

/* --- the queue -------------------------------------------------------------------------------------- */

static void list_append(struct look_list *list, struct meeting *meeting)
{
	meeting->look_next = NULL;
	meeting->look_at = list->last;
	*list->last = meeting;
	list->last = &meeting->look_next;
}

static void list_remove(struct look_list *list, struct meeting *meeting)
{
	*meeting->look_at = meeting->look_next;
	if (meeting->look_next)
		meeting->look_next->look_at = meeting->look_at;
	else
		list->last = meeting->look_at;
}

void looks_enqueue(struct looks *looks, struct meeting *meeting)
{
	if (meeting->look == LOOK_ASKED) {
		meeting->look_again = true;
	} else if (meeting->look != LOOK_QUEUED) {
		if (meeting->look == LOOK_LATER)
			list_remove(&looks->later, meeting);
		meeting->look = LOOK_QUEUED;
		list_append(&looks->queued, meeting);
	}
}

void looks_soon(struct looks *looks, struct meeting *meeting)
{
	looks_enqueue(looks, meeting);
	looks_pump(looks);
}

void looks_later(struct looks *looks, struct meeting *meeting)
{
	if (meeting->look != LOOK_NONE)
		return;
	if (!looks->later.first)
		loop_set(looks->timer, LIMIT_LOOK_AGAIN_MS);
	meeting->look = LOOK_LATER;
	list_append(&looks->later, meeting);
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

void looks_cancel(struct looks *looks, struct meeting *meeting)
{
	struct look *look = meeting->look_request;

	if (meeting->look == LOOK_QUEUED)
		list_remove(&looks->queued, meeting);
	if (meeting->look == LOOK_LATER)
		list_remove(&looks->later, meeting);
	if (meeting->look == LOOK_ASKED) {
		files_forget(look->question);
		free(look);
		looks->n_asked--;
		meeting->look_request = NULL;
	}
	meeting->look = LOOK_NONE;
}

/* --- asking ----------------------------------------------------------------------------------------- */

/* Otherwise the path leads elsewhere by now, or nowhere. */
bool looks_may_pass(int error)
{
	return error == -ETIMEDOUT || error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EIO ||
	       error == -EAGAIN || error == -EBUSY;
}

void looks_log(enum log_reason reason, const struct topic_name *name, const char *what, int error)
{
	const char *path = name->path ? name->path : "?";
	char text[512];

	escape(path, strlen(path), text, sizeof(text));
	log_event(reason, "%s (%s): %s", what, strerror(-error), text);
}

/* The folder could not be looked at although a sidecar may be there. */
static void failed(struct looks *looks, struct meeting *meeting, int error)
{
	looks_log(REASON_FOLDER_UNSEEN, meeting->name, "cannot look for processes that meet beside a file", error);
	topic_resync_for(meeting->name->topic, meeting->user);
	meeting->look_for |= meeting->looked_for;
	if (looks_may_pass(error))
		looks_later(looks, meeting);
}

/* A look at it has ended: what waited for it no longer does. */
static void tell(struct looks *looks, struct meeting *meeting, int error, const struct files_reply *reply, int folder)
{
	bool held = meeting->look_holds;

	meeting->look_holds = false;
	looks->set.looked(looks->set.arg, meeting, error, reply, folder, held);
}

static void answered(void *arg, int error, const struct files_reply *reply, int folder)
{
	struct look *look = arg;
	struct looks *looks = look->looks;
	struct meeting *meeting = look->meeting;
	bool again = meeting->look_again;

	looks->n_asked--;
	meeting->look = LOOK_NONE;
	meeting->look_request = NULL;
	meeting->look_again = false;
	if (error == 0 && !key_equal(&reply->key, &meeting->name->key)) {
		error = -ESTALE; /* another folder has that path now */
		if (folder >= 0)
			close(folder);
		folder = -1;
	}
	if (error < 0)
		failed(looks, meeting, error);
	else if (looks->set.watched(looks->set.arg, meeting, reply, look->since))
		again = true;
	/* Queued before it is told, so that one which is told of is in no doubtful state. */
	if (again)
		looks_enqueue(looks, meeting);
	tell(looks, meeting, error, error == 0 ? reply : NULL, folder);
	if (folder >= 0)
		close(folder);
	free(look);
	looks_pump(looks);
}

static int ask(struct looks *looks, struct meeting *meeting)
{
	struct look *look = calloc(1, sizeof(*look));

	if (!look)
		return -ENOMEM;
	*look = (struct look){ .looks = looks, .meeting = meeting, .since = folders_clock(looks->set.folders) };
	look->question = files_look(looks->set.files, meeting_path(meeting), meeting_identity(meeting), !meeting->path, answered, look);
	if (!look->question) {
		free(look);
		return -ENOMEM;
	}
	meeting->look_request = look;
	meeting->look = LOOK_ASKED;
	meeting->look_again = false;
	meeting->looked_for = meeting->look_for;
	meeting->look_for = 0;
	looks->n_asked++;
	return 0;
}

void looks_pump(struct looks *looks)
{
	while (looks->queued.first && looks->n_asked < LIMIT_LOOKS) {
		struct meeting *meeting = looks->queued.first;
		int r;

		list_remove(&looks->queued, meeting);
		meeting->look = LOOK_NONE;
		r = meeting_path(meeting) ? ask(looks, meeting) : -ENOENT;
		if (r < 0) {
			failed(looks, meeting, r);
			tell(looks, meeting, r, NULL, -1);
		}
	}
}

int looks_watch(struct looks *looks, struct topic_name *name, int watch, uint64_t since)
{
	int r = watch;

	if (watch > 0)
		r = folders_attach(looks->set.folders, name, watch, since);
	if (r < 0)
		looks_log(REASON_FOLDER_UNWATCHED, name, "a folder cannot be watched: processes that meet there later are not heard of", r);
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

struct looks *looks_free(struct looks *looks)
{
	if (!looks)
		return NULL;
	loop_event_free(looks->timer);
	free(looks);
	return NULL;
}
