/* SPDX-License-Identifier: MIT */
/*
 * link.c - a member of both, which posts here what it hears there (design 7.5 and 7.6; tests/model/seams.pml).
 */
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"
#include "state.h"
#include "wire.h"

/* How long to wait for somebody who is coming or going; then the daemon tries again later. */
enum { JOIN_MS = 500 };
/* How long to wait for writers that stand still in a lane that is left. */
enum { LEAVE_MS = 500 };

/* --- one side ------------------------------------------------------------------------------------------- */

static void post(struct side *side, bool resync)
{
	side->own += GENERATION_POST;
	if (resync) {
		lane_resync(&side->lane);
		side->seen_resync++; /* its own resync is no news to itself */
	} else {
		lane_post(&side->lane);
	}
}

static uint64_t strangers(const struct side *side)
{
	return lane_generation(&side->lane) - side->own;
}

static void take_baseline(struct side *side)
{
	struct ring_cursor cursor;

	side->seen_resync = atomic_load(&side->lane.page->resync);
	ring_baseline(&side->ring, 0, &cursor);
	reader_start(&side->reader, strangers(side));
	reader_start_ring(&side->reader, &cursor);
}

/* In a sidecar the ring has to be allocated before it is written; see libclient/publish.c. */
static int allocate(struct side *side, const struct ring_message *message)
{
	struct lane_shape shape = { .ring_slots = side->ring.n_slots, .max_message = side->ring.max_message };
	size_t size = PAGE_SIZE_BYTES + ring_slots_size(&shape);
	int r;

	if (message->key_size + message->data_size > RING_INLINE)
		size = lane_size(&shape);
	if (side->file < 0 || side->allocated >= size)
		return 0;
	r = os_allocate(side->file, size);
	if (r == 0)
		side->allocated = size;
	return r;
}

static uint64_t *ticket_of(const struct side *side, uint64_t ticket)
{
	return &side->tickets[ticket / RING_TICKET & (side->ring.n_slots - 1)];
}

/* What it cannot take is told as RESYNC: it cannot be counted there. */
static void put_message(struct side *to, struct ring_message *message)
{
	uint64_t ticket;

	if (message->data_size > to->ring.max_message || allocate(to, message) < 0) {
		post(to, true);
		return;
	}
	/* It has been there before: published again after a daemon's end, or carried by another link. Or too long ago to
	 * tell. */
	if (!known_add(&to->carried, message->origin, message->number)) {
		if (known_is_late(&to->carried, message->origin, message->number))
			post(to, true);
		return;
	}
	if (atomic_exchange(&to->lane.page->messages, 1) == 0 && to->lane.carrier >= 0)
		os_bell_ring(to->lane.carrier);
	message->before = lane_generation(&to->lane);
	to->own += GENERATION_MESSAGE;
	if (ring_publish(&to->ring, to->slot < PAGE_SLOTS ? to->slot : RING_NO_OWNER, message, &ticket) < 0)
		post(to, true);
	else
		*ticket_of(to, ticket) = ticket;
	lane_raise_at(&to->lane, GENERATION_MESSAGE, NULL, 0);
}

/* --- carrying ------------------------------------------------------------------------------------------- */

static enum reader_whose whose(void *arg, const struct ring_message *message)
{
	struct side *side = arg;
	uint64_t ticket = side->reader.cursor.at - RING_TICKET;

	if (*ticket_of(side, ticket) == ticket)
		return READER_OWN;
	/* Not ours, and yet the same as one of ours: it was there already. But not if its writer has come to this side and
	 * left it again, with messages that we have still been carrying: those are put, and are late there. */
	if (!known_has(&side->carried, message->origin, message->number))
		return READER_STRANGERS;
	side->late |= known_is_late(&side->carried, message->origin, message->number);
	return READER_HIDDEN;
}

/* Who leaves this side for the other waits until what it published here is over there (libclient/mail.c). */
static void say_carried(struct side *from, uint64_t generation)
{
	struct page_slot *mine;

	if (from->slot >= PAGE_SLOTS)
		return;
	mine = &from->lane.page->slots[from->slot];
	atomic_store(&mine->seen, generation);
	if (atomic_load(&mine->watchers) != 0) {
		atomic_store(&mine->watchers, 0); /* before the waking: who goes on waiting sets it again */
		os_futex_wake(&mine->moved);
	}
}

