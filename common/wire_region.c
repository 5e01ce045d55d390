/* SPDX-License-Identifier: MIT */
/* wire_region.c - the codec of the frames about regions. */
#include "wire_region.h"

#include <errno.h>
#include <string.h>

#include "wire_codec.h"

/* Fixed parts of bodies. */
#define OPEN_SIZE 32u
#define REGION_SIZE 56u
#define RESTORE_SIZE 56u
#define REGIONS_SIZE 48u
#define HOLDER_SIZE 32u

_Static_assert(WIRE_HEADER_SIZE + REGIONS_SIZE + WIRE_REGION_HOLDERS * HOLDER_SIZE + REGION_MAX_NAME <= WIRE_SMALL_FRAME,
               "it is no large one");

static bool name_is_good(const char *name, size_t size)
{
	return size >= 1 && size <= REGION_MAX_NAME && !memchr(name, '\0', size);
}

size_t wire_put_region_open(void *to, uint32_t request, const struct wire_region_open *open)
{
	unsigned char *at = begin(to, WIRE_REGION_OPEN, request, OPEN_SIZE + (size_t)open->name_size);

	put32(at, open->topic);
	put32(at + 4, open->flags);
	put64(at + 8, open->data_size);
	memcpy(at + 16, open->replaces, REGION_ID_SIZE);
	memcpy(at + OPEN_SIZE, open->name, open->name_size);
	return WIRE_HEADER_SIZE + OPEN_SIZE + open->name_size;
}

static bool is_zero(const uint8_t id[REGION_ID_SIZE])
{
	static const uint8_t zero[REGION_ID_SIZE];

	return memcmp(id, zero, REGION_ID_SIZE) == 0;
}

int wire_get_region_open(const void *frame, size_t size, struct wire_region_open *ret)
{
	const unsigned char *at = body(frame, size, OPEN_SIZE + 1, OPEN_SIZE + REGION_MAX_NAME);
	struct wire_region_open got;
	uint32_t makes;

	if (!at)
		return -EBADMSG;
	got.topic = get32(at);
	got.flags = get32(at + 4);
	got.data_size = get64(at + 8);
	memcpy(got.replaces, at + 16, REGION_ID_SIZE);
	got.name = (const char *)at + OPEN_SIZE;
	got.name_size = (uint32_t)(size - WIRE_HEADER_SIZE - OPEN_SIZE);
	makes = got.flags & (WIRE_REGION_CREATE | WIRE_REGION_REPLACE);
	if (got.flags & ~(uint32_t)(REGION_MADE_WITH | WIRE_REGION_READ_ONLY | WIRE_REGION_CREATE | WIRE_REGION_REPLACE))
		return -EBADMSG;
	if (makes == (WIRE_REGION_CREATE | WIRE_REGION_REPLACE) || (makes == 0) != (got.data_size == 0) ||
	    got.flags & (makes ? WIRE_REGION_READ_ONLY : REGION_MADE_WITH))
		return -EBADMSG;
	if ((makes == WIRE_REGION_REPLACE) == is_zero(got.replaces))
		return -EBADMSG;
	if (!name_is_good(got.name, got.name_size))
		return -EBADMSG;
	*ret = got;
	return 0;
}

size_t wire_put_region(void *to, uint32_t request, const struct wire_region *region)
{
	unsigned char *at = begin(to, WIRE_REGION, request, REGION_SIZE);

	put32(at, region->topic);
	put32(at + 4, region->holder);
	put32(at + 8, region->flags);
	put32(at + 12, region->pages);
	put32(at + 16, region->writable);
	put32(at + 20, 0);
	put64(at + 24, region->data_size);
	put64(at + 32, region->page_size);
	memcpy(at + 40, region->id, REGION_ID_SIZE);
	return WIRE_HEADER_SIZE + REGION_SIZE;
}

