/* SPDX-License-Identifier: MIT */
/*
 * topic.c - one member of a channel: which lane it is on, and moving it to another.
 *
 * The handle's count. Lanes come and go, so what the program sees is counted by the handle:
 *
 *     count = generation - own + offset        (with PATHBUS_ECHO: generation + offset)
 *
 * where `own` is raised before the generation is, and read after it: so the count never runs ahead of what
 * strangers have posted, and what it lags behind by comes with the post that is on its way. (The other way
 * round a stranger's post could be swallowed.) At each move `offset` is set so that the count grows.
 *
 * Moving. Page and bell are exchanged in place: the address of the mapping and the number of the descriptor
 * stay, so that a thread in the middle of a post needs no lock and no reference count. `epoch` tells it that
 * this happened, and it posts again. Whatever it did meanwhile is a post or a ring too many in one of the
 * two lanes, never one too few.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "internal.h"

/* Larger than the number of threads that can be in the middle of a post of one handle, by which the count may
 * lag when it is taken for a move. */
#define MOVE_STEP (64 * GENERATION_POST)

const struct death death_never = { .magic = DEATH_MAGIC, .armed = 1 };

/* --- the count --------------------------------------------------------------------------------------- */

uint64_t topic_count(const pathbus_topic *topic, uint64_t generation)
{
	uint64_t own = topic->echo ? 0 : topic_own(topic); /* after the generation was loaded */

	return generation - own + atomic_load(&topic->offset);
}

/* Own posts between the two loads would make the count lag by any number: those that were looked at are then
 * looked at again. What remains is those that are being made at this moment. */
uint64_t topic_count_now(const pathbus_topic *topic)
{
	for (;;) {
		uint64_t own = topic->echo ? 0 : topic_own(topic), generation = atomic_load(&topic->page->generation);

		if (topic->echo || topic_own(topic) == own)
			return generation - own + atomic_load(&topic->offset);
	}
}

/* Later than: a count that lags below the cursor wraps to a huge difference. */
bool topic_is_later(uint64_t count, uint64_t than)
{
	return count != than && count - than < UINT64_MAX / 2;
}

/* --- lanes ------------------------------------------------------------------------------------------- */

void joined_release(struct joined *joined, struct page *page)
{
	if (joined->place == PLACE_PEER) {
		sidecar_leave(&joined->sidecar, page);
	} else {
		if (joined->page >= 0)
			close(joined->page);
		if (joined->bell >= 0)
			close(joined->bell);
	}
	joined->page = joined->bell = -1;
}

void topic_lose(pathbus_topic *topic)
{
	if (atomic_fetch_or(&topic->epoch, EPOCH_LOST) & EPOCH_LOST)
		return;
	control_due(topic->bus);
	if (topic->wait_set >= 0)
		(void)os_set_change(topic->wait_set, topic->bus->mark, OS_READ | OS_EDGE, TAG_MARK);
}

bool topic_is_well(pathbus_topic *topic)
{
	if (topic->place == PLACE_NONE || (atomic_load(&topic->epoch) & EPOCH_LOST))
		return false;
	if (topic_is_on_bus(topic) && bus_is_dead(topic->bus)) {
		bus_lost(topic->bus);
		return false;
	}
	if (!lane_closed(&(struct lane){ .page = topic->page }))
		return true;
	topic_lose(topic);
	return false;
}

void topic_look_for_sidecar(pathbus_topic *topic)
{
	uint64_t now;

	if (topic->place != PLACE_PEER)
		return;
	/* A system call costs a tenth of a wake-up; who is woken often hears of it soon enough. */
	now = os_now_ns();
	if (now - topic->sidecar_seen_ns < GONE_INTERVAL_MS * UINT64_C(1000000))
		return;
	if (sidecar_is_gone(&topic->sidecar)) {
		/* Takes everybody along: those who only post and are never woken, and those who were too soon to look. */
		lane_close(&(struct lane){ .page = topic->page, .bell = topic->bell, .carrier = -1 });
		topic_lose(topic);
	} else {
		topic->sidecar_seen_ns = now;
	}
}

void topic_fail(pathbus_topic *topic, int error)
{
	if (topic->fail_told)
		return;
	topic->fail_told = true;
	topic->error_due = error;
	handle_queue(topic);
}

