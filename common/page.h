/* SPDX-License-Identifier: MIT */
/*
 * page.h - the shared memory of a lane, field by field.
 *
 * A lane is one file, a sealed memfd made by the daemon or the file `page` of a sidecar: struct page, and after it
 * the message ring (ring.h). Several processes map it writable, so nothing read from it is trusted: numbers are
 * loaded once into a local and checked, there are no pointers and no mutexes in it. Byte order and alignment are
 * the machine's: a lane never leaves the host it was made on.
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
#include <sys/types.h>

#include "count.h"
#include "key.h"

#define PAGE_MAGIC UINT64_C(0x314c535542485450) /* "PTHBUSL1" on a little-endian machine */
#define PAGE_ABI 3u
#define PAGE_SIZE_BYTES 16384u /* of struct page; memory that nobody touches is not there: 4 KiB up to 48 members */
#define PAGE_SLOTS 240u
#define PAGE_ID_SIZE 16u

/*
 * What `generation` counts in. A post adds GENERATION_POST, a message GENERATION_MESSAGE, so that one word tells how
 * many posts came between two looks, however many messages: those are known from the ring, and what a writer that died
 * between its message and its add has left out is far from the half of a post (reader.c). The word may wrap:
 * it is compared by differences only.
 */
#define GENERATION_POST (UINT64_C(1) << 20)
#define GENERATION_MESSAGE UINT64_C(1)

/*
 * A member's slot. Given out by the daemon (bus) or by an open file description lock on byte
 * LOCK_SLOT + index (sidecar). Written only by its member, except `pid`, which whoever gives out the slot
 * sets and clears, and `watchers`. A stale value costs a wrong line in a listing, or that pathbus_sync waits for
 * its deadline; never a wake-up.
 */
struct page_slot {
	_Atomic uint32_t pid;      /* 0: free. For people; identity is the connection or the lock */
	_Atomic uint32_t messages; /* of this member, modulo 2^32; relaxed */
	_Atomic uint64_t posts;    /* count.h: posts by the thread that opened, which alone writes it, with plain stores.
	                            * Counted before the generation is raised, under way until after. Another's late
	                            * store may stand here: its tag is not that of `posts_elsewhere` */
	_Atomic uint64_t posts_elsewhere; /* the same by other threads, while somebody hides (`hides`): only changed by
	                            * compare-and-swap, so its tag is the member's */
	_Atomic uint64_t seen;     /* the lane's generation it has dealt with; seq_cst where it goes to sleep: partner of
	                            * `watchers` (pathbus_sync) */
	_Atomic uint64_t origin;   /* the random id of its handle; 0: not known */
	_Atomic uint64_t state[2]; /* state.h: values it has set. Outlives the member: the next one takes it over */
	_Atomic uint16_t watchers; /* 1: others sleep until `seen` moves. Who moves it clears this and wakes them */
	_Atomic uint16_t flags;    /* SLOT_ */
	_Atomic uint32_t moved;    /* the futex they sleep on */
};

enum {
	SLOT_SUBSCRIBES = 1,
	SLOT_LINK = 2, /* joins this lane with another; not a program's */
};

/* How large a lane's ring is: chosen by its maker, constant. */
struct lane_shape {
	uint32_t ring_slots;  /* a power of two, LANE_MIN_SLOTS to LANE_MAX_SLOTS */
	uint32_t max_message; /* bytes, LANE_MIN_MESSAGE to LANE_MAX_MESSAGE */
};

#define LANE_MIN_SLOTS 8u
#define LANE_MAX_SLOTS 65536u
#define LANE_MIN_MESSAGE 128u
#define LANE_MAX_MESSAGE 65536u
#define LANE_DEFAULT_SLOTS 256u
#define LANE_DEFAULT_MESSAGE 4096u
#define LANE_MAX_BYTES (UINT64_C(1) << 30) /* of messages, ring_slots * max_message; keys and heads come on top */

