/* SPDX-License-Identifier: MIT */
/* page.c - a lane's identity and shape: written by its maker, checked by whoever maps it. */
#include "page.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "os/os.h"
#include "ring.h"

void page_init(struct page *page, const struct topic_key *key, uint64_t inode, const uint8_t *id,
               const struct lane_shape *shape)
{
	uint64_t start;

	page->magic = PAGE_MAGIC;
	page->abi = PAGE_ABI;
	page->size = PAGE_SIZE_BYTES;
	memcpy(page->id, id, PAGE_ID_SIZE);
	page->inode = inode;
	page->key = *key;
	page->shape = *shape;
	memcpy(&start, id, sizeof(start));
	page->first = start & ~(GENERATION_POST - 1);
	if (page->first == 0) /* "none" to some */
		page->first = GENERATION_POST;
	atomic_init(&page->generation, page->first);
	atomic_init(&page->want, page->first - 1); /* below rung: a post that nobody has armed for rings nobody */
	atomic_init(&page->rung, page->first);
	ring_init(page, shape->ring_slots);
}

int page_check(const struct page *page, const struct topic_key *key, uint64_t inode)
{
	uint64_t magic = page->magic;
	uint32_t abi = page->abi, size = page->size;
	struct lane_shape shape;

	if (magic != PAGE_MAGIC)
		return -EBADMSG;
	if (abi != PAGE_ABI)
		return -EPROTONOSUPPORT;
	if (size != PAGE_SIZE_BYTES || page_shape(page, &shape) < 0)
		return -EBADMSG;
	if (page->inode != inode || !key_equal(&page->key, key))
		return -ESTALE;
	return 0;
}

static int check_shape(const struct lane_shape *shape)
{
	if (shape->ring_slots < LANE_MIN_SLOTS || shape->ring_slots > LANE_MAX_SLOTS ||
	    (shape->ring_slots & (shape->ring_slots - 1)) != 0 || shape->max_message < LANE_MIN_MESSAGE ||
	    shape->max_message > LANE_MAX_MESSAGE || (uint64_t)shape->ring_slots * shape->max_message > LANE_MAX_BYTES)
		return -EINVAL;
	return 0;
}

int lane_shape_make(uint32_t ring_slots, uint32_t max_message, struct lane_shape *ret)
{
	struct lane_shape shape = { .ring_slots = LANE_MIN_SLOTS, .max_message = max_message };
	int r;

	if (ring_slots == 0)
		ring_slots = LANE_DEFAULT_SLOTS;
	if (ring_slots > LANE_MAX_SLOTS)
		return -EINVAL;
	while (shape.ring_slots < ring_slots)
		shape.ring_slots *= 2;
	if (max_message == 0)
		shape.max_message = LANE_DEFAULT_MESSAGE;
	else if (max_message < LANE_MIN_MESSAGE)
		shape.max_message = LANE_MIN_MESSAGE;
	r = check_shape(&shape);
	if (r == 0)
		*ret = shape;
	return r;
}

int page_shape(const struct page *page, struct lane_shape *ret)
{
	const volatile struct lane_shape *there = &page->shape;
	struct lane_shape shape = { .ring_slots = there->ring_slots, .max_message = there->max_message };

	if (check_shape(&shape) < 0)
		return -EBADMSG;
	*ret = shape;
	return 0;
}

size_t lane_size(const struct lane_shape *shape)
{
	return PAGE_SIZE_BYTES + ring_size(shape);
}

int lane_map(int file, void **ret_lane, size_t *ret_size, struct lane_shape *ret_shape)
{
	struct lane_shape shape;
	struct stat st;
	struct page *page;
	void *lane;
	int r;

	if (fstat(file, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)PAGE_SIZE_BYTES)
		return -EPROTO;
	page = os_map(file, PAGE_SIZE_BYTES, false, NULL);
	if (!page)
		return -errno;
	if (page->magic != PAGE_MAGIC)
		r = -EPROTO;
	else if (page->abi != PAGE_ABI)
		r = -EPROTONOSUPPORT;
	else
		r = page->size != PAGE_SIZE_BYTES || page_shape(page, &shape) < 0 ? -EPROTO : 0;
	munmap(page, PAGE_SIZE_BYTES);
	if (r < 0)
		return r;
	if ((uint64_t)st.st_size < lane_size(&shape))
		return -EPROTO;
	lane = os_map(file, lane_size(&shape), true, NULL);
	if (!lane)
		return -errno;
	*ret_lane = lane;
	*ret_size = lane_size(&shape);
	*ret_shape = shape;
	return 0;
}

/* --- slots ------------------------------------------------------------------------------------------------- */

void page_take_slot(struct page *page, unsigned slot, pid_t pid)
{
	struct page_slot *mine = &page->slots[slot];

	atomic_store_explicit(&mine->posts, 0, memory_order_relaxed);
	atomic_store_explicit(&mine->posts_elsewhere, 0, memory_order_relaxed);
	atomic_store_explicit(&mine->messages, 0, memory_order_relaxed);
	atomic_store_explicit(&mine->seen, 0, memory_order_relaxed);
	atomic_store_explicit(&mine->origin, 0, memory_order_relaxed);
	atomic_store_explicit(&mine->flags, 0, memory_order_relaxed);
	atomic_store(&mine->pid, (uint32_t)pid);
}

void page_name_slot(struct page_slot *slot, uint64_t origin, uint64_t tag)
{
	atomic_store(&slot->posts, tag);
	atomic_store(&slot->posts_elsewhere, tag);
	atomic_store(&slot->origin, origin); /* after them: who sees it, sees the tag */
}

void page_leave_slot(struct page *page, unsigned slot)
{
	struct page_slot *mine = &page->slots[slot];

	atomic_store(&mine->pid, 0); /* partner: `watchers`, as with `seen` */
	if (atomic_load(&mine->watchers))
		os_futex_wake(&mine->moved);
}
