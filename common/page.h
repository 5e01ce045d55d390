/* SPDX-License-Identifier: MIT */
/*
 * page.h - the shared memory of a lane, field by field.
 *
 * One page of 4096 bytes: a sealed memfd made by the daemon, or the file `page` of a sidecar. Several
 * processes map it writable, so nothing read from it is trusted: numbers are loaded once into a local and
 * checked, there are no pointers and no mutexes in it. Byte order and alignment are the machine's: a page
 * never leaves the host it was made on.
 *
 * Atomics: generation, want, rung, closed, offload and resync are sequentially consistent throughout. The
 * wake-up protocol (lane.c, tests/model/wake.pml) needs the store of one and the load of another in a single
 * order (Dekker's pattern): post's "generation, then want" against receive's "want, then generation", and
 * post's "generation, then closed" against a leaver's "closed, then generation".
 */
#ifndef PATHBUS_COMMON_PAGE_H
#define PATHBUS_COMMON_PAGE_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "key.h"

#define PAGE_MAGIC UINT64_C(0x314c535542485450) /* "PTHBUSL1" on a little-endian machine */
#define PAGE_ABI 1u
#define PAGE_SIZE_BYTES 4096u
#define PAGE_SLOTS 48u
#define PAGE_ID_SIZE 16u

/*
 * A member's slot. Given out by the daemon (bus) or by an open file description lock on byte
 * LOCK_SLOT + index (sidecar). Written only by its member, except `pid`, which whoever gives out the slot
 * sets and clears. A stale value costs a wrong line in a listing, never a wake-up.
 */
struct page_slot {
	_Atomic uint32_t pid;     /* 0: free. For people; identity is the connection or the lock */
	uint32_t reserved0;
	_Atomic uint64_t posts;   /* posts this member made; relaxed */
	_Atomic uint64_t seen;    /* the lane's generation it has dealt with; relaxed */
	uint8_t reserved[40];
};

struct page {
	/* 0: who this is. Written once by the maker before anybody else can map it; read when mapping.
	 * A page whose inode or key is not the one where it was found was copied or moved: not joined. */
	uint64_t magic;                /* PAGE_MAGIC */
	uint32_t abi;                  /* PAGE_ABI */
	uint32_t size;                 /* PAGE_SIZE_BYTES */
	uint8_t id[PAGE_ID_SIZE];      /* random; names the lane in logs */
	uint64_t inode;                /* of the file or memfd this page lives in */
	struct topic_key key;          /* the topic; 24 + 256 bytes */
	uint8_t reserved0[512 - 40 - sizeof(struct topic_key)];

	/* 512: a line of its own for what every post writes or reads. One, not two: whoever has raised the generation
	 * has the line, and so looks at the rest at once. With two there is a miss in between, in which a member can
	 * arm for the new generation: then that post rings for it and the next one too.
	 *
	 * Posts so far, counted from a random multiple of 2^32 (the numbers of two lanes never meet: lane.c).
	 * Raised by posters; read by everyone. */
	_Atomic uint64_t generation;
	/* 520: read at every post, written only when somebody sleeps or leaves. */
	_Atomic uint64_t want;         /* highest generation a member had seen when it went to sleep; only grows */
	_Atomic uint64_t rung;         /* generation the bell was last rung for; starts above want; only grows */
	_Atomic uint64_t resync;       /* raised by the daemon or a link: somebody may have died between a change
	                                * and its post. Read with each look; stale: RESYNC comes with the next post */
	_Atomic uint32_t closed;       /* 1: this page is being left; set before its owner goes. Never cleared */
	_Atomic uint32_t offload;      /* 1: posters ring the daemon's bell, not the lane's. Set by the daemon
	                                * before it hands out a second bell */
	uint8_t reserved2[640 - 552];

	/* 640: for state and messages, which come with their own layout. */
	uint8_t reserved3[1024 - 640];

	/* 1024 */
	struct page_slot slots[PAGE_SLOTS];
};

_Static_assert(sizeof(struct page_slot) == 64, "a slot fills a cache line, so that counting is free of contention");
_Static_assert(offsetof(struct page, inode) == 32, "layout");
_Static_assert(offsetof(struct page, key) == 40, "layout");
_Static_assert(offsetof(struct page, generation) == 512, "layout");
_Static_assert(offsetof(struct page, want) == 520, "layout");
_Static_assert(offsetof(struct page, rung) == 528, "layout");
_Static_assert(offsetof(struct page, resync) == 536, "layout");
_Static_assert(offsetof(struct page, closed) == 544, "layout");
_Static_assert(offsetof(struct page, offload) == 548, "layout");
_Static_assert(offsetof(struct page, reserved3) == 640, "layout");
_Static_assert(offsetof(struct page, slots) == 1024, "layout");
_Static_assert(sizeof(struct page) == PAGE_SIZE_BYTES, "a lane is one page");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "words in shared memory must be lock-free");

/* Bytes of a sidecar's page on which open file description locks are held; see libclient/sidecar.c. */
enum {
	LOCK_MEMBER = 0, /* shared by every member; exclusive: nobody lives here */
	LOCK_KICK = 1,   /* exclusive: about to rename the folder away */
	LOCK_SLOT = 16,  /* + slot: exclusive, held by the slot's member */
};

/* Fills a zeroed page in. Nobody else may have it mapped. `id` has PAGE_ID_SIZE random bytes. */
void page_init(struct page *page, const struct topic_key *key, uint64_t inode, const uint8_t *id);

/*
 * Is this a page of ours, for this key, in this inode? Reads the identity once.
 * Returns 0, -EBADMSG (no page, or damaged), -EPROTONOSUPPORT (another ABI), -ESTALE (another file's page:
 * it was copied or moved).
 */
int page_check(const struct page *page, const struct topic_key *key, uint64_t inode);

#endif
