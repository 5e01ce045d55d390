/* SPDX-License-Identifier: MIT */
/*
 * rights_watch.c - see rights_watch.h.
 *
 * A name's check goes from member to member; all who would be told the same are done with one answer. What happens to the file
 * meanwhile begins it again. A few checks are under way at a time, since after an overflow of the kernel's queue all names
 * are checked. Whoever does not answer holds these up, and keeps nothing by it: what is not decided in time is lost.
 */
#include "rights_watch.h"

#include <stdlib.h>
#include <unistd.h>

#include "crossing.h"
#include "files.h"
#include "keeping.h"
#include "limit.h"
#include "linker.h"
#include "log.h"
#include "loop.h"
#include "os/os.h"
#include "rights.h"
#include "subscriber.h"

struct check {
	struct rights_watch *watch;
	struct check *next; /* in watch->asked */
	struct topic_name *name;
	struct files_question *question;
	struct member *asked_for; /* stays there as long as the question is wanted */
	bool again; /* something has happened since it began */
};

struct rights_watch {
	const struct context *context;
	struct topic_name *first, **last; /* queued, the longest first */
	struct check *asked;
	unsigned n_asked;
	struct loop_event *timer; /* set while there are any */
	bool timed;
	bool pumps;
	uint64_t round; /* of the check that began last */
};

static void pump(struct rights_watch *watch);
static void go_on(struct check *check);

/* --- the queue ------------------------------------------------------------------------------------- */

static void queue(struct rights_watch *watch, struct topic_name *name)
{
	name->check_state = CHECK_QUEUED;
	name->check_next = NULL;
	*watch->last = name;
	watch->last = &name->check_next;
}

static void unqueue(struct rights_watch *watch, struct topic_name *name)
{
	struct topic_name **at = &watch->first;

	while (*at != name)
		at = &(*at)->check_next;
	*at = name->check_next;
	if (watch->last == &name->check_next)
		watch->last = at;
	name->check_state = CHECK_NONE;
}

static void note(struct rights_watch *watch, struct topic_name *name)
{
	if (name->check_state == CHECK_ASKED)
		name->check->again = true;
	/* Who comes by a name is looked at then. */
	if (name->check_state != CHECK_NONE || name->n_members == 0)
		return;
	name->check_since = os_now_ns();
	queue(watch, name);
}

static void begin(struct rights_watch *watch)
{
	pump(watch);
	if (!watch->timed && (watch->first || watch->asked)) {
		watch->timed = true;
		loop_set(watch->timer, LIMIT_RIGHTS_MS);
	}
}

void rights_watch_note(struct rights_watch *watch, struct topic_name *name)
{
	note(watch, name);
	begin(watch);
}

struct concern {
	struct rights_watch *watch;
	bool (*is_concerned)(const struct topic_name *name, void *arg);
	void *arg;
};

static void note_concerned(struct topic_name *name, void *arg)
{
	const struct concern *concern = arg;

	if (concern->is_concerned(name, concern->arg))
		note(concern->watch, name);
}

void rights_watch_note_all(struct rights_watch *watch, bool (*is_concerned)(const struct topic_name *name, void *arg), void *arg)
{
	topics_each(watch->context->topics, note_concerned, &(struct concern){ watch, is_concerned, arg });
	begin(watch); /* only then: topics may end by it */
}

/* The name's state is the caller's. */
static void check_free(struct check *check)
{
	struct check **at = &check->watch->asked;

	while (*at != check)
		at = &(*at)->next;
	*at = check->next;
	if (check->question)
		files_forget(check->question);
	check->name->check = NULL;
	check->watch->n_asked--;
	free(check);
}

static void check_end(struct check *check)
{
	check->name->check_state = CHECK_NONE;
	check_free(check);
}

static void forget(struct topic_name *name, void *arg)
{
	struct rights_watch *watch = arg;

	if (name->check_state == CHECK_QUEUED)
		unqueue(watch, name);
	else if (name->check_state == CHECK_ASKED)
		check_end(name->check);
}

void rights_watch_forget(struct rights_watch *watch, struct topic *topic)
{
	for (struct topic_name *name = topic->names; name; name = name->next)
		forget(name, watch);
	pump(watch);
}

/* A check may end at once, and then it asks for the next: that is begun here, and not within. */
static void pump(struct rights_watch *watch)
{
	if (watch->pumps)
		return;
	watch->pumps = true;
	while (watch->first && watch->n_asked < LIMIT_LOOKS) {
		struct topic_name *name = watch->first;
		struct check *check = calloc(1, sizeof(*check));

		if (!check) {
			log_event(REASON_NO_MEMORY, "no memory to decide the rights of a topic's members anew");
			break; /* with the next event */
		}
		unqueue(watch, name);
		*check = (struct check){ .watch = watch, .next = watch->asked, .name = name };
		watch->asked = check;
		name->check = check;
		name->check_state = CHECK_ASKED;
		name->check_round = ++watch->round;
		watch->n_asked++;
		go_on(check);
	}
	watch->pumps = false;
}

/* --- acting ---------------------------------------------------------------------------------------- */

/* What was posted there before is carried; whoever posts after it sees that the lane is closed, and posts again where it
 * joins. Without the memory to say so it is left all the same: what is posted there reaches nobody else. */
static void retire(struct topic_lane *lane)
{
	if (!lane->crossing)
		keeping_take_lane(lane);
	lane->retired = true;
	if (topic_lane_close(lane) < 0)
		log_event(REASON_NO_MEMORY, "no memory to tell a topic's members that their rights have changed");
	crossing_retire(lane);
}

