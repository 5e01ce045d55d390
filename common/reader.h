/* SPDX-License-Identifier: MIT */
/*
 * reader.h - what is new in a lane, in order: posts, messages, gaps. Used by all who listen: the library's topics, the
 * link, the daemon for its clients without shared memory.
 *
 * Order. A message says which generation its writer had seen when it began; posts up to there are told before it, the
 * others after it. So each poster's posts and messages come in the order it made them, unless the reader's own posts lie
 * on both sides of the message: then those before it may be told after it.
 *
 * Own posts and messages are no news. The caller counts them in generation units, before it raises the generation, and
 * passes the count with each look; own messages are told by their origin.
 */
#ifndef PATHBUS_COMMON_READER_H
#define PATHBUS_COMMON_READER_H

#include "ring.h"

struct reader {
	uint64_t accounted; /* generation less own, as far as it is told */
	struct ring_cursor cursor;
	bool has_ring;      /* the cursor is valid */
	bool held;          /* `message` was taken from the ring and waits for posts to be told */
	bool absorbs;       /* posts up to `absorb_to` are told by RESYNC, which is known once all messages are read */
	uint64_t absorb_to;
	unsigned far_ahead; /* looks in a row at which more was told than there is */
	struct ring_message message;
};

enum reader_kind {
	READER_NOTHING, /* sleep, if the generation is still the one of the look */
	READER_AGAIN,   /* look again before you sleep */
	READER_STALLED, /* sleep, but look again at reader_lease_ns() */
	READER_POSTS,   /* n of them */
	READER_GAP,     /* n messages were missed */
	READER_MESSAGE, /* reader->message; its data in the buffer until the next look */
};

enum reader_whose { READER_STRANGERS, READER_OWN, READER_HIDDEN };

struct reader_look {
	uint64_t generation; /* loaded first */
	uint64_t own;        /* own posts and messages, in units of the generation, loaded after it; 0: they are heard too */
	/* Of these `own_since` were made since the reader had told everything last, from generation own_first on; 0: none, or
	 * not known. */
	uint64_t own_since, own_first;
	/* Or exactly: how many up to this generation? NULL: not known. */
	uint64_t (*own_until)(void *arg, uint64_t generation);
	const struct ring *ring; /* NULL as long as nobody has published */
	void *buffer;            /* RING_BUFFER_SIZE bytes */
	enum reader_whose (*whose)(void *arg, const struct ring_message *message); /* NULL: strangers' */
	/* How many own messages have tickets in [from, to)? NULL: none. */
	uint64_t (*own_missed)(void *arg, uint64_t from, uint64_t to);
	void *arg;
};

/* Everything up to now is taken as seen; `strangers`: the generation of this moment, less own. */
static inline void reader_start(struct reader *reader, uint64_t strangers)
{
	*reader = (struct reader){ .accounted = strangers };
}

/* From here on it reads messages too: those after the cursor. */
static inline void reader_start_ring(struct reader *reader, const struct ring_cursor *cursor)
{
	reader->cursor = *cursor;
	reader->has_ring = true;
}

/* Takes the next; *ret_n: of posts and gaps. Never blocks. A message that was overwritten unseen is counted in the gap,
 * unless it was an own one; whether it would have been hidden cannot be known any more. */
enum reader_kind reader_next(struct reader *reader, const struct reader_look *look, uint64_t *ret_n);

/* The message that was just taken is to be told later: the next look takes it again. */
static inline void reader_hold(struct reader *reader)
{
	reader->held = true;
	reader->accounted -= GENERATION_MESSAGE;
}

/* The message that is held is not to be told. */
static inline void reader_drop(struct reader *reader)
{
	reader->held = false;
	reader->accounted += GENERATION_MESSAGE;
}

/* RESYNC is told now, which stands for all posts so far; `strangers`: the generation of the look less own. Where a lot of
 * messages came with it some may be told again. */
static inline void reader_absorb_posts(struct reader *reader, uint64_t strangers)
{
	reader->absorbs = true;
	reader->absorb_to = strangers;
}

/* Are posts, or the message that is held, still to be told of those up to there? (As `strangers` above.) */
bool reader_owes(const struct reader *reader, uint64_t strangers);

/* When a stalled reader looks again, CLOCK_MONOTONIC. */
static inline uint64_t reader_lease_ns(const struct reader *reader)
{
	return reader->cursor.stalled_ns + RING_LEASE_NS;
}

#endif
