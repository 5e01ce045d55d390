/* SPDX-License-Identifier: MIT */
/*
 * next.c - events: the queue of topics to look at, what is taken from their lanes, and when a topic goes to sleep.
 *
 * pathbus_next looks before it collects. An edge that has not been collected keeps the set readable for
 * nothing, so in the common case (one topic, woken by its bell) an event costs no system call and the end of
 * the events one. Only what is known not to be readable any more is marked.
 */
#include <errno.h>
#include <sched.h>

#include "internal.h"

enum { N_COLLECT = 64, LOOKS = 4, N_TURNS = 16, N_RESTS = 256 };

/* Who has had so many events without a pause, and now finds none, looks once more so much later before it goes to sleep:
 * to be woken costs both sides more than that. */
enum { STREAK = 16, LINGER_NS = 2000 };

/* --- the queue: topics to look at -------------------------------------------------------------------------- */

static void enqueue(pathbus_topic *topic)
{
	struct pathbus *bus = topic->bus;

	if (topic->queued)
		return;
	topic->queued = true;
	topic->queue_next = NULL;
	*bus->queue_tail = topic;
	bus->queue_tail = &topic->queue_next;
}

static void dequeue(struct pathbus *bus)
{
	pathbus_topic *topic = bus->queue_head;

	bus->queue_head = topic->queue_next;
	if (!bus->queue_head)
		bus->queue_tail = &bus->queue_head;
	topic->queued = false;
}

void handle_queue(pathbus_topic *topic)
{
	enqueue(topic);
	handle_mark(topic->bus);
}

void handle_unqueue(pathbus_topic *topic)
{
	struct pathbus *bus = topic->bus;
	pathbus_topic **at = &bus->queue_head;

	if (bus->batch.topic == topic)
		bus->batch.n = bus->batch.given = 0;
	if (!topic->queued)
		return;
	while (*at != topic)
		at = &(*at)->queue_next;
	*at = topic->queue_next;
	if (bus->queue_tail == &topic->queue_next)
		bus->queue_tail = at;
	topic->queued = false;
}

/* --- what a topic has ------------------------------------------------------------------------------------------- */

static void fill_event(pathbus_topic *topic, enum pathbus_event_kind kind, uint64_t count, int error,
                       struct pathbus_event *event)
{
	*event = (struct pathbus_event){
		.size = sizeof(*event),
		.kind = kind,
		.error = error,
		.topic = topic,
		.userdata = topic->userdata,
		.generation = topic->reported,
		.count = count,
		.uid = (uid_t)-1,
		.fd = -1,
		.gid = (gid_t)-1,
	};
}

enum take { TAKE_NONE, TAKE_EVENT, TAKE_AGAIN };

/* The program is here again: has it dealt with what it was told? */
static void note_progress(pathbus_topic *topic)
{
	if (topic->goal == 0 || lane_is_later(topic->goal_ticket, topic->reader.cursor.at) ||
	    reader_owes(&topic->reader, topic->goal_strangers))
		return;
	if (topic->remote) /* more may have come since */
		socket_say_seen(topic, topic->goal_remote);
	else
		topic_caught_up(topic, topic->goal, false);
	topic->goal = 0;
}

/* --- events that are taken and not given yet ----------------------------------------------------------------- */

static bool give(struct batch *batch, struct pathbus_event *event)
{
	while (batch->given < batch->n) {
		const struct pathbus_event *next = &batch->events[batch->given++];

		if (next->kind == PATHBUS_EVENT_MESSAGE &&
		    hide_origin(batch->topic, (uint32_t)next->pid, next->origin))
			continue; /* the program wants none of its sender any more */
		*event = *next;
		return true;
	}
	return false;
}

/* What else is there at this look. */
static void take_more(pathbus_topic *topic, struct reader_look *look)
{
	struct batch *batch = &topic->bus->batch;
	struct pathbus_event blank;

	fill_event(topic, PATHBUS_EVENT_MESSAGE, 0, 0, &blank);
	batch->topic = topic;
	batch->n = batch->given = 0;
	/* Of a key the newest is wanted: not what was the newest when it was taken. */
	while (!topic->newest && batch->n < BATCH_EVENTS && mail_has_room(topic)) {
		struct pathbus_event *event = &batch->events[batch->n];
		enum reader_kind kind;

		*event = blank;
		kind = mail_next(topic, look, event);
		if (kind != READER_MESSAGE && kind != READER_POSTS && kind != READER_GAP)
			break; /* the next look finds that out again */
		batch->n++;
	}
	topic->streak += batch->n;
}

