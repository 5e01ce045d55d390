/* SPDX-License-Identifier: MIT */
/*
 * region.h - named memory: a header page, then one frame of data, or two.
 *
 * The memory is the daemon's (a sealed memfd that nobody can shrink) or a file in the runtime folder. How large it is, is
 * told by the system and by the daemon, never by the header, which any writer can scribble over: what is read from there
 * is a number to compare, and no index and no size.
 *
 * Whole pages of the memory's own kind, so with huge pages the header takes one of those.
 */
#ifndef PATHBUS_COMMON_REGION_H
#define PATHBUS_COMMON_REGION_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "hash.h"
#include "key.h"

#define REGION_MAGIC UINT64_C(0x6e6f696765724250) /* "PBregion" */
#define REGION_ABI 1u
#define REGION_ID_SIZE 16u
#define REGION_MAX_NAME 255u
#define REGION_MAX_DATA (UINT64_C(1) << 42)
#define REGION_PAGE 4096u  /* of the header, and of ordinary memory */
#define REGION_SLOTS 64u

/* What a region is made with, as in pathbus.h and in the frames. */
enum { REGION_RESERVE = 1, REGION_HUGE = 2, REGION_DOUBLE = 4 };
enum { REGION_MADE_WITH = REGION_RESERVE | REGION_HUGE | REGION_DOUBLE };

enum region_pages { REGION_ORDINARY, REGION_TRANSPARENT, REGION_HUGE_PAGES };

/* A holder of one in the runtime folder, for people to see; in the daemon's memory the daemon knows. */
struct region_slot {
	_Atomic uint32_t pid;    /* written by who holds the slot's lock, when it comes; 0: nobody's. A stale one is told by the
	                          * lock, which went with its holder */
	_Atomic uint32_t writes;
};

struct region_header {
	/* 0: what it is. Written once by the maker before anybody else can map it. Read in the runtime folder only, and
	 * compared with the name it was found under and with the size of the file. */
	uint64_t magic;
	uint32_t abi;
	uint32_t flags;               /* REGION_MADE_WITH */
	uint8_t id[REGION_ID_SIZE];   /* random */
	uint64_t data_size;
	uint32_t name_size;
	uint32_t reserved0;
	struct topic_key key;
	char name[REGION_MAX_NAME + 1];
	uint8_t reserved1[640 - 48 - sizeof(struct topic_key) - (REGION_MAX_NAME + 1)];

	/* 640: twice the version, and one while the next one is being written. Written by who has the claim; read by every
	 * reader before and after. Single: odd from the first byte that is written to the last one, and for ever if the writer
	 * dies in between, until the next one has written. Double: the frame that is being written is not the one that is shown.
	 * A stale value: a version is seen later. */
	_Atomic uint64_t sequence;
	uint8_t reserved2[704 - 648];

	/* 704: the number of the handle that is within its write bracket; 0: none. Changed by compare-and-swap. Its owner
	 * holds an exclusive lock at REGION_LOCK_CLAIM + the number for as long as it lives: who finds the number of a dead
	 * one takes the claim over. A stale value: one look more. */
	_Atomic uint64_t claim;
	/* 712: not 0: there is another memory under this name. Set once, by the daemon or whoever replaces it, before it
	 * posts; read by holders at each look. Stale: told with the post. */
	_Atomic uint64_t replaced;
	uint8_t reserved3[1024 - 720];

	/* 1024 */
	struct region_slot slots[REGION_SLOTS];
};
_Static_assert(offsetof(struct region_header, key) == 48, "layout");
_Static_assert(offsetof(struct region_header, sequence) == 640, "layout");
_Static_assert(offsetof(struct region_header, claim) == 704, "layout");
_Static_assert(offsetof(struct region_header, replaced) == 712, "layout");
_Static_assert(offsetof(struct region_header, slots) == 1024, "layout");
_Static_assert(sizeof(struct region_header) <= REGION_PAGE, "it fills a page at most");

/* Bytes of the memory's descriptor on which open file description locks are held. */
#define REGION_LOCK_MEMBER 0   /* runtime folder: shared by every holder; exclusive: nobody lives here */
#define REGION_LOCK_REPLACE 1  /* runtime folder: exclusive, about to rename another one over it */
#define REGION_LOCK_FRAME 2    /* + frame: shared by its readers; exclusive, a writer waits for them */
#define REGION_LOCK_SLOT 16    /* + slot: exclusive, its holder's */
#define REGION_LOCK_CLAIM ((off_t)(UINT64_C(1) << 62)) /* + number: exclusive, that writer's */
#define REGION_CLAIM_MASK ((UINT64_C(1) << 62) - 1)

/* Where everything is. */
struct region_shape {
	uint64_t data_size; /* of a frame, as asked for */
	uint64_t page_size; /* of its memory */
	uint64_t frame_size; /* data_size in whole pages */
	uint64_t total;     /* with the header, which takes one page */
	unsigned n_frames;
};

/* -EINVAL: no bytes, or more than anybody has; a page size that is none. */
int region_shape_make(uint64_t data_size, unsigned flags, uint64_t page_size, struct region_shape *ret);

/* 1 to REGION_MAX_NAME bytes. -EINVAL, -ENAMETOOLONG. */
int region_name_check(const char *name);

/* Of a topic's key and a region's name: what the region is called where all topics' lie together. */
void region_hash(const struct topic_key *key, const void *name, size_t size, char ret[HASH_TEXT_SIZE]);
/* The name of the daemon's memory, by which it knows its own again, and of what shape it made it. */
#define REGION_LABEL_SIZE 112
void region_label(const char hash[HASH_TEXT_SIZE], const uint8_t id[REGION_ID_SIZE], uint64_t data_size, unsigned flags,
                  char ret[REGION_LABEL_SIZE]);

/* Fills a zeroed header in. */
void region_header_init(struct region_header *header, const struct topic_key *key, const char *name, size_t name_size,
                        const uint8_t id[REGION_ID_SIZE], uint64_t data_size, unsigned flags);
/*
 * In the runtime folder: reads what it says of itself, once, and whether `size` bytes are what it then takes. The name of a
 * file there is a hash, so key and name are compared. `key`, `name`: NULL: any; ret_name then receives it (REGION_MAX_NAME + 1
 * bytes). 0, -EBADMSG (none of ours, or damaged), -EPROTONOSUPPORT.
 */
int region_header_check(const struct region_header *header, uint64_t size, const struct topic_key *key, const char *name,
                        struct region_shape *ret_shape, unsigned *ret_flags, char *ret_name);

static inline uint64_t region_version(uint64_t sequence)
{
	return sequence / 2;
}

#endif
