/* SPDX-License-Identifier: MIT */
/*
 * mail.c - messages in: what of a lane is told, and what is still to be told of one that was left.
 *
 * Moving. The baseline in the new lane is taken before the last look at the old one's ring: what is published there
 * after that look is published again in the new lane, or carried to it by a link, and so comes after the baseline. What
 * was read at that look may come again too, which is told by its origin and number.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

/* Of a lane that was left. */
struct backlog {
	struct backlog *next;
	enum pathbus_event_kind kind; /* MESSAGE, GAP or RESYNC */
	uint64_t count;
	struct ring_message message; /* key and data in `bytes` */
	unsigned char bytes[];
};

/* --- PATHBUS_NEWEST ---------------------------------------------------------------------------------------------- */

/* Of each key the newest ticket, as far as the ring has been looked through ahead of the reader. Emptied whenever the
 * reader gets there. */
struct newest {
	uint64_t ahead; /* the next ticket to look at */
	uint64_t lost;  /* merged into one that is not told after all; to be told as missed */
	bool begun;
	uint32_t size, used;
	struct newest_key {
		uint64_t hash, ticket, merged; /* hash 0: free */
	} *keys;
};

static struct newest_key *newest_find(const struct newest *newest, uint64_t hash)
{
	uint32_t at = (uint32_t)hash & (newest->size - 1);

	while (newest->keys[at].hash != 0 && newest->keys[at].hash != hash)
		at = (at + 1) & (newest->size - 1);
	return &newest->keys[at];
}

/* Those that the reader has passed are left out, so that it stays as small as the ring. */
static bool newest_grow(struct newest *newest, uint64_t passed)
{
	struct newest larger = *newest;

	larger.used = 0;
	for (uint32_t i = 0; i < newest->size; i++)
		larger.used += newest->keys[i].hash != 0 && !lane_is_later(passed, newest->keys[i].ticket);
	larger.size = 64;
	while (larger.size < 4 * (larger.used + 1))
		larger.size *= 2;
	larger.keys = calloc(larger.size, sizeof(*larger.keys));
	if (!larger.keys)
		return false;
	for (uint32_t i = 0; i < newest->size; i++)
		if (newest->keys[i].hash != 0 && !lane_is_later(passed, newest->keys[i].ticket))
			*newest_find(&larger, newest->keys[i].hash) = newest->keys[i];
	free(newest->keys);
	*newest = larger;
	return true;
}

/* Will it be told when the reader gets there? */
static bool newest_counts(const pathbus_topic *topic, const struct ring_peek *peek)
{
	/* Who wrote the newer one itself has not got the older one from it. */
	if (peek->origin == topic->origin && !topic->echo)
		return false;
	return !hide_origin(topic, peek->pid, peek->origin) && !known_has(&topic->said.known, peek->origin, peek->number);
}

/* Looks through what has come, up to the head. */
static void newest_look_ahead(pathbus_topic *topic, uint64_t ticket)
{
	struct newest *newest = topic->newest;
	struct ring_peek peek;

	if (!newest->begun || !lane_is_later(newest->ahead, ticket)) {
		newest->ahead = ticket;
		newest->begun = true;
		newest->used = 0;
		if (newest->keys)
			memset(newest->keys, 0, newest->size * sizeof(*newest->keys));
	}
	while (ring_peek(&topic->ring, newest->ahead, &peek)) {
		newest->ahead += RING_TICKET;
		if (peek.key == 0 || !newest_counts(topic, &peek))
			continue;
		if (2 * newest->used >= newest->size && !newest_grow(newest, ticket))
			continue; /* then it gets more than it asked for */
		struct newest_key *key = newest_find(newest, peek.key);

		newest->used += key->hash == 0;
		if (key->hash == 0)
			key->merged = 0;
		key->hash = peek.key;
		key->ticket = newest->ahead - RING_TICKET;
	}
}