/*
 * What has been done in a lane so far, for whoever asks the daemon. Of several, so that its members do not all write the same line:
 * a member's is that of its slot modulo their number. Relaxed; the sum of all is what counts.
 */
struct page_tally {
	_Atomic uint64_t message_bytes; /* published; what a carrier puts in too */
	_Atomic uint64_t bells;         /* written, once for several sets */
	_Atomic uint64_t wakeups;       /* bells that members were woken by */
	_Atomic uint64_t gaps;          /* messages that members have missed */
	uint64_t reserved[4];
};
#define PAGE_TALLIES 5u

struct page {
	/* 0: who this is. Written once by the maker before anybody else can map it; read when mapping.
	 * A page whose inode or key is not the one where it was found was copied or moved: not joined. */
	uint64_t magic;                /* PAGE_MAGIC */
	uint32_t abi;                  /* PAGE_ABI */
	uint32_t size;                 /* PAGE_SIZE_BYTES */
	uint8_t id[PAGE_ID_SIZE];      /* random; names the lane in logs */
	uint64_t inode;                /* of the file or memfd this page lives in */
	struct topic_key key;          /* the topic; 24 + 256 bytes */
	struct lane_shape shape;       /* of the ring behind the page */
	uint64_t first;                /* the generation it began with */
	uint8_t reserved0[512 - 56 - sizeof(struct topic_key)];

	/* 512: a line of its own for what every post writes or reads. One, not two: whoever has raised the generation
	 * has the line, and so looks at the rest at once. With two there is a miss in between, in which a member can
	 * arm for the new generation: then that post rings for it and the next one too.
	 *
	 * Posts and messages so far, in the units above, counted from a random start (so that the numbers of two lanes
	 * do not meet: lane.c). Raised by posters; read by everyone. */
	_Atomic uint64_t generation;
	/* 520: read at every post, written only when somebody sleeps or leaves. */
	_Atomic uint64_t want;         /* highest generation a member had seen when it went to sleep; only grows */
	_Atomic uint64_t rung;         /* generation the bell was last rung for; starts above want; only grows */
	_Atomic uint64_t resync;       /* raised by the daemon or a link: somebody may have died between a change
	                                * and its post. Read with each look; stale: RESYNC comes with the next post */
	_Atomic uint32_t closed;       /* 1: this page is being left; set before its owner goes. Never cleared */
	_Atomic uint32_t offload;      /* 1: posters ring the daemon's bell, not the lane's. Set by the daemon
	                                * before it hands out a second bell */
	_Atomic uint32_t messages;     /* 1: somebody has published here. Set before the first message; never cleared.
	                                * Read with each look: without it nobody looks at the ring */
	uint32_t reserved1;

	/* 560 */
	_Atomic uint64_t state;        /* state.h: version and place of the value. Changed by compare-and-swap */
	_Atomic uint32_t hides;        /* 1: somebody hides others' posts; set before it looks at their counts, never
	                                * cleared. Without it those of other threads need not be counted */
	uint8_t reserved2[576 - 572];

	/* 576: apart from what posts change, since it is read with each message */
	_Atomic uint32_t linked;       /* 1: links join or have joined this lane with another; set by them, never cleared.
	                                * Who changes the state wakes them then */
	/* 580: locks (libclient/lock.c). Neither word decides anything: a stale value costs a look more, or a wait of 20 ms. */
	_Atomic uint32_t lock_waits;   /* 1: somebody with a deadline waits for a lock. Set by it before it tries; who gives a
	                                * lock back looks at this afterwards, clears it and wakes them */
	_Atomic uint32_t lock_moved;   /* the futex they sleep on */
	_Atomic uint32_t divided;      /* 1: the topic has, or has had, other lanes, whose members the daemon knows. Set by it
	                                * before anybody is told of the other lane, never cleared */
	uint8_t reserved3[640 - 592];

