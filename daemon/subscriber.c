/* SPDX-License-Identifier: MIT */
/*
 * subscriber.c - reads lanes for clients without shared memory.
 *
 * A subscriber that has told everything arms the lane by itself, like any member; one whose connection has no room does
 * not, so nobody rings for it. Whose turn it is says turns.c.
 *
 * `seen`. The generation that events carry only counts them. What a client has dealt with in terms of the lane is known for
 * the last ones after which all was told, and for one on the way: who never gets to the end is seen to move on as well.
 */
#include "subscriber.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "connection.h"
#include "limit.h"
#include "os/os.h"
#include "own_tickets.h"
#include "reader.h"
#include "relay.h"
#include "ringing.h"
#include "syncing.h"
#include "told.h"
#include "turns.h"

#define N_POINTS 8u
#define MOST_KNOWN (3 * LIMIT_KNOWN_ORIGINS * sizeof(struct known_entry)) /* while one of two tables grows */
#define LEAST_KNOWN_ORIGINS 32u /* where there is no room */
#define MOST_HELD 16 /* looks at a message that waits for the posts before it; only damage takes more */

struct subscriber {
	struct relay *relay;
	struct member *member;
	struct client *client;
	struct turn turn; /* if it wants events */
	bool wants_events, echo;
	bool has_noted; /* the whole ring, which is worth a turn */
	uint64_t origin;
	uint64_t number, posts; /* of its last message; as its slot counts them */

	struct reader reader;
	struct told said;
	uint64_t resync;     /* the page's, as far as it is told */
	bool resync_due;     /* a message that was to be told cannot be any more */
	uint64_t generation; /* of the last event */

	/* Own posts and messages; see reader.h. */
	uint64_t own, own_rested, own_first;
	struct own_tickets own_tickets;
	size_t n_history;     /* bytes of `said` and `own_tickets`, as they are charged */
	uint64_t own_counted; /* own messages among the tickets that the reader has counted */

	uint64_t acknowledged; /* by SEEN */
	uint64_t reached;      /* the lane's generation that is dealt with once the last event is */
	struct point { uint64_t generation, reached; } points[N_POINTS]; /* the same for events before it, ascending */
	unsigned n_points;
};

static struct page *page_of(const struct subscriber *subscriber)
{
	return subscriber->relay->ring.page;
}

static struct page_slot *slot_of(const struct subscriber *subscriber)
{
	uint32_t slot = subscriber->member->slot;

	return slot < PAGE_SLOTS ? &page_of(subscriber)->slots[slot] : NULL;
}

uint64_t subscriber_origin(const struct subscriber *subscriber)
{
	return subscriber->origin;
}

/* --- what it has dealt with ---------------------------------------------------------------------------- */

static void move_seen(struct subscriber *subscriber, uint64_t generation)
{
	struct page_slot *slot = slot_of(subscriber);

	if (!slot || !lane_is_later(generation, atomic_load(&slot->seen)))
		return;
	atomic_store(&slot->seen, generation);
	/* Partner: libclient/sync.c. */
	if (atomic_load(&slot->watchers) != 0) {
		atomic_store(&slot->watchers, 0); /* before the waking: who goes on waiting sets it again */
		os_futex_wake(&slot->moved);
	}
	syncing_look(subscriber->member->lane->topic);
}

void subscriber_seen(struct subscriber *subscriber, uint64_t generation)
{
	if (generation > subscriber->generation)
		generation = subscriber->generation;
	if (generation > subscriber->acknowledged)
		subscriber->acknowledged = generation;
	for (unsigned i = 0; i < subscriber->n_points && subscriber->points[i].generation <= subscriber->acknowledged; i++)
		move_seen(subscriber, subscriber->points[i].reached);
	if (subscriber->acknowledged == subscriber->generation)
		move_seen(subscriber, subscriber->reached);
}

