/* SPDX-License-Identifier: MIT */
/*
 * region.c - named memory: create, open, replace, close.
 *
 * A region lives where it was made until its last holder has gone: the daemon's memory, or a file in the runtime folder. One
 * name is never alive in both places. Whoever holds the daemon's has an empty file of the same name in the runtime folder as
 * well (its marker), made before the daemon is asked; and whoever opens asks the daemon first and then looks there. A marker
 * that is held while the daemon knows nothing means that its holders are bringing the region back: that is waited for.
 * Where there is no such folder the daemon alone decides.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "region_internal.h"

_Static_assert(PATHBUS_REGION_RESERVE == REGION_RESERVE && PATHBUS_REGION_HUGE == REGION_HUGE &&
               PATHBUS_REGION_DOUBLE == REGION_DOUBLE, "one set of flags");
_Static_assert((int)PATHBUS_PAGES_HUGE == (int)REGION_HUGE_PAGES && (int)PATHBUS_PAGES_TRANSPARENT == (int)REGION_TRANSPARENT,
               "one set of kinds");

enum { OPEN_TRIES = 3, FIRST_PAUSE_MS = 1, LAST_PAUSE_MS = 20 };

/* --- the parts ----------------------------------------------------------------------------------------- */

int region_key(const pathbus_topic *topic, struct topic_key *ret)
{
	memcpy(ret, &topic->page->key, sizeof(*ret)); /* once; any member can write there */
	return ret->name_size <= KEY_NAME_MAX ? 0 : -EIO;
}

void region_anchor_name(const struct topic_key *key, const char *name, char ret[ANCHOR_NAME_SIZE])
{
	char hash[HASH_TEXT_SIZE];

	region_hash(key, name, strlen(name), hash);
	snprintf(ret, ANCHOR_NAME_SIZE, "%s" ANCHOR_SUFFIX, hash);
}

int region_map(pathbus_region *region)
{
	/* From a descriptor for reading only what is mapped cannot be made writable. The daemon has given one; of a file in the
	 * runtime folder the other one is needed for its locks. */
	bool reopens = !region->writable && region->place == PATHBUS_PEER;
	int file = reopens ? os_reopen(region->file, false) : region->file, error;
	void *map;

	if (file < 0)
		return file;
	map = os_map(file, (size_t)region->shape.total, region->writable, NULL);
	error = errno;
	if (reopens)
		close(file);
	if (!map)
		return -error;
	region->header = map;
	if (region->pages == REGION_TRANSPARENT)
		os_advise_huge(map, (size_t)region->shape.total);
	region->told = region_version(region_sequence(region));
	return 0;
}

bool region_is_replaced(const pathbus_region *region)
{
	struct stat st;

	if (region->lost_name || atomic_load(&region->header->replaced))
		return true;
	/* Whoever replaced it may have died before it said so. */
	return region->place == PATHBUS_PEER && fstat(region->file, &st) == 0 && st.st_nlink == 0;
}

/* What is not attached: descriptors and memory only. */
static void region_free(pathbus_region *region)
{
	if (region->header)
		munmap(region->header, (size_t)region->shape.total);
	if (region->file >= 0 && region->file != region->anchor.file)
		close(region->file);
	anchor_drop(&region->anchor);
	free(region);
}

static void end(struct attachment *attachment, bool forked)
{
	pathbus_region *region = (pathbus_region *)attachment;

	if (!forked) {
		/* Those of its brackets, too: a forked child may have a copy of the descriptor, and with it of the locks. */
		os_lock(region->file, OS_LOCK_NONE, REGION_LOCK_FRAME, 0);
		if (region->place == PATHBUS_BUS) {
			region_bus_close(region);
			close(region->file); /* makes room in a full table for what follows */
			region->file = -1;
		}
		anchor_leave(&region->anchor);
		if (region->place == PATHBUS_PEER)
			region->file = -1; /* the anchor's */
	} else if (region->place == PATHBUS_PEER) {
		region->file = -1;
	}
	region_free(region);
}

const struct attachment_type region_type = { .end = end, .moved = region_moved, .take_event = region_take_event };

static pathbus_region *region_new(pathbus_topic *topic, const char *name, bool writable)
{
	pathbus_region *region = calloc(1, sizeof(*region));

	if (!region)
		return NULL;
	snprintf(region->name, sizeof(region->name), "%s", name);
	region->attachment.topic = topic;
	region->writable = writable;
	region->file = -1;
	region->anchor = ANCHOR_NONE;
	return region;
}

