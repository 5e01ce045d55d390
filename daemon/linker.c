/* SPDX-License-Identifier: MIT */
/*
 * linker.c - which sidecars are linked, and the looks that find them.
 *
 * A sidecar comes to notice by an opening's look, or by a watch, which leads to a look through a files worker.
 * What is found is joined by the agent. What cannot be looked at is looked at again, and its topic is told
 * that something may have been missed; it is never taken for empty.
 */
#include "linker.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "agent.h"
#include "escape.h"
#include "limit.h"
#include "log.h"

enum link_state {
	STATE_JOINING, /* JOIN sent; counts in topic->n_joining */
	STATE_LINKED,
	STATE_LEAVING, /* LEAVE sent; the topic is gone, the id still taken */
};

struct link {
	struct table_entry by_id;
	uint32_t id;
	enum link_place place;
	enum link_state state;
	bool again;     /* the watch has fired since JOIN was sent */
	unsigned group; /* its place at a bell */
	struct topic_name *name; /* NULL: leaving */
};

/* A question about a name that is under way. */
struct look {
	struct linker *linker;
	struct topic_name *name;
	struct files_question *question;
	uint64_t since; /* folders_clock */
};

struct name_list {
	struct topic_name *first, **last;
};

struct linker {
	struct linker_setting set;
	struct agent *agent;
	struct table links; /* by id. A number is not used again soon: an answer to LEAVE may come late, and twice */
	uint32_t last_id;
	struct name_list queued, later;
	unsigned n_asked;
	struct loop_event *later_timer;
	struct log_limit failures, unwatched;
};

static void look_pump(struct linker *linker);

/* --- lists of names -------------------------------------------------------------------------------- */

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

/* --- looks ----------------------------------------------------------------------------------------- */

static void settle(struct linker *linker, struct topic *topic)
{
	if (--topic->n_joining == 0)
		linker->set.settled(linker->set.arg, topic);
}

static void look_enqueue(struct linker *linker, struct topic_name *name)
{
	if (name->look == LOOK_ASKED) {
		name->look_again = true;
	} else if (name->look != LOOK_QUEUED) {
		if (name->look == LOOK_LATER)
			list_remove(&linker->later, name);
		name->look = LOOK_QUEUED;
		list_append(&linker->queued, name);
	}
}

static void look_soon(struct linker *linker, struct topic_name *name)
{
	look_enqueue(linker, name);
	look_pump(linker);
}

static void look_later(struct linker *linker, struct topic_name *name)
{
	if (name->look != LOOK_NONE)
		return;
	if (!linker->later.first)
		loop_set(linker->later_timer, LIMIT_LOOK_AGAIN_MS);
	name->look = LOOK_LATER;
	list_append(&linker->later, name);
}

static void later_timer(void *arg)
{
	struct linker *linker = arg;

	if (agent_is_given_up(linker->agent)) {
		loop_set(linker->later_timer, LIMIT_LOOK_AGAIN_MS);
		return;
	}
	while (linker->later.first) {
		struct topic_name *name = linker->later.first;

		list_remove(&linker->later, name);
		name->look = LOOK_QUEUED;
		list_append(&linker->queued, name);
	}
	look_pump(linker);
}

/* Takes a look out of wherever it is. */
static void look_cancel(struct linker *linker, struct topic_name *name)
{
	struct look *look = name->look_request;

	if (name->look == LOOK_QUEUED)
		list_remove(&linker->queued, name);
	if (name->look == LOOK_LATER)
		list_remove(&linker->later, name);
	if (name->look == LOOK_ASKED) {
		files_forget(look->question);
		free(look);
		linker->n_asked--;
		name->look_request = NULL;
	}
	name->look = LOOK_NONE;
}

/* Wanting something: to be repeated. Otherwise the path leads elsewhere by now. */
static bool is_passing(int error)
{
	return error == -ETIMEDOUT || error == -EMFILE || error == -ENFILE || error == -ENOMEM || error == -EIO ||
	       error == -EAGAIN || error == -EBUSY;
}

static void log_failure(struct linker *linker, const struct topic_name *name, const char *what, int error)
{
	char text[256];

	if (!log_allows(&linker->failures, "links that could not be made"))
		return;
	escape(name->path ? name->path : "?", strlen(name->path ? name->path : "?"), text, sizeof(text));
	log_warning("%s (%s): %s", what, strerror(-error), text);
}

