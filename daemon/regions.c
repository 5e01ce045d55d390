/* SPDX-License-Identifier: MIT */
/* regions.c - regions, their holders, and how much they take together. */
#include "regions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "happening.h"
#include "last_close.h"
#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "topic.h"
#include "user.h"

struct regions {
	uint64_t last_number;
	uint32_t last_holder;
};

struct regions *regions_new(void)
{
	return calloc(1, sizeof(struct regions));
}

struct regions *regions_free(struct regions *regions)
{
	free(regions);
	return NULL;
}

struct region *region_find(const struct topic *topic, const char *name, size_t size)
{
	for (struct region *region = topic->regions; region; region = region->next)
		if (!region->replaced && region->name_size == size && memcmp(region->name, name, size) == 0)
			return region;
	return NULL;
}

struct region *region_after(const struct topic *topic, uint64_t number)
{
	for (struct region *region = topic->regions; region; region = region->next)
		if (!region->replaced && region->number > number)
			return region;
	return NULL;
}

/* --- making and ending ------------------------------------------------------------------------------- */

enum { N_COSTS = 3 };

static void costs_of(uint64_t bytes, struct cost *ret)
{
	ret[0] = (struct cost){ CHARGE_REGIONS, 1 };
	ret[1] = (struct cost){ CHARGE_REGION_BYTES, bytes };
	ret[2] = (struct cost){ CHARGE_DESCRIPTORS, 1 };
}

static int charge(struct user *user, uint64_t bytes, const char **ret_limit)
{
	struct cost costs[N_COSTS];

	costs_of(bytes, costs);
	return user_charge_costs(user, costs, N_COSTS, ret_limit);
}

static void release(struct user *user, uint64_t bytes)
{
	struct cost costs[N_COSTS];

	costs_of(bytes, costs);
	user_release_costs(user, costs, N_COSTS);
}

/* Takes over fd, and what is charged for it. NULL: no memory, and then both are the caller's. */
static struct region *add(struct regions *regions, struct user *user, struct topic *topic, const struct region_wish *wish,
                          const struct region_shape *shape, int fd)
{
	struct region *region = calloc(1, sizeof(*region)), **at = &topic->regions;

	if (!region)
		return NULL;
	region->regions = regions;
	region->topic = topic;
	region->number = ++regions->last_number;
	region->fd = fd;
	region->user = user_ref(user);
	region->shape = *shape;
	region->flags = wish->flags;
	region->name_size = (uint32_t)wish->name_size;
	memcpy(region->name, wish->name, wish->name_size);
	while (*at)
		at = &(*at)->next;
	*at = region;
	region->at = at;
	return region;
}

static void note(const struct region *region, const char *what)
{
	happening_note(HAPPENING_REGION, .topic = region->topic->number, .path = topic_path(region->topic), .name = region->name,
	               .name_size = region->name_size, .uid = user_uid(region->user), .has_uid = true, .what = what);
}

static void region_free(struct region *region)
{
	note(region, "freed");
	*region->at = region->next;
	if (region->next)
		region->next->at = region->at;
	last_close(region->fd);
	release(region->user, region->shape.total);
	user_unref(region->user);
	free(region);
}

void region_free_unheld(struct region *region)
{
	if (!region->holders)
		region_free(region);
}

/* Memory of huge pages if it is asked for and can be had, else of ordinary ones. */
static int make_memory(const char *label, const struct region_wish *wish, struct region_shape *ret_shape,
                       enum region_pages *ret_pages)
{
	uint64_t huge = wish->flags & REGION_HUGE ? os_huge_page_size() : 0;
	int fd, r;

	if (huge && region_shape_make(wish->data_size, wish->flags, huge, ret_shape) == 0) {
		fd = os_shared_new(label, ret_shape->total, true);
		if (fd != -EOPNOTSUPP) {
			*ret_pages = REGION_HUGE_PAGES;
			return fd;
		}
	}
	r = region_shape_make(wish->data_size, wish->flags, REGION_PAGE, ret_shape);
	if (r < 0)
		return r;
	*ret_pages = wish->flags & REGION_HUGE && os_transparent_huge() ? REGION_TRANSPARENT : REGION_ORDINARY;
	return os_shared_new(label, ret_shape->total, false);
}

static int fill_header(const struct region *region, const struct topic_key *key)
{
	size_t size = region->shape.page_size;
	struct region_header *header = os_map(region->fd, size, true, NULL);

	if (!header)
		return -errno;
	region_header_init(header, key, region->name, region->name_size, region->id, region->shape.data_size, region->flags);
	munmap(header, size);
	return 0;
}

/* `charged`: bytes; becomes what the memory has. As make_memory. */
static int make_charged(struct user *user, const char *label, const struct region_wish *wish, struct region_shape *ret_shape,
                        enum region_pages *ret_pages, uint64_t *charged, const char **ret_limit)
{
	int fd = make_memory(label, wish, ret_shape, ret_pages), r;

	if (fd < 0)
		return fd;
	if (ret_shape->total > *charged) { /* huge pages are larger */
		r = user_charge_costs(user, &(struct cost){ CHARGE_REGION_BYTES, ret_shape->total - *charged }, 1, ret_limit);
		if (r < 0) {
			close(fd);
			return r;
		}
		*charged = ret_shape->total;
	}
	return fd;
}

