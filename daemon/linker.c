/* SPDX-License-Identifier: MIT */
/*
 * linker.c - which sidecars are linked.
 *
 * A sidecar comes to notice by an opening's look, or by a watch, which leads to a look through a files worker
 * (looks.c). What is found is joined by the agent of its user (link_user.h). A sidecar's processes are one user's, so it is
 * linked with a lane of that user, and only that user's openings wait for it.
 */
#include "linker_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "user.h"

/* --- waiting --------------------------------------------------------------------------------------- */

static bool is_waited_for(const struct meeting *meeting)
{
	bool waits = meeting->look_holds;

	for (unsigned i = 0; i < TOPIC_PLACES; i++) {
		const struct link *link = meeting->links[i];

		waits |= link && (link->state == STATE_JOINING || link->state == STATE_PARTING);
	}
	return waits;
}

bool linker_is_joining(const struct topic *topic, const struct user *user)
{
	for (const struct topic_name *name = topic->names; name; name = name->next) {
		const struct meeting *meeting = meeting_find(name, user);

		if (meeting && is_waited_for(meeting))
			return true;
	}
	return false;
}

/* Something that was waited for has ended. It is not to be used any more: its topic may go. */
void linker_settle(struct linker *linker, struct topic *topic, struct user *user)
{
	if ((topic != linker->held || user != linker->held_for) && !linker_is_joining(topic, user))
		linker->set.settled(linker->set.arg, topic, user);
}

/* Openings of its user, or that one's end on the topic, wait for the next look to end. */
static void hold(struct meeting *meeting)
{
	meeting->look_holds = true;
}

/* Is what was found beside the file this user's? Another's is that one's to find, if that one has opened the file here: main
 * acts for a user only by one of its connections. */
static bool is_own(struct linker *linker, const struct meeting *meeting, const struct files_reply *reply)
{
	bool is_known = false;

	if (!linker->set.forker || reply->owner == (uid_t)-1 || reply->owner == user_uid(meeting->user))
		return true;
	for (const struct meeting *other = meeting->name->meetings; other; other = other->next)
		is_known |= user_uid(other->user) == reply->owner;
	if (!is_known)
		looks_log(REASON_LINK_FOREIGN, meeting->name, "a sidecar is not linked, since its user has not opened the file here", -EPERM);
	return false;
}

/* In a user's daemon, which can look by itself. */
static void join_runtime(struct linker *linker, struct meeting *meeting)
{
	int folder;

	if (linker->set.forker || meeting->links[LINK_PLACE_RUNTIME] ||
	    !runtime_may_have(linker->set.runtime, &meeting->name->key) || runtime_open(linker->set.runtime, &folder) < 0)
		return;
	links_join(linker, meeting, LINK_PLACE_RUNTIME, folder);
	close(folder);
}

/* --- meetings -------------------------------------------------------------------------------------- */

struct meeting *linker_meet(struct linker *linker, struct topic_name *name, struct user *user, const char *path)
{
	struct link_user *of = link_users_get(linker->users, user);
	struct meeting *meeting = of ? meeting_get(name, user) : NULL;

	if (!meeting || meeting_set_path(meeting, path) < 0)
		return NULL; /* a new one has nothing that would be missed, and goes with its user's last member */
	if (!meeting->of) {
		meeting->of = of;
		of->n_meetings++;
	}
	return meeting;
}

/* Something may have appeared; looks are queued. */
void linker_look_at(struct linker *linker, struct meeting *meeting, enum link_place place)
{
	struct link *link = meeting->links[place];

	if (!meeting->of)
		return;
	if (link && link->state == STATE_LINKED) {
		link_send(link, LINK_AGAIN);
	} else if (link) {
		link->again = true;
	} else if (place == LINK_PLACE_FOLDER || linker->set.forker) {
		meeting->look_for |= 1u << place;
		looks_enqueue(meeting->of->looks, meeting);
	} else if (join_runtime(linker, meeting), !meeting->links[place]) {
		topic_resync(meeting->name->topic); /* came and went at once */
	}
}