static int watch_bell(pathbus_topic *topic, int bell)
{
	uint64_t tag = (uint64_t)(uintptr_t)topic;
	int r = 0;

	if (topic_listens(topic))
		r = os_set_add(topic->bus->set, bell, OS_READ | OS_EDGE, tag);
	if (r == 0 && topic->wait_set >= 0) {
		r = os_set_add(topic->wait_set, bell, OS_READ | OS_EDGE, tag);
		if (r < 0 && topic_listens(topic))
			os_set_remove(topic->bus->set, bell);
	}
	return r;
}

static void unwatch_bell(pathbus_topic *topic, int bell)
{
	if (topic_listens(topic))
		os_set_remove(topic->bus->set, bell);
	if (topic->wait_set >= 0)
		os_set_remove(topic->wait_set, bell);
}

/* Leaves what the topic is on, after the move. `old_bell` is a copy to ring with, or -1. */
static void leave_old(pathbus_topic *topic, enum topic_place place, uint32_t bus_topic, uint32_t bus_serial,
                      struct sidecar *sidecar)
{
	if (place == PLACE_BUS || place == PLACE_SOCKET)
		bus_close_topic(topic->bus, bus_topic, bus_serial);
	else if (place == PLACE_PEER)
		sidecar_leave(sidecar, NULL);
}

static void clear_slot(pathbus_topic *topic)
{
	uint32_t slot = atomic_load(&topic->slot);

	/* In the daemon's lanes the daemon does this. */
	if (topic->place == PLACE_PEER && slot < PAGE_SLOTS)
		page_leave_slot(topic->page, slot);
}

/* The member's own words in its slot, once it knows what it has seen. */
static void fill_slot(pathbus_topic *topic, enum topic_place place, uint64_t generation, bool is_first)
{
	uint32_t slot = atomic_load(&topic->slot);
	uint64_t tag = count_tag(topic->origin, atomic_load(&topic->epoch) / EPOCH_MOVE);
	struct page_slot *mine;

	if (slot >= PAGE_SLOTS)
		return;
	if (place == PLACE_PEER) {
		ring_recover(&topic->ring, slot); /* its last owner is gone: we have the lock */
		page_take_slot(topic->page, slot, getpid());
	}
	mine = &topic->page->slots[slot];
	page_name_slot(mine, topic->origin, tag);
	/* Who has moved has RESYNC, and perhaps more, still to be told. */
	atomic_store(&mine->seen, is_first ? generation : generation - GENERATION_MESSAGE);
	if (topic->subscribed)
		atomic_store(&mine->flags, SLOT_SUBSCRIBES); /* from here on it is waited for */
	atomic_store(&topic->counting, tag | slot);
}

