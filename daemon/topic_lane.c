/* SPDX-License-Identifier: MIT */
/* topic_lane.c - lanes: memory, bells, slots. */
#include "topic_lane.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "carrier.h"
#include "crossing.h"
#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "ring.h"
#include "ringing.h"
#include "user.h"
#include "wire.h"

/* --- the page -------------------------------------------------------------------------------------- */

struct page *topic_lane_borrow(struct topic_lane *lane)
{
	return lane->page ? lane->page : os_map(lane->page_fd, PAGE_SIZE_BYTES, true, NULL);
}

void topic_lane_return(struct topic_lane *lane, struct page *page)
{
	if (page && page != lane->page)
		munmap(page, PAGE_SIZE_BYTES);
}

struct lane topic_lane_view(const struct topic_lane *lane, struct page *page)
{
	return (struct lane){
		.page = page,
		.bell = lane->groups[0].bell,
		.carrier = carrier_bell(user_carrier(lane->user)),
		.ring = ringing_ring,
	};
}

static int page_make(struct topic_lane *lane, const struct topic_key *key)
{
	uint8_t id[PAGE_ID_SIZE];
	struct page *page;
	struct stat st;

	if (fstat(lane->page_fd, &st) < 0)
		return -errno;
	page = topic_lane_borrow(lane);
	if (!page)
		return -errno;
	os_random(id, sizeof(id));
	page_init(page, key, st.st_ino, id, &lane->shape);
	lane_counts_begin(lane, page);
	topic_lane_return(lane, page);
	return 0;
}

/* --- bells ----------------------------------------------------------------------------------------- */

static int add_group(struct topic_lane *lane)
{
	bool is_first = lane->n_groups == 0; /* charged with the lane */
	struct lane_group *groups;
	int bell, r = is_first ? 0 : user_charge(lane->user, CHARGE_DESCRIPTORS, 1);

	if (r < 0)
		return r;
	bell = os_bell_new();
	groups = bell < 0 ? NULL : realloc(lane->groups, (lane->n_groups + 1) * sizeof(*groups));
	if (!groups) {
		if (bell >= 0)
			close(bell);
		if (!is_first)
			user_release(lane->user, CHARGE_DESCRIPTORS, 1);
		return bell < 0 ? bell : -ENOMEM;
	}
	groups[lane->n_groups++] = (struct lane_group){ .bell = bell };
	lane->groups = groups;
	return 0;
}

/* A group with room; makes one if there is none. Its index, or -errno. */
static int find_group(struct topic_lane *lane)
{
	int r;

	for (unsigned i = 0; i < lane->n_groups; i++)
		if (lane->groups[i].n_listening < LIMIT_BELL_MEMBERS)
			return (int)i;
	r = add_group(lane);
	return r < 0 ? r : (int)lane->n_groups - 1;
}

/* Bells at the end that nobody listens to any more; the first one stays. */
static void trim_groups(struct topic_lane *lane)
{
	while (lane->n_groups > 1 && lane->groups[lane->n_groups - 1].n_listening == 0) {
		close(lane->groups[--lane->n_groups].bell);
		user_release(lane->user, CHARGE_DESCRIPTORS, 1);
	}
}

/* Takes a place at a bell. The lane is offloaded before the caller can hand a second bell out. */
int topic_lane_listen_in(struct topic_lane *lane, struct page *page, unsigned *ret_group)
{
	int group = find_group(lane);

	if (group < 0)
		return group;
	lane->groups[group].n_listening++;
	lane->n_listening++;
	carrier_members_came(lane, page);
	*ret_group = (unsigned)group;
	return 0;
}

int topic_lane_listen(struct topic_lane *lane, unsigned *ret_group)
{
	struct page *page = topic_lane_borrow(lane);
	int r;

	if (!page)
		return -errno;
	r = topic_lane_listen_in(lane, page, ret_group);
	topic_lane_return(lane, page);
	return r < 0 ? r : lane->groups[*ret_group].bell;
}

void topic_lane_unlisten(struct topic_lane *lane, unsigned group)
{
	lane->groups[group].n_listening--;
	lane->n_listening--;
	trim_groups(lane);
	carrier_members_left(lane);
}

void topic_lane_offload_anew(struct topic_lane *lane)
{
	struct page *page = carrier_may_change(lane) ? topic_lane_borrow(lane) : NULL;

	if (!page)
		return; /* where memory is short: when somebody comes or goes */
	carrier_members_came(lane, page);
	carrier_members_left(lane);
	topic_lane_return(lane, page);
}