/* What is told up to here is dealt with up to there. The oldest one that is awaited stays: who is far behind gets there. */
static void note_point(struct subscriber *subscriber)
{
	struct point point = { .generation = subscriber->generation, .reached = subscriber->reached };
	unsigned n = 0;

	for (unsigned i = 0; i < subscriber->n_points; i++)
		if (subscriber->points[i].generation > subscriber->acknowledged &&
		    subscriber->points[i].generation < point.generation)
			subscriber->points[n++] = subscriber->points[i];
	if (n == N_POINTS) {
		n--;
		memmove(&subscriber->points[1], &subscriber->points[2], (n - 1) * sizeof(point));
	}
	subscriber->points[n] = point;
	subscriber->n_points = n + 1;
}

/* All that is in the lane up to this generation has been told. */
static void rest(struct subscriber *subscriber, uint64_t generation)
{
	subscriber->own_rested = subscriber->own;
	subscriber->reached = generation;
	note_point(subscriber);
	if (subscriber->acknowledged == subscriber->generation)
		move_seen(subscriber, generation);
}

/* --- whose it is ----------------------------------------------------------------------------------------- */

/* What is remembered has grown, or less is. */
static void charge_history(struct subscriber *subscriber)
{
	const struct known *known = &subscriber->said.known;
	size_t n = (known->recent.size + (size_t)known->before.size) * sizeof(*known->recent.entries) +
	           subscriber->own_tickets.size * sizeof(*subscriber->own_tickets.tickets);
	struct user *user = subscriber->client->user;

	if (n == subscriber->n_history)
		return;
	user_release(user, CHARGE_HISTORY_BYTES, subscriber->n_history);
	user_charge_anyway(user, CHARGE_HISTORY_BYTES, n); /* there was room, but for the least that there is */
	subscriber->n_history = n;
}

/* Is there room to remember so much more? */
static bool may_remember(struct subscriber *subscriber, size_t n)
{
	struct user *user = subscriber->client->user;

	if (user_may_have(user, CHARGE_HISTORY_BYTES, n))
		return true;
	user_note_refusal(user, CHARGE_HISTORY_BYTES, -EDQUOT);
	return false;
}

static uint64_t own_missed(void *arg, uint64_t from, uint64_t to)
{
	struct subscriber *subscriber = arg;

	(void)from; /* up to there they are in own_counted */
	return own_tickets_missed(&subscriber->own_tickets, to, &subscriber->own_counted);
}

static enum reader_whose whose(void *arg, const struct ring_message *message)
{
	struct subscriber *subscriber = arg;
	uint64_t ticket = subscriber->reader.cursor.at - RING_TICKET;
	enum told_before before;
	bool was_linked;

	/* Not by its origin: others read that, and may open with it. */
	if (!subscriber->echo && own_tickets_has(&subscriber->own_tickets, ticket)) {
		subscriber->own_counted++;
		return READER_OWN;
	}
	was_linked = subscriber->said.is_linked;
	if (was_linked || atomic_load(&page_of(subscriber)->linked))
		subscriber->said.known.max = may_remember(subscriber, MOST_KNOWN) ? LIMIT_KNOWN_ORIGINS : LEAST_KNOWN_ORIGINS;
	before = told_take(&subscriber->said, &subscriber->relay->ring, ticket, message);
	charge_history(subscriber);
	subscriber->has_noted |= subscriber->said.is_linked && !was_linked;
	subscriber->resync_due |= before == TOLD_LATER;
	return before == TOLD_NEVER ? READER_STRANGERS : READER_HIDDEN;
}

/* --- events ------------------------------------------------------------------------------------------------ */

/* An event was made, after which everything up to `reached` is told. */
static void note_event(struct subscriber *subscriber, uint64_t reached)
{
	if (lane_is_later(reached, subscriber->reached))
		subscriber->reached = reached;
	if (subscriber->n_points == 0 ||
	    subscriber->points[subscriber->n_points - 1].generation <= subscriber->acknowledged)
		note_point(subscriber);
}

