/* SPDX-License-Identifier: MIT */
/*
 * opening.c - from a path to a member.
 *
 *   asked -> (hard link? verifying ->) joined -> (sidecar? waiting for its link ->) done
 *
 * The member exists from `joined` on and belongs to the opening until it is done.
 */
#include "opening.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "asking.h"
#include "counts.h"
#include "crossing.h"
#include "escape.h"
#include "files.h"
#include "folders.h"
#include "happening.h"
#include "keeping.h"
#include "limit.h"
#include "linker.h"
#include "log.h"
#include "narrow.h"
#include "options.h"
#include "os/os.h"
#include "rights.h"
#include "rights_watch.h"
#include "subscriber.h"
#include "syncing.h"
#include "topic.h"
#include "topic_log.h"
#include "topic_sizes.h"
#include "trace.h"
#include "user.h"
#include "wire.h"

struct opening {
	const struct context *context;
	opening_done_fn *done;
	void *arg;
	struct opening_request asked; /* its path is in `path` */
	struct asking *question;
	uint64_t since; /* folders_clock when the worker was asked */

	/* While another name of the file is verified: what the first answer said. */
	struct files_reply *reply;
	int folder;
	struct topic_key other; /* that name */
	uint32_t rights;   /* WIRE_RIGHT_* that are left, */
	uint32_t narrowed; /* and that the file gives and the configuration takes */
	struct lane_shape shape; /* of the lane if it is made */

	struct member *member;
	struct loop_event *timer;
	struct opening *next, **at; /* in topic->waiting */
	uint64_t began_ns;
	size_t path_size;
	char path[]; /* as the client wrote it, with its end */
};

/* --- the end --------------------------------------------------------------------------------------- */

static void stop_waiting(struct opening *opening)
{
	if (!opening->at)
		return;
	*opening->at = opening->next;
	if (opening->next)
		opening->next->at = opening->at;
	opening->at = NULL;
}

/* Its own memory, what a worker answers, and a folder's descriptor. */
static void costs_of(const struct opening *opening, struct cost ret[2])
{
	ret[0] = (struct cost){ CHARGE_QUEUE_BYTES, sizeof(*opening) + opening->path_size + sizeof(struct files_reply) };
	ret[1] = (struct cost){ CHARGE_DESCRIPTORS, 1 };
}

static void opening_free(struct opening *opening)
{
	struct cost costs[2];

	stop_waiting(opening);
	loop_event_free(opening->timer);
	if (opening->question)
		asking_forget(opening->question);
	if (opening->folder >= 0)
		close(opening->folder);
	costs_of(opening, costs);
	user_release_costs(opening->asked.user, costs, 2);
	free(opening->reply);
	free(opening);
}

static void note_joined(struct member *member)
{
	struct topic *topic = member->lane->topic;

	if (!topic->has_opened)
		happening_note(HAPPENING_TOPIC_OPENED, .topic = topic->number, .path = member->name->path);
	topic->has_opened = member->has_joined = true;
	happening_note(HAPPENING_MEMBER_JOINED, .topic = topic->number, .path = member->name->path, .pid = member->pid,
	               .uid = user_uid(member->lane->user), .has_uid = true,
	               .what = member->group == TOPIC_NO_GROUP ? "socket" : "memory");
	trace_joined(member);
}

static void note_left(const struct member *member)
{
	if (member->has_joined)
		happening_note(HAPPENING_MEMBER_LEFT, .topic = member->lane->topic->number, .path = member->name->path, .pid = member->pid,
		               .uid = user_uid(member->lane->user), .has_uid = true,
		               .what = member->group == TOPIC_NO_GROUP ? "socket" : "memory");
}

static void finish(struct opening *opening, int error, const char *text)
{
	struct member *member = opening->member;

	counts_took(LATENCY_OPENING, opening->began_ns);
	if (error == 0)
		note_joined(member);
	opening->member = NULL;
	stop_waiting(opening); /* its topic may go with the member, if the client has ended meanwhile */
	opening->done(opening->arg, opening, opening->asked.request, error, text, member);
	opening_free(opening);
}

