/* SPDX-License-Identifier: MIT */
/*
 * side.h - one end of carrying: a member of a lane that takes out what is new there, and puts in what is new elsewhere.
 *
 * The link agent has two of them, the daemon one for each lane of a topic. What is put into a lane is not taken out again:
 * own posts and messages are counted before they are made. Each poster's posts and messages are taken in the order it made
 * them, whatever is put in between; and what was missed is counted, own messages not among it.
 */
#ifndef PATHBUS_COMMON_SIDE_H
#define PATHBUS_COMMON_SIDE_H

#include <stdbool.h>
#include <stdint.h>

#include "known.h"
#include "lane.h"
#include "own_tickets.h"
#include "reader.h"
#include "ring.h"

/* What own posts and messages came to with the one that raised the lane's generation to this. */
struct side_own {
	uint64_t generation, own;
};

enum side_news {
	SIDE_NOTHING, /* as of the look: sleep, if the generation is still that */
	SIDE_AGAIN,   /* more may come: once more, sooner or later */
	SIDE_STALLED, /* a writer stands still: sleep, but look again at stalled_ns */
	SIDE_POSTS,   /* n of them */
	SIDE_GAP,     /* n messages were missed */
	SIDE_RESYNC,
	SIDE_MESSAGE, /* reader.message; its data in the buffer until the next one */
};

struct side {
	struct lane lane;     /* whose bells are not its own */
	void *map;            /* the whole lane, which `lane.page` is the start of; owned */
	size_t size;
	struct ring ring;
	unsigned slot;        /* in its member table; PAGE_SLOTS and above: none */
	int file;             /* a sidecar's: to allocate the ring from, and then allocated bytes; -1. Not owned */
	size_t allocated;

	uint64_t own;         /* in units of the generation */
	struct side_own *owns; /* since own_before, `first_own` the oldest of them: a ring, a power of two large */
	uint32_t owns_size, n_owns, first_own;
	uint64_t own_before;
	struct own_tickets own_tickets;
	uint64_t own_counted; /* own messages among the tickets that the reader has counted */

	struct reader reader; /* what is taken */
	void *buffer;
	const struct known *known; /* whose messages are no news, besides own ones; NULL: none */
	bool late;            /* something was read here that can only be told as RESYNC */
	enum side_news kept;  /* ... before this; SIDE_NOTHING: nothing is kept */
	uint64_t n_kept;
	uint64_t generation;  /* of the look */
	uint64_t resync, seen_resync;
	uint64_t stalled_ns;  /* a writer stands still: look again then; 0: none does */
};

/* Takes the mapping over, into one that is zeroed but for bells, slot, file and what is known. -ENOMEM: to be closed all the
 * same. */
int side_open(struct side *side, void *map, size_t size, const struct lane_shape *shape);
void side_close(struct side *side);
/* Everything up to now is taken as known. */
void side_take_baseline(struct side *side);

/* Looks what is new: side_next takes it, one by one. Never blocks, and takes a bounded time whatever the memory holds. */
void side_look(struct side *side);
enum side_news side_next(struct side *side, uint64_t *ret_n);

/* Puts n posts there, or "look again". */
void side_post(struct side *side, uint64_t n);
void side_resync(struct side *side);
/* A message. 0; -EMSGSIZE, -ENOSPC...: nothing was put, and readers there have not been told that they miss it. */
int side_put_message(struct side *side, struct ring_message *message);
/* n messages that can never be read there: its readers miss them. What cannot be counted is told as RESYNC. */
void side_put_gap(struct side *side, uint64_t n);

#endif