/* Whatever way the topic goes at the moment. 1: the daemon's; 0: peer to peer. */
static int find_way(pathbus_topic *topic, uint64_t deadline_ns)
{
	int r = topic_settle(topic, deadline_ns);

	return r < 0 ? r : topic->place == PLACE_BUS;
}

/* --- create ---------------------------------------------------------------------------------------------- */

/* The marker first: from then on nobody makes the name elsewhere. */
static int create_on_bus(pathbus_topic *topic, pathbus_region *region, const struct topic_key *key,
                         const struct region_plan *plan, uint64_t deadline_ns)
{
	struct anchor marker = ANCHOR_NONE;
	char name[ANCHOR_NAME_SIZE];
	int r;

	region_anchor_name(key, region->name, name);
	r = anchor_make(name, NULL, NULL, &marker);
	if (r < 0 && !anchor_is_impossible(r))
		return r;
	r = region_bus_open(topic, region, plan, NULL, deadline_ns);
	if (r < 0)
		anchor_leave(&marker);
	else
		region->anchor = marker;
	return r;
}

static int create_locked(pathbus_topic *topic, pathbus_region *region, const struct region_plan *plan)
{
	uint64_t deadline = os_now_ns() + topic->bus->timeout_ns;
	struct topic_key key;
	int r = -ENOTCONN;

	for (int i = 0; i < OPEN_TRIES && r == -ENOTCONN; i++) {
		r = find_way(topic, deadline);
		if (r < 0)
			return r;
		if (region_key(topic, &key) < 0)
			return -EIO;
		/* Not connected: the topic has left the daemon in between. */
		r = r == 1 ? create_on_bus(topic, region, &key, plan, deadline) : region_peer_create(region, &key, plan);
	}
	return r;
}

/* By who makes it, so that its own limits count it. Of a file in the runtime folder it is done by now. */
static int reserve(const pathbus_region *region)
{
	int r;

	if (!(region->flags & REGION_RESERVE) || region->place != PATHBUS_BUS)
		return 0;
	r = os_may_reserve(region->shape.total);
	if (r == 0)
		r = os_allocate(region->file, (size_t)region->shape.total);
	return r == -ENOMEM || r == -EFBIG ? -ENOSPC : r;
}

static int check_call(const pathbus_topic *topic, const char *name, unsigned flags, unsigned known, const void *ret)
{
	int r;

	if (!topic || !name || !ret || (flags & ~known))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	r = region_name_check(name);
	if (r < 0)
		return r;
	return topic->remote || topic_is_apart(topic) ? -EOPNOTSUPP : 0;
}

/* Attached at once, so that it is brought back if the daemon goes while pages are being reserved. */
static int finish_making(pathbus_topic *topic, pathbus_region *region, int r, pathbus_region **ret)
{
	struct pathbus *bus = topic->bus;

	if (r == 0)
		attachment_add(topic, &region->attachment, &region_type);
	control_finish(bus);
	handle_unlock(bus);
	if (r < 0) {
		region_free(region);
		return r;
	}
	r = reserve(region);
	if (r < 0) {
		pathbus_region_close(region);
		return r;
	}
	*ret = region;
	return 0;
}

int pathbus_region_create(pathbus_topic *topic, const char *name, size_t data_size, unsigned flags, pathbus_region **ret)
{
	const struct region_plan plan = { data_size, flags };
	struct region_shape shape;
	pathbus_region *region;
	int r = check_call(topic, name, flags, REGION_MADE_WITH, ret);

	if (r < 0)
		return r;
	if (region_shape_make(data_size, flags, REGION_PAGE, &shape) < 0)
		return -EINVAL;
	if (!topic->may_post)
		return -EACCES;
	region = region_new(topic, name, true);
	if (!region)
		return -ENOMEM;
	pthread_mutex_lock(&topic->bus->lock);
	r = create_locked(topic, region, &plan);
	return finish_making(topic, region, r, ret);
}

/* --- open ------------------------------------------------------------------------------------------------ */

/* Its holders have one; if they have all gone, it is made. -EAGAIN: something else has come there meanwhile. */
static int join_marker(pathbus_region *region, const char *name)
{
	int r = anchor_join(name, &region->anchor);

	if (r == -ENOENT)
		r = anchor_make(name, NULL, NULL, &region->anchor);
	else if (r == 0 && !region_anchor_is_marker(&region->anchor)) {
		anchor_leave(&region->anchor);
		r = -EEXIST;
	}
	if (r == -EEXIST)
		return -EAGAIN;
	return r < 0 && !anchor_is_impossible(r) ? r : 0;
}