static const char *reason(int error)
{
	switch (error) {
	case ETIMEDOUT:
		return "the file system does not answer";
	case ENOENT:
		return "its folder does not exist";
	case ENOTDIR:
		return "a part of the path is no folder";
	case EACCES:
		return "a folder of the path may not be searched";
	case ELOOP:
		return "too many symbolic links, or one in /proc that leads to what a process has";
	case EXDEV:
		return "it leads to /proc, which is another for each process";
	case EDQUOT:
		return "too many openings of this user wait";
	case ESRCH:
		return "the process that connected has ended, or is not seen from here";
	case EUSERS:
		return "too many users' processes at once";
	case ENAMETOOLONG:
		return "the path or a name in it is too long";
	case EMFILE:
	case ENFILE:
		return "the daemon has no descriptors left";
	case ENOMEM:
		return "the daemon has no memory left";
	default:
		return strerror(error);
	}
}

/* "REASON: PATH", cut at the end where the path is long. `error` is positive. */
static void fail(struct opening *opening, int error, const char *why)
{
	char text[WIRE_MAX_TEXT + 1];
	int used = snprintf(text, sizeof(text), "%s: ", why);

	if (used > 0 && (size_t)used < sizeof(text))
		escape(opening->path, opening->path_size, text + used, sizeof(text) - (size_t)used);
	finish(opening, error, text);
}

const struct opening_request *opening_asked(const struct opening *opening)
{
	return &opening->asked;
}

static bool has_meetings(const struct topic *topic)
{
	for (const struct topic_name *name = topic->names; name; name = name->next)
		if (name->meetings)
			return true;
	return false;
}

/* It has no members left, and nothing of it is waited for. With the last user the topic goes. */
static void user_end(const struct context *context, struct topic *topic, struct user *user)
{
	linker_leave(context->linker, topic, user);
	topic_keep_lanes(topic, user, false);
	if (topic->n_members == 0 && !has_meetings(topic))
		keeping_end(context, topic, user);
	else
		(void)crossing_update(context, topic);
}

void membership_end(const struct context *context, struct member *member, enum leave how)
{
	struct topic *topic = member->name->topic;
	struct user *user = user_ref(member->lane->user);
	struct identity *identity = member->identity;
	bool is_last, is_owed;

	/* It has no lane mapped. */
	if (member->subscriber && how == LEAVE_LOST)
		how = LEAVE_DIED;
	topic_log_leaves(member, how);
	note_left(member);
	subscriber_free(member);
	rights_watch_left(member);
	topic_leave(member, how);
	syncing_look(topic); /* nobody waits for it any more */
	is_last = !topic_has_members_of(topic, user);
	/* What was posted is still owed to a sidecar that is not linked yet, or not even seen: look a last time. */
	is_owed = is_last && (how != LEAVE_CLOSED || topic_was_posted(topic, user));
	if (is_owed)
		topic_keep_lanes(topic, user, true);
	(void)crossing_update(context, topic); /* what others have posted is carried to it before that */
	if (is_last && !(is_owed && linker_part(context->linker, topic, user, identity)))
		user_end(context, topic, user);
	user_unref(user);
}

void opening_cancel(struct opening *opening)
{
	struct member *member = opening->member;

	stop_waiting(opening); /* its topic may go with the member */
	if (member)
		membership_end(opening->context, member, LEAVE_CLOSED);
	opening_free(opening);
}

/* --- waiting for links ----------------------------------------------------------------------------- */

/* No link can be made now. Who is on the topic already has been told by the log; who comes is sent to the others. */
static void refuse_unlinked(struct opening *opening)
{
	struct member *member = opening->member;

	stop_waiting(opening);
	opening->member = NULL;
	membership_end(opening->context, member, LEAVE_CLOSED);
	fail(opening, ENOTCONN, "it cannot be linked with its sidecar; meet there");
}

static struct opening *first_waiting(const struct topic *topic, const struct user *user)
{
	struct opening *opening = topic->waiting;

	while (opening && opening->asked.user != user)
		opening = opening->next;
	return opening;
}

