/* SPDX-License-Identifier: MIT */
/*
 * syncing.c - waits for the members that are there when SYNC comes, without blocking.
 *
 * Socket-only members are seen to move at once. Those with shared memory would wake a futex, which the loop cannot wait
 * for: their slots are looked at, at growing pauses.
 */
#include "syncing.h"

#include <errno.h>
#include <stdlib.h>

#include "connection.h"
#include "lane.h"
#include "limit.h"
#include "os/os.h"
#include "relay.h"
#include "subscriber.h"

struct syncing {
	struct client *client;
	struct syncing *next, **at;            /* the client's */
	struct syncing *relay_next, **relay_at; /* the relay's */
	const struct member *member;
	struct page *page;
	struct topic *topic;
	uint32_t request, max_laggards;
	uint64_t goal, deadline_ns;
	unsigned pause_ms;
	struct loop_event *timer;
	struct target {
		uint32_t pid;
		uint64_t origin;
		bool waits; /* was there when it began, and has not left since */
	} targets[PAGE_SLOTS];
};

static bool is_subscriber(const struct page_slot *slot)
{
	return atomic_load(&slot->pid) != 0 && (atomic_load(&slot->flags) & SLOT_SUBSCRIBES) != 0;
}

static void fill_laggard(struct wire_laggard *laggard, const struct page_slot *slot)
{
	uid_t uid = (uid_t)-1;

	*laggard = (struct wire_laggard){ .pid = atomic_load(&slot->pid), .origin = atomic_load(&slot->origin) };
	(void)os_process_name((pid_t)laggard->pid, &uid, laggard->command, sizeof(laggard->command));
	laggard->command[sizeof(laggard->command) - 1] = '\0';
	laggard->uid = uid;
}

/* How it stands; laggards are named only if they are wanted. */
static void count(struct syncing *syncing, struct wire_synced *ret, struct wire_laggard *laggards)
{
	*ret = (struct wire_synced){ .n_untracked = syncing->topic->n_unslotted };
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
		if (!lane_is_later(syncing->goal, atomic_load(&slot->seen)))
			ret->n_caught_up++;
		else if (laggards && ret->n_laggards < syncing->max_laggards)
			fill_laggard(&laggards[ret->n_laggards++], slot);
	}
}

/* Answers, if it is time to. True: it did, and this one is gone. */
static bool answer(struct syncing *syncing)
{
	struct wire_laggard laggards[WIRE_MAX_LAGGARDS];
	unsigned char frame[WIRE_SMALL_FRAME];
	struct client *client = syncing->client;
	uint32_t request = syncing->request;
	struct wire_synced synced;

	count(syncing, &synced, NULL);
	if (synced.n_caught_up < synced.n_subscribers) {
		if (os_now_ns() < syncing->deadline_ns)
			return false;
		count(syncing, &synced, laggards);
	}
	syncing_free(syncing);
	client_send(client, frame, wire_put_synced(frame, request, &synced, laggards), NULL, 0, NULL);
	return true;
}

static void look(void *arg)
{
	struct syncing *syncing = arg;
	unsigned pause = syncing->pause_ms;
	uint64_t now = os_now_ns(), left = syncing->deadline_ns > now ? (syncing->deadline_ns - now) / 1000000u + 1 : 0;

	if (answer(syncing))
		return;
	loop_set(syncing->timer, left < pause ? (unsigned)left : pause);
	syncing->pause_ms = 2 * pause < LIMIT_SYNC_LAST_MS ? 2 * pause : LIMIT_SYNC_LAST_MS;
}

void syncing_look(struct relay *relay)
{
	/* Soon, not now: who calls may be in the middle of something. */
	for (struct syncing *syncing = relay->syncings; syncing; syncing = syncing->relay_next)
		loop_call_soon(syncing->timer);
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
	struct syncing *syncing;

	if (client->n_syncs >= LIMIT_CLIENT_SYNCS)
		return -EBUSY;
	syncing = calloc(1, sizeof(*syncing));
	if (!syncing)
		return -ENOMEM;
	syncing->timer = loop_timer(client->context->loop, look, syncing);
	if (!syncing->timer) {
		free(syncing);
		return -ENOMEM;
	}
	syncing->client = client;
	syncing->member = member;
	syncing->page = relay->ring.page;
	syncing->topic = relay->topic;
	syncing->request = request;
	syncing->max_laggards = sync->max_laggards < WIRE_MAX_LAGGARDS ? sync->max_laggards : WIRE_MAX_LAGGARDS;
	syncing->deadline_ns = sync->timeout_ms == WIRE_NO_TIMEOUT ? OS_NEVER :
	                               os_now_ns() + sync->timeout_ms * UINT64_C(1000000);
	syncing->pause_ms = LIMIT_SYNC_FIRST_MS;
	syncing->next = client->syncs;
	syncing->at = &client->syncs;
	if (syncing->next)
		syncing->next->at = &syncing->next;
	client->syncs = syncing;
	client->n_syncs++;
	syncing->relay_next = relay->syncings;
	syncing->relay_at = &relay->syncings;
	if (syncing->relay_next)
		syncing->relay_next->relay_at = &syncing->relay_next;
	relay->syncings = syncing;
	begin(syncing);
	look(syncing);
	return 0;
}

void syncing_free(struct syncing *syncing)
{
	*syncing->at = syncing->next;
	if (syncing->next)
		syncing->next->at = syncing->at;
	*syncing->relay_at = syncing->relay_next;
	if (syncing->relay_next)
		syncing->relay_next->relay_at = syncing->relay_at;
	syncing->client->n_syncs--;
	loop_event_free(syncing->timer);
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