/* Is there a newer one of its key? */
static bool newest_replaces(pathbus_topic *topic, const struct ring_message *message)
{
	uint64_t ticket = topic->reader.cursor.at - RING_TICKET;
	struct newest_key *key;

	if (message->key_size == 0)
		return false;
	newest_look_ahead(topic, ticket);
	if (topic->newest->size == 0)
		return false;
	key = newest_find(topic->newest, ring_hash_key(message->key, message->key_size));
	if (key->hash == 0 || !lane_is_later(key->ticket, ticket))
		return false;
	key->merged++;
	return true;
}

/* How many were merged into this one. */
static uint64_t newest_merged(pathbus_topic *topic, const struct ring_message *message)
{
	struct newest_key *key;
	uint64_t merged;

	if (!topic->newest || message->key_size == 0 || topic->newest->size == 0)
		return 0;
	key = newest_find(topic->newest, ring_hash_key(message->key, message->key_size));
	if (key->hash == 0)
		return 0;
	merged = key->merged;
	key->merged = 0;
	return merged;
}

/* Those that were merged into one that the reader has passed untold, since it was overrun; and others of that kind. */
static uint64_t newest_take_lost(pathbus_topic *topic)
{
	struct newest *newest = topic->newest;
	uint64_t lost;

	if (!newest)
		return 0;
	lost = newest->lost;
	newest->lost = 0;
	for (uint32_t i = 0; i < newest->size; i++) {
		struct newest_key *key = &newest->keys[i];

		if (key->hash != 0 && key->merged > 0 && lane_is_later(topic->reader.cursor.at, key->ticket)) {
			lost += key->merged;
			key->merged = 0;
		}
	}
	return lost;
}

/* --- whose it is ------------------------------------------------------------------------------------------------- */

/* A late one is told by RESYNC. */
static bool is_new(pathbus_topic *topic, const struct ring_message *message)
{
	enum told_before before = told_take(&topic->said, &topic->ring, topic->reader.cursor.at - RING_TICKET, message);

	topic->resync_due |= before == TOLD_LATER;
	return before == TOLD_NEVER;
}

static enum reader_whose whose(void *arg, const struct ring_message *message)
{
	pathbus_topic *topic = arg;

	if (message->origin == topic->origin && !topic->echo) {
		topic->own_counted++;
		return READER_OWN;
	}
	if (hide_origin(topic, message->pid, message->origin) || !is_new(topic, message)) {
		if (topic->newest)
			topic->newest->lost += newest_merged(topic, message);
		return READER_HIDDEN;
	}
	if (topic->newest && newest_replaces(topic, message))
		return READER_HIDDEN;
	return READER_STRANGERS;
}

/* Under ring_lock. */
static uint64_t count_own_missed(pathbus_topic *topic, uint64_t to)
{
	return own_tickets_missed(&topic->own_tickets, to, &topic->own_counted);
}

static uint64_t own_missed(void *arg, uint64_t from, uint64_t to)
{
	pathbus_topic *topic = arg;

	(void)from; /* up to there they are in own_counted */
	return count_own_missed(topic, to);
}

/* --- events -------------------------------------------------------------------------------------------------------- */

static uint64_t to_wall_clock(uint64_t time_ns)
{
	struct timespec now;

	if (time_ns == 0 || clock_gettime(CLOCK_REALTIME, &now) < 0)
		return 0;
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec - (os_now_ns() - time_ns);
}

static void fill_message(const pathbus_topic *topic, const struct ring_message *message, struct pathbus_event *event)
{
	event->kind = PATHBUS_EVENT_MESSAGE;
	event->data = message->data;
	event->data_size = message->data_size;
	event->key = message->key_size > 0 ? message->key : NULL;
	event->key_size = message->key_size;
	event->pid = (pid_t)message->pid;
	event->uid = message->uid;
	event->origin = message->origin;
	event->time_ns = message->time_ns;
	event->wall_ns = topic->flags & PATHBUS_WALL_CLOCK ? to_wall_clock(message->time_ns) : 0;
}

