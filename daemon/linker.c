/* SPDX-License-Identifier: MIT */
/*
 * linker.c - which sidecars are linked.
 *
 * A sidecar comes to notice by an opening's look, or by a watch, which leads to a look through a files worker
 * (looks.c). What is found is joined by the agent (agent.c).
 */
#include "linker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "carrier.h"
#include "crossing.h"
#include "log.h"
#include "looks.h"
#include "user.h"

enum link_state {
	STATE_JOINING, /* JOIN sent; counts in topic->n_joining */
	STATE_LINKED,
	STATE_PARTING, /* LEAVE sent, for a topic whose end waits for it; counts in topic->n_joining */
	STATE_LEAVING, /* LEAVE sent; the topic is gone, the id still taken */
};

struct link {
	struct table_entry by_id;
	uint32_t id;
	enum link_place place;
	enum link_state state;
	bool again;     /* the watch has fired since JOIN was sent */
	unsigned group;
	uint32_t slot; /* in the lane's member table */ /* its place at a bell */
	struct topic_name *name; /* NULL: leaving */
	struct topic_lane *lane; /* of the sidecar's user; as long as there is a name */
};

struct linker {
	struct linker_setting set;
	struct agent *agent;
	struct table links; /* by id. A number is not used again soon: an answer to LEAVE may come late, and twice */
	uint32_t last_id;
	struct looks *looks;
	struct log_limit failures;
};

static void settle(struct linker *linker, struct topic *topic)
{
	if (--topic->n_joining == 0)
		linker->set.settled(linker->set.arg, topic);
}

static void log_failure(struct linker *linker, const struct topic_name *name, const char *what, int error)
{
	if (log_allows(&linker->failures, "links that could not be made"))
		looks_log(name, what, error);
}

/* --- links ----------------------------------------------------------------------------------------- */

static struct link *link_find(const struct linker *linker, uint32_t id)
{
	struct table_entry *entry = table_first(&linker->links, table_mix(id));

	return entry ? table_container(entry, struct link, by_id) : NULL;
}

static struct link *link_new(struct linker *linker)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	do
		link->id = ++linker->last_id;
	while (link->id == 0 || link_find(linker, link->id));
	table_add(&linker->links, &link->by_id, table_mix(link->id));
	return link;
}

/* Gives its place at the bell back. What waits for it is the caller's to settle. */
static void link_free(struct linker *linker, struct link *link)
{
	if (link->name) {
		topic_link_leave(link->lane, link->group, link->slot, true);
		link->name->links[link->place] = NULL;
		crossing_settle(link->name->topic);
	}
	table_remove(&linker->links, &link->by_id);
	free(link);
}

/* A sidecar's processes are this user's; what they may do is decided as they do by themselves. */
static struct topic_lane *lane_for_link(const struct topic *topic)
{
	struct topic_lane *best = NULL;

	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (user_uid(lane->user) == geteuid() && !lane->retired && (!best || lane->rights > best->rights))
			best = lane;
	return best;
}

static int join(struct linker *linker, struct topic_name *name, enum link_place place, int folder)
{
	struct topic *topic = name->topic;
	struct link_message message = { .type = LINK_JOIN, .place = place, .key = name->key };
	struct topic_lane *lane = lane_for_link(topic);
	struct link *link = lane ? link_new(linker) : NULL;
	int bell, r;

	if (!link)
		return -ENOMEM;
	bell = topic_link_join(lane, getpid(), &link->group, &message.slot);
	if (bell < 0) {
		link_free(linker, link);
		return bell;
	}
	link->slot = message.slot;
	link->name = name;
	link->lane = lane;
	link->place = place;
	link->state = STATE_JOINING;
	name->links[place] = link;
	message.link = link->id;
	r = agent_send(linker->agent, &message,
	               (const int[]){ lane->page_fd, bell, carrier_bell(user_carrier(lane->user)), folder }, LINK_JOIN_DESCRIPTORS);
	if (r < 0) {
		link_free(linker, link);
		return r;
	}
	topic->n_joining++;
	return 0;
}

static void join_or_later(struct linker *linker, struct topic_name *name, enum link_place place, int folder)
{
	int r;

	if (name->links[place] || linker->set.off)
		return;
	r = join(linker, name, place, folder);
	if (r < 0) {
		log_failure(linker, name, "a link could not be made", r);
		looks_later(linker->looks, name);
	}
}

void linker_join(struct linker *linker, struct topic_name *name, int folder)
{
	join_or_later(linker, name, LINK_PLACE_FOLDER, folder);
}

