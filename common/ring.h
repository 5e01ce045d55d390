/* SPDX-License-Identifier: MIT */
/*
 * ring.h - the message ring of a lane: many writers, many readers, no lock.
 *
 * A message is one slot and one ticket; ticket t lives in slot t modulo the size. A slot's tag holds the ticket that
 * has it and what became of it. A writer claims the slot at the head with a compare-and-swap, moves the head, writes,
 * and commits with another. A reader copies and then looks at the tag again (a sequence lock).
 *
 * Nobody waits for a writer that stands still. One that has the slot the head has come round to keeps it: the ticket is
 * skipped (the slot is marked with the new ticket first, and only then passed by the head, so that no ticket is taken
 * that readers have passed). One that readers wait for longer than a lease is voided. In both cases the slot is `busy`
 * until its late owner gives it back, or ring_recover does for one that is dead, and its message counts as missed.
 *
 * Exact counts. Messages are numbered by tickets, less the tickets that were skipped; each message says how many those
 * were before it (page->skips, always recorded before the head moves on). What a reader has missed between two
 * messages, or up to the head, is the difference of their numbers, whatever became of the slots in between.
 *
 * (tests/model/ring.pml; the design's section 4.)
 */
#ifndef PATHBUS_COMMON_RING_H
#define PATHBUS_COMMON_RING_H

#include <stdbool.h>

#include "page.h"

#define RING_SLOT_SIZE 128u
#define RING_INLINE 72u   /* bytes of key and data in the slot itself; more lie in its chunk of the overflow area */
#define RING_MAX_KEY 255u
#define RING_NO_OWNER 255u
#define RING_LEASE_NS UINT64_C(100000000)

/* Tickets count from 2^12 to 2^12, below them a tag has its owner (8 bits) and its state (4 bits); so they wrap with
 * the word. */
#define RING_TICKET (UINT64_C(1) << 12)

enum ring_state {
	RING_VOID = 0,         /* no message: a zeroed slot; one whose writer died or was too late */
	RING_CLAIMED = 1,      /* its owner writes */
	RING_COMMITTED = 2,
	RING_VOID_BUSY = 3,    /* as VOID; its owner may still be writing */
	RING_SKIPPED = 4,      /* this ticket never had a message */
	RING_SKIPPED_BUSY = 5, /* ... since the slot's owner of an earlier lap may still be writing */
};

/* Everything but the tag is written relaxed between the tag's claim and its commit (release), and read relaxed between
 * two acquiring looks at it. */
struct ring_slot {
	_Atomic uint64_t tag;
	_Atomic uint64_t words[RING_SLOT_SIZE / 8 - 1]; /* see ring_layout.h */
};

/* A mapped ring. Owns nothing. */
struct ring {
	struct page *page;
	struct ring_slot *slots;
	_Atomic uint64_t *chunks; /* `chunk` bytes for each slot */
	uint32_t n_slots, chunk, max_message;
	uint32_t most_steps; /* 0: as many as it takes; else a call gives up after so many, for those who do not trust its
	                      * writers. Not fewer than there may be writers that stand still */
};

struct ring_message {
	uint64_t origin; /* random id of the handle that published it */
	uint64_t number; /* the how-manieth of that handle: grows by one */
	uint64_t before; /* the generation when it was claimed: its writer's earlier posts are in it */
	uint64_t time_ns; /* CLOCK_MONOTONIC */
	uint32_t pid, uid;
	const void *key, *data;
	uint32_t key_size, data_size;
};

/* How far somebody has read. */
struct ring_cursor {
	uint64_t at;             /* the next ticket to look at */
	uint64_t counted;        /* all messages before this ticket are delivered or reported */
	uint32_t counted_skips;
	uint64_t stalled;        /* a claimed tag it waits for; 0: none */
	uint64_t stalled_ns;     /* since when */
};

/* For page_init: the ring's words of a zeroed page whose file is zeroed too. */
void ring_init(struct page *page, uint32_t n_slots);
size_t ring_size(const struct lane_shape *shape); /* bytes of slots and chunks */
/* How much of them the slots are: from the start. */
size_t ring_slots_size(const struct lane_shape *shape);
/* `area`: the ring_size bytes that follow the page in its file. */
void ring_attach(struct ring *ret, struct page *page, void *area, const struct lane_shape *shape);

/*
 * Publishes. Any number of processes; never blocks; no system call. `owner`: the member's slot, or RING_NO_OWNER; a
 * member publishes one message at a time. Raises no generation: the caller does (lane_raise_at), also when the
 * message came too late for its claim and counts as missed.
 * Returns 0; -EMSGSIZE (data above max_message, or a key above RING_MAX_KEY); -ENOBUFS (all slots are held by writers
 * that stand still), -EIO (the memory is damaged). *ret_ticket (or NULL): the ticket it had.
 */
int ring_publish(const struct ring *ring, unsigned owner, const struct ring_message *message, uint64_t *ret_ticket);

/* One message that can never be read: its readers miss it, exactly one. Otherwise as ring_publish. */
int ring_void(const struct ring *ring, unsigned owner, uint64_t *ret_ticket);

/* The owner is dead, for certain: what it held is given back. True: something was. Call before the owner's number
 * is given to another. */
bool ring_recover(const struct ring *ring, unsigned owner);

/* Everything published up to now is taken as read, except the last `n` messages, as far as they are still there. What
 * is being written at this moment is not: it, and what came after it, is delivered. */
void ring_baseline(const struct ring *ring, uint32_t n, struct ring_cursor *ret);

enum ring_read {
	RING_EMPTY,   /* all that was published is read, as far as the generation that was loaded before has it */
	RING_BUSY,    /* enough for one call: look again before you sleep */
	RING_STALLED, /* a writer has to go on, or the lease to run out at cursor->stalled_ns + RING_LEASE_NS */
	RING_GAP,     /* *ret_missed messages are lost; read on */
	RING_MESSAGE,
};

/* Bytes that `buffer` below has to have. */
#define RING_BUFFER_SIZE(max_message) ((size_t)(max_message) + RING_MAX_KEY + 16)

/* Takes the next. With RING_MESSAGE *ret is filled, and its data lies in `buffer`. Never blocks, and ends after a
 * bounded number of steps whatever the memory holds. */
enum ring_read ring_read(const struct ring *ring, struct ring_cursor *cursor, struct ring_message *ret,
                         void *buffer, uint64_t *ret_missed);

/* Of a committed message that nobody has read yet. */
struct ring_peek {
	uint64_t key; /* its hash; 0: no key, or there is no message at this ticket */
	uint64_t origin, number;
	uint32_t pid;
};

/* False: there is nothing at this ticket yet (or not any more). */
bool ring_peek(const struct ring *ring, uint64_t ticket, struct ring_peek *ret);
uint64_t ring_hash_key(const void *key, uint32_t size); /* never 0 */
/* Whose is the committed message in slot `index`, if there is one? */
bool ring_latest(const struct ring *ring, uint32_t index, uint64_t *ret_origin, uint64_t *ret_number);

/* The head, for who writes alone: n messages that will never be there (readers miss them). */
void ring_lose(const struct ring *ring, uint64_t n);

/* --- test seams ------------------------------------------------------------------------------------------ */

enum ring_step { RING_STEP_LOADED, RING_STEP_CLAIMED, RING_STEP_MOVED, RING_STEP_FILLED, RING_STEP_COMMITTED,
	         RING_STEP_MARKED, RING_STEP_RECORDED, RING_N_STEPS };

/* Called at each step of ring_publish, if set. Only tests set it. */
extern void (*ring_seam)(enum ring_step step);

#endif
