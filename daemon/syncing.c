/* SPDX-License-Identifier: MIT */
/*
 * syncing.c - waits for the members that are there when SYNC comes, without blocking.
 *
 * That a socket-only member moves on, or that any leaves, is known at once. Those with shared memory would wake a
 * futex, which the loop cannot wait for: only while one of them lags behind are the slots looked at, at growing pauses,
 * for all SYNCs of the topic together.
 *
 * A SYNC begins when what was in the asker's lane has been carried to the others; then each lane's generation is the goal of
 * its members. Who these are the daemon knows; how far one has got is what its lane says.
 *
 * Finding out the names of those that lag behind is the expensive part. It is done once for each process, for some
 * processes at a time; until then the SYNC is not answered.
 */
#include "syncing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "crossing.h"
#include "lane.h"
#include "limit.h"
#include "os/os.h"
#include "relay.h"
#include "topic_lane.h"
#include "user.h"

/* Of a topic. */
struct syncs {
	struct queue resting, looked_at; /* those that wait; and those of them that are to be looked at again */
	struct loop_event *looking, *poll;
	unsigned pause_ms;
	bool poll_is_set;
};

/* How far the members of a lane are to get. */
struct goal {
	uint64_t lane;       /* its number */
	uint64_t generation;
	struct topic_lane *at; /* while it is looked at; NULL: it is gone */
	struct page *page;
};

/* Was there when it began, and has not left since. */
struct target {
	uint64_t member; /* its number */
	unsigned goal;
};

struct syncing {
	struct client *client;
	struct syncing *next, **at; /* the client's */
	struct queue place;         /* among the topic's that wait, or the client's that want names */
	const struct member *member;
	struct topic *topic;
	uint32_t request, max_laggards;
	uint64_t deadline_ns;
	struct loop_event *timer;    /* for the deadline */
	bool has_begun;
	uint64_t own_goal;           /* until then: of the asker's lane */
	struct wire_synced synced;   /* how it stood then */
	struct wire_laggard *laggards;
	unsigned n_named;
	struct goal *goals;
	struct target *targets;      /* as in the topic's list: the last who came first */
	unsigned n_goals, n_targets;
	size_t n_bytes; /* of these three, as they are charged */
};

static struct syncing *syncing_of(struct queue *place)
{
	return place ? queue_container(place, struct syncing, place) : NULL;
}

/* --- pages -------------------------------------------------------------------------------------------------------- */

static struct page *borrow(struct topic_lane *lane)
{
	if (lane->crossing)
		return crossing_page(lane->crossing);
	return lane->relay ? lane->relay->ring.page : topic_lane_borrow(lane);
}

static void give_back(struct topic_lane *lane, struct page *page)
{
	if (!lane->crossing && !lane->relay)
		topic_lane_return(lane, page);
}

static void borrow_all(struct syncing *syncing)
{
	for (unsigned i = 0; i < syncing->n_goals; i++) {
		struct goal *goal = &syncing->goals[i];

		goal->at = syncing->topic->lanes;
		while (goal->at && goal->at->number != goal->lane)
			goal->at = goal->at->next;
		goal->page = goal->at ? borrow(goal->at) : NULL;
	}
}

static void give_all_back(struct syncing *syncing)
{
	for (unsigned i = 0; i < syncing->n_goals; i++)
		if (syncing->goals[i].page)
			give_back(syncing->goals[i].at, syncing->goals[i].page);
}

/* --- counting ------------------------------------------------------------------------------------------------------- */

static bool is_subscriber(const struct member *member, const struct page *page)
{
	return member->slot < PAGE_SLOTS && (atomic_load(&page->slots[member->slot].flags) & SLOT_SUBSCRIBES) != 0;
}

static void note_laggard(struct syncing *syncing, const struct member *member, const struct page *page,
                         struct wire_synced *to, struct wire_laggard *laggards)
{
	if (laggards && to->n_laggards < syncing->max_laggards)
		laggards[to->n_laggards++] = (struct wire_laggard){
			.pid = (uint32_t)member->pid, .uid = (uint32_t)user_uid(member->lane->user),
			.origin = atomic_load(&page->slots[member->slot].origin),
		};
}

/* How it stands. Laggards are noted, without names, only if they are wanted. True: one that lags behind has shared
 * memory, so nobody tells when it moves on. */