void linker_join_runtime(struct linker *linker, struct topic_name *name)
{
	int folder;

	if (name->links[LINK_PLACE_RUNTIME] || !runtime_may_have(linker->set.runtime, &name->key) ||
	    runtime_open(linker->set.runtime, &folder) < 0)
		return;
	join_or_later(linker, name, LINK_PLACE_RUNTIME, folder);
	close(folder);
}

static void send_plain(struct linker *linker, const struct link *link, enum link_type type)
{
	struct link_message message = { .type = type, .link = link->id };
	int r = agent_send(linker->agent, &message, NULL, 0);

	if (r < 0)
		log_error("the link agent could not be told: %s", strerror(-r));
}

void linker_appeared(struct linker *linker, struct topic_name *name, enum link_place place)
{
	struct link *link = name->links[place];

	if (linker->set.off)
		return;
	if (link && link->state == STATE_LINKED)
		send_plain(linker, link, LINK_AGAIN);
	else if (link)
		link->again = true;
	else if (place == LINK_PLACE_FOLDER)
		looks_soon(linker->looks, name);
	else if (linker_join_runtime(linker, name), !name->links[place])
		topic_resync(name->topic); /* came and went at once */
}

static void leave(struct linker *linker, struct topic_name *name, unsigned place)
{
	struct link *link = name->links[place];

	topic_link_leave(link->lane, link->group, link->slot, false);
	name->links[place] = NULL;
	link->name = NULL;
	link->state = STATE_LEAVING;
	send_plain(linker, link, LINK_LEAVE);
}

void linker_leave(struct linker *linker, struct topic *topic)
{
	for (struct topic_name *name = topic->names; name; name = name->next) {
		looks_cancel(linker->looks, name);
		for (unsigned i = 0; i < TOPIC_PLACES; i++)
			if (name->links[i])
				leave(linker, name, i);
	}
}

void linker_leave_retired(struct linker *linker, struct topic *topic)
{
	bool settled = false;

	for (struct topic_name *name = topic->names; name; name = name->next) {
		for (unsigned i = 0; i < TOPIC_PLACES; i++) {
			struct link *link = name->links[i];

			if (!link || !link->lane->retired)
				continue;
			if (link->state == STATE_JOINING && --topic->n_joining == 0)
				settled = true;
			leave(linker, name, i);
		}
	}
	if (settled)
		linker->set.settled(linker->set.arg, topic);
}

/* --- what the agent says --------------------------------------------------------------------------- */

static void on_linked(struct linker *linker, struct link *link)
{
	if (link->state != STATE_JOINING)
		return;
	link->state = STATE_LINKED;
	if (link->again)
		send_plain(linker, link, LINK_AGAIN);
	link->again = false;
	settle(linker, link->name->topic);
}

/* Openings, or the end of the topic, wait for the next look at this name to end. */
static void hold(struct topic_name *name)
{
	if (!name->look_holds)
		name->topic->n_joining++;
	name->look_holds = true;
}

/* The link has carried all there was. Somebody may have come to the topic, or to the sidecar, meanwhile. */
static void on_left(struct linker *linker, struct link *link)
{
	struct topic_name *name = link->name;
	enum link_place place = link->place;
	bool again = link->again;

	link_free(linker, link);
	if (!name)
		return;
	if (again || name->topic->n_members > 0) {
		if (place == LINK_PLACE_FOLDER)
			hold(name);
		linker_appeared(linker, name, place);
	}
	settle(linker, name->topic);
}

static void on_gone(struct linker *linker, struct link *link, int error)
{
	struct topic_name *name = link->name;
	enum link_place place = link->place;
	enum link_state state = link->state;
	bool counts = state == STATE_JOINING || state == STATE_PARTING;
	bool again = link->again || state != STATE_JOINING;

	link_free(linker, link);
	if (!name)
		return;
	if (error < 0) {
		log_failure(linker, name, "the link with processes that do not reach this daemon is not there", error);
		if (looks_may_pass(error))
			looks_later(linker->looks, name);
	} else if (again) {
		/* The watch may have fired for the next sidecar while this one was still linked. Openings wait for that. */
		if (counts && place == LINK_PLACE_FOLDER)
			hold(name);
		linker_appeared(linker, name, place);
	}
	if (counts)
		settle(linker, name->topic);
}

static void on_message(void *arg, const struct link_message *message)
{
	struct linker *linker = arg;
	struct link *link = link_find(linker, message->link);

	if (!link)
		log_debug("link %u is not known any more", message->link);
	else if (message->type == LINK_LINKED)
		on_linked(linker, link);
	else if (message->type == LINK_LEFT)
		on_left(linker, link);
	else if (message->type == LINK_GONE)
		on_gone(linker, link, message->error);
	else
		log_warning("the link agent sent a message of type %u", message->type);
}