/* The folder could not be looked at although a sidecar may be there. */
static void look_failed(struct linker *linker, struct topic_name *name, int error)
{
	log_failure(linker, name, "cannot look for processes that meet beside a file", error);
	topic_resync(name->topic);
	if (is_passing(error))
		look_later(linker, name);
}

static void looked(void *arg, int error, const struct files_reply *reply, int folder)
{
	struct look *look = arg;
	struct linker *linker = look->linker;
	struct topic_name *name = look->name;
	bool holds = name->look_holds;
	int r;

	linker->n_asked--;
	name->look = LOOK_NONE;
	name->look_request = NULL;
	name->look_holds = false;
	if (error == 0 && !key_equal(&reply->key, &name->key))
		error = -ESTALE;
	if (error < 0) {
		look_failed(linker, name, error);
	} else {
		r = linker_watch(linker, name, reply->watch, look->since);
		if (folder >= 0)
			linker_join(linker, name, folder);
		else
			topic_post(name->topic); /* came and went at once: what was posted in it still counts */
		if (r > 0)
			name->look_again = true;
	}
	linker_join_runtime(linker, name);
	if (name->look_again && name->look == LOOK_NONE) {
		name->look_again = false;
		linker_appeared(linker, name, LINK_PLACE_FOLDER);
	}
	if (folder >= 0)
		close(folder);
	free(look);
	if (holds)
		settle(linker, name->topic);
	look_pump(linker);
}

static pid_t some_pid(const struct topic_name *name)
{
	pid_t pid = 0;

	for (const struct member *member = name->topic->members; member; member = member->next) {
		if (member->name == name)
			return member->pid;
		pid = member->pid;
	}
	return pid;
}

static int look_ask(struct linker *linker, struct topic_name *name)
{
	struct look *look = calloc(1, sizeof(*look));

	if (!look)
		return -ENOMEM;
	*look = (struct look){ .linker = linker, .name = name, .since = folders_clock(linker->set.folders) };
	look->question = files_ask(linker->set.files, name->path, some_pid(name), NULL, looked, look);
	if (!look->question) {
		free(look);
		return -ENOMEM;
	}
	name->look_request = look;
	name->look = LOOK_ASKED;
	name->look_again = false;
	linker->n_asked++;
	return 0;
}

static void look_pump(struct linker *linker)
{
	while (linker->queued.first && linker->n_asked < LIMIT_LOOKS) {
		struct topic_name *name = linker->queued.first;
		int r;

		list_remove(&linker->queued, name);
		name->look = LOOK_NONE;
		r = name->path ? look_ask(linker, name) : -ENOENT;
		if (r == 0)
			continue;
		look_failed(linker, name, r);
		if (name->look_holds) {
			name->look_holds = false;
			settle(linker, name->topic);
		}
	}
}

int linker_watch(struct linker *linker, struct topic_name *name, int watch, uint64_t since)
{
	int r = watch;

	if (watch > 0)
		r = folders_attach(linker->set.folders, name, watch, since);
	if (r < 0 && log_allows(&linker->unwatched, "folders that cannot be watched"))
		log_failure(linker, name, "a folder cannot be watched: processes that meet there later are not heard of", r);
	return r;
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
		topic_link_leave(link->name->topic, link->group);
		link->name->links[link->place] = NULL;
	}
	table_remove(&linker->links, &link->by_id);
	free(link);
}

