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

/* --- carrying ------------------------------------------------------------------------------------------- */

/* It may have been there before: published again after a daemon's end, or carried by another link. Or too long ago to
 * tell. What the other side cannot take is told as RESYNC, since it may come there later by another way. */
static void put_message(struct side *to, struct known *carried, struct ring_message *message)
{
	bool is_new = known_add(carried, message->origin, message->number);

	if (is_new ? side_put_message(to, message) < 0 : known_is_late(carried, message->origin, message->number))
		side_resync(to);
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
static uint64_t carry(struct side *from, struct side *to, struct known *carried)
{
	uint64_t n = 0;

	side_look(from);
	for (;;) {
		switch (side_next(from, &n)) {
		case SIDE_NOTHING:
			say_carried(from, from->generation);
			return from->generation;
		case SIDE_STALLED:
			return from->generation;
		case SIDE_AGAIN:
			break;
		case SIDE_POSTS:
			side_post(to, n);
			break;
		case SIDE_RESYNC:
		case SIDE_GAP:
			side_resync(to);
			break;
		case SIDE_MESSAGE:
			put_message(to, carried, &from->reader.message);
			break;
		}
	}
}

static uint64_t carry_to_peer(struct link *link)
{
	return carry(&link->bus, &link->peer, &link->in_peer);
}

static uint64_t carry_to_bus(struct link *link)
{
	return carry(&link->peer, &link->bus, &link->in_bus);
}

uint64_t link_carry(struct link *link)
{
	for (;;) {
		uint64_t bus = carry_to_peer(link);
		uint64_t peer = carry_to_bus(link);
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
	side_post(&link->bus, 1);
}

/* --- joining -------------------------------------------------------------------------------------------- */

static int map_side(struct side *side, int file)
{
	struct lane_shape shape;
	size_t size;
	void *map;
	int r = lane_map(file, &map, &size, &shape);

	return r < 0 ? r : side_open(side, map, size, &shape);
}

static void close_side(struct side *side)
{
	side_close(side);
	if (side->lane.bell >= 0)
		close(side->lane.bell);
	if (side->lane.carrier >= 0)
		close(side->lane.carrier);
	side->lane.bell = side->lane.carrier = -1;
}

/* Says in its slot that it is a link's. */
static void announce(struct side *side)
{
	atomic_store(&side->lane.page->linked, 1);
	if (side->slot >= PAGE_SLOTS)
		return;
	atomic_store(&side->lane.page->slots[side->slot].pid, (uint32_t)getpid());
	/* Before anybody waits for it by the flags: what comes from now on has not been carried. Generations begin anywhere, so 0
	 * could pass for a later one. */
	atomic_store(&side->lane.page->slots[side->slot].seen, lane_generation(&side->lane));
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

/* What was published on one side before is not carried to the other. */
static void say_linked(struct side *to, const struct side *from)
{
	if (atomic_load(&from->lane.page->messages))
		side_resync(to);
	else
		side_post(to, 1);
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
		link->bus.known = &link->in_bus;
		link->peer = (struct side){
			.lane = { .bell = -1, .carrier = -1 }, .slot = WIRE_NO_SLOT, .file = -1, .known = &link->in_peer,
		};
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
	side_take_baseline(&link->bus);
	side_take_baseline(&link->peer);
	/* Before anybody opens the lane because it is linked: a change that was made beside it must not be overtaken there.
	 * After the announcement, by which those who compare and swap beside it know that they may not any more. */
	carry_state(&link->bus, &link->peer);
	say_linked(&link->peer, &link->bus);
	say_linked(&link->bus, &link->peer);
	*ret = link;
	return 0;
}

/* --- leaving -------------------------------------------------------------------------------------------- */

/* The last look. What lies behind a message that stands still is waited for, until the lease voids it: others were told
 * that theirs is through. Where more than a few stand still, or the memory is damaged, it is told as RESYNC. */
static void carry_rest(struct side *from, struct side *to, struct known *carried)
{
	uint64_t end = os_now_ns() + LEAVE_MS * UINT64_C(1000000);

	for (;;) {
		uint64_t generation = carry(from, to, carried), now = os_now_ns();

		if (!from->stalled_ns && lane_generation(&from->lane) == generation)
			return;
		if (now >= end)
			break;
		if (from->stalled_ns > now)
			nanosleep(&(struct timespec){ .tv_nsec = (long)((from->stalled_ns - now) % 1000000000) }, NULL);
	}
	side_resync(to);
}

bool link_has_ended(struct link *link)
{
	struct lane *peer = &link->peer.lane;

	if (!lane_closed(peer) && !sidecar_is_gone(&link->sidecar) &&
	    !sidecar_leave_if_alone(&link->sidecar, peer->page))
		return false;
	/* Nobody posts in it any more, or whoever does finds it closed and posts elsewhere too. */
	carry_rest(&link->peer, &link->bus, &link->in_bus);
	carry_state(&link->bus, &link->peer);
	side_post(&link->bus, 1);
	return true;
}

struct link *link_free(struct link *link)
{
	if (link->sidecar.file >= 0) {
		carry_rest(&link->bus, &link->peer, &link->in_peer);
		side_post(&link->peer, 1);
		carry_to_bus(link);
		carry_state(&link->bus, &link->peer);
		sidecar_leave(&link->sidecar, link->peer.lane.page);
	}
	link->peer.lane.bell = -1;
	close_side(&link->peer);
	close_side(&link->bus);
	known_deinit(&link->in_peer);
	known_deinit(&link->in_bus);
	free(link);
	return NULL;
}