bool mail_take_backlog(pathbus_topic *topic, struct pathbus_event *event)
{
	struct backlog *first = topic->backlog;

	free(topic->told);
	topic->told = NULL;
	if (!first)
		return false;
	topic->backlog = first->next;
	if (!topic->backlog)
		topic->backlog_tail = &topic->backlog;
	topic->told = first;
	event->kind = first->kind;
	event->count = first->count;
	if (first->kind == PATHBUS_EVENT_MESSAGE)
		fill_message(topic, &first->message, event);
	return true;
}

static size_t largest(const pathbus_topic *topic)
{
	return RING_BUFFER_SIZE(topic->ring.max_message);
}

static bool have_buffer(pathbus_topic *topic)
{
	size_t size = largest(topic) + BATCH_BYTES;

	if (topic->buffer_size < size) {
		void *buffer = malloc(size);

		if (!buffer)
			return false;
		free(topic->buffer);
		topic->buffer = buffer;
		topic->buffer_size = size;
	}
	return true;
}

/* The next message goes behind this one. */
static void keep_in_buffer(pathbus_topic *topic, const struct ring_message *message)
{
	const unsigned char *end = (const unsigned char *)message->data + message->data_size;

	topic->buffer_used = ((size_t)(end - topic->buffer) + 7) / 8 * 8;
}

bool mail_has_room(const pathbus_topic *topic)
{
	return topic->reader.held || topic->buffer_size - topic->buffer_used >= largest(topic);
}

struct reader_look mail_look(pathbus_topic *topic, uint64_t generation)
{
	struct reader_look look = { .generation = generation, .whose = whose, .own_missed = own_missed, .arg = topic };

	pthread_mutex_lock(&topic->ring_lock);
	if (!topic->echo) {
		uint64_t own = atomic_load(&topic->own), elsewhere = atomic_load(&topic->own_elsewhere);

		look.own = own + elsewhere;
		/* When other threads have posted, too, it is not known which came when. */
		if (elsewhere == topic->own_rested_elsewhere)
			look.own_since = own - atomic_load_explicit(&topic->own_rested, memory_order_relaxed);
		look.own_first = atomic_load_explicit(&topic->own_first, memory_order_relaxed);
	}
	if (topic->hiding)
		look.own += hide_posts(topic) * GENERATION_POST; /* known too late to tell which came when: own_since stays */
	if (atomic_load(&topic->page->messages) && have_buffer(topic)) {
		look.ring = &topic->ring;
		topic->buffer_used = 0;
		if (topic->reader.held)
			keep_in_buffer(topic, &topic->reader.message);
	}
	return look;
}

void mail_looked(pathbus_topic *topic)
{
	pthread_mutex_unlock(&topic->ring_lock);
}

void mail_note_resync(pathbus_topic *topic, const struct reader_look *look)
{
	reader_absorb_posts(&topic->reader, look->generation - look->own);
}

enum reader_kind mail_next(pathbus_topic *topic, struct reader_look *look, struct pathbus_event *event)
{
	uint64_t n = 1;
	enum reader_kind kind;

	if (topic->newest && topic->newest->lost > 0) {
		event->kind = PATHBUS_EVENT_GAP;
		event->count = newest_take_lost(topic);
		return READER_GAP;
	}
	if (look->ring)
		look->buffer = topic->buffer + topic->buffer_used;
	kind = reader_next(&topic->reader, look, &n);
	topic->stalled = kind == READER_STALLED;
	/* RESYNC stands for one that the same writer made earlier. */
	if (kind == READER_MESSAGE && topic->resync_due) {
		reader_hold(&topic->reader);
		return READER_AGAIN;
	}
	if (kind == READER_NOTHING || kind == READER_STALLED) {
		if (topic->resync_due || (topic->newest && topic->newest->lost > 0))
			return READER_AGAIN;
	}
	switch (kind) {
	case READER_POSTS:
		event->kind = PATHBUS_EVENT_POST;
		break;
	case READER_GAP:
		event->kind = PATHBUS_EVENT_GAP;
		n += newest_take_lost(topic);
		atomic_fetch_add_explicit(&topic_tally(topic)->gaps, n, memory_order_relaxed);
		break;
	case READER_MESSAGE:
		n = 1 + newest_merged(topic, &topic->reader.message);
		fill_message(topic, &topic->reader.message, event);
		keep_in_buffer(topic, &topic->reader.message);
		break;
	case READER_NOTHING:
		atomic_store_explicit(&topic->own_rested, atomic_load(&topic->own), memory_order_relaxed);
		topic->own_rested_elsewhere = atomic_load(&topic->own_elsewhere);
		break;
	case READER_AGAIN:
	case READER_STALLED:
		break;
	}
	event->count = n;
	return kind;
}