static void appeared_soon(struct linker *linker, struct meeting *meeting, enum link_place place)
{
	struct looks *looks = meeting->of->looks;

	linker_look_at(linker, meeting, place);
	looks_pump(looks);
}

void linker_appeared(struct linker *linker, struct topic_name *name)
{
	for (struct meeting *meeting = name->meetings; meeting; meeting = meeting->next)
		linker_look_at(linker, meeting, LINK_PLACE_FOLDER);
	link_users_pump(linker->users); /* now: a look that fails at once may end the topic */
}

/* of NULL: a user's daemon. */
static void appeared_to(struct linker *linker, struct topic_name *name, const struct link_user *of)
{
	for (struct meeting *meeting = name->meetings; meeting; meeting = meeting->next)
		if (!of || meeting->of == of)
			linker_look_at(linker, meeting, LINK_PLACE_RUNTIME);
}

struct appearance {
	struct linker *linker;
	const struct link_user *of;
};

static void anything_appeared(struct topic_name *name, void *arg)
{
	const struct appearance *appearance = arg;

	appeared_to(appearance->linker, name, appearance->of);
}

static void appeared_in_runtime(struct linker *linker, const struct link_user *of, const char *entry)
{
	struct topic_name *name = entry ? topics_find_runtime(linker->set.topics, entry) : NULL;

	if (name)
		appeared_to(linker, name, of);
	else if (!entry)
		topics_each(linker->set.topics, anything_appeared, &(struct appearance){ linker, of });
	link_users_pump(linker->users);
}

void linker_appeared_in_runtime(struct linker *linker, const char *entry)
{
	appeared_in_runtime(linker, NULL, entry);
}

static void on_runtime(void *arg, struct link_user *of, const char *entry)
{
	appeared_in_runtime(arg, of, entry);
}

/* Those that are in a lane which is not the best one of their user any more. */
static void relink(struct topic *topic, const struct user *user)
{
	const struct topic_lane *best = links_lane(topic, user);

	for (struct topic_name *name = topic->names; name; name = name->next) {
		struct meeting *meeting = meeting_find(name, user);

		for (unsigned i = 0; i < TOPIC_PLACES && meeting; i++)
			if (meeting->links[i] && meeting->links[i]->state == STATE_LINKED && meeting->links[i]->lane != best)
				link_part(meeting->links[i]);
	}
}

void linker_opened(struct linker *linker, struct meeting *meeting, const struct files_reply *reply, int folder, uint64_t since)
{
	int r = looks_watch(meeting->of->looks, meeting->name, reply->watch, since);
	bool in_runtime;

	meeting_hold_identity(meeting, NULL); /* it has a member again */
	in_runtime = linker->set.forker && link_user_watch(meeting->of, reply->runtime_watch, since);

	relink(meeting->name->topic, meeting->user);
	if (folder >= 0 && is_own(linker, meeting, reply))
		links_join(linker, meeting, LINK_PLACE_FOLDER, folder);
	if (linker->set.forker && reply->runtime)
		links_join(linker, meeting, LINK_PLACE_RUNTIME, -1);
	if (r > 0)
		appeared_soon(linker, meeting, LINK_PLACE_FOLDER);
	if (in_runtime)
		appeared_soon(linker, meeting, LINK_PLACE_RUNTIME);
	join_runtime(linker, meeting);
}

static void leave(struct linker *linker, struct meeting *meeting)
{
	if (meeting->of) {
		looks_cancel(meeting->of->looks, meeting);
		for (unsigned i = 0; i < TOPIC_PLACES; i++)
			if (meeting->links[i])
				link_leave(meeting->links[i]);
		meeting->of->n_meetings--;
		link_users_idle(linker->users, meeting->of);
	}
	meeting_free(meeting);
}