static enum take take_news(pathbus_topic *topic, struct reader_look *look, struct pathbus_event *event)
{
	enum reader_kind kind = mail_next(topic, look, event);

	if (kind == READER_AGAIN)
		return TAKE_AGAIN;
	if (kind == READER_NOTHING || kind == READER_STALLED)
		return TAKE_NONE;
	if (topic->goal == 0) {
		topic->goal = look->generation;
		topic->goal_ticket = atomic_load(&topic->page->head);
		topic->goal_strangers = look->generation - look->own;
		topic->goal_remote = topic->remote_generation;
	}
	topic->streak++;
	if (kind == READER_MESSAGE)
		take_more(topic, look);
	return TAKE_EVENT;
}

/* RESYNC, or what comes next. */
static enum take take_resync_or_news(pathbus_topic *topic, uint64_t generation, uint64_t resync, struct pathbus_event *event)
{
	struct reader_look look = mail_look(topic, generation);
	enum take taken = TAKE_EVENT;

	if (topic->resync_due || resync != topic->resync_seen) {
		topic->resync_due = false;
		topic->resync_seen = resync;
		mail_note_resync(topic, &look);
	} else {
		taken = take_news(topic, &look, event);
	}
	mail_looked(topic);
	return taken;
}

/* Takes what is new in a topic's lane. */
static enum take take_event(pathbus_topic *topic, uint64_t *ret_generation, struct pathbus_event *event)
{
	struct page *page = topic->page;
	uint64_t generation, count, resync;

	if (topic->error_due) {
		fill_event(topic, PATHBUS_EVENT_ERROR, 0, topic->error_due, event);
		topic->error_due = 0;
		return TAKE_EVENT;
	}
	note_progress(topic);
	generation = atomic_load(&page->generation);
	for (int i = 1; i < LOOKS && generation == topic->armed; i++) /* a burst: look again before the long way */
		generation = atomic_load(&page->generation);
	*ret_generation = generation;
	count = topic_count(topic, generation);
	resync = atomic_load(&page->resync); /* after the generation: raised before it is */
	if (topic_is_later(count, topic->reported))
		topic->reported = count;
	/* Who closes a lane says so before the RESYNC; its bell has not been rung if nobody here had been listening yet. */
	if (resync != topic->resync_seen && lane_closed(&(struct lane){ .page = page }))
		topic_lose(topic);
	fill_event(topic, PATHBUS_EVENT_RESYNC, 0, 0, event);
	if ((topic->backlog || topic->told) && mail_take_backlog(topic, event))
		return TAKE_EVENT;
	if (topic->attachments && attachments_take_event(topic, generation, event))
		return TAKE_EVENT;
	if (!topic->subscribed) {
		topic->resync_due = false;
		topic->resync_seen = resync;
		return TAKE_NONE;
	}
	return take_resync_or_news(topic, generation, resync, event);
}

/* Makes sure that the descriptor is readable while a topic has an event out or is not armed yet. */
static void stay_readable(pathbus_topic *topic)
{
	struct lane lane = topic_lane(topic);

	/* Offloaded: `rung` tells of the carrier's bell, not yet of this one. */
	if (!topic->bus->marked && (topic->collected || !lane_rung_since(&lane, topic->armed) ||
	                            atomic_load_explicit(&topic->page->offload, memory_order_relaxed)))
		handle_mark(topic->bus);
}

/* Somebody has stopped in the middle of a message or a post: the lease tells when to look again. */
static void set_lease(pathbus_topic *topic)
{
	struct pathbus *bus = topic->bus;
	uint64_t lease = topic->stalled ? reader_lease_ns(&topic->reader) : 0, hiding = hide_lease_ns(topic);

	if (hiding && (!lease || hiding < lease))
		lease = hiding;
	if (!lease || (bus->lease_ns && bus->lease_ns <= lease))
		return;
	bus->lease_ns = lease;
	control_set_timer(bus);
}

/* Others that wait for this processor come first; they may have more to do. The clock is looked at, not the lane: that
 * would slow down whoever writes there. */
static void linger(void)
{
	uint64_t end = os_now_ns() + LINGER_NS;

	sched_yield();
	while (os_now_ns() < end)
		;
}

