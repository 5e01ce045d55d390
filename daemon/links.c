/* SPDX-License-Identifier: MIT */
/* links.c - links: made by an agent, and ended by it. */
#include "linker_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "carrier.h"
#include "happening.h"
#include "limit.h"
#include "user.h"

static void log_failure(const struct topic_name *name, const char *what, int error)
{
	looks_log(REASON_LINK_FAILED, name, what, error);
}

/* --- links ----------------------------------------------------------------------------------------- */

static struct link *link_find(const struct linker *linker, uint32_t id)
{
	struct table_entry *entry = table_first(&linker->links, table_mix(id));

	return entry ? table_container(entry, struct link, by_id) : NULL;
}

static bool is_unanswered(enum link_state state)
{
	return state != STATE_LINKED;
}

static void set_state(struct link *link, enum link_state state)
{
	link->of->n_unanswered -= is_unanswered(link->state);
	link->of->n_unanswered += is_unanswered(state);
	link->state = state;
}

static struct link *link_new(struct linker *linker, struct link_user *of)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return NULL;
	do
		link->id = ++linker->last_id;
	while (link->id == 0 || link_find(linker, link->id));
	table_add(&linker->links, &link->by_id, table_mix(link->id));
	link->state = STATE_JOINING;
	link->of = of;
	of->n_unanswered++;
	link->next = of->links;
	link->at = &of->links;
	if (link->next)
		link->next->at = &link->next;
	of->links = link;
	return link;
}

/* Gives its place at the bell back. What waits for it is the caller's to settle. */
static void link_free(struct linker *linker, struct link *link)
{
	if (link->meeting) {
		if (link->lane)
			topic_link_leave(link->lane, link->group, link->slot, true);
		link->meeting->links[link->place] = NULL;
	}
	table_remove(&linker->links, &link->by_id);
	link->of->n_unanswered -= is_unanswered(link->state);
	*link->at = link->next;
	if (link->next)
		link->next->at = link->at;
	link_users_idle(linker->users, link->of);
	free(link);
}

/* A sidecar's processes are the lane's user's; what they may do is decided as they do by themselves. */
struct topic_lane *links_lane(const struct topic *topic, const struct user *user)
{
	struct topic_lane *best = NULL;

	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (lane->user == user && !lane->retired && (!best || lane->rights > best->rights))
			best = lane;
	return best;
}

/* folder -1: the agent opens the user's runtime folder itself. */
static int join(struct linker *linker, struct meeting *meeting, enum link_place place, int folder)
{
	struct link_message message = { .type = LINK_JOIN, .place = place, .key = meeting->name->key };
	struct topic_lane *lane = links_lane(meeting->name->topic, meeting->user);
	struct link_user *of = meeting->of;
	struct link *link;
	int bell, r;

	if (!lane)
		return -EAGAIN;
	if (linker->set.forker && of->n_unanswered >= LIMIT_AGENT_UNANSWERED)
		return -EBUSY;
	link = link_new(linker, of);
	if (!link)
		return -ENOMEM;
	bell = topic_link_join(lane, getpid(), &link->group, &message.slot);
	if (bell < 0) {
		link_free(linker, link);
		return bell;
	}
	link->slot = message.slot;
	link->meeting = meeting;
	link->lane = lane;
	link->place = place;
	meeting->links[place] = link;
	message.link = link->id;
	r = agent_send(of->agent, meeting_identity(meeting), &message,
	               (const int[]){ lane->page_fd, bell, carrier_bell(user_carrier(lane->user)),
	                              folder >= 0 ? folder : lane->page_fd },
	               LINK_JOIN_DESCRIPTORS);
	if (r < 0)
		link_free(linker, link);
	return r;
}

void links_join(struct linker *linker, struct meeting *meeting, enum link_place place, int folder)
{
	int r;

	if (meeting->links[place])
		return;
	r = join(linker, meeting, place, folder);
	if (r < 0) {
		log_failure(meeting->name, "a link could not be made", r);
		looks_later(meeting->of->looks, meeting);
	}
}

void link_send(const struct link *link, enum link_type type)
{
	struct link_message message = { .type = type, .link = link->id };
	int r = agent_send(link->of->agent, NULL, &message, NULL, 0);

	if (r < 0)
		log_event(REASON_LINK_AGENT_UNSTARTED, "the link agent could not be told: %s", strerror(-r));
}

/* What we take for linked may have ended by itself, and another sidecar have come: only its answer tells. */
void link_part(struct link *link)
{
	set_state(link, STATE_PARTING);
	link->again = false;
	link_send(link, LINK_LEAVE);
}