static void tell(struct subscriber *subscriber, enum wire_type type, uint64_t count, uint64_t reached)
{
	unsigned char frame[WIRE_SMALL_FRAME];
	struct wire_event event = { .topic = subscriber->member->id, .count = count };

	event.generation = subscriber->generation += count > 0 ? count : 1;
	client_send_event(subscriber->client, frame, wire_put_event(frame, type, &event));
	note_event(subscriber, reached);
}

static void tell_message(struct subscriber *subscriber, uint64_t reached)
{
	static unsigned char frame[WIRE_MAX_FRAME]; /* shared: nothing is kept in it */
	const struct ring_message *from = &subscriber->reader.message;
	const struct wire_message message = {
		.topic = subscriber->member->id,
		.pid = from->pid,
		.uid = from->uid,
		.generation = ++subscriber->generation,
		.origin = from->origin,
		.number = from->number,
		.time_ns = from->time_ns,
		.key = from->key,
		.data = from->data,
		.key_size = from->key_size,
		.data_size = from->data_size,
	};

	client_send_event(subscriber->client, frame, wire_put_message(frame, &message));
	note_event(subscriber, reached);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
	return lane_is_later(a, b) ? b : a;
}

/* Tells the next. True: something was, or has to be looked for once more. */
static bool tell_next(struct subscriber *subscriber, enum reader_kind *ret)
{
	/* Shared: a message that is held is told before anybody else reads; see pump. */
	static uint64_t buffer[(RING_BUFFER_SIZE(LANE_MAX_MESSAGE) + 7) / 8];
	struct page *page = page_of(subscriber);
	const struct lane lane = relay_lane(subscriber->relay);
	uint64_t generation = atomic_load(&page->generation), n = 0;
	uint64_t resync = atomic_load(&page->resync); /* after the generation: raised before it is */
	struct reader_look look = {
		.generation = generation,
		.whose = whose,
		.own_missed = own_missed,
		.arg = subscriber,
	};

	if (!subscriber->echo) {
		look.own = subscriber->own;
		look.own_since = subscriber->own - subscriber->own_rested;
		look.own_first = subscriber->own_first;
	}
	if (atomic_load(&page->messages)) {
		look.ring = &subscriber->relay->ring;
		look.buffer = buffer;
	}
	if (subscriber->resync_due || resync != subscriber->resync) {
		subscriber->resync_due = false;
		subscriber->resync = resync;
		reader_absorb_posts(&subscriber->reader, generation - look.own); /* it stands for them */
		tell(subscriber, WIRE_EVENT_RESYNC, 0, subscriber->reached);
		return true;
	}
	*ret = reader_next(&subscriber->reader, &look, &n);
	/* As in libclient/mail.c: a RESYNC that was raised before this message was published is told before it. */
	if (*ret == READER_MESSAGE && (subscriber->resync_due || atomic_load(&page->resync) != resync)) {
		reader_hold(&subscriber->reader);
		return true;
	}
	if (subscriber->resync_due && (*ret == READER_NOTHING || *ret == READER_STALLED))
		return true;
	switch (*ret) {
	case READER_POSTS:
		/* With a message behind them they are those before it, and there may be others. */
		tell(subscriber, WIRE_EVENT_POST, n,
		     subscriber->reader.held ? earlier(subscriber->reader.message.before, generation) : generation);
		return true;
	case READER_GAP:
		atomic_fetch_add_explicit(&page_tally(page, subscriber->member->slot)->gaps, n, memory_order_relaxed);
		tell(subscriber, WIRE_EVENT_GAP, n, subscriber->reached);
		return true;
	case READER_MESSAGE:
		/* What its writer knew of was claimed, and so told, before it. */
		tell_message(subscriber, earlier(subscriber->reader.message.before, generation));
		return true;
	case READER_AGAIN:
		return true;
	case READER_NOTHING:
		rest(subscriber, generation);
		return !lane_arm(&lane, generation);
	case READER_STALLED:
		return !lane_arm(&lane, generation);
	}
	return false;
}