int wire_get_region(const void *frame, size_t size, struct wire_region *ret)
{
	const unsigned char *at = body(frame, size, REGION_SIZE, REGION_SIZE);
	struct wire_region got;
	struct region_shape shape;

	if (!at)
		return -EBADMSG;
	got.topic = get32(at);
	got.holder = get32(at + 4);
	got.flags = get32(at + 8);
	got.pages = get32(at + 12);
	got.writable = get32(at + 16);
	got.data_size = get64(at + 24);
	got.page_size = get64(at + 32);
	memcpy(got.id, at + 40, REGION_ID_SIZE);
	if (got.holder == 0 || (got.flags & ~(uint32_t)REGION_MADE_WITH) || got.pages > REGION_HUGE_PAGES ||
	    got.writable > 1 || get32(at + 20) != 0)
		return -EBADMSG;
	if (region_shape_make(got.data_size, got.flags, got.page_size, &shape) < 0)
		return -EBADMSG;
	*ret = got;
	return 0;
}

size_t wire_put_region_close(void *to, const struct wire_region_close *frame)
{
	unsigned char *at = begin(to, WIRE_REGION_CLOSE, 0, 12);

	put32(at, frame->topic);
	put32(at + 4, frame->holder);
	put32(at + 8, frame->restore);
	return WIRE_HEADER_SIZE + 12;
}

int wire_get_region_close(const void *frame, size_t size, struct wire_region_close *ret)
{
	const unsigned char *at = body(frame, size, 12, 12);
	struct wire_region_close got;

	if (!at)
		return -EBADMSG;
	got.topic = get32(at);
	got.holder = get32(at + 4);
	got.restore = get32(at + 8);
	if ((got.holder == 0) == (got.restore == 0))
		return -EBADMSG;
	*ret = got;
	return 0;
}

size_t wire_put_restored(void *to, uint32_t request, const struct wire_restored *frame)
{
	unsigned char *at = begin(to, WIRE_RESTORED, request, 8);

	put32(at, frame->topic);
	put32(at + 4, frame->holder);
	return WIRE_HEADER_SIZE + 8;
}

int wire_get_restored(const void *frame, size_t size, struct wire_restored *ret)
{
	const unsigned char *at = body(frame, size, 8, 8);
	struct wire_restored got;

	if (!at || get32(at + 4) == 0)
		return -EBADMSG;
	got.topic = get32(at);
	got.holder = get32(at + 4);
	*ret = got;
	return 0;
}

size_t wire_put_region_restore(void *to, uint32_t request, const struct wire_region_restore *restore)
{
	unsigned char *at = begin(to, WIRE_REGION_RESTORE, request, RESTORE_SIZE + (size_t)restore->name_size);

	put32(at, restore->topic);
	put32(at + 4, restore->flags);
	put32(at + 8, restore->pages);
	put32(at + 12, restore->descriptor);
	put32(at + 16, restore->writes);
	put32(at + 20, 0);
	put64(at + 24, restore->data_size);
	put64(at + 32, restore->page_size);
	memcpy(at + 40, restore->id, REGION_ID_SIZE);
	memcpy(at + RESTORE_SIZE, restore->name, restore->name_size);
	return WIRE_HEADER_SIZE + RESTORE_SIZE + restore->name_size;
}

int wire_get_region_restore(const void *frame, size_t size, struct wire_region_restore *ret)
{
	const unsigned char *at = body(frame, size, RESTORE_SIZE + 1, RESTORE_SIZE + REGION_MAX_NAME);
	struct wire_region_restore got;
	struct region_shape shape;

	if (!at)
		return -EBADMSG;
	got.topic = get32(at);
	got.flags = get32(at + 4);
	got.pages = get32(at + 8);
	got.descriptor = get32(at + 12);
	got.writes = get32(at + 16);
	got.data_size = get64(at + 24);
	got.page_size = get64(at + 32);
	memcpy(got.id, at + 40, REGION_ID_SIZE);
	got.name = (const char *)at + RESTORE_SIZE;
	got.name_size = (uint32_t)(size - WIRE_HEADER_SIZE - RESTORE_SIZE);
	if ((got.flags & ~(uint32_t)REGION_MADE_WITH) || got.pages > REGION_HUGE_PAGES || got.descriptor > INT32_MAX ||
	    got.writes > 1 || get32(at + 20) != 0 || is_zero(got.id))
		return -EBADMSG;
	if (region_shape_make(got.data_size, got.flags, got.page_size, &shape) < 0)
		return -EBADMSG;
	if (!name_is_good(got.name, got.name_size))
		return -EBADMSG;
	*ret = got;
	return 0;
}