static bool count(struct syncing *syncing, struct wire_synced *ret, struct wire_laggard *laggards)
{
	bool is_untold = false;
	unsigned i = 0, kept = 0;

	*ret = (struct wire_synced){ .n_untracked = 0 };
	for (const struct topic_lane *lane = syncing->topic->lanes; lane; lane = lane->next)
		ret->n_untracked += lane->n_unslotted;
	if (syncing->member->slot == WIRE_NO_SLOT)
		ret->n_untracked--;
	borrow_all(syncing);
	for (const struct member *member = syncing->topic->members; member && i < syncing->n_targets; member = member->next) {
		const struct goal *goal;

		while (i < syncing->n_targets && syncing->targets[i].member > member->number)
			i++; /* closed or died: it leaves the count */
		if (i == syncing->n_targets || syncing->targets[i].member != member->number)
			continue;
		goal = &syncing->goals[syncing->targets[i].goal];
		syncing->targets[kept] = syncing->targets[i++];
		if (!goal->page || !is_subscriber(member, goal->page))
			continue;
		kept++;
		ret->n_subscribers++;
		if (!lane_is_later(goal->generation, atomic_load(&goal->page->slots[member->slot].seen))) {
			ret->n_caught_up++;
			continue;
		}
		is_untold |= !member->subscriber;
		note_laggard(syncing, member, goal->page, ret, laggards);
	}
	syncing->n_targets = kept;
	give_all_back(syncing);
	return is_untold;
}

/* And this one is gone. */
static void answer(struct syncing *syncing)
{
	struct client *client = syncing->client;
	unsigned char frame[WIRE_SMALL_FRAME];
	size_t size = wire_put_synced(frame, syncing->request, &syncing->synced, syncing->laggards);

	syncing_free(syncing);
	client_send(client, frame, size, NULL, 0, NULL);
}

/* --- names ------------------------------------------------------------------------------------------------------- */

/* The next laggard's. False: it takes one more of the budget than there is. */
static bool name_next(struct syncing *syncing, unsigned *budget)
{
	struct wire_laggard *laggard = &syncing->laggards[syncing->n_named];
	uid_t uid;

	for (unsigned i = 0; i < syncing->n_named; i++) {
		const struct wire_laggard *same = &syncing->laggards[i];

		if (same->pid != laggard->pid)
			continue;
		memcpy(laggard->command, same->command, sizeof(laggard->command));
		syncing->n_named++;
		return true;
	}
	if (*budget == 0)
		return false;
	--*budget;
	(void)os_process_name((pid_t)laggard->pid, &uid, laggard->command, sizeof(laggard->command));
	laggard->command[sizeof(laggard->command) - 1] = '\0';
	syncing->n_named++;
	return true;
}

static void name_some(void *arg)
{
	struct client *client = arg;
	unsigned budget = LIMIT_NAMES_IN_A_ROW;
	struct syncing *syncing;

	while (!client->ending && (syncing = syncing_of(queue_first(&client->naming)))) {
		while (syncing->n_named < syncing->synced.n_laggards && name_next(syncing, &budget))
			;
		if (syncing->n_named < syncing->synced.n_laggards) {
			loop_call_soon(client->namer);
			return;
		}
		answer(syncing);
	}
}