static int join(struct linker *linker, struct topic_name *name, enum link_place place, int folder)
{
	struct topic *topic = name->topic;
	struct link_message message = { .type = LINK_JOIN, .place = place, .key = name->key };
	struct link *link = link_new(linker);
	int bell, r;

	if (!link)
		return -ENOMEM;
	bell = topic_link_join(topic, &link->group);
	if (bell < 0) {
		link_free(linker, link);
		return bell;
	}
	link->name = name;
	link->place = place;
	link->state = STATE_JOINING;
	name->links[place] = link;
	message.link = link->id;
	r = agent_send(linker->agent, &message,
	               (const int[]){ topic->page_fd, bell, linker->set.carrier_bell, folder }, LINK_JOIN_DESCRIPTORS);
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

	if (name->links[place])
		return;
	r = join(linker, name, place, folder);
	if (r < 0) {
		log_failure(linker, name, "a link could not be made", r);
		look_later(linker, name);
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

	if (link && link->state == STATE_LINKED)
		send_plain(linker, link, LINK_AGAIN);
	else if (link)
		link->again = true;
	else if (place == LINK_PLACE_FOLDER)
		look_soon(linker, name);
	else if (linker_join_runtime(linker, name), !name->links[place])
		topic_post(name->topic); /* came and went at once */
}

void linker_leave(struct linker *linker, struct topic *topic)
{
	for (struct topic_name *name = topic->names; name; name = name->next) {
		look_cancel(linker, name);
		for (unsigned i = 0; i < TOPIC_PLACES; i++) {
			struct link *link = name->links[i];

			if (!link)
				continue;
			topic_link_leave(topic, link->group);
			name->links[i] = NULL;
			link->name = NULL;
			link->state = STATE_LEAVING;
			send_plain(linker, link, LINK_LEAVE);
		}
	}
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

static void on_gone(struct linker *linker, struct link *link, int error)
{
	struct topic_name *name = link->name;
	enum link_place place = link->place;
	enum link_state state = link->state;
	bool again = link->again || state == STATE_LINKED;

	link_free(linker, link);
	if (!name)
		return;
	if (error < 0) {
		log_failure(linker, name, "the link with processes that do not reach this daemon is not there", error);
		if (is_passing(error))
			look_later(linker, name);
	} else if (again) {
		/* The watch may have fired for the next sidecar while this one was still linked. */
		linker_appeared(linker, name, place);
	}
	if (state == STATE_JOINING)
		settle(linker, name->topic);
}

static void on_message(void *arg, const struct link_message *message)
{
	struct linker *linker = arg;
	struct link *link = link_find(linker, message->link);

	if (!link)
		log_debug("link %u ended twice", message->link); /* by itself, and then by LEAVE */
	else if (message->type == LINK_LINKED)
		on_linked(linker, link);
	else if (message->type == LINK_GONE)
		on_gone(linker, link, message->error);
	else
		log_warning("the link agent sent a message of type %u", message->type);
}

/* Takes a link of the dead agent out. Its name is looked at again; openings that waited go on waiting. */
static void lose(struct linker *linker, struct link *link)
{
	struct topic_name *name = link->name;
	bool joining = link->state == STATE_JOINING;

	link_free(linker, link);
	if (!name)
		return;
	/* What the agent had taken from one side and not yet put into the other is lost with it. */
	topic_resync(name->topic);
	if (joining && name->look_holds)
		name->topic->n_joining--;
	name->look_holds |= joining;
	/* Asked only when all are lost, so that no new link comes among the old ones. */
	look_enqueue(linker, name);
}

static void on_lost(void *arg)
{
	struct linker *linker = arg;
	struct table_entry *entry;

	while ((entry = table_any(&linker->links)))
		lose(linker, table_container(entry, struct link, by_id));
	look_pump(linker);
}

void linker_reap(struct linker *linker)
{
	agent_reap(linker->agent);
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
	linker->queued.last = &linker->queued.first;
	linker->later.last = &linker->later.first;
	linker->agent = agent_new(setting->loop, setting->death_fd, on_message, on_lost, linker);
	linker->later_timer = loop_timer(setting->loop, later_timer, linker);
	if (!linker->agent || !linker->later_timer) /* agent_free and loop_event_free take NULL */
		return linker_free(linker);
	return linker;
}

static void cancel(struct topic_name *name, void *arg)
{
	look_cancel(arg, name);
}

struct linker *linker_free(struct linker *linker)
{
	struct table_entry *entry;

	if (!linker)
		return NULL;
	topics_each(linker->set.topics, cancel, linker);
	agent_free(linker->agent);
	loop_event_free(linker->later_timer);
	while ((entry = table_any(&linker->links))) {
		table_remove(&linker->links, entry);
		free(table_container(entry, struct link, by_id));
	}
	table_deinit(&linker->links);
	free(linker);
	return NULL;
}