void link_leave(struct link *link)
{
	topic_link_leave(link->lane, link->group, link->slot, false);
	link->meeting->links[link->place] = NULL;
	link->meeting = NULL;
	set_state(link, STATE_LEAVING);
	link_send(link, LINK_LEAVE);
}

/* --- what the agent says --------------------------------------------------------------------------- */

static void note_link(const struct link *link, const char *what)
{
	const struct meeting *meeting = link->meeting;

	if (meeting)
		happening_note(HAPPENING_LINK, .topic = meeting->name->topic->number, .path = meeting->name->path,
		               .uid = user_uid(meeting->user), .has_uid = true, .what = what);
}

static void on_linked(struct link *link, struct linker *linker)
{
	if (link->state != STATE_JOINING)
		return;
	set_state(link, STATE_LINKED);
	note_link(link, "linked");
	if (link->again)
		link_send(link, LINK_AGAIN);
	link->again = false;
	linker_settle(linker, link->meeting->name->topic, link->meeting->user);
}

/* Openings wait for what comes of it where that takes a look. */
static void look_again_at(struct linker *linker, struct meeting *meeting, enum link_place place, bool holds)
{
	if (holds && (place == LINK_PLACE_FOLDER || linker->set.forker))
		meeting->look_holds = true;
	linker_look_at(linker, meeting, place);
}

/* The link has carried all there was. Somebody may have come to the topic, or to the sidecar, meanwhile. */
static void on_left(struct linker *linker, struct link *link)
{
	struct meeting *meeting = link->meeting;
	enum link_place place = link->place;
	struct link_user *of = link->of;
	bool again = link->again;
	struct topic *topic;
	struct user *user;

	if (link->state != STATE_PARTING && link->state != STATE_LEAVING)
		return;
	note_link(link, "left");
	link_free(linker, link);
	if (!meeting)
		return;
	topic = meeting->name->topic;
	user = meeting->user;
	if (again || topic_has_members_of(topic, user))
		look_again_at(linker, meeting, place, true);
	linker_settle(linker, topic, user);
	looks_pump(of->looks);
}

static void on_gone(struct linker *linker, struct link *link, int error)
{
	struct meeting *meeting = link->meeting;
	enum link_place place = link->place;
	enum link_state state = link->state;
	struct link_user *of = link->of;
	bool counts = state == STATE_JOINING || state == STATE_PARTING;
	bool again = link->again || state != STATE_JOINING;
	struct topic *topic;
	struct user *user;

	if (state == STATE_LINKED)
		note_link(link, "left");
	link_free(linker, link);
	if (!meeting)
		return;
	topic = meeting->name->topic;
	user = meeting->user;
	if (error < 0) {
		log_failure(meeting->name, "the link with processes that do not reach this daemon is not there", error);
		if (looks_may_pass(error))
			looks_later(of->looks, meeting);
	} else if (again) {
		/* The watch may have fired for the next sidecar while this one was still linked. Openings wait for that. */
		look_again_at(linker, meeting, place, counts);
	}
	if (counts)
		linker_settle(linker, topic, user);
	looks_pump(of->looks);
}

/* In the daemon of all users it is the user's process, which may say anything; but of that user's links only. */
void links_message(void *arg, struct link_user *of, const struct link_message *message)
{
	struct linker *linker = arg;
	struct link *link = link_find(linker, message->link);

	if (!link || link->of != of)
		log_event(REASON_DEBUG, "link %u is not known any more", message->link);
	else if (message->type == LINK_LINKED)
		on_linked(link, linker);
	else if (message->type == LINK_LEFT)
		on_left(linker, link);
	else if (message->type == LINK_GONE)
		on_gone(linker, link, message->error <= 0 && message->error > -4096 ? message->error : -EPROTO);
	else
		log_event(REASON_LINK_AGENT, "the link agent sent a message of type %u", message->type);
}

/* Takes a link of the dead agent out. Its place is looked at again; openings that waited go on waiting. */
static void lose(struct linker *linker, struct link *link)
{
	struct meeting *meeting = link->meeting;
	bool joining = link->state == STATE_JOINING || link->state == STATE_PARTING;

	link_free(linker, link);
	if (!meeting)
		return;
	/* What the agent had taken from one side and not yet put into the other is lost with it. */
	topic_resync_for(meeting->name->topic, meeting->user);
	meeting->look_holds |= joining;
	meeting->look_for = ANYWHERE;
	/* Asked only when all are lost, so that no new link comes among the old ones. */
	looks_enqueue(meeting->of->looks, meeting);
}

void links_lost(void *arg, struct link_user *of)
{
	while (of->links)
		lose(arg, of->links);
	looks_pump(of->looks);
}