size_t wire_put_region_list(void *to, uint32_t request, const struct wire_region_list *list)
{
	unsigned char *at = begin(to, WIRE_REGION_LIST, request, 16);

	put32(at, list->topic);
	put32(at + 4, 0);
	put64(at + 8, list->after);
	return WIRE_HEADER_SIZE + 16;
}

int wire_get_region_list(const void *frame, size_t size, struct wire_region_list *ret)
{
	const unsigned char *at = body(frame, size, 16, 16);
	struct wire_region_list got;

	if (!at || get32(at + 4) != 0)
		return -EBADMSG;
	got.topic = get32(at);
	got.after = get64(at + 8);
	*ret = got;
	return 0;
}

size_t wire_put_regions(void *to, uint32_t request, const struct wire_regions *regions,
                        const struct wire_region_holder *holders)
{
	size_t size = REGIONS_SIZE + regions->n_listed * (size_t)HOLDER_SIZE + regions->name_size;
	unsigned char *at = begin(to, WIRE_REGIONS, request, size);

	put64(at, regions->number);
	put64(at + 8, regions->data_size);
	put64(at + 16, regions->version);
	put32(at + 24, regions->flags);
	put32(at + 28, regions->pages);
	put32(at + 32, regions->n_holders);
	put32(at + 36, regions->n_listed);
	put32(at + 40, regions->name_size);
	put32(at + 44, 0);
	at += REGIONS_SIZE;
	for (uint32_t i = 0; i < regions->n_listed; i++, at += HOLDER_SIZE) {
		put32(at, holders[i].pid);
		put32(at + 4, holders[i].uid);
		put32(at + 8, holders[i].writes);
		put32(at + 12, 0);
		memcpy(at + 16, holders[i].command, WIRE_COMMAND_SIZE);
		at[16 + WIRE_COMMAND_SIZE - 1] = '\0';
	}
	memcpy(at, regions->name, regions->name_size);
	return WIRE_HEADER_SIZE + size;
}

int wire_get_regions(const void *frame, size_t size, struct wire_regions *ret)
{
	const unsigned char *at = body(frame, size, REGIONS_SIZE + 1,
	                               REGIONS_SIZE + WIRE_REGION_HOLDERS * HOLDER_SIZE + REGION_MAX_NAME);
	struct wire_regions got;
	size_t listed;

	if (!at)
		return -EBADMSG;
	got.number = get64(at);
	got.data_size = get64(at + 8);
	got.version = get64(at + 16);
	got.flags = get32(at + 24);
	got.pages = get32(at + 28);
	got.n_holders = get32(at + 32);
	got.n_listed = get32(at + 36);
	got.name_size = get32(at + 40);
	if (got.number == 0 || (got.flags & ~(uint32_t)REGION_MADE_WITH) || got.pages > REGION_HUGE_PAGES ||
	    got.n_listed > WIRE_REGION_HOLDERS || got.n_listed > got.n_holders || get32(at + 44) != 0)
		return -EBADMSG;
	listed = got.n_listed * (size_t)HOLDER_SIZE;
	if (got.name_size > REGION_MAX_NAME || size != WIRE_HEADER_SIZE + REGIONS_SIZE + listed + got.name_size)
		return -EBADMSG;
	got.holders = at + REGIONS_SIZE;
	got.name = (const char *)at + REGIONS_SIZE + listed;
	for (uint32_t i = 0; i < got.n_listed; i++) {
		const unsigned char *one = at + REGIONS_SIZE + i * (size_t)HOLDER_SIZE;

		if (get32(one + 8) > 1 || get32(one + 12) != 0 || one[16 + WIRE_COMMAND_SIZE - 1] != '\0')
			return -EBADMSG;
	}
	if (!name_is_good(got.name, got.name_size))
		return -EBADMSG;
	*ret = got;
	return 0;
}

void wire_get_region_holder(const struct wire_regions *regions, uint32_t at, struct wire_region_holder *ret)
{
	const unsigned char *from = (const unsigned char *)regions->holders + at * (size_t)HOLDER_SIZE;

	ret->pid = get32(from);
	ret->uid = get32(from + 4);
	ret->writes = get32(from + 8);
	memcpy(ret->command, from + 16, WIRE_COMMAND_SIZE);
}