static void tell_members(struct topic_lane *lane, bool is_resync)
{
	struct page *page;

	/* Not to be carried to the others: they are told the same. */
	if (lane->crossing && is_resync) {
		crossing_resync(lane->crossing);
		return;
	}
	if (lane->crossing) {
		crossing_post(lane->crossing);
		return;
	}
	page = topic_lane_borrow(lane);
	if (page) {
		struct lane view = topic_lane_view(lane, page);

		if (is_resync)
			lane_resync(&view);
		else
			lane_post(&view);
		lane->own.units += GENERATION_POST;
	} else {
		log_event(REASON_NO_MEMORY, "no memory to tell a topic's members that they may have missed something");
	}
	topic_lane_return(lane, page);
}

void topic_lane_resync(struct topic_lane *lane)
{
	tell_members(lane, true);
}

void topic_lane_post(struct topic_lane *lane)
{
	tell_members(lane, false);
}

int topic_lane_close(struct topic_lane *lane)
{
	struct page *page = topic_lane_borrow(lane);
	struct lane view;

	if (!page)
		return -errno;
	view = topic_lane_view(lane, page);
	lane_close(&view);
	lane->own.units += GENERATION_POST;
	topic_lane_return(lane, page);
	return 0;
}

bool topic_lane_was_posted(struct topic_lane *lane)
{
	struct page *page = topic_lane_borrow(lane);
	bool posted = true;

	if (page)
		posted = atomic_load(&page->generation) != page->first;
	topic_lane_return(lane, page);
	return posted;
}

/* --- slots ----------------------------------------------------------------------------------------- */

uint32_t topic_lane_take_slot(struct topic_lane *lane)
{
	for (uint32_t i = 0; i < PAGE_SLOTS; i++) {
		if (!(lane->slots[i / 64] & UINT64_C(1) << i % 64)) {
			lane->slots[i / 64] |= UINT64_C(1) << i % 64;
			return i;
		}
	}
	lane->n_unslotted++;
	return WIRE_NO_SLOT;
}

void topic_lane_return_slot(struct topic_lane *lane, uint32_t slot)
{
	if (slot == WIRE_NO_SLOT)
		lane->n_unslotted--;
	else
		lane->slots[slot / 64] &= ~(UINT64_C(1) << slot % 64);
}

/* What a member that is gone held in the ring is given back. */
void topic_lane_recover(struct topic_lane *lane, const struct page *page, uint32_t slot)
{
	size_t size = lane_size(&lane->shape);
	struct ring ring;
	unsigned char *map;

	if (slot == WIRE_NO_SLOT || !atomic_load(&page->messages))
		return;
	map = os_map(lane->page_fd, size, true, NULL);
	if (!map) {
		log_event(REASON_NO_MEMORY, "no memory to look after a topic's messages");
		return;
	}
	ring_attach(&ring, (struct page *)(void *)map, map + PAGE_SIZE_BYTES, &lane->shape);
	ring_recover(&ring, slot);
	munmap(map, size);
}

/* --- life ------------------------------------------------------------------------------------------ */

int topic_lane_new(struct user *user, uint32_t rights, const struct topic_key *key, const struct lane_shape *shape,
                   struct topic_lane **ret)
{
	struct topic_lane *lane = calloc(1, sizeof(*lane));
	int r;

	if (!lane)
		return -ENOMEM;
	lane->user = user_ref(user);
	lane->rights = rights;
	lane->shape = *shape;
	lane->page_fd = os_memory_new("pathbus-lane", lane_size(shape));
	r = lane->page_fd < 0 ? lane->page_fd : page_make(lane, key);
	if (r == 0)
		r = add_group(lane);
	if (r < 0) {
		topic_lane_free(lane);
		return r;
	}
	*ret = lane;
	return 0;
}

struct topic_lane *topic_lane_free(struct topic_lane *lane)
{
	if (!lane)
		return NULL;
	carrier_forget(lane);
	for (unsigned i = 0; i < lane->n_groups; i++)
		close(lane->groups[i].bell);
	if (lane->n_groups > 1)
		user_release(lane->user, CHARGE_DESCRIPTORS, lane->n_groups - 1);
	free(lane->groups);
	if (lane->page)
		munmap(lane->page, PAGE_SIZE_BYTES);
	if (lane->page_fd >= 0)
		close(lane->page_fd);
	user_unref(lane->user);
	free(lane);
	return NULL;
}
