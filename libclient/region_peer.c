/* SPDX-License-Identifier: MIT */
/* region_peer.c - regions without a daemon: a file in the runtime folder, for one user. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "region_internal.h"

bool region_anchor_is_marker(const struct anchor *anchor)
{
	struct stat st;

	return fstat(anchor->file, &st) == 0 && st.st_size == 0;
}

struct filling {
	const pathbus_region *region;
	const struct topic_key *key;
};

static int fill(int file, void *arg)
{
	const struct filling *filling = arg;
	const pathbus_region *region = filling->region;
	struct region_header *header;
	int r = 0;

	if (region->flags & REGION_RESERVE) {
		r = os_may_reserve(region->shape.total);
		if (r == 0)
			r = os_allocate(file, (size_t)region->shape.total);
	} else {
		r = os_allocate(file, REGION_PAGE); /* what the library itself writes to is there */
		if (r == 0 && ftruncate(file, (off_t)region->shape.total) < 0)
			r = -errno;
	}
	if (r < 0)
		return r == -ENOMEM || r == -EFBIG ? -ENOSPC : r;
	header = os_map(file, REGION_PAGE, true, NULL);
	if (!header)
		return -errno;
	region_header_init(header, filling->key, region->name, strlen(region->name), region->id, region->shape.data_size,
	                   region->flags);
	munmap(header, REGION_PAGE);
	return 0;
}

/* For people to see who holds it. Beyond the table's size nobody does. */
static void take_slot(const pathbus_region *region)
{
	for (unsigned i = 0; i < REGION_SLOTS; i++) {
		const struct { uint32_t pid, writes; } mine = { (uint32_t)getpid(), region->writable };

		if (os_lock(region->file, OS_LOCK_EXCLUSIVE, REGION_LOCK_SLOT + (off_t)i, 1) < 0)
			continue;
		/* written, not stored: who only reads has it mapped read-only */
		(void)!pwrite(region->file, &mine, sizeof(mine),
		              (off_t)(offsetof(struct region_header, slots) + i * sizeof(struct region_slot)));
		return;
	}
}

static int finish(pathbus_region *region, struct anchor *anchor)
{
	int r;

	region->file = anchor->file;
	region->place = PATHBUS_PEER;
	region->pages = REGION_ORDINARY;
	r = region_map(region);
	if (r < 0) {
		region->file = -1;
		return r;
	}
	region->anchor = *anchor;
	*anchor = ANCHOR_NONE;
	take_slot(region);
	return 0;
}

/* `held` NULL: under a name that is free. */
static int make(pathbus_region *region, const struct topic_key *key, const struct region_plan *plan,
                const struct anchor *held)
{
	struct filling filling = { region, key };
	struct anchor anchor = ANCHOR_NONE;
	char name[ANCHOR_NAME_SIZE];
	int r = region_shape_make(plan->data_size, plan->flags, REGION_PAGE, &region->shape);

	if (r < 0)
		return r;
	region->flags = plan->flags;
	os_random(region->id, sizeof(region->id));
	region_anchor_name(key, region->name, name);
	r = held ? anchor_replace(held, fill, &filling, &anchor) : anchor_make(name, fill, &filling, &anchor);
	if (r == 0) {
		r = finish(region, &anchor);
		anchor_leave(&anchor);
	}
	return r;
}

int region_peer_create(pathbus_region *region, const struct topic_key *key, const struct region_plan *plan)
{
	return make(region, key, plan, NULL);
}

int region_peer_replace(pathbus_region *region, pathbus_region *old, const struct topic_key *key,
                        const struct region_plan *plan)
{
	int r = make(region, key, plan, &old->anchor);

	if (r == 0)
		atomic_store(&old->header->replaced, 1);
	return r;
}

int region_peer_open(pathbus_region *region, const struct topic_key *key, struct anchor *anchor)
{
	struct region_header *header;
	struct stat st;
	int r;

	if (fstat(anchor->file, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)REGION_PAGE)
		return -EIO;
	header = os_map(anchor->file, REGION_PAGE, false, NULL);
	if (!header)
		return -errno;
	r = region_header_check(header, (uint64_t)st.st_size, key, region->name, &region->shape, &region->flags, NULL);
	munmap(header, REGION_PAGE);
	if (r < 0)
		return r == -EBADMSG ? -EIO : r;
	return finish(region, anchor);
}