/* The newer state goes over. Of two changes at once the one in the daemon's lane counts. */
static void carry_state(struct side *bus, struct side *peer)
{
	struct state of_bus = state_get(bus->lane.page), of_peer = state_get(peer->lane.page);

	if (of_peer.version > of_bus.version) {
		(void)state_offer(bus->lane.page, bus->slot, &of_peer);
		return;
	}
	if (of_peer.version == of_bus.version && of_peer.value != of_bus.value &&
	    state_set(bus->lane.page, bus->slot, &of_bus, of_bus.value, &of_bus) < 0)
		return; /* somebody has changed it: another look follows */
	(void)state_offer(peer->lane.page, peer->slot, &of_bus);
}

/* Tells `to` what is new in `from`. Returns the generation it has looked at. */
static uint64_t carry(struct side *from, struct side *to)
{
	uint64_t generation = lane_generation(&from->lane), n = 0;
	uint64_t resync = atomic_load(&from->lane.page->resync); /* after the generation: raised before it is */
	struct reader_look look = { .generation = generation, .own = from->own, .whose = whose, .arg = from };

	if (atomic_load(&from->lane.page->messages)) {
		look.ring = &from->ring;
		look.buffer = from->buffer;
	}
	from->stalled_ns = 0;
	if (resync != from->seen_resync) {
		from->seen_resync = resync;
		post(to, true);
	}
	for (;;) {
		enum reader_kind kind = reader_next(&from->reader, &look, &n);

		if (from->late) {
			from->late = false;
			post(to, true);
		}
		switch (kind) {
		case READER_NOTHING:
			say_carried(from, generation);
			return generation;
		case READER_AGAIN:
			break;
		case READER_STALLED:
			from->stalled_ns = reader_lease_ns(&from->reader);
			return generation;
		case READER_POSTS:
			post(to, false);
			break;
		case READER_GAP:
			/* How many of them were own ones is not known, so all counts begin anew; RESYNC is for posts too. */
			post(to, true);
			from->reader.accounted = generation - from->own;
			break;
		case READER_MESSAGE:
			put_message(to, &from->reader.message);
			break;
		}
	}
}

uint64_t link_carry(struct link *link)
{
	for (;;) {
		uint64_t bus = carry(&link->bus, &link->peer);
		uint64_t peer = carry(&link->peer, &link->bus);
		bool bus_armed;

		carry_state(&link->bus, &link->peer);
		bus_armed = lane_arm(&link->bus.lane, bus);
		if (lane_arm(&link->peer.lane, peer) && bus_armed)
			break;
	}
	if (link->bus.stalled_ns && link->peer.stalled_ns)
		return link->bus.stalled_ns < link->peer.stalled_ns ? link->bus.stalled_ns : link->peer.stalled_ns;
	return link->bus.stalled_ns ? link->bus.stalled_ns : link->peer.stalled_ns;
}

void link_post_to_bus(struct link *link)
{
	post(&link->bus, false);
}

/* --- joining -------------------------------------------------------------------------------------------- */

static int map_side(struct side *side, int file)
{
	struct lane_shape shape;
	int r = lane_map(file, &side->map, &side->size, &shape);

	if (r < 0)
		return r;
	side->lane.page = side->map;
	ring_attach(&side->ring, side->map, (unsigned char *)side->map + PAGE_SIZE_BYTES, &shape);
	side->buffer = malloc(RING_BUFFER_SIZE(shape.max_message));
	side->tickets = calloc(shape.ring_slots, sizeof(*side->tickets));
	return side->buffer && side->tickets ? 0 : -ENOMEM;
}

static void close_side(struct side *side)
{
	if (side->map)
		munmap(side->map, side->size);
	if (side->lane.bell >= 0)
		close(side->lane.bell);
	if (side->lane.carrier >= 0)
		close(side->lane.carrier);
	free(side->buffer);
	free(side->tickets);
	known_deinit(&side->carried);
}

/* Says in its slot that it is a link's. */
static void announce(struct side *side)
{
	atomic_store(&side->lane.page->linked, 1);
	if (side->slot >= PAGE_SLOTS)
		return;
	atomic_store(&side->lane.page->slots[side->slot].pid, (uint32_t)getpid());
	atomic_store(&side->lane.page->slots[side->slot].flags, SLOT_LINK);
}

static int join_sidecar(const struct link_message *join, int folder, struct sidecar *ret)
{
	uint64_t deadline = os_now_ns() + JOIN_MS * UINT64_C(1000000);
	char name[KEY_NAME_MAX + 1];
	int runtime, r;

	if (join->place == LINK_PLACE_FOLDER) {
		key_sidecar_name(&join->key, name);
		return sidecar_join(folder, name, &join->key, deadline, ret);
	}
	key_runtime_name(&join->key, name);
	runtime = sidecar_runtime_folder();
	if (runtime < 0)
		return runtime;
	r = sidecar_join(runtime, name, &join->key, deadline, ret);
	close(runtime);
	return r;
}