static int open_on_bus(pathbus_topic *topic, pathbus_region *region, const char *name, uint64_t deadline_ns, bool is_last)
{
	bool writable = region->writable;
	int r = region_bus_open(topic, region, NULL, NULL, deadline_ns);

	if (r < 0)
		return r;
	r = join_marker(region, name);
	if (r == 0 || (r == -EAGAIN && is_last)) /* who see another runtime folder: the daemon decides */
		return 0;
	munmap(region->header, (size_t)region->shape.total);
	region->header = NULL;
	region_bus_close(region);
	close(region->file);
	region->file = -1;
	region->writable = writable;
	return r;
}

/* In the runtime folder. -EBUSY: it is a daemon's, which does not know it now. */
static int open_on_peer(pathbus_region *region, const struct topic_key *key, const char *name)
{
	struct anchor anchor = ANCHOR_NONE;
	int r = anchor_join(name, &anchor);

	if (r < 0)
		return anchor_is_impossible(r) ? -ENOENT : r;
	r = region_anchor_is_marker(&anchor) ? -EBUSY : region_peer_open(region, key, &anchor);
	anchor_leave(&anchor);
	return r;
}

/* What the daemon has to say may come meanwhile. */
static void pause_for(struct pathbus *bus, uint64_t *pause_ns)
{
	uint64_t until = os_now_ns() + *pause_ns;

	if (bus->connection.state != BUS_DOWN)
		(void)bus_await(bus, until);
	else
		nanosleep(&(struct timespec){ .tv_nsec = (long)*pause_ns }, NULL);
	if (*pause_ns < LAST_PAUSE_MS * UINT64_C(1000000))
		*pause_ns *= 2;
}

static int open_once(pathbus_topic *topic, pathbus_region *region, uint64_t deadline_ns, bool is_last)
{
	char name[ANCHOR_NAME_SIZE];
	struct topic_key key;
	int r, way = find_way(topic, deadline_ns);

	if (way < 0)
		return way;
	if (region_key(topic, &key) < 0)
		return -EIO;
	region_anchor_name(&key, region->name, name);
	r = way == 1 ? open_on_bus(topic, region, name, deadline_ns, is_last) : -ENOENT;
	if (r != -ENOENT)
		return r;
	r = open_on_peer(region, &key, name);
	/* Who never asks a daemon need not wait until one knows it. */
	return r == -EBUSY && topic->bus->kind == PATHBUS_PEER ? -ENXIO : r;
}

static int open_locked(pathbus_topic *topic, pathbus_region *region)
{
	uint64_t deadline = os_now_ns() + topic->bus->timeout_ns, pause = FIRST_PAUSE_MS * UINT64_C(1000000);
	int r, conflicts = 0;
	bool was_busy = false;

	for (;;) {
		r = open_once(topic, region, deadline, conflicts >= OPEN_TRIES);
		if (r == -ETIMEDOUT && was_busy)
			r = -EBUSY; /* there was not much time left for the answer */
		was_busy |= r == -EBUSY;
		conflicts += r == -EAGAIN;
		if (r == -ENXIO)
			return -EBUSY;
		if ((r != -EBUSY && r != -EAGAIN && r != -ENOTCONN) || os_now_ns() >= deadline)
			return r == -EAGAIN ? -EBUSY : r;
		if (r == -ENOTCONN && topic->bus->kind == PATHBUS_BUS && topic->place != PLACE_BUS)
			return r;
		pause_for(topic->bus, &pause);
		if (r != -ENOTCONN && os_now_ns() >= deadline) /* too late to ask again, and known why */
			return -EBUSY;
	}
}

int pathbus_region_open(pathbus_topic *topic, const char *name, unsigned flags, pathbus_region **ret)
{
	pathbus_region *region;
	struct pathbus *bus;
	int r = check_call(topic, name, flags, PATHBUS_REGION_READ_ONLY, ret);

	if (r < 0)
		return r;
	region = region_new(topic, name, topic->may_post && !(flags & PATHBUS_REGION_READ_ONLY));
	if (!region)
		return -ENOMEM;
	bus = topic->bus;
	pthread_mutex_lock(&bus->lock);
	r = open_locked(topic, region);
	if (r == 0)
		attachment_add(topic, &region->attachment, &region_type);
	control_finish(bus);
	handle_unlock(bus);
	if (r < 0) {
		region_free(region);
		return r;
	}
	*ret = region;
	return 0;
}