void linker_leave(struct linker *linker, struct topic *topic, const struct user *user)
{
	for (struct topic_name *name = topic->names; name; name = name->next) {
		struct meeting *meeting = meeting_find(name, user);

		if (meeting)
			leave(linker, meeting);
	}
}

/* Returns whether it was waited for. */
static bool leave_retired(struct meeting *meeting)
{
	bool waited = false;

	for (unsigned i = 0; i < TOPIC_PLACES; i++) {
		struct link *link = meeting->links[i];

		if (!link || !link->lane->retired)
			continue;
		waited |= link->state != STATE_LINKED;
		link_leave(link);
	}
	return waited;
}

static struct meeting *first_unsettled(const struct topic *topic, unsigned *ret_n)
{
	struct meeting *first = NULL;

	*ret_n = 0;
	for (struct topic_name *name = topic->names; name; name = name->next)
		for (struct meeting *meeting = name->meetings; meeting; meeting = meeting->next)
			if (meeting->unsettled) {
				first = meeting;
				++*ret_n;
			}
	return first;
}

void linker_leave_retired(struct linker *linker, struct topic *topic)
{
	struct meeting *meeting;
	unsigned n;

	for (struct topic_name *name = topic->names; name; name = name->next)
		for (meeting = name->meetings; meeting; meeting = meeting->next)
			meeting->unsettled |= leave_retired(meeting);
	do {
		meeting = first_unsettled(topic, &n);
		if (meeting) {
			meeting->unsettled = false;
			linker_settle(linker, topic, meeting->user);
		}
	} while (n > 1); /* with the last one the topic may have gone */
}

/* --- ending ------------------------------------------------------------------------------------------ */

static void part_linked(struct topic *topic, const struct user *user)
{
	for (struct topic_name *name = topic->names; name; name = name->next) {
		struct meeting *meeting = meeting_find(name, user);

		for (unsigned i = 0; i < TOPIC_PLACES && meeting; i++)
			if (meeting->links[i] && meeting->links[i]->state == STATE_LINKED)
				link_part(meeting->links[i]);
	}
}

static bool is_linked(const struct linker *linker, const struct meeting *meeting)
{
	return meeting->links[LINK_PLACE_FOLDER] && (!linker->set.forker || meeting->links[LINK_PLACE_RUNTIME]);
}

bool linker_part(struct linker *linker, struct topic *topic, struct user *user, struct identity *identity)
{
	struct link_user *of = link_users_get(linker->users, user);

	if (!of)
		return false;
	/* A look that fails at once must not end the topic in here. */
	linker->held = topic;
	linker->held_for = user;
	part_linked(topic, user);
	for (struct topic_name *name = topic->names; name; name = name->next) {
		struct meeting *meeting = meeting_find(name, user);

		if (!meeting || !meeting->of)
			continue;
		join_runtime(linker, meeting);
		if (is_linked(linker, meeting) || !meeting_path(meeting))
			continue;
		if (linker->set.forker)
			meeting_hold_identity(meeting, identity);
		hold(meeting);
		looks_enqueue(of->looks, meeting);
	}
	looks_pump(of->looks);
	linker->held = NULL;
	return linker_is_joining(topic, user);
}

bool linker_is_parting(struct linker *linker, struct topic *topic, const struct user *user)
{
	(void)linker;
	/* Looks that began before the last member left do not count; nor do failures that may pass, unless there
	 * can be no links at all, which the log says. */
	for (struct topic_name *name = topic->names; name; name = name->next) {
		struct meeting *meeting = meeting_find(name, user);

		if (meeting && meeting->look != LOOK_NONE &&
		    !(meeting->look == LOOK_LATER && agent_is_given_up(meeting->of->agent)))
			hold(meeting);
	}
	part_linked(topic, user);
	return linker_is_joining(topic, user);
}

bool linker_is_failing(const struct meeting *meeting)
{
	return meeting->look == LOOK_LATER;
}