/* Takes a link of the dead agent out. Its name is looked at again; openings that waited go on waiting. */
static void lose(struct linker *linker, struct link *link)
{
	struct topic_name *name = link->name;
	bool joining = link->state == STATE_JOINING || link->state == STATE_PARTING;

	link_free(linker, link);
	if (!name)
		return;
	/* What the agent had taken from one side and not yet put into the other is lost with it. */
	topic_resync(name->topic);
	if (joining && name->look_holds)
		name->topic->n_joining--;
	name->look_holds |= joining;
	/* Asked only when all are lost, so that no new link comes among the old ones. */
	looks_enqueue(linker->looks, name);
}

static void on_lost(void *arg)
{
	struct linker *linker = arg;
	struct table_entry *entry;

	while ((entry = table_any(&linker->links)))
		lose(linker, table_container(entry, struct link, by_id));
	looks_pump(linker->looks);
}

/* What we take for linked may have ended by itself, and another sidecar have come: only its answer tells. */
static void part_linked(struct linker *linker, struct topic *topic)
{
	for (struct topic_name *name = topic->names; name; name = name->next)
		for (unsigned i = 0; i < TOPIC_PLACES; i++) {
			struct link *link = name->links[i];

			if (!link || link->state != STATE_LINKED)
				continue;
			link->state = STATE_PARTING;
			link->again = false;
			topic->n_joining++;
			send_plain(linker, link, LINK_LEAVE);
		}
}

bool linker_part(struct linker *linker, struct topic *topic)
{
	if (linker->set.off)
		return false;
	topic->n_joining++; /* a look that fails at once must not end the topic in here */
	part_linked(linker, topic);
	for (struct topic_name *name = topic->names; name; name = name->next) {
		linker_join_runtime(linker, name);
		if (name->links[LINK_PLACE_FOLDER] || !name->path)
			continue;
		hold(name);
		looks_enqueue(linker->looks, name);
	}
	looks_pump(linker->looks);
	return --topic->n_joining > 0;
}

bool linker_is_parting(struct linker *linker, struct topic *topic)
{
	/* Looks that began before the last member left do not count; nor do failures that may pass, unless there
	 * can be no links at all, which the log says. */
	for (struct topic_name *name = topic->names; name; name = name->next)
		if (name->look != LOOK_NONE && !(name->look == LOOK_LATER && agent_is_given_up(linker->agent)))
			hold(name);
	part_linked(linker, topic);
	return topic->n_joining > 0;
}

bool linker_is_failing(const struct topic_name *name)
{
	return name->look == LOOK_LATER;
}

void linker_replace_agent(struct linker *linker)
{
	agent_kill(linker->agent);
}

void linker_reap(struct linker *linker)
{
	agent_reap(linker->agent);
}

/* --- what the looks find ----------------------------------------------------------------------------- */

static void on_looked(void *arg, struct topic_name *name, int error, int folder, bool held)
{
	struct linker *linker = arg;

	if (folder >= 0)
		linker_join(linker, name, folder);
	else if (error == 0)
		topic_resync(name->topic); /* came and went at once: what was in it still counts */
	linker_join_runtime(linker, name);
	if (held)
		settle(linker, name->topic);
}

static bool on_may_look(void *arg)
{
	struct linker *linker = arg;

	return !agent_is_given_up(linker->agent);
}

int linker_watch(struct linker *linker, struct topic_name *name, int watch, uint64_t since)
{
	return looks_watch(linker->looks, name, watch, since);
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
	linker->agent = agent_new(setting->loop, setting->death_fd, setting->sandboxed, on_message, on_lost, linker);
	linker->looks = looks_new(&(struct looks_setting){
		.loop = setting->loop,
		.topics = setting->topics,
		.files = setting->files,
		.folders = setting->folders,
		.looked = on_looked,
		.may_look = on_may_look,
		.arg = linker,
	});
	if (!linker->agent || !linker->looks)
		return linker_free(linker);
	return linker;
}

struct linker *linker_free(struct linker *linker)
{
	struct table_entry *entry;

	if (!linker)
		return NULL;
	agent_free(linker->agent);
	looks_free(linker->looks);
	while ((entry = table_any(&linker->links))) {
		table_remove(&linker->links, entry);
		free(table_container(entry, struct link, by_id));
	}
	table_deinit(&linker->links);
	free(linker);
	return NULL;
}