/* --- taking turns -------------------------------------------------------------------------------------------- */

/* It lies in the buffer that all share, so it cannot wait for another turn. */
static void drop_held(struct subscriber *subscriber)
{
	reader_drop(&subscriber->reader);
	subscriber->resync_due = true;
}

enum turn_end subscriber_take_turn(struct subscriber *subscriber, unsigned *budget, uint64_t *ret_lease_ns)
{
	unsigned held = 0;

	for (bool told = false;; told = true) {
		enum reader_kind kind = READER_AGAIN;

		if (*budget == 0 || !client_has_room(subscriber->client) ||
		    (told && share_is_over(user_share(subscriber->client->user)))) {
			if (subscriber->reader.held && ++held > MOST_HELD)
				drop_held(subscriber);
			if (!subscriber->reader.held)
				return TURN_GOES_ON;
		}
		if (*budget > 0)
			--*budget;
		subscriber->has_noted = false;
		if (tell_next(subscriber, &kind)) {
			if (subscriber->has_noted)
				*budget = 0;
			continue;
		}
		if (kind != READER_STALLED)
			return TURN_RESTS;
		*ret_lease_ns = reader_lease_ns(&subscriber->reader);
		return TURN_STALLED;
	}
}

void subscriber_lose(struct subscriber *subscriber)
{
	client_finish(subscriber->client, LEAVE_LOST);
}

void subscriber_deliver(struct subscriber *subscriber)
{
	turns_deliver(subscriber->relay, subscriber->client);
}

/* --- what it does ---------------------------------------------------------------------------------------------- */

/* Before the generation is raised: the reader loads it after the generation. */
static void count_own(struct subscriber *subscriber, uint64_t units)
{
	if (!subscriber->echo)
		subscriber->own += units;
}

static void note_own(struct subscriber *subscriber, uint64_t generation, uint64_t units)
{
	if (subscriber->own - units == subscriber->own_rested)
		subscriber->own_first = generation;
}

int subscriber_post(struct subscriber *subscriber)
{
	const struct lane lane = relay_lane(subscriber->relay);
	struct page_slot *slot = slot_of(subscriber);

	if (!(subscriber->member->rights & WIRE_RIGHT_POST))
		return -EACCES;
	subscriber->posts = count_next(subscriber->posts, subscriber->posts);
	if (slot)
		atomic_store_explicit(&slot->posts, subscriber->posts, memory_order_relaxed);
	count_own(subscriber, GENERATION_POST);
	note_own(subscriber, lane_post(&lane), GENERATION_POST);
	return 0;
}

static void keep_own(struct subscriber *subscriber, uint64_t ticket)
{
	struct own_tickets *own = &subscriber->own_tickets;
	uint32_t most = subscriber->relay->ring.n_slots;

	own_tickets_pass(own, subscriber->reader.cursor.counted);
	if (own->used == own->size && own->size < most && !may_remember(subscriber, 2 * own->size * sizeof(*own->tickets)))
		most = own->size;
	own_tickets_add(own, most, ticket);
	charge_history(subscriber);
}

