/* SPDX-License-Identifier: MIT */
/*
 * link.c - a member of both, which posts here what it hears there (design 7.5 and 7.6; tests/model/seams.pml).
 */
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"

/* How long to wait for somebody who is coming or going; then the daemon tries again later. */
enum { JOIN_MS = 500 };

static void post(struct side *side, bool resync)
{
	side->own++;
	if (resync)
		lane_resync(&side->lane);
	else
		lane_post(&side->lane);
}

static void take_baseline(struct side *side)
{
	side->seen_resync = atomic_load(&side->lane.page->resync);
	side->seen = lane_generation(&side->lane) - side->own;
}

/* Tells `to` what is new in `from`. Returns the generation it has looked at. */
static uint64_t carry(struct side *from, struct side *to)
{
	uint64_t generation = lane_generation(&from->lane), strangers = generation - from->own;
	uint64_t resync = atomic_load(&from->lane.page->resync); /* after the generation: raised before it is */

	if (strangers != from->seen || resync != from->seen_resync) {
		bool is_resync = resync != from->seen_resync;

		from->seen = strangers;
		from->seen_resync = resync;
		post(to, is_resync);
		/* Its own resync is no news to itself. */
		if (is_resync)
			to->seen_resync++;
	}
	return generation;
}

void link_carry(struct link *link)
{
	for (;;) {
		uint64_t bus = carry(&link->bus, &link->peer);
		uint64_t peer = carry(&link->peer, &link->bus);
		bool bus_armed = lane_arm(&link->bus.lane, bus);

		if (lane_arm(&link->peer.lane, peer) && bus_armed)
			return;
	}
}

void link_post_to_bus(struct link *link)
{
	post(&link->bus, false);
}

/* --- joining -------------------------------------------------------------------------------------------- */

static void close_lane(struct lane *lane)
{
	if (lane->page)
		munmap(lane->page, PAGE_SIZE_BYTES);
	if (lane->bell >= 0)
		close(lane->bell);
	if (lane->carrier >= 0)
		close(lane->carrier);
	*lane = (struct lane){ .bell = -1, .carrier = -1 };
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

static int map_peer(struct link *link)
{
	link->peer.lane.page = os_map(link->sidecar.file, PAGE_SIZE_BYTES, true, NULL);
	if (!link->peer.lane.page)
		return -errno;
	link->peer.lane.bell = link->sidecar.bell; /* the sidecar's: closed with it */
	if (link->sidecar.slot >= 0)
		atomic_store_explicit(&link->peer.lane.page->slots[link->sidecar.slot].pid, (uint32_t)getpid(),
		                      memory_order_relaxed);
	return 0;
}

int link_new(const struct link_message *join, const int fds[LINK_JOIN_DESCRIPTORS], struct link **ret)
{
	struct link *link = calloc(1, sizeof(*link));
	struct lane lane = { .bell = fds[1], .carrier = fds[2] };
	int r = 0;

	lane.page = os_map(fds[0], PAGE_SIZE_BYTES, true, NULL);
	if (!link)
		r = -ENOMEM;
	else if (!lane.page)
		r = -errno;
	close(fds[0]);
	if (r == 0) {
		link->id = join->link;
		link->sidecar = SIDECAR_NONE;
		link->bus.lane = lane;
		link->peer.lane = (struct lane){ .bell = -1, .carrier = -1 };
		r = join_sidecar(join, fds[3], &link->sidecar);
	}
	close(fds[3]);
	if (r == 0) {
		r = map_peer(link);
		if (r < 0)
			sidecar_leave(&link->sidecar, NULL);
	}
	if (r < 0) {
		/* It may have come and gone at once: what was posted in it still counts. */
		if (lane.page)
			lane_post(&lane);
		close_lane(&lane);
		free(link);
		return r;
	}
	take_baseline(&link->bus);
	take_baseline(&link->peer);
	post(&link->peer, false);
	post(&link->bus, false);
	*ret = link;
	return 0;
}

/* --- leaving -------------------------------------------------------------------------------------------- */

bool link_has_ended(struct link *link)
{
	struct lane *peer = &link->peer.lane;

	if (!lane_closed(peer) && !sidecar_is_gone(&link->sidecar) &&
	    !sidecar_leave_if_alone(&link->sidecar, peer->page))
		return false;
	/* Nobody posts in it any more, or whoever does finds it closed and posts elsewhere too. */
	carry(&link->peer, &link->bus);
	post(&link->bus, false);
	return true;
}

struct link *link_free(struct link *link)
{
	if (link->sidecar.file >= 0) {
		uint64_t generation;

		do
			generation = carry(&link->bus, &link->peer);
		while (lane_generation(&link->bus.lane) != generation);
		post(&link->peer, false);
		carry(&link->peer, &link->bus);
		sidecar_leave(&link->sidecar, link->peer.lane.page);
	}
	link->peer.lane.bell = -1;
	close_lane(&link->peer.lane);
	close_lane(&link->bus.lane);
	free(link);
	return NULL;
}