static int join_peer(struct link *link)
{
	struct side *peer = &link->peer;
	int r;

	peer->lane.bell = link->sidecar.bell; /* the sidecar's: closed with it */
	peer->file = link->sidecar.file;
	r = map_side(peer, link->sidecar.file);
	if (r < 0)
		return r;
	if (link->sidecar.slot >= 0) {
		peer->slot = (unsigned)link->sidecar.slot;
		ring_recover(&peer->ring, peer->slot); /* its last owner is gone: we have the lock */
		page_take_slot(peer->lane.page, peer->slot, getpid());
	}
	return 0;
}

int link_new(const struct link_message *join, const int fds[LINK_JOIN_DESCRIPTORS], struct link **ret)
{
	struct link *link = calloc(1, sizeof(*link));
	struct side bus = { .lane = { .bell = fds[1], .carrier = fds[2] }, .slot = join->slot, .file = -1 };
	int r = link ? map_side(&bus, fds[0]) : -ENOMEM;

	close(fds[0]);
	if (r == 0) {
		link->id = join->link;
		link->sidecar = SIDECAR_NONE;
		link->bus = bus;
		link->peer = (struct side){ .lane = { .bell = -1, .carrier = -1 }, .slot = WIRE_NO_SLOT, .file = -1 };
		r = join_sidecar(join, fds[3], &link->sidecar);
	}
	close(fds[3]);
	if (r == 0) {
		r = join_peer(link);
		if (r < 0) {
			sidecar_leave(&link->sidecar, link->peer.lane.page);
			link->peer.lane.bell = -1;
			close_side(&link->peer);
		}
	}
	if (r < 0) {
		/* It may have come and gone at once: what was posted in it still counts, and what was published is missed. */
		if (bus.lane.page)
			lane_resync(&bus.lane);
		close_side(&bus);
		free(link);
		return r;
	}
	announce(&link->bus);
	announce(&link->peer);
	take_baseline(&link->bus);
	take_baseline(&link->peer);
	/* Before anybody opens the lane because it is linked: a change that was made beside it must not be overtaken there.
	 * After the announcement, by which those who compare and swap beside it know that they may not any more. */
	carry_state(&link->bus, &link->peer);
	/* What was published on one side before is not carried to the other. */
	post(&link->peer, atomic_load(&link->bus.lane.page->messages) != 0);
	post(&link->bus, atomic_load(&link->peer.lane.page->messages) != 0);
	*ret = link;
	return 0;
}

/* --- leaving -------------------------------------------------------------------------------------------- */

/* The last look. What lies behind a message that stands still is waited for, until the lease voids it: others were told
 * that theirs is through. Where more than a few stand still, or the memory is damaged, it is told as RESYNC. */
static void carry_rest(struct side *from, struct side *to)
{
	uint64_t end = os_now_ns() + LEAVE_MS * UINT64_C(1000000);

	for (;;) {
		uint64_t generation = carry(from, to), now = os_now_ns();

		if (!from->stalled_ns && lane_generation(&from->lane) == generation)
			return;
		if (now >= end)
			break;
		if (from->stalled_ns > now)
			nanosleep(&(struct timespec){ .tv_nsec = (long)((from->stalled_ns - now) % 1000000000) }, NULL);
	}
	post(to, true);
}

bool link_has_ended(struct link *link)
{
	struct lane *peer = &link->peer.lane;

	if (!lane_closed(peer) && !sidecar_is_gone(&link->sidecar) &&
	    !sidecar_leave_if_alone(&link->sidecar, peer->page))
		return false;
	/* Nobody posts in it any more, or whoever does finds it closed and posts elsewhere too. */
	carry_rest(&link->peer, &link->bus);
	carry_state(&link->bus, &link->peer);
	post(&link->bus, false);
	return true;
}

struct link *link_free(struct link *link)
{
	if (link->sidecar.file >= 0) {
		carry_rest(&link->bus, &link->peer);
		post(&link->peer, false);
		carry(&link->peer, &link->bus);
		carry_state(&link->bus, &link->peer);
		sidecar_leave(&link->sidecar, link->peer.lane.page);
	}
	link->peer.lane.bell = -1;
	close_side(&link->peer);
	close_side(&link->bus);
	free(link);
	return NULL;
}