/* The time is over. */
static void give_up(struct syncing *syncing)
{
	struct client *client = syncing->client;

	loop_disable(syncing->timer);
	if (syncing->max_laggards > 0)
		syncing->laggards = calloc(syncing->max_laggards, sizeof(*syncing->laggards));
	(void)count(syncing, &syncing->synced, syncing->laggards);
	if (syncing->synced.n_laggards == 0) {
		answer(syncing);
		return;
	}
	queue_move(&client->naming, &syncing->place);
	loop_call_soon(client->namer);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

static void poll_in(struct syncs *syncs, unsigned ms)
{
	syncs->pause_ms = ms;
	syncs->poll_is_set = true;
	loop_set(syncs->poll, ms);
}

static void poll_later(struct syncs *syncs)
{
	unsigned pause = syncs->pause_ms ? 2 * syncs->pause_ms : LIMIT_SYNC_FIRST_MS;

	if (!syncs->poll_is_set)
		poll_in(syncs, pause < LIMIT_SYNC_LAST_MS ? pause : LIMIT_SYNC_LAST_MS);
}

/* 0, -ENOMEM, -EDQUOT... */
static int set_goals(struct syncing *syncing)
{
	struct topic *topic = syncing->topic;
	unsigned n_lanes = 0, n = 0;
	size_t n_bytes;
	int r;

	for (const struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		n_lanes++;
	n_bytes = n_lanes * sizeof(*syncing->goals) + topic->n_members * sizeof(*syncing->targets) +
	          syncing->max_laggards * sizeof(*syncing->laggards);
	r = user_charge(syncing->client->user, CHARGE_QUEUE_BYTES, n_bytes);
	if (r < 0)
		return r;
	syncing->n_bytes = n_bytes;
	syncing->goals = calloc(n_lanes, sizeof(*syncing->goals));
	syncing->targets = calloc(topic->n_members, sizeof(*syncing->targets));
	if (!syncing->goals || !syncing->targets)
		return -ENOMEM;
	for (struct topic_lane *lane = topic->lanes; lane; lane = lane->next)
		if (lane->rights & WIRE_RIGHT_SUBSCRIBE)
			syncing->goals[syncing->n_goals++].lane = lane->number;
	borrow_all(syncing);
	for (unsigned i = 0; i < syncing->n_goals; i++)
		if (syncing->goals[i].page)
			syncing->goals[i].generation = atomic_load(&syncing->goals[i].page->generation);
	for (const struct member *member = topic->members; member; member = member->next) {
		unsigned goal = 0;

		while (goal < syncing->n_goals && syncing->goals[goal].at != member->lane)
			goal++;
		if (goal < syncing->n_goals && syncing->goals[goal].page && member != syncing->member &&
		    is_subscriber(member, syncing->goals[goal].page))
			syncing->targets[n++] = (struct target){ .member = member->number, .goal = goal };
	}
	syncing->n_targets = n;
	give_all_back(syncing);
	return 0;
}

/* Those who are there now are waited for. False: not yet, or this one is gone. */
static bool begin(struct syncing *syncing)
{
	struct crossing_lane *from = syncing->member->lane->crossing;
	struct client *client = syncing->client;
	uint32_t request = syncing->request;
	int r;

	if (from && !crossing_has_carried(from, syncing->own_goal)) {
		poll_later(syncing->topic->syncs);
		return false;
	}
	syncing->has_begun = true;
	r = set_goals(syncing);
	if (r == 0)
		return true;
	syncing_free(syncing);
	client_send_error(client, request, -r,
	                  r == -ENOMEM ? "the daemon has no memory left" : user_refusal(client->user, CHARGE_QUEUE_BYTES));
	return false;
}

/* Answers, if it is time to; then this one may be gone. */
static void look(struct syncing *syncing)
{
	struct syncs *syncs = syncing->topic->syncs;
	bool is_untold;

	queue_move(&syncs->resting, &syncing->place);
	if (syncing->client->ending)
		return;
	if (!syncing->has_begun && syncing->member->lane->crossing && os_now_ns() >= syncing->deadline_ns)
		syncing->own_goal = crossing_carried(syncing->member->lane->crossing); /* as things stand */
	if (!syncing->has_begun && !begin(syncing))
		return;
	is_untold = count(syncing, &syncing->synced, NULL);
	if (syncing->synced.n_caught_up == syncing->synced.n_subscribers)
		answer(syncing);
	else if (os_now_ns() >= syncing->deadline_ns)
		give_up(syncing);
	else if (is_untold)
		poll_later(syncs);
}

static void looking(void *arg)
{
	struct syncs *syncs = arg;
	struct syncing *syncing;

	for (unsigned n = 0; n < LIMIT_SYNCS_IN_A_ROW && (syncing = syncing_of(queue_first(&syncs->looked_at))); n++)
		look(syncing);
	if (queue_first(&syncs->looked_at))
		loop_call_soon(syncs->looking);
}

static void poll(void *arg)
{
	struct syncs *syncs = arg;

	syncs->poll_is_set = false;
	queue_move_all(&syncs->looked_at, &syncs->resting);
	looking(syncs);
}

void syncing_look(struct topic *topic)
{
	struct syncs *syncs = topic->syncs;

	if (!syncs)
		return;
	queue_move_all(&syncs->looked_at, &syncs->resting);
	/* Soon, not now: who calls may be in the middle of something. */
	if (queue_first(&syncs->looked_at))
		loop_call_soon(syncs->looking);
}

static void waited(void *arg)
{
	struct syncing *syncing = arg;
	uint64_t now = os_now_ns();

	/* The loop's clock is a coarse one. */
	if (now < syncing->deadline_ns)
		loop_set(syncing->timer, (unsigned)((syncing->deadline_ns - now) / 1000000u) + 1);
	else
		look(syncing);
}

static int get_syncs(struct topic *topic, struct loop *loop)
{
	struct syncs *syncs = topic->syncs;

	if (syncs)
		return 0;
	syncs = topic->syncs = calloc(1, sizeof(*syncs));
	if (!syncs)
		return -ENOMEM;
	queue_init(&syncs->resting);
	queue_init(&syncs->looked_at);
	syncs->looking = loop_timer(loop, looking, syncs);
	syncs->poll = loop_timer(loop, poll, syncs);
	if (syncs->looking && syncs->poll)
		return 0;
	syncing_end(topic);
	return -ENOMEM;
}

void syncing_end(struct topic *topic)
{
	struct syncs *syncs = topic->syncs;

	if (!syncs)
		return;
	topic->syncs = NULL;
	loop_event_free(syncs->looking);
	loop_event_free(syncs->poll);
	free(syncs);
}

int syncing_new(struct client *client, struct member *member, uint32_t request, const struct wire_sync *sync)
{
	struct topic *topic = member->lane->topic;
	bool has_end = sync->timeout_ms != WIRE_NO_TIMEOUT;
	struct syncing *syncing;
	struct syncs *syncs;
	struct page *page;
	int r;

	if (client->n_syncs >= LIMIT_CLIENT_SYNCS)
		return -EBUSY;
	r = user_charge(client->user, CHARGE_SYNCS, 1);
	if (r < 0)
		return r;
	if (!client->namer)
		client->namer = loop_timer(client->context->loop, name_some, client);
	page = client->namer && get_syncs(topic, client->context->loop) == 0 ? borrow(member->lane) : NULL;
	syncing = page ? calloc(1, sizeof(*syncing)) : NULL;
	if (page && syncing)
		syncing->own_goal = atomic_load(&page->generation);
	if (page)
		give_back(member->lane, page);
	if (syncing)
		syncing->timer = loop_timer(client->context->loop, waited, syncing);
	if (!syncing || !syncing->timer) {
		free(syncing);
		user_release(client->user, CHARGE_SYNCS, 1);
		return -ENOMEM;
	}
	syncing->client = client;
	syncing->member = member;
	syncing->topic = topic;
	syncing->request = request;
	syncing->max_laggards = sync->max_laggards < WIRE_MAX_LAGGARDS ? sync->max_laggards : WIRE_MAX_LAGGARDS;
	syncing->deadline_ns = has_end ? os_now_ns() + sync->timeout_ms * UINT64_C(1000000) : OS_NEVER;
	syncing->next = client->syncs;
	syncing->at = &client->syncs;
	if (syncing->next)
		syncing->next->at = &syncing->next;
	client->syncs = syncing;
	client->n_syncs++;
	if (has_end)
		loop_set(syncing->timer, sync->timeout_ms);
	/* For all of them the pauses begin anew; but a look that is due is not put off. */
	syncs = topic->syncs;
	if (syncs->poll_is_set && syncs->pause_ms > LIMIT_SYNC_FIRST_MS)
		poll_in(syncs, LIMIT_SYNC_FIRST_MS);
	else if (!syncs->poll_is_set)
		syncs->pause_ms = 0;
	look(syncing);
	return 0;
}

void syncing_free(struct syncing *syncing)
{
	*syncing->at = syncing->next;
	if (syncing->next)
		syncing->next->at = syncing->at;
	queue_remove(&syncing->place);
	syncing->client->n_syncs--;
	user_release(syncing->client->user, CHARGE_SYNCS, 1);
	user_release(syncing->client->user, CHARGE_QUEUE_BYTES, syncing->n_bytes);
	loop_event_free(syncing->timer);
	free(syncing->laggards);
	free(syncing->goals);
	free(syncing->targets);
	free(syncing);
}

void syncing_cancel(struct client *client, const struct member *member)
{
	for (struct syncing *syncing = client->syncs, *next; syncing; syncing = next) {
		uint32_t request = syncing->request;

		next = syncing->next;
		if (syncing->member != member)
			continue;
		syncing_free(syncing);
		client_send_error(client, request, ECANCELED, "the topic was closed");
	}
}