int subscriber_publish(struct subscriber *subscriber, const struct wire_publish *publish)
{
	const struct lane lane = relay_lane(subscriber->relay);
	struct ring ring = subscriber->relay->ring;
	struct page *page = lane.page;
	struct page_slot *slot = slot_of(subscriber);
	struct ring_message message = {
		.origin = subscriber->origin,
		.number = publish->number ? publish->number : relay_new_number(subscriber->relay, subscriber->number),
		.time_ns = os_now_ns(),
		.pid = (uint32_t)subscriber->client->pid,
		.uid = (uint32_t)subscriber->client->uid,
		.key = publish->key,
		.data = publish->data,
		.key_size = publish->key_size,
		.data_size = publish->data_size,
	};
	uint64_t ticket;
	int r;

	if (!(subscriber->member->rights & WIRE_RIGHT_POST))
		return -EACCES;
	if (publish->data_size > ring.max_message)
		return -EMSGSIZE;
	/* Readers look at the ring, and the carrier counts members differently, only once somebody has published. */
	if (atomic_exchange(&page->messages, 1) == 0)
		ringing_ring(lane.carrier);
	subscriber->number = message.number;
	message.before = atomic_load(&page->generation);
	count_own(subscriber, GENERATION_MESSAGE);
	ring.most_steps = LIMIT_CLAIM_STEPS;
	r = ring_publish(&ring, slot ? subscriber->member->slot : RING_NO_OWNER, &message, &ticket);
	if (r == 0 && subscriber->wants_events && !subscriber->echo)
		keep_own(subscriber, ticket);
	if (r == 0 && slot)
		atomic_fetch_add_explicit(&slot->messages, 1, memory_order_relaxed);
	/* After a failure too: it is counted as an own one. */
	note_own(subscriber, lane_raise_at(&lane, GENERATION_MESSAGE, NULL, 0), GENERATION_MESSAGE);
	return r;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

/* Everything up to now is taken as seen, but the last messages. */
static void start(struct subscriber *subscriber, uint32_t last)
{
	struct page *page = page_of(subscriber);
	struct page_slot *slot = slot_of(subscriber);
	struct ring_cursor cursor;

	subscriber->resync = atomic_load(&page->resync);
	ring_baseline(&subscriber->relay->ring, last, &cursor);
	subscriber->reached = atomic_load(&page->generation);
	reader_start(&subscriber->reader, subscriber->reached);
	reader_start_ring(&subscriber->reader, &cursor);
	if (slot) {
		atomic_store(&slot->seen, subscriber->reached);
		atomic_store(&slot->flags, SLOT_SUBSCRIBES);
	}
}

int subscriber_new(struct client *client, struct member *member, uint32_t flags, uint32_t last, uint64_t origin)
{
	struct subscriber *subscriber = calloc(1, sizeof(*subscriber));
	struct page_slot *slot;
	int r = subscriber ? 0 : -ENOMEM;

	if (r == 0)
		r = relay_join(member->lane, client->context->loop, &subscriber->relay);
	if (r < 0) {
		free(subscriber);
		return r;
	}
	subscriber->client = client;
	subscriber->member = member;
	subscriber->said.known.max = LIMIT_KNOWN_ORIGINS;
	subscriber->echo = flags & WIRE_OPEN_ECHO;
	subscriber->wants_events = flags & WIRE_RIGHT_SUBSCRIBE || !(flags & WIRE_RIGHT_POST);
	subscriber->origin = origin;
	while (subscriber->origin == 0)
		os_random(&subscriber->origin, sizeof(subscriber->origin));
	subscriber->turn = (struct turn){ .subscriber = subscriber, .relay = subscriber->relay, .client = client };
	member->subscriber = subscriber;
	if (subscriber->wants_events)
		r = relay_listen(subscriber->relay);
	if (r < 0)
		subscriber->wants_events = false; /* it does not listen */
	subscriber->posts = count_tag(subscriber->origin, 0);
	slot = slot_of(subscriber);
	if (r == 0 && slot)
		page_name_slot(slot, subscriber->origin, subscriber->posts);
	if (r == 0 && subscriber->wants_events) {
		start(subscriber, last);
		r = turns_join(&subscriber->turn);
	}
	if (r < 0)
		subscriber_free(member);
	return r;
}

void subscriber_free(struct member *member)
{
	struct subscriber *subscriber = member->subscriber;

	if (!subscriber)
		return;
	member->subscriber = NULL;
	turns_leave(&subscriber->turn);
	if (subscriber->wants_events)
		relay_unlisten(subscriber->relay);
	relay_leave(subscriber->relay);
	own_tickets_deinit(&subscriber->own_tickets);
	known_deinit(&subscriber->said.known);
	charge_history(subscriber);
	free(subscriber);
}
