/* SPDX-License-Identifier: MIT */
/*
 * region_internal.h - an open region, as the region*.c see it.
 *
 *   region.c        create, open, replace, close: which place, and the mapping
 *   region_bus.c    the daemon's: asking it, and bringing a region back to it
 *   region_peer.c   files in the runtime folder, for this user
 *   region_write.c  the write bracket
 *   region_read.c   the read bracket, waiting, events
 *   region_list.c   what there is
 *   anchor.c        the files
 *
 * The memory is any writer's to scribble over. Sizes come from the system and from the daemon, and are compared with each
 * other; what is read of the header afterwards is compared, and never an index or a size.
 */
#ifndef PATHBUS_REGION_INTERNAL_H
#define PATHBUS_REGION_INTERNAL_H

#include "anchor.h"
#include "internal.h"
#include "region.h"

struct pathbus_region {
	struct attachment attachment;

	/* --- constant once it is open ------------------------------------------------------------------ */
	char name[REGION_MAX_NAME + 1];
	struct region_shape shape;
	unsigned flags;                    /* REGION_MADE_WITH */
	enum region_pages pages;
	enum pathbus_transport_kind place; /* PATHBUS_BUS, PATHBUS_PEER */
	bool writable;
	uint8_t id[REGION_ID_SIZE];
	int file;                          /* an open file description of its own: locks in the memory. PATHBUS_PEER: the
	                                    * anchor's; else owned */
	struct region_header *header;      /* the mapping; who may not write has it read-only */

	/* --- under the handle's lock ------------------------------------------------------------------- */
	struct anchor anchor;
	uint32_t holder, bus_topic, bus_serial; /* PATHBUS_BUS: the daemon's numbers, on the connection of this serial; 0: none */
	uint32_t restoring;                /* the request by which it is being brought back; 0: none */
	_Atomic bool lost_name;            /* another came back under its name first; read without the lock, too */

	/* --- the handle's thread only --------------------------------------------------------------------- */
	uint64_t claim;                    /* its number as a writer; 0: it has none yet */
	bool writing, reading;
	uint64_t write_sequence, read_sequence;
	uint64_t told;                     /* the version that events have told of */
	bool replaced_told;
	uint64_t looked;                   /* PATHBUS_PEER: the generation at which the file was last looked at */
	uint64_t seen;                     /* pathbus_region_wait's cursor */
};

extern const struct attachment_type region_type;

/* What is to be made. */
struct region_plan {
	uint64_t data_size;
	unsigned flags;
};

/* --- region.c --- */
static inline uint64_t region_sequence(const pathbus_region *region)
{
	/* Partner: the release with which a version is shown. */
	return atomic_load_explicit(&region->header->sequence, memory_order_acquire);
}
static inline unsigned char *region_frame(const pathbus_region *region, unsigned frame)
{
	return (unsigned char *)region->header + region->shape.page_size + frame * region->shape.frame_size;
}
bool region_is_replaced(const pathbus_region *region);
/* The topic's key, as its lane says it. -EIO: damaged. */
int region_key(const pathbus_topic *topic, struct topic_key *ret);
void region_anchor_name(const struct topic_key *key, const char *name, char ret[ANCHOR_NAME_SIZE]);
/* Maps the memory in region->file, once its shape is known. */
int region_map(pathbus_region *region);
bool region_take_event(struct attachment *attachment, uint64_t generation, struct pathbus_event *event);

/* --- region_bus.c; under the handle's lock --- */
/* `plan` NULL: opens. `replaces` NULL: nothing. Fills the region in, but for its anchor. */
int region_bus_open(pathbus_topic *topic, pathbus_region *region, const struct region_plan *plan,
                    const pathbus_region *replaces, uint64_t deadline_ns);
void region_bus_close(pathbus_region *region);
void region_moved(struct attachment *attachment);
/* An answer that nobody waits for any more: what it gives is given back. */
void region_bus_give_back(struct pathbus *bus, const void *frame, const struct wire_header *header);
int region_bus_on_restored(struct pathbus *bus, const void *frame, const struct wire_header *header);
bool region_bus_on_error(struct pathbus *bus, uint32_t request, int error); /* true: it was a region's */
/* Until what is being brought back is there. */
void region_bus_settle(pathbus_region *region, uint64_t deadline_ns);

/* --- region_peer.c; under the handle's lock --- */
int region_peer_create(pathbus_region *region, const struct topic_key *key, const struct region_plan *plan);
/* Of an anchor that is no empty file, which it takes over on success. */
int region_peer_open(pathbus_region *region, const struct topic_key *key, struct anchor *anchor);
int region_peer_replace(pathbus_region *region, pathbus_region *old, const struct topic_key *key,
                        const struct region_plan *plan);
/* Is it an empty file, which says that the region is a daemon's? */
bool region_anchor_is_marker(const struct anchor *anchor);

#endif