/* The exchange itself; what can fail has been tried, but for the mapping. */
static int swap_lane(pathbus_topic *topic, struct joined *joined)
{
	uint64_t epoch, base, generation, counting;
	struct lane_shape shape;
	struct state state = { 0 };
	struct page *page;
	bool is_first = !topic->page;
	size_t size;
	void *lane;
	int r = lane_map(joined->page, &lane, &size, &shape);

	if (r < 0)
		return r;
	if (joined->place == PLACE_BUS && atomic_load(&((struct page *)lane)->closed)) {
		/* The daemon closes a lane when rights have changed, perhaps in this very moment, and then has another. Or somebody
		 * has written over it: to join it again at once might never end. */
		munmap(lane, size);
		return -EIO;
	}
	base = topic->page ? topic_count_now(topic) : 0;
	if (topic_is_later(topic->reported, base))
		base = topic->reported;
	base += MOVE_STEP; /* the first time too: whatever lags, it is later than a cursor of 0 */

	if (topic->place == PLACE_BUS)
		sync_note_left(topic);
	epoch = atomic_fetch_or(&topic->epoch, EPOCH_SWAP);
	/* Who has not looked its slot up by now finds none; who has may write there, with a tag that is not the next one's. */
	counting = atomic_exchange(&topic->counting, 0);
	pthread_mutex_lock(&topic->ring_lock);
	if (topic->page)
		state = state_get(topic->page);
	page = os_map(joined->page, PAGE_SIZE_BYTES, true, topic->page);
	if (!page) {
		r = -errno;
		pthread_mutex_unlock(&topic->ring_lock);
		munmap(lane, size);
		atomic_store(&topic->counting, counting);
		atomic_store(&topic->epoch, epoch);
		return r;
	}
	mail_move(topic, lane, size, &shape);
	topic->ring_file = joined->place == PLACE_PEER ? joined->sidecar.file : -1;
	if (topic->bell < 0) {
		topic->bell = joined->bell; /* once; threads read it */
	} else {
		unwatch_bell(topic, topic->bell);
		(void)os_replace(joined->bell, topic->bell); /* onto an open number: cannot fail for want of one */
		close(joined->bell);
	}
	joined->bell = topic->bell;
	if (!topic->page) /* once; the address stays */
		topic->page = page;
	atomic_store(&topic->carrier, joined->place == PLACE_BUS ? topic->bus->connection.carrier : -1);
	atomic_store(&topic->death, joined->place == PLACE_BUS || joined->place == PLACE_SOCKET ?
	                                    topic->bus->connection.death : &death_never);
	atomic_store(&topic->slot, joined->slot < PAGE_SLOTS ? joined->slot : WIRE_NO_SLOT);

	/* The baseline: everything up to here is taken as seen; RESYNC is told after that (design 7.3). */
	topic->resync_seen = atomic_load(&page->resync);
	generation = atomic_load(&page->generation);
	atomic_store(&topic->offset, base - generation + (topic->echo ? 0 : topic_own(topic)));
	mail_start(topic, generation);
	fill_slot(topic, joined->place, generation, is_first);
	/* What is there if this one is not put may look the same, and be another's change. */
	if (state.version == 0 || state_offer(page, atomic_load(&topic->slot), &state) != 1)
		topic->carried_since = (epoch & ~(uint64_t)(EPOCH_SWAP | EPOCH_LOST)) + EPOCH_MOVE;
	topic->reported = base;
	topic->armed = generation - 1;
	topic->collected = true;
	pthread_mutex_unlock(&topic->ring_lock);
	atomic_store(&topic->epoch, (epoch & ~(uint64_t)(EPOCH_SWAP | EPOCH_LOST)) + EPOCH_MOVE);
	return 0;
}

static void note_transport(pathbus_topic *topic, const struct joined *joined)
{
	topic->transport = (struct pathbus_transport){
		.size = sizeof(topic->transport),
		.kind = joined->place == PLACE_BUS  ? PATHBUS_BUS :
		        joined->place == PLACE_PEER ? PATHBUS_PEER :
		        joined->place == PLACE_APART ? PATHBUS_AUTO :
		                                       PATHBUS_SOCKET,
		.local_only = joined->local_only,
		.in_runtime_folder = joined->in_runtime_folder,
		.since_ns = os_now_ns(),
	};
	snprintf(topic->transport.why, sizeof(topic->transport.why), "%s", joined->why);
}