/* --- replace --------------------------------------------------------------------------------------------- */

/* What would fail when the old one has lost its name already. */
static int check_room(const struct region_shape *shape, unsigned flags)
{
	int r = flags & PATHBUS_REGION_RESERVE ? os_may_reserve(shape->total) : 0;
	void *map;

	if (r < 0)
		return r;
	map = mmap(NULL, (size_t)shape->total, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED)
		return -errno;
	munmap(map, (size_t)shape->total);
	return 0;
}

static int replace_on_bus(pathbus_topic *topic, pathbus_region *region, pathbus_region *old, const struct topic_key *key,
                          const struct region_plan *plan, uint64_t deadline_ns)
{
	char name[ANCHOR_NAME_SIZE];
	int r, spare;

	region_anchor_name(key, region->name, name);
	r = join_marker(region, name); /* the same one as before; `old` holds it too */
	if (r < 0 && r != -EAGAIN)
		return r;
	spare = fcntl(old->file, F_DUPFD_CLOEXEC, 0); /* room for the new one's */
	r = spare < 0 ? -errno : 0;
	if (spare >= 0)
		close(spare);
	if (r == 0)
		r = region_bus_open(topic, region, plan, old, deadline_ns);
	if (r < 0)
		anchor_leave(&region->anchor);
	return r;
}

static int replace_locked(pathbus_topic *topic, pathbus_region *region, pathbus_region *old, const struct region_plan *plan)
{
	uint64_t deadline = os_now_ns() + topic->bus->timeout_ns;
	struct topic_key key;
	int r = find_way(topic, deadline);

	if (r < 0)
		return r;
	if (region_key(topic, &key) < 0)
		return -EIO;
	if (old->place == PATHBUS_PEER)
		return region_peer_replace(region, old, &key, plan);
	if (r == 0)
		return -ENOTCONN;
	region_bus_settle(old, deadline);
	return replace_on_bus(topic, region, old, &key, plan, deadline);
}

int pathbus_region_replace(pathbus_region *region, size_t data_size, unsigned flags, pathbus_region **ret)
{
	const struct region_plan plan = { data_size, flags };
	struct region_shape shape;
	pathbus_region *made;
	pathbus_topic *topic;
	int r;

	if (!region)
		return -EINVAL;
	topic = region->attachment.topic;
	r = check_call(topic, region->name, flags, REGION_MADE_WITH, ret);
	if (r < 0)
		return r;
	if (region_shape_make(data_size, flags, REGION_PAGE, &shape) < 0)
		return -EINVAL;
	if (!region->writable)
		return -EACCES;
	r = check_room(&shape, flags);
	if (r < 0)
		return r;
	made = region_new(topic, region->name, true);
	if (!made)
		return -ENOMEM;
	pthread_mutex_lock(&topic->bus->lock);
	r = region_is_replaced(region) ? -ESTALE : replace_locked(topic, made, region, &plan);
	if (r == 0)
		region->replaced_told = true; /* who does it knows */
	r = finish_making(topic, made, r, &made);
	if (r < 0)
		return r;
	*ret = made;
	return made->place == PATHBUS_PEER ? pathbus_post(topic) : 0; /* the daemon has posted */
}

/* --- the rest -------------------------------------------------------------------------------------------- */

pathbus_region *pathbus_region_close(pathbus_region *region)
{
	struct pathbus *bus;
	bool forked;

	if (!region)
		return NULL;
	bus = region->attachment.topic->bus;
	forked = is_forked(region->attachment.topic->alive);
	if (!forked) /* in the child it may be held by a thread that is not there */
		pthread_mutex_lock(&bus->lock);
	attachment_remove(&region->attachment);
	end(&region->attachment, forked);
	if (!forked)
		handle_unlock(bus);
	return NULL;
}

int pathbus_region_get_info(const pathbus_region *region, struct pathbus_region_info *ret)
{
	if (!region || !ret || ret->size != sizeof(*ret))
		return -EINVAL;
	if (is_forked(region->attachment.topic->alive))
		return -ECHILD;
	*ret = (struct pathbus_region_info){
		.size = sizeof(*ret),
		.name = region->name,
		.data_size = (size_t)region->shape.data_size,
		.flags = region->flags,
		.pages = (enum pathbus_region_pages)region->pages,
		.place = region->place,
		.writable = region->writable,
		.replaced = region_is_replaced(region),
		.version = region_version(region_sequence(region)),
	};
	return 0;
}
