/* SPDX-License-Identifier: MIT */
/*
 * syncing.c - waits for the members that are there when SYNC comes, without blocking.
 *
 * That a socket-only member moves on, or that any leaves, is known at once. Those with shared memory would wake a
 * futex, which the loop cannot wait for: only while one of them lags behind are the slots looked at, at growing pauses,
 * for all SYNCs of the lane together.
 *
 * Finding out the names of those that lag behind is the expensive part. It is done once for each process, for some
 * processes at a time; until then the SYNC is not answered.
 */
#include "syncing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "connection.h"
#include "lane.h"
#include "limit.h"
#include "os/os.h"
#include "relay.h"
#include "subscriber.h"

struct syncing {
	struct client *client;
	struct syncing *next, **at; /* the client's */
	struct queue place;         /* among the relay's that wait, or the client's that want names */
	const struct member *member;
	struct relay *relay;
	struct page *page;
	uint32_t request, max_laggards;
	uint64_t goal, deadline_ns;
	struct loop_event *timer;    /* for the deadline */
	struct wire_synced synced;   /* how it stood then */
	struct wire_laggard *laggards;
	unsigned n_named;
	struct target {
		uint32_t pid;
		uint64_t origin;
		bool waits; /* was there when it began, and has not left since */
	} targets[PAGE_SLOTS];
};

static struct syncing *syncing_of(struct queue *place)
{
	return place ? queue_container(place, struct syncing, place) : NULL;
}

static bool is_subscriber(const struct page_slot *slot)
{
	return atomic_load(&slot->pid) != 0 && (atomic_load(&slot->flags) & SLOT_SUBSCRIBES) != 0;
}

/* How it stands. Laggards are noted, without names, only if they are wanted. True: one that lags behind has shared
 * memory, so nobody tells when it moves on. */
static bool count(struct syncing *syncing, struct wire_synced *ret, struct wire_laggard *laggards)
{
	bool is_untold = false;

	*ret = (struct wire_synced){ .n_untracked = syncing->relay->lane->n_unslotted };
	if (syncing->member->slot == WIRE_NO_SLOT)
		ret->n_untracked--;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &syncing->page->slots[i];
		struct target *target = &syncing->targets[i];

		if (!target->waits)
			continue;
		if (!is_subscriber(slot) || atomic_load(&slot->pid) != target->pid ||
		    atomic_load(&slot->origin) != target->origin) {
			target->waits = false; /* closed or died: it leaves the count */
			continue;
		}
		ret->n_subscribers++;
		if (!lane_is_later(syncing->goal, atomic_load(&slot->seen))) {
			ret->n_caught_up++;
			continue;
		}
		is_untold |= !relay_has_slot(syncing->relay, i);
		if (laggards && ret->n_laggards < syncing->max_laggards)
			laggards[ret->n_laggards++] = (struct wire_laggard){
				.pid = target->pid, .uid = UINT32_MAX, .origin = target->origin,
			};
	}
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
	uid_t uid = (uid_t)-1;

	for (unsigned i = 0; i < syncing->n_named; i++) {
		const struct wire_laggard *same = &syncing->laggards[i];

		if (same->pid != laggard->pid)
			continue;
		laggard->uid = same->uid;
		memcpy(laggard->command, same->command, sizeof(laggard->command));
		syncing->n_named++;
		return true;
	}
	if (*budget == 0)
		return false;
	--*budget;
	(void)os_process_name((pid_t)laggard->pid, &uid, laggard->command, sizeof(laggard->command));
	laggard->command[sizeof(laggard->command) - 1] = '\0';
	laggard->uid = uid;
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

static void poll_in(struct relay *relay, unsigned ms)
{
	relay->syncs_pause_ms = ms;
	relay->syncs_poll_is_set = true;
	loop_set(relay->syncs_poll, ms);
}

/* Answers, if it is time to; then this one may be gone. */
static void look(struct syncing *syncing)
{
	struct relay *relay = syncing->relay;
	bool is_untold;

	queue_move(&relay->syncs_resting, &syncing->place);
	if (syncing->client->ending)
		return;
	is_untold = count(syncing, &syncing->synced, NULL);
	if (syncing->synced.n_caught_up == syncing->synced.n_subscribers) {
		answer(syncing);
	} else if (os_now_ns() >= syncing->deadline_ns) {
		give_up(syncing);
	} else if (is_untold && !relay->syncs_poll_is_set) {
		unsigned pause = relay->syncs_pause_ms ? 2 * relay->syncs_pause_ms : LIMIT_SYNC_FIRST_MS;

		poll_in(relay, pause < LIMIT_SYNC_LAST_MS ? pause : LIMIT_SYNC_LAST_MS);
	}
}

void syncing_looking(void *arg)
{
	struct relay *relay = arg;
	struct syncing *syncing;

	for (unsigned n = 0; n < LIMIT_SYNCS_IN_A_ROW && (syncing = syncing_of(queue_first(&relay->syncs_looked_at))); n++)
		look(syncing);
	if (queue_first(&relay->syncs_looked_at))
		loop_call_soon(relay->syncs_looking);
}

void syncing_poll(void *arg)
{
	struct relay *relay = arg;

	relay->syncs_poll_is_set = false;
	queue_move_all(&relay->syncs_looked_at, &relay->syncs_resting);
	syncing_looking(relay);
}

void syncing_look(struct relay *relay)
{
	queue_move_all(&relay->syncs_looked_at, &relay->syncs_resting);
	/* Soon, not now: who calls may be in the middle of something. */
	if (queue_first(&relay->syncs_looked_at))
		loop_call_soon(relay->syncs_looking);
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

static void begin(struct syncing *syncing)
{
	syncing->goal = atomic_load(&syncing->page->generation);
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		const struct page_slot *slot = &syncing->page->slots[i];

		if (i != syncing->member->slot && is_subscriber(slot))
			syncing->targets[i] = (struct target){
				.pid = atomic_load(&slot->pid), .origin = atomic_load(&slot->origin), .waits = true,
			};
	}
}

int syncing_new(struct client *client, struct member *member, uint32_t request, const struct wire_sync *sync)
{
	struct relay *relay = subscriber_relay(member->subscriber);
	bool has_end = sync->timeout_ms != WIRE_NO_TIMEOUT;
	struct syncing *syncing;
	int r;

	if (client->n_syncs >= LIMIT_CLIENT_SYNCS)
		return -EBUSY;
	r = user_charge(client->user, CHARGE_SYNCS, 1);
	if (r < 0)
		return r;
	if (!client->namer)
		client->namer = loop_timer(client->context->loop, name_some, client);
	syncing = client->namer ? calloc(1, sizeof(*syncing)) : NULL;
	if (syncing)
		syncing->timer = loop_timer(client->context->loop, waited, syncing);
	if (!syncing || !syncing->timer) {
		free(syncing);
		user_release(client->user, CHARGE_SYNCS, 1);
		return -ENOMEM;
	}
	syncing->client = client;
	syncing->member = member;
	syncing->relay = relay;
	syncing->page = relay->ring.page;
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
	if (relay->syncs_poll_is_set && relay->syncs_pause_ms > LIMIT_SYNC_FIRST_MS)
		poll_in(relay, LIMIT_SYNC_FIRST_MS);
	else if (!relay->syncs_poll_is_set)
		relay->syncs_pause_ms = 0;
	begin(syncing);
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
	loop_event_free(syncing->timer);
	free(syncing->laggards);
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