int topic_install(pathbus_topic *topic, struct joined *joined)
{
	struct sidecar old_sidecar = topic->sidecar;
	enum topic_place old_place = topic->place;
	uint32_t old_bus_topic = topic->bus_topic, old_serial = topic->bus_serial;
	bool is_first = !topic->page;
	int old_bell = -1, r;

	/* Tried with the number it came with, so that a failure leaves the old lane as it was. */
	r = watch_bell(topic, joined->bell);
	if (r < 0) {
		joined_release(joined, NULL);
		return r;
	}
	if (!is_first) {
		unwatch_bell(topic, joined->bell);
		if (old_place == PLACE_PEER)
			old_bell = fcntl(topic->bell, F_DUPFD_CLOEXEC, 0);
		/* Who moves from the runtime folder to the file's side takes everybody along. */
		if (old_place == PLACE_PEER && topic->transport.in_runtime_folder && joined->place == PLACE_PEER &&
		    !joined->in_runtime_folder)
			lane_close(&(struct lane){ .page = topic->page, .bell = topic->bell, .carrier = -1 });
		clear_slot(topic);
	}
	old_sidecar.bell = old_bell;
	r = swap_lane(topic, joined);
	if (r < 0) {
		if (is_first)
			unwatch_bell(topic, joined->bell);
		if (old_bell >= 0)
			close(old_bell);
		joined_release(joined, NULL);
		return r;
	}
	topic->place = joined->place;
	topic->bus_topic = joined->bus_topic;
	topic->bus_serial = topic->bus->connection.serial;
	topic->sidecar = joined->place == PLACE_PEER ? joined->sidecar : SIDECAR_NONE;
	if (joined->place == PLACE_PEER)
		topic->sidecar.bell = topic->bell;
	else
		close(joined->page);
	topic->sidecar_seen_ns = os_now_ns();
	note_transport(topic, joined);
	if (topic->folder_watch > 0 && !joined->in_runtime_folder) {
		control_unwatch_folder(topic->bus, topic->folder_watch);
		topic->folder_watch = 0;
	}
	topic->error_due = 0;
	topic->fail_told = false;
	if (!is_first) {
		int r2 = watch_bell(topic, topic->bell);

		if (r2 < 0) /* just freed, yet refused: nothing would wake us here */
			topic_lose(topic);
		/* What it posted last may have been in a lane that nobody carried any more, or that gave way to another
		 * daemon's, where somebody had been waiting already. */
		if (old_place == PLACE_BUS && atomic_load(&topic->may_post)) {
			struct lane lane = topic_lane(topic);

			atomic_fetch_add(&topic->own_elsewhere, GENERATION_POST);
			lane_post(&lane);
		}
		leave_old(topic, old_place, old_bus_topic, old_serial, &old_sidecar);
		attachments_moved(topic);
		call_nudge(topic->bus); /* who waits for something on the old lane */
		topic->resync_due = true;
		handle_queue(topic);
		if (topic->wait_set >= 0)
			(void)os_set_change(topic->wait_set, topic->bus->mark, OS_READ | OS_EDGE, TAG_MARK);
		return r2;
	}
	return 0;
}

int topic_settle(pathbus_topic *topic, uint64_t deadline_ns)
{
	enum pathbus_transport_kind kind = topic->bus->kind;
	bool is_first = !topic->page;
	int r = -ENOTCONN;

	if (topic_is_well(topic))
		return 0;
	if (topic->flags & PATHBUS_LOCKS_ONLY)
		return transport_apart.settle(topic, deadline_ns);
	if (kind != PATHBUS_PEER) {
		r = transport_bus.settle(topic, deadline_ns);
		if (r == 0 || r == -EINPROGRESS)
			return r;
	}
	/* It has lost its rights: beside the file it would meet those who have, and be cut off from the others. */
	if (r == -EACCES)
		return r;
	if (kind == PATHBUS_BUS || kind == PATHBUS_SOCKET)
		return r == -ETIME ? -ENOTCONN : r;
	/* The daemon's word on the path is final for who opens. For who was on the channel already the others may
	 * be beside the file by now. */
	if (r != -ENOTCONN && r != -ETIME && is_first)
		return r;
	return transport_peer.settle(topic, deadline_ns);
}

/* --- beginning and end ---------------------------------------------------------------------------------- */

void topic_free(pathbus_topic *topic)
{
	handle_unqueue(topic);
	if (topic->folder_watch > 0)
		control_unwatch_folder(topic->bus, topic->folder_watch);
	if (topic->wait_set >= 0)
		close(topic->wait_set);
	mail_deinit(topic);
	if (topic->page)
		munmap(topic->page, PAGE_SIZE_BYTES);
	if (topic->bell >= 0)
		close(topic->bell);
	if (topic->previous)
		topic->previous->next = topic->next;
	else if (topic->bus->topics == topic)
		topic->bus->topics = topic->next;
	if (topic->next)
		topic->next->previous = topic->previous;
	if (topic->bus->hot == topic)
		topic->bus->hot = NULL;
	if (topic->bus->waited == topic)
		topic->bus->waited = NULL;
	free(topic->left);
	free(topic->path);
	free(topic);
}

/* splitmix64: of random numbers that grow by one, others; never 0. */
static uint64_t new_origin(struct pathbus *bus)
{
	uint64_t x;

	do {
		x = bus->next_origin += UINT64_C(0x9e3779b97f4a7c15);
		x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
		x ^= x >> 31;
	} while (x == 0);
	return x;
}