	/* 640: the ring's, on a line of their own; see ring.h */
	_Atomic uint64_t head;         /* the next ticket */
	_Atomic uint64_t skips;        /* tickets without a message so far, and the last of them */
	uint8_t reserved4[704 - 656];

	/* 704: for people only. Nothing here is on the way of a post that nobody has to be woken for. */
	struct page_tally tallies[PAGE_TALLIES];

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
_Static_assert(offsetof(struct page, shape) == 320, "layout");
_Static_assert(offsetof(struct page, first) == 328, "layout");
_Static_assert(offsetof(struct page, messages) == 552, "layout");
_Static_assert(offsetof(struct page, state) == 560, "layout");
_Static_assert(offsetof(struct page, linked) == 576, "layout");
_Static_assert(offsetof(struct page, hides) == 568, "layout");
_Static_assert(offsetof(struct page, lock_waits) == 580, "layout");
_Static_assert(offsetof(struct page, divided) == 588, "layout");
_Static_assert(offsetof(struct page, head) == 640, "layout");
_Static_assert(offsetof(struct page, tallies) == 704, "layout");
_Static_assert(sizeof(struct page_tally) == 64, "a line");
_Static_assert(offsetof(struct page, slots) == 1024, "layout");
_Static_assert(sizeof(struct page) == PAGE_SIZE_BYTES, "whole pages of the system");
_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2, "words in shared memory must be lock-free");

/* Bytes of a sidecar's page on which open file description locks are held; see libclient/sidecar.c. */
enum {
	LOCK_MEMBER = 0, /* shared by every member; exclusive: nobody lives here */
	LOCK_KICK = 1,   /* exclusive: about to rename the folder away */
	LOCK_SLOT = 16,  /* + slot: exclusive, held by the slot's member; PAGE_SLOTS bytes */
};

/* Fills a zeroed page in. Nobody else may have it mapped. `id` has PAGE_ID_SIZE random bytes. */
void page_init(struct page *page, const struct topic_key *key, uint64_t inode, const uint8_t *id,
               const struct lane_shape *shape);

/*
 * Is this a page of ours, for this key, in this inode? Reads the identity once.
 * Returns 0, -EBADMSG (no page, or damaged), -EPROTONOSUPPORT (another ABI), -ESTALE (another file's page:
 * it was copied or moved).
 */
int page_check(const struct page *page, const struct topic_key *key, uint64_t inode);

/* What somebody asks for, 0 for the default: rounded up to a power of two. -EINVAL: out of range. */
int lane_shape_make(uint32_t ring_slots, uint32_t max_message, struct lane_shape *ret);
/* The shape that a mapped page says, checked; the file has to have lane_size of it. -EBADMSG: damaged. */
int page_shape(const struct page *page, struct lane_shape *ret);
/* Whose slot it is; of who has none, any. */
static inline struct page_tally *page_tally(struct page *page, uint32_t slot)
{
	return &page->tallies[slot % PAGE_TALLIES];
}

/* A slot's new member: its counters begin at nothing, since its last owner's are not its next one's. The cells of the
 * state stay: one of them may be in force. */
void page_take_slot(struct page *page, unsigned slot, pid_t pid);
/* Whose it is, once that is known: from here on its posts are counted, with this tag (count.h). */
void page_name_slot(struct page_slot *slot, uint64_t origin, uint64_t tag);
/* Its member has gone. Wakes those who sleep until it has caught up. */
void page_leave_slot(struct page *page, unsigned slot);

/* Bytes of the whole file; `shape` is a checked one. */
size_t lane_size(const struct lane_shape *shape);
/* Maps the whole lane in a file, writable: the page, and behind it the ring. Returns 0; -EPROTO (no lane, or the file is
 * too small for it), -EPROTONOSUPPORT (another ABI), -errno. */
int lane_map(int file, void **ret_lane, size_t *ret_size, struct lane_shape *ret_shape);

#endif