/* --- moving -------------------------------------------------------------------------------------------------------- */

static bool keep(pathbus_topic *topic, enum pathbus_event_kind kind, uint64_t count, const struct ring_message *message)
{
	size_t size = message ? (size_t)message->key_size + message->data_size : 0;
	struct backlog *kept = malloc(sizeof(*kept) + size);

	if (!kept)
		return false;
	*kept = (struct backlog){ .kind = kind, .count = count };
	if (message) {
		kept->message = *message;
		memcpy(kept->bytes, message->key, message->key_size);
		memcpy(kept->bytes + message->key_size, message->data, message->data_size);
		kept->message.key = kept->bytes;
		kept->message.data = kept->bytes + message->key_size;
	}
	*topic->backlog_tail = kept;
	topic->backlog_tail = &kept->next;
	return true;
}

static bool keep_message(pathbus_topic *topic, const struct ring_message *message)
{
	return keep(topic, PATHBUS_EVENT_MESSAGE, 1 + newest_merged(topic, message), message);
}

/* Links carry one after the other: what this topic publishes next must not overtake what it published here. A link that
 * stands still is not waited for; what it carries is late then. */
static void await_links(pathbus_topic *topic)
{
	struct page *page = topic->ring.page;
	uint64_t deadline = os_now_ns() + LINKS_MS * UINT64_C(1000000);

	if (topic->published == 0 || !atomic_load(&page->linked))
		return;
	for (unsigned i = 0; i < PAGE_SLOTS; i++) {
		struct page_slot *slot = &page->slots[i];

		while (atomic_load(&slot->pid) != 0 && (atomic_load(&slot->flags) & SLOT_LINK) && os_now_ns() < deadline) {
			uint32_t moved;

			/* As in sync.c. */
			atomic_store(&slot->watchers, 1);
			moved = atomic_load(&slot->moved);
			if (!lane_is_later(topic->published, atomic_load(&slot->seen)))
				break;
			(void)os_futex_wait(&slot->moved, moved, deadline);
		}
	}
}

/* Nobody can publish there any more without finding that out, and then publishes again. */
static bool is_dead_lane(const pathbus_topic *topic)
{
	return topic->ring_file < 0 || atomic_load(&topic->ring.page->closed);
}

/* The last look at the old ring. Who is still writing there finds that the lane is gone, or a link carries it. */
static void drain_into(pathbus_topic *topic, void *buffer)
{
	struct ring_cursor *cursor = &topic->reader.cursor;
	struct ring_message *message = &topic->reader.message;
	uint64_t missed, under_way = 0, n; /* which are no gap */

	/* What is read now comes after a RESYNC that is still to be told, of the move before this one perhaps. */
	if ((topic->resync_due || atomic_load(&topic->ring.page->resync) != topic->resync_seen) &&
	    !keep(topic, PATHBUS_EVENT_RESYNC, 0, NULL))
		return;
	if (topic->reader.held && !keep_message(topic, message))
		return;
	/* As many as there can be; without memory it ends early, and RESYNC says the rest. */
	for (n = 0; n < (uint64_t)topic->ring.n_slots * 4; n++) {
		switch (ring_read(&topic->ring, cursor, message, buffer, &missed)) {
		case RING_MESSAGE:
			if (whose(topic, message) == READER_STRANGERS && !keep_message(topic, message))
				return;
			(void)known_add(&topic->said.known, message->origin, message->number); /* it may come again, too */
			break;
		case RING_GAP:
			under_way += count_own_missed(topic, cursor->counted);
			missed -= missed < under_way ? missed : under_way;
			missed += newest_take_lost(topic);
			under_way = 0;
			if (missed > 0 && !keep(topic, PATHBUS_EVENT_GAP, missed, NULL))
				return;
			break;
		case RING_STALLED:
			/* A link waits for this writer, and carries what is behind its message after it: so after our baseline.
			 * In a lane that died its writer publishes again, and what is behind is there only. */
			if (!is_dead_lane(topic))
				return;
			cursor->at += RING_TICKET;
			under_way++;
			break;
		case RING_EMPTY:
			return;
		case RING_BUSY:
			break;
		}
	}
}