pathbus_topic *topic_new(struct pathbus *bus, char *path, unsigned flags,
                                const struct pathbus_topic_options *options)
{
	pathbus_topic *topic = calloc(1, sizeof(*topic));

	if (!topic)
		return NULL;
	topic->flags = flags;
	topic->pid = (uint32_t)getpid();
	topic->uid = (uint32_t)geteuid();
	if (!mail_init(topic)) {
		free(topic->hiding);
		free(topic->newest);
		free(topic);
		return NULL;
	}
	topic->ring_slots = options->ring_slots;
	topic->max_message = options->max_message;
	topic->last = options->last;
	topic->origin = new_origin(bus);
	topic->bus = bus;
	topic->home = pthread_self();
	topic->path = path;
	topic->alive = bus->alive;
	topic->bell = topic->wait_set = -1;
	topic->remote = bus->kind == PATHBUS_SOCKET && !(flags & PATHBUS_LOCKS_ONLY);
	topic->sidecar = SIDECAR_NONE;
	topic->echo = (flags & PATHBUS_ECHO) != 0;
	topic->subscribed = (flags & (PATHBUS_SUBSCRIBE | PATHBUS_POST)) != PATHBUS_POST && !(flags & PATHBUS_LOCKS_ONLY);
	atomic_init(&topic->carrier, -1);
	atomic_init(&topic->slot, WIRE_NO_SLOT);
	atomic_init(&topic->death, &death_never);
	topic->next = bus->topics;
	if (topic->next)
		topic->next->previous = topic;
	bus->topics = topic;
	return topic;
}

int topic_start_listening(pathbus_topic *topic)
{
	if (!topic->subscribed || topic->bell < 0)
		return 0;
	return os_set_add(topic->bus->set, topic->bell, OS_READ | OS_EDGE, (uint64_t)(uintptr_t)topic);
}

void topic_stop_listening(pathbus_topic *topic)
{
	if (topic->subscribed && topic->bell >= 0)
		os_set_remove(topic->bus->set, topic->bell);
}

void topic_rest(pathbus_topic *topic)
{
	struct lane lane = topic_lane(topic);

	while (topic_listens(topic)) {
		uint64_t generation = lane_generation(&lane);

		if (topic->backlog || topic_is_later(topic_count(topic, generation), topic->reported)) {
			handle_queue(topic);
			return;
		}
		topic_caught_up(topic, generation, true);
		if (lane_arm(&lane, generation)) {
			topic->armed = generation;
			topic->collected = false;
			return;
		}
	}
}

/* In a forked child locks, the page and the epoll set belong to the parent: descriptors are all there is. */
static pathbus_topic *close_forked(pathbus_topic *topic)
{
	attachments_end(topic, true);
	topic->sidecar.bell = -1; /* the same descriptor as topic->bell */
	sidecar_drop(&topic->sidecar);
	topic->folder_watch = 0;
	topic_free(topic);
	return NULL;
}

pathbus_topic *pathbus_close(pathbus_topic *topic)
{
	struct pathbus *bus;

	if (!topic)
		return NULL;
	bus = topic->bus;
	if (is_forked(topic->alive))
		return close_forked(topic);
	pthread_mutex_lock(&bus->lock);
	attachments_end(topic, false);
	if (topic->bell >= 0)
		unwatch_bell(topic, topic->bell);
	if (topic_is_on_bus(topic)) {
		uint32_t slot = atomic_load(&topic->slot);

		/* Of a dead daemon's lane nobody else tells the others. */
		if (slot < PAGE_SLOTS && death_has_come(atomic_load(&topic->death)))
			page_leave_slot(topic->page, slot);
		bus_close_topic(bus, topic->bus_topic, topic->bus_serial);
	} else if (topic->place == PLACE_PEER) {
		sidecar_leave(&topic->sidecar, topic->page);
		topic->bell = -1; /* the sidecar's */
	}
	topic_free(topic);
	pthread_mutex_unlock(&bus->lock);
	return NULL;
}

void pathbus_set_userdata(pathbus_topic *topic, void *userdata)
{
	if (topic)
		topic->userdata = userdata;
}

int pathbus_transport(const pathbus_topic *topic, struct pathbus_transport *ret)
{
	struct pathbus *bus;

	if (!topic || !ret || ret->size != sizeof(*ret))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	bus = topic->bus;
	pthread_mutex_lock(&bus->lock);
	*ret = topic->transport;
	if (atomic_load(&topic->epoch) & EPOCH_LOST)
		ret->kind = PATHBUS_AUTO;
	handle_unlock(bus);
	return 0;
}
