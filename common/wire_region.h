/* SPDX-License-Identifier: MIT */
/* wire_region.h - the frames about regions: see wire.h. */
#ifndef PATHBUS_COMMON_WIRE_REGION_H
#define PATHBUS_COMMON_WIRE_REGION_H

#include "region.h"
#include "wire.h"

/* struct wire_region_open.flags, besides REGION_MADE_WITH */
enum {
	WIRE_REGION_READ_ONLY = 8,  /* open: not to be written, though it might be */
	WIRE_REGION_CREATE = 256,   /* neither: open what is there */
	WIRE_REGION_REPLACE = 512,
};

#define WIRE_REGION_HOLDERS 16u /* that REGIONS names */

/* u32 topic, u32 flags, u64 size of the data (0: open), 16 bytes id of what is replaced (else 0), then the name, to the end of
 * the frame */
struct wire_region_open {
	uint32_t topic, flags;
	uint64_t data_size;
	uint8_t replaces[REGION_ID_SIZE];
	const char *name; /* points into the frame; not terminated */
	uint32_t name_size;
};

/* u32 topic, u32 holder, u32 flags, u32 pages, u32 may be written, u32 0, u64 size of the data, u64 of a page, 16 bytes id */
struct wire_region {
	uint32_t topic;
	uint32_t holder; /* names it in REGION_CLOSE */
	uint32_t flags;  /* REGION_MADE_WITH */
	uint32_t pages;  /* enum region_pages */
	uint32_t writable;
	uint64_t data_size, page_size;
	uint8_t id[REGION_ID_SIZE];
};

struct wire_region_close { /* u32 topic, u32 holder, u32 restore */
	uint32_t topic;
	uint32_t holder;  /* 0: the one that is given by, */
	uint32_t restore; /* the RESTORE with this request's number, answered or not; else 0 */
};

/* u32 topic, u32 flags, u32 pages, u32 descriptor, u32 writes, u32 0, u64 size of the data, u64 of a page, 16 bytes id, then
 * the name, to the end of the frame */
struct wire_region_restore {
	uint32_t topic, flags, pages;
	uint32_t descriptor; /* its number in the client's process */
	uint32_t writes;
	uint64_t data_size, page_size;
	uint8_t id[REGION_ID_SIZE];
	const char *name;
	uint32_t name_size;
};

struct wire_restored { /* u32 topic, u32 holder */
	uint32_t topic, holder;
};

struct wire_region_list { /* u32 topic, u32 0, u64 after */
	uint32_t topic;
	uint64_t after; /* the number of the one before; 0: the first is wanted */
};

struct wire_region_holder { /* u32 pid, u32 uid, u32 writes, u32 0, 16 bytes command, the last of them 0 */
	uint32_t pid, uid, writes;
	char command[WIRE_COMMAND_SIZE];
};

/* One region; after the last one DONE is answered. u64 number, u64 size of the data, u64 version, u32 flags, u32 pages, u32
 * holders, u32 of them listed, u32 size of the name, u32 0, then those holders, then the name */
struct wire_regions {
	uint64_t number, data_size, version;
	uint32_t flags, pages, n_holders, n_listed;
	const void *holders; /* when decoded: for wire_get_region_holder */
	const char *name;
	uint32_t name_size;
};

size_t wire_put_region_open(void *to, uint32_t request, const struct wire_region_open *);
size_t wire_put_region(void *to, uint32_t request, const struct wire_region *);
size_t wire_put_region_close(void *to, const struct wire_region_close *);
size_t wire_put_region_restore(void *to, uint32_t request, const struct wire_region_restore *);
size_t wire_put_restored(void *to, uint32_t request, const struct wire_restored *);
size_t wire_put_region_list(void *to, uint32_t request, const struct wire_region_list *);
/* `holders`: n_listed of them. */
size_t wire_put_regions(void *to, uint32_t request, const struct wire_regions *, const struct wire_region_holder *holders);

int wire_get_region_open(const void *frame, size_t size, struct wire_region_open *ret);
int wire_get_region(const void *frame, size_t size, struct wire_region *ret);
int wire_get_region_close(const void *frame, size_t size, struct wire_region_close *ret);
int wire_get_region_restore(const void *frame, size_t size, struct wire_region_restore *ret);
int wire_get_restored(const void *frame, size_t size, struct wire_restored *ret);
int wire_get_region_list(const void *frame, size_t size, struct wire_region_list *ret);
int wire_get_regions(const void *frame, size_t size, struct wire_regions *ret);
void wire_get_region_holder(const struct wire_regions *, uint32_t at, struct wire_region_holder *ret); /* at < n_listed */

#endif