void linker_replace_agent(struct meeting *meeting)
{
	agent_kill(meeting->of->agent);
}

void linker_reap(struct linker *linker)
{
	link_users_reap(linker->users);
}

/* --- what the looks find ----------------------------------------------------------------------------- */

/* Nothing is there. Was something, which has come and gone again? What is to be looked for next has come since. */
static bool may_have_been(const struct linker *linker, const struct meeting *meeting, unsigned where)
{
	return (meeting->looked_for | meeting->look_for) & where || folders_are_behind(linker->set.folders);
}

/* In the daemon of all users: the worker has looked into the runtime folder. */
static void on_looked_into_runtime(struct linker *linker, struct meeting *meeting, const struct files_reply *reply)
{
	if (reply->runtime)
		links_join(linker, meeting, LINK_PLACE_RUNTIME, -1);
	else if (may_have_been(linker, meeting, IN_RUNTIME))
		topic_resync_for(meeting->name->topic, meeting->user);
}

static void on_looked(void *arg, struct meeting *meeting, int error, const struct files_reply *reply, int folder, bool held)
{
	struct linker *linker = arg;

	if (folder >= 0 && is_own(linker, meeting, reply))
		links_join(linker, meeting, LINK_PLACE_FOLDER, folder);
	else if (error == 0 && (may_have_been(linker, meeting, BESIDE) || !linker->set.forker))
		topic_resync_for(meeting->name->topic, meeting->user); /* came and went at once: what was in it still counts */
	if (linker->set.forker && error == 0)
		on_looked_into_runtime(linker, meeting, reply);
	join_runtime(linker, meeting);
	if (held)
		linker_settle(linker, meeting->name->topic, meeting->user);
}

static bool on_watched(void *arg, struct meeting *meeting, const struct files_reply *reply, uint64_t since)
{
	struct linker *linker = arg;

	unsigned appeared = 0;

	if (looks_watch(meeting->of->looks, meeting->name, reply->watch, since) > 0)
		appeared |= BESIDE;
	if (linker->set.forker && link_user_watch(meeting->of, reply->runtime_watch, since))
		appeared |= IN_RUNTIME;
	meeting->look_for |= appeared;
	return appeared != 0;
}

/* --- life ------------------------------------------------------------------------------------------ */

struct linker *linker_new(const struct linker_setting *setting)
{
	struct linker *linker = calloc(1, sizeof(*linker));

	if (!linker)
		return NULL;
	if (table_init(&linker->links) < 0) {
		free(linker);
		return NULL;
	}
	linker->set = *setting;
	linker->users = link_users_new(&(struct link_users_setting){
		.loop = setting->loop,
		.files = setting->files,
		.folders = setting->folders,
		.forker = setting->forker,
		.death_fd = setting->death_fd,
		.sandboxed = setting->sandboxed,
		.idle_ms = setting->idle_ms,
		.message = links_message,
		.lost = links_lost,
		.runtime = on_runtime,
		.watched = on_watched,
		.looked = on_looked,
		.arg = linker,
	});
	if (!linker->users)
		return linker_free(linker);
	return linker;
}

void linker_set_idle(struct linker *linker, unsigned idle_ms)
{
	linker->set.idle_ms = idle_ms;
	link_users_set_idle(linker->users, idle_ms);
}

static void cancel(struct topic_name *name, void *arg)
{
	(void)arg;
	for (struct meeting *meeting = name->meetings; meeting; meeting = meeting->next)
		if (meeting->of)
			looks_cancel(meeting->of->looks, meeting);
}

struct linker *linker_free(struct linker *linker)
{
	struct table_entry *entry;

	if (!linker)
		return NULL;
	topics_each(linker->set.topics, cancel, NULL);
	link_users_free(linker->users);
	while ((entry = table_any(&linker->links))) {
		table_remove(&linker->links, entry);
		free(table_container(entry, struct link, by_id));
	}
	table_deinit(&linker->links);
	free(linker);
	return NULL;
}