int region_make(struct regions *regions, struct user *user, struct topic *topic, const struct topic_key *key,
                const struct region_wish *wish, struct region **ret, const char **ret_limit)
{
	char hash[HASH_TEXT_SIZE], label[REGION_LABEL_SIZE];
	struct region *region = NULL;
	uint8_t id[REGION_ID_SIZE];
	enum region_pages pages;
	struct region_shape shape;
	uint64_t charged;
	int fd, r;

	r = region_shape_make(wish->data_size, wish->flags, REGION_PAGE, &shape);
	if (r < 0)
		return r;
	charged = shape.total;
	r = charge(user, charged, ret_limit);
	if (r < 0)
		return r;
	os_random(id, sizeof(id));
	id[0] |= 1; /* never all zero */
	region_hash(key, wish->name, wish->name_size, hash);
	region_label(hash, id, wish->data_size, wish->flags, label);
	fd = make_charged(user, label, wish, &shape, &pages, &charged, ret_limit);
	if (fd >= 0) {
		region = add(regions, user, topic, wish, &shape, fd);
		if (!region)
			close(fd);
	}
	if (!region) {
		release(user, charged);
		return fd < 0 ? fd : -ENOMEM;
	}
	region->pages = pages;
	memcpy(region->id, id, sizeof(id));
	r = fill_header(region, key);
	if (r < 0) {
		region_free(region);
		return r;
	}
	note(region, "made");
	*ret = region;
	return 0;
}

int region_adopt(struct regions *regions, struct user *user, struct topic *topic, const struct region_wish *wish,
                 const uint8_t *id, enum region_pages pages, const struct region_shape *shape, int fd, struct region **ret,
                 const char **ret_limit)
{
	int r = charge(user, shape->total, ret_limit);
	struct region *region;

	if (r < 0)
		return r;
	region = add(regions, user, topic, wish, shape, fd);
	if (!region) {
		release(user, shape->total);
		return -ENOMEM;
	}
	region->pages = pages;
	memcpy(region->id, id, REGION_ID_SIZE);
	note(region, "restored");
	*ret = region;
	return 0;
}

bool region_is(int fd, const struct region_shape *shape)
{
	struct stat st;

	return os_is_sealed(fd) && fstat(fd, &st) == 0 && st.st_size >= 0 && (uint64_t)st.st_size == shape->total &&
	       (shape->page_size == REGION_PAGE || (uint64_t)st.st_blksize == shape->page_size);
}

bool region_was_replaced(int fd)
{
	uint64_t replaced = 0;

	return pread(fd, &replaced, sizeof(replaced), offsetof(struct region_header, replaced)) != sizeof(replaced) ||
	       replaced != 0;
}

void region_set_replaced(struct region *region)
{
	region->replaced = true;
	note(region, "replaced");
	if (os_shared_store(region->fd, offsetof(struct region_header, replaced), 1) < 0)
		log_event(REASON_REGION_UNTOLD, "the holders of a region could not be told that it was replaced");
	region_free_unheld(region);
}

uint64_t region_version_now(const struct region *region)
{
	uint64_t sequence = 0;

	/* read and not mapped: whoever writes can make holes, and those of huge pages cannot always be filled. */
	if (pread(region->fd, &sequence, sizeof(sequence), offsetof(struct region_header, sequence)) != sizeof(sequence))
		return 0;
	return region_version(sequence);
}

/* --- holders ----------------------------------------------------------------------------------------- */

int region_hold(struct region *region, struct member *member, bool writes, struct region_holder **ret)
{
	struct regions *regions = region->regions;
	struct region_holder *holder;
	int r = member->n_regions >= LIMIT_MEMBER_HOLDERS ? -EMFILE : user_charge(member->lane->user, CHARGE_HOLDERS, 1);

	if (r < 0)
		return r;
	holder = calloc(1, sizeof(*holder));
	if (!holder) {
		user_release(member->lane->user, CHARGE_HOLDERS, 1);
		return -ENOMEM;
	}
	if (++regions->last_holder == 0)
		regions->last_holder = 1;
	*holder = (struct region_holder){ .region = region, .member = member, .writes = writes, .id = regions->last_holder };
	holder->next = region->holders;
	holder->at = &region->holders;
	if (holder->next)
		holder->next->at = &holder->next;
	region->holders = holder;
	region->n_holders++;
	holder->member_next = member->regions;
	holder->member_at = &member->regions;
	if (holder->member_next)
		holder->member_next->member_at = &holder->member_next;
	member->regions = holder;
	member->n_regions++;
	*ret = holder;
	return 0;
}

struct region_holder *region_holder_find(const struct member *member, uint32_t id)
{
	struct region_holder *holder = member->regions;

	while (holder && holder->id != id)
		holder = holder->member_next;
	return holder;
}

struct region_holder *region_holder_find_restored(const struct member *member, uint32_t restore)
{
	struct region_holder *holder = member->regions;

	while (holder && holder->restore != restore)
		holder = holder->member_next;
	return holder;
}

void region_release(struct region_holder *holder)
{
	struct region *region = holder->region;

	*holder->at = holder->next;
	if (holder->next)
		holder->next->at = holder->at;
	*holder->member_at = holder->member_next;
	if (holder->member_next)
		holder->member_next->member_at = holder->member_at;
	holder->member->n_regions--;
	user_release(holder->member->lane->user, CHARGE_HOLDERS, 1);
	free(holder);
	region->n_holders--;
	region_free_unheld(region);
}

void regions_leave(struct member *member)
{
	while (member->regions)
		region_release(member->regions);
}