/* True: the topic sleeps, as far as posters are concerned. */
static bool rest(pathbus_topic *topic, uint64_t generation)
{
	struct lane lane = topic_lane(topic);

	if (!topic->subscribed || (atomic_load(&topic->epoch) & EPOCH_LOST))
		return true;
	if (topic->stalled || topic->hiding)
		set_lease(topic);
	if (generation != topic->armed) {
		if (topic->streak >= STREAK) {
			topic->streak = 0;
			linger();
			if (lane_generation(&lane) != generation)
				return false;
		}
		if (!topic->stalled)
			topic_caught_up(topic, generation, true);
		if (!lane_arm(&lane, generation))
			return false;
		topic->armed = generation;
		topic->owes_word = topic->stalled;
	} else if (lane_generation(&lane) != generation) {
		return false;
	} else if (topic->owes_word && !topic->stalled) {
		topic->owes_word = false;
		topic_caught_up(topic, generation, true);
	}
	topic->collected = false;
	topic->streak = 0;
	return true;
}

/* One turn through those to be looked at; 1: *event is filled. */
static int serve_queue(struct pathbus *bus, struct pathbus_event *ret)
{
	for (unsigned rests = 0; bus->queue_head; rests++) {
		pathbus_topic *topic = bus->queue_head;
		uint64_t generation = 0;
		enum take taken = take_event(topic, &generation, ret);

		if (taken != TAKE_NONE) {
			dequeue(bus);
			enqueue(topic); /* not armed yet; others first */
			bus->hot = topic;
			if (taken == TAKE_EVENT)
				stay_readable(topic);
			else
				handle_mark(bus);
			return taken == TAKE_EVENT;
		}
		if (rest(topic, generation)) {
			dequeue(bus);
		} else if (rests >= N_RESTS) {
			/* Somebody posts all the time whose posts are no news here: others' turn. */
			dequeue(bus);
			enqueue(topic);
			handle_mark(bus);
			return 0;
		}
	}
	return 0;
}

static int serve_hot(struct pathbus *bus, struct pathbus_event *event)
{
	pathbus_topic *topic = bus->hot;
	uint64_t generation;

	if (!topic || topic->queued || take_event(topic, &generation, event) != TAKE_EVENT)
		return 0;
	enqueue(topic);
	stay_readable(topic);
	return 1;
}

static void on_edge(pathbus_topic *topic)
{
	topic->collected = true;
	topic_note_wakeup(topic);
	/* Removed under its members, or closed by one who moves? */
	if (topic_is_well(topic))
		topic_look_for_sidecar(topic);
	enqueue(topic);
}

/* Collects edges. True: there may be more. */
static bool collect(struct pathbus *bus)
{
	uint64_t tags[N_COLLECT];
	int n = os_set_wait(bus->set, tags, N_COLLECT, 0);
	bool control = false;

	for (int i = 0; i < n; i++)
		if (tags[i] == TAG_MARK)
			bus->marked = false; /* before anything below marks anew */
	for (int i = 0; i < n; i++) {
		if (tags[i] == TAG_CONTROL)
			control = true;
		else if (tags[i] != TAG_MARK)
			on_edge((pathbus_topic *)(uintptr_t)tags[i]);
	}
	if (control || bus->settle_due)
		control_process(bus);
	return n == N_COLLECT;
}

/* --- next ------------------------------------------------------------------------------------------------------ */

static int next_locked(struct pathbus *bus, struct pathbus_event *event)
{
	bool more = true;

	/* Those that are known to have something are served before any system call, but not for ever: a busy one
	 * would keep the edges of the others from being collected. */
	if (bus->turns < N_TURNS && (serve_queue(bus, event) || serve_hot(bus, event))) {
		bus->turns++;
		return 1;
	}
	bus->turns = 0;
	/* What comes after the last collecting keeps the set readable, or armed topics ring. */
	while (more) {
		more = collect(bus);
		if (serve_queue(bus, event))
			return 1;
	}
	return 0;
}

int pathbus_next(pathbus *bus, struct pathbus_event *event)
{
	struct pathbus_event taken; /* what was given is untouched unless there is one */
	int r;

	if (!bus || !event || event->size != sizeof(*event))
		return -EINVAL;
	if (is_forked(bus->alive))
		return -ECHILD;
	if (give(&bus->batch, event))
		return 1;
	/* Held for long only by a post that is joining anew on another thread. The descriptor stays readable, and
	 * for edge-triggered loops becomes so anew when the lock is free. */
	if (pthread_mutex_trylock(&bus->lock) != 0) {
		(void)atomic_exchange(&bus->missed, true);
		if (pthread_mutex_trylock(&bus->lock) != 0)
			return 0;
	}
	r = handle_start_listening(bus);
	if (r == 0)
		r = next_locked(bus, &taken);
	pthread_mutex_unlock(&bus->lock);
	if (r == 1)
		*event = taken;
	return r;
}