static unsigned count_members(const struct topic *topic, const struct user *user)
{
	unsigned n = 0;

	for (const struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		n += lane->user == user ? lane->n_members : 0;
	return n;
}

static void answer_waiting(const struct context *context, struct topic *topic, struct user *user)
{
	struct opening *opening;

	topic_keep_lanes(topic, user, false); /* somebody has come while its end was waited for */
	(void)crossing_update(context, topic);
	while ((opening = first_waiting(topic, user))) {
		bool is_last = count_members(topic, user) == 1;

		if (linker_is_failing(meeting_find(opening->member->name, user)))
			refuse_unlinked(opening);
		else
			finish(opening, 0, NULL);
		if (is_last)
			return; /* nobody else of the user waits; and the topic may have gone with it */
	}
}

void opening_settled(const struct context *context, struct topic *topic, struct user *user)
{
	(void)user_ref(user);
	if (topic_has_members_of(topic, user))
		answer_waiting(context, topic, user);
	else if (!linker_is_parting(context->linker, topic, user))
		user_end(context, topic, user);
	user_unref(user);
}

/* Never answered without the link: what this client posts then might not reach the sidecar. It takes us for
 * absent long before this, meets the others there, and comes over when the answer comes after all. */
static void link_is_late(void *arg)
{
	struct opening *opening = arg;

	log_event(REASON_LINK_LATE, "a sidecar is not linked after %u ms; the link agent is replaced", LIMIT_LINK_MS);
	loop_set(opening->timer, LIMIT_LINK_MS);
	linker_replace_agent(meeting_find(opening->member->name, opening->asked.user));
}

static void wait_for_links(struct opening *opening)
{
	struct topic *topic = opening->member->name->topic;

	opening->timer = loop_timer(opening->context->loop, link_is_late, opening);
	if (!opening->timer) {
		fail(opening, ENOMEM, reason(ENOMEM));
		return;
	}
	loop_set(opening->timer, LIMIT_LINK_MS);
	opening->next = topic->waiting;
	opening->at = &topic->waiting;
	if (topic->waiting)
		topic->waiting->at = &opening->next;
	topic->waiting = opening;
}

/* --- rights ---------------------------------------------------------------------------------------- */

static const char *missing_right(uint32_t flags, uint32_t rights, uint32_t narrowed, bool exists)
{
	bool wants_read = flags & WIRE_RIGHT_SUBSCRIBE || !(flags & WIRE_RIGHT_POST);

	if (wants_read && narrowed & WIRE_RIGHT_SUBSCRIBE)
		return "the daemon's configuration names those who may subscribe";
	if (flags & WIRE_RIGHT_POST && narrowed & WIRE_RIGHT_POST)
		return "the daemon's configuration names those who may post";
	if (wants_read && !(rights & WIRE_RIGHT_SUBSCRIBE))
		return exists ? "the file may not be read" : "the folder may not be searched";
	if (flags & WIRE_RIGHT_POST && !(rights & WIRE_RIGHT_POST))
		return exists ? "the file may not be written" : "the folder may not be written";
	return NULL;
}

/* What it has not got of what it asked for; NULL: it has all. */
static const char *decide_rights(struct opening *opening, const struct topic *topic)
{
	opening->rights = rights_of(opening->context->options, opening->asked.identity, opening->reply, topic, &opening->narrowed);
	return missing_right(opening->asked.flags, opening->rights, opening->narrowed, opening->reply->exists);
}

/* --- the topic ------------------------------------------------------------------------------------- */

/* What the configuration says by now of the topic as a whole: of its path, not of that of somebody's own mounts. */
static void take_settings(struct opening *opening, struct topic_name *name)
{
	struct topic_setting setting;

	topic_rules_find(opening->context->options->topic_rules, name->is_foreign || !name->path ? "" : name->path, &setting);
	name->topic->keep_s = setting.keep_s;
	topic_log_set(name->topic, setting.log);
	keeping_look(name, opening->reply);
}

/* The name must have been found or made, and its topic may have no members yet. */
static void join(struct opening *opening, struct topic_name *name)
{
	const struct context *context = opening->context;
	const struct files_reply *reply = opening->reply;
	struct topic *topic = name->topic;
	struct joining joining = {
		.user = opening->asked.user,
		.pid = opening->asked.pid,
		.listens = !(opening->asked.flags & WIRE_OPEN_SOCKET),
		.shape = opening->shape,
	};
	const char *limit = NULL;
	bool is_foreign = !reply->path[0];
	const char *path = is_foreign ? opening->path : reply->path;
	struct meeting *meeting = NULL;
	int r = topic_name_set_path(name, path, is_foreign);

	take_settings(opening, name);
	if (r == 0) {
		/* It may have other names, and other rules may be in force by now. */
		limit = decide_rights(opening, topic);
		joining.rights = opening->rights;
		r = limit ? -EACCES : 0;
	}
	if (r == 0)
		r = topic_join(name, &joining, &opening->member, &limit);
	if (r == 0)
		r = crossing_update(context, topic);
	if (r == 0) {
		meeting = linker_meet(context->linker, name, opening->asked.user, is_foreign && context->options->system ? path : NULL);
		r = meeting ? 0 : -ENOMEM;
	}
	if (r < 0) {
		if (opening->member)
			topic_leave(opening->member, LEAVE_CLOSED);
		opening->member = NULL;
		if (!topic_has_members_of(topic, opening->asked.user) && !linker_is_joining(topic, opening->asked.user))
			user_end(context, topic, opening->asked.user);
		else
			(void)crossing_update(context, topic);
		fail(opening, -r, limit ? limit : reason(-r));
		return;
	}
	keeping_begin(name, opening->asked.user);
	topic_log_joined(opening->member);
	opening->member->identity = opening->asked.identity;
	opening->member->path = strdup(reply->path[0] ? reply->path : opening->path);
	opening->member->is_foreign = !reply->path[0];
	topic_name_set_file(name, reply->exists, reply->file_dev, reply->file_ino);
	linker_opened(context->linker, meeting, reply, opening->folder, opening->since);
	if (folders_was_touched(context->folders, name, opening->since))
		rights_watch_note(context->rights_watch, name);
	if (linker_is_failing(meeting))
		refuse_unlinked(opening);
	else if (linker_is_joining(topic, opening->asked.user))
		wait_for_links(opening);
	else
		finish(opening, 0, NULL);
}

static void join_new(struct opening *opening)
{
	struct topics *topics = opening->context->topics;
	struct topic_name *name;
	int r;

	if (topics_count(topics) >= LIMIT_TOPICS) {
		fail(opening, ENFILE, "the daemon has as many topics as it may have");
		return;
	}
	r = topics_add(topics, &opening->reply->key, &name);
	if (r < 0)
		fail(opening, -r, reason(-r));
	else
		join(opening, name);
}

static void refuse_name(struct opening *opening)
{
	int r = user_charge(opening->asked.user, CHARGE_WATCHES, 1); /* which counts it */

	fail(opening, -r, user_refusal(opening->asked.user, CHARGE_WATCHES));
}

/* The other name's answer: is its file still the one that was opened here? */
static void verified(void *arg, int error, const struct files_reply *other, int folder)
{
	struct opening *opening = arg;
	const struct files_reply *reply = opening->reply;
	struct topics *topics = opening->context->topics;
	struct topic_name *known = topics_find(topics, &opening->other), *name = topics_find(topics, &reply->key);
	bool same;

	opening->question = NULL;
	if (folder >= 0)
		close(folder);
	if (name) { /* came meanwhile */
		join(opening, name);
		return;
	}
	same = error == 0 && known && key_equal(&other->key, &known->key) && other->exists &&
	       other->file_dev == reply->file_dev && other->file_ino == reply->file_ino;
	if (known && error == 0 && !same)
		topic_name_set_file(known, false, 0, 0);
	if (!same)
		join_new(opening);
	else if (!user_may_have(opening->asked.user, CHARGE_WATCHES, 1)) /* a name that is there has to be charged to somebody */
		refuse_name(opening);
	else if (topic_add_name(known->topic, &reply->key, &name) < 0)
		fail(opening, ENOMEM, reason(ENOMEM));
	else
		join(opening, name);
}

/* By whom, and as who, a name was opened: in another's root the path may mean anything. NULL: nobody is there to be asked as. */
static const struct member *witness(const struct topic_name *known)
{
	const struct member *member = known->n_members > 0 ? known->topic->members : NULL;

	while (member && (member->name != known || !member->path || !member->identity || member->identity->socket < 0))
		member = member->next;
	return member;
}

/* Device and inode are reused at once after an unlink: what another name had when it was opened proves nothing by itself. */
static bool verify(struct opening *opening, const struct topic_name *known)
{
	const struct member *member = witness(known);

	opening->other = known->key;
	opening->question = asking_path(opening->context->files, opening->asked.user, member->path, member->identity,
	                                opening->asked.owner, verified, opening);
	return opening->question != NULL;
}

static bool has_same_rules(const struct options *options, const char *a, const char *b)
{
	return narrow_is_same(options->narrow, a, b) && topic_rules_is_same(options->topic_rules, a, b);
}

/* A name by which this file was opened, and still is. Not where other rules apply: who may write a file may give it names. */
static struct topic_name *other_name(const struct topics *topics, const struct options *options, const struct files_reply *reply)
{
	bool has_others = reply->exists && reply->n_links > 1;
	struct topic_name *name = has_others ? topics_find_file(topics, reply->file_dev, reply->file_ino) : NULL;

	while (name && (!witness(name) || !has_same_rules(options, reply->path, name->is_foreign || !name->path ? "" : name->path)))
		name = topics_next_of_file(name);
	return name;
}

/* 0, or -errno and what to say about it. */
static int decide_shape(struct opening *opening, char *ret_text)
{
	const struct options *options = opening->context->options;
	struct topic_setting setting;

	topic_rules_find(options->topic_rules, opening->reply->path, &setting);
	return topic_sizes_make(options, &setting, opening->asked.ring_slots, opening->asked.max_message, &opening->shape, ret_text);
}

static void resolved(void *arg, int error, const struct files_reply *reply, int folder)
{
	struct opening *opening = arg;
	struct topics *topics = opening->context->topics;
	struct topic_name *name, *known;
	char text[TOPIC_SIZES_TEXT];
	const char *missing;
	int r;

	opening->question = NULL;
	opening->folder = folder;
	if (error < 0) {
		fail(opening, -error, reason(-error));
		return;
	}
	opening->reply = malloc(sizeof(*reply));
	if (!opening->reply) {
		fail(opening, ENOMEM, reason(ENOMEM));
		return;
	}
	memcpy(opening->reply, reply, offsetof(struct files_reply, path) + strlen(reply->path) + 1);
	missing = decide_rights(opening, NULL);
	if (missing) {
		fail(opening, EACCES, missing);
		return;
	}
	r = decide_shape(opening, text);
	if (r < 0) {
		fail(opening, -r, text);
		return;
	}
	name = topics_find(topics, &reply->key);
	known = name ? NULL : other_name(topics, opening->context->options, reply);
	if (name)
		join(opening, name);
	else if (!known || !verify(opening, known))
		join_new(opening);
}

int opening_new(const struct context *context, const struct opening_request *request, opening_done_fn *done, void *arg,
                struct opening **ret, const char **ret_limit)
{
	struct opening *opening = calloc(1, sizeof(*opening) + request->path_size + 1);
	struct cost costs[2];
	int r;

	*ret_limit = NULL;
	if (!opening)
		return -ENOMEM;
	opening->context = context;
	opening->began_ns = os_now_ns();
	opening->done = done;
	opening->arg = arg;
	opening->asked = *request;
	opening->asked.path = opening->path;
	opening->folder = -1;
	opening->path_size = request->path_size;
	memcpy(opening->path, request->path, request->path_size);
	costs_of(opening, costs);
	r = user_charge_costs(request->user, costs, 2, ret_limit);
	if (r < 0) {
		free(opening);
		return r;
	}
	opening->since = folders_clock(context->folders);
	opening->question = asking_path(context->files, request->user, opening->path, opening->asked.identity, opening->asked.owner,
	                                resolved, opening);
	if (!opening->question) {
		opening_free(opening);
		return -ENOMEM;
	}
	*ret = opening;
	return 0;
}