static void act_for(struct rights_watch *watch, struct topic *topic, const char *why)
{
	bool changed = false;

	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next) {
		if (!lane->rights_changed || lane->retired)
			continue;
		retire(lane);
		changed = true;
	}
	if (!changed)
		return;
	log_event(REASON_RIGHTS_CHANGED, "%s: they join it anew", why);
	(void)crossing_update(watch->context, topic);
	for (struct member *member = topic->members; member; member = member->next)
		if (member->lane->retired && member->subscriber)
			subscriber_lose(member->subscriber);
	linker_leave_retired(watch->context->linker, topic); /* openings may end by that, and the topic with them */
}

static void act(struct rights_watch *watch, struct topic *topic)
{
	act_for(watch, topic, "the rights of a file's members have changed");
}

void rights_watch_rejoin(struct rights_watch *watch, struct topic *topic)
{
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		lane->rights_changed = true;
	act_for(watch, topic, "a file's members are told to");
}

/* --- asking ---------------------------------------------------------------------------------------- */

/* The next member of this name that is not done yet. One whose connection has ended has nothing to lose. */
static struct member *next_member(const struct check *check)
{
	const struct topic_name *name = check->name;

	for (struct member *member = name->topic->members; member; member = member->next)
		if (member->name == name && member->checked != name->check_round && !member->lane->retired && member->identity &&
		    member->path)
			return member;
	return NULL;
}

/* Would both be told the same? In other root folders a path may mean anything. */
static bool is_alike(const struct member *a, const struct member *b)
{
	if (a == b || a->identity == b->identity)
		return true;
	return !a->is_foreign && !b->is_foreign && identity_is_same(a->identity, b->identity);
}

static void answered(void *arg, int error, const struct files_reply *reply, int folder)
{
	struct check *check = arg;
	struct topic_name *name = check->name;
	const struct options *options = check->watch->context->options;
	bool known = error == 0 && key_equal(&reply->key, &name->key);

	check->question = NULL;
	if (folder >= 0)
		close(folder);
	if (known)
		topic_name_set_file(name, reply->exists, reply->file_dev, reply->file_ino);
	for (struct member *member = name->topic->members; member; member = member->next) {
		if (member->name != name || !member->identity || member->checked == name->check_round ||
		    !is_alike(member, check->asked_for))
			continue;
		member->checked = name->check_round;
		if (!known || rights_of(options, member->identity, reply, name->topic, NULL) != member->rights)
			member->lane->rights_changed = true;
	}
	go_on(check);
}

/* Who is asked for may go before the answer comes: then somebody else is. */
void rights_watch_left(struct member *member)
{
	struct check *check = member->name->check;

	if (!check || check->asked_for != member)
		return;
	member->checked = member->name->check_round;
	if (check->question)
		files_forget(check->question);
	check->question = NULL;
	go_on(check);
}

static void go_on(struct check *check)
{
	struct rights_watch *watch = check->watch;
	struct topic_name *name = check->name;
	struct member *member;

	while ((member = next_member(check))) {
		check->asked_for = member;
		check->question = files_ask(watch->context->files, member->path, member->identity, NULL, answered, check);
		if (check->question)
			return;
		/* No memory: not decided is not allowed. */
		member->checked = name->check_round;
		member->lane->rights_changed = true;
	}
	check->asked_for = NULL;
	if (check->again) {
		check->again = false;
		check_free(check);
		queue(watch, name);
	} else {
		check_end(check);
	}
	act(watch, name->topic);
	pump(watch);
}

/* --- time ------------------------------------------------------------------------------------------ */

static bool is_late(const struct topic_name *name, uint64_t now)
{
	return now - name->check_since >= UINT64_C(1000000) * LIMIT_RIGHTS_MS;
}

/* The name that waits, or is looked at, for too long; NULL: none. */
static struct topic_name *late(const struct rights_watch *watch, uint64_t now)
{
	for (const struct check *check = watch->asked; check; check = check->next)
		if (is_late(check->name, now))
			return check->name;
	return watch->first && is_late(watch->first, now) ? watch->first : NULL;
}

/* As if all had answered whose answers have not come: that they may not. */
static void give_up(struct rights_watch *watch, struct topic_name *name)
{
	bool begun = name->check_state == CHECK_ASKED && !name->check->again;

	for (struct member *member = name->topic->members; member; member = member->next)
		if (member->name == name && !(begun && member->checked == name->check_round))
			member->lane->rights_changed = true;
	forget(name, watch);
	act(watch, name->topic);
}

static void timer(void *arg)
{
	struct rights_watch *watch = arg;
	uint64_t now = os_now_ns();
	struct topic_name *name;
	unsigned n = 0;

	while (n < LIMIT_RIGHTS_IN_A_ROW && (name = late(watch, now))) {
		give_up(watch, name);
		n++;
	}
	pump(watch);
	watch->timed = watch->first || watch->asked;
	if (watch->timed)
		loop_set(watch->timer, n == LIMIT_RIGHTS_IN_A_ROW ? 0 : LIMIT_RIGHTS_MS / 8);
}

/* --- life ------------------------------------------------------------------------------------------ */

struct rights_watch *rights_watch_new(const struct context *context)
{
	struct rights_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return NULL;
	watch->context = context;
	watch->last = &watch->first;
	watch->timer = loop_timer(context->loop, timer, watch);
	return watch->timer ? watch : rights_watch_free(watch);
}

struct rights_watch *rights_watch_free(struct rights_watch *watch)
{
	if (watch) {
		topics_each(watch->context->topics, forget, watch);
		loop_event_free(watch->timer);
	}
	free(watch);
	return NULL;
}