static void drain(pathbus_topic *topic)
{
	/* Not the topic's own buffer: the program may be looking at the message in it, if it is a post or a publish of its
	 * that moves us. */
	void *buffer = malloc(RING_BUFFER_SIZE(topic->ring.max_message));

	told_note_ring(&topic->said, &topic->ring, topic->reader.cursor.at); /* it may come again in the new lane */
	if (buffer)
		drain_into(topic, buffer);
	free(buffer);
	if (topic->newest && topic->newest->lost > 0)
		(void)keep(topic, PATHBUS_EVENT_GAP, newest_take_lost(topic), NULL);
}

void mail_move(pathbus_topic *topic, void *lane, size_t size, const struct lane_shape *shape)
{
	bool is_first = !topic->lane;
	struct ring_cursor cursor;
	struct ring ring;

	ring_attach(&ring, lane, (unsigned char *)lane + PAGE_SIZE_BYTES, shape);
	ring_baseline(&ring, is_first ? topic->last : 0, &cursor);
	if (!is_first) {
		await_links(topic);
		if (topic->subscribed && atomic_load(&topic->ring.page->messages))
			drain(topic);
		munmap(topic->lane, topic->lane_size);
	}
	topic->lane = lane;
	topic->lane_size = size;
	topic->ring = ring;
	topic->ring_allocated = 0;
	topic->published = 0;
	/* A lane of one's own (socket.c) is a new one for each connection: it is known here what came over those before. */
	topic->said.is_linked = topic->remote;
	own_tickets_reset(&topic->own_tickets);
	topic->own_counted = 0;
	if (topic->newest)
		topic->newest->begun = false;
	topic->goal = 0;
	topic->stalled = false;
	reader_start(&topic->reader, 0);
	reader_start_ring(&topic->reader, &cursor);
}

void mail_start(pathbus_topic *topic, uint64_t generation)
{
	topic->reader.accounted = generation - (topic->echo ? 0 : topic_own(topic));
	atomic_store_explicit(&topic->own_rested, atomic_load(&topic->own), memory_order_relaxed);
	topic->own_rested_elsewhere = atomic_load(&topic->own_elsewhere);
	hide_begin(topic);
}

bool mail_init(pathbus_topic *topic)
{
	pthread_mutex_init(&topic->ring_lock, NULL);
	topic->backlog_tail = &topic->backlog;
	topic->ring_file = -1;
	if (topic->flags & PATHBUS_NEWEST)
		topic->newest = calloc(1, sizeof(*topic->newest));
	if ((topic->flags & PATHBUS_HIDE_PROCESS) && !hide_own_process(topic))
		return false;
	return !(topic->flags & PATHBUS_NEWEST) || topic->newest;
}

void mail_deinit(pathbus_topic *topic)
{
	while (topic->backlog) {
		struct backlog *next = topic->backlog->next;

		free(topic->backlog);
		topic->backlog = next;
	}
	free(topic->told);
	free(topic->buffer);
	own_tickets_deinit(&topic->own_tickets);
	known_deinit(&topic->said.known);
	if (topic->newest)
		free(topic->newest->keys);
	free(topic->newest);
	free(topic->hiding);
	if (topic->lane)
		munmap(topic->lane, topic->lane_size);
	if (!is_forked(topic->alive)) /* in the child a thread that is not there may hold it */
		pthread_mutex_destroy(&topic->ring_lock);
}
