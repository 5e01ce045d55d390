/* SPDX-License-Identifier: MIT */
/*
 * told.h - what a reader has told: each message once, and each writer's in its order.
 *
 * On a linked lane a message may come twice: its writer's lane died, so it published again, and the dead lane's link had
 * carried it as well. And a writer that changes lanes may overtake what the link still carries of it: such a message is
 * late, and RESYNC is told in its place. A lane that nothing is carried to needs none of this; what was told elsewhere
 * before may come again there, too.
 */
#ifndef PATHBUS_COMMON_TOLD_H
#define PATHBUS_COMMON_TOLD_H

#include "known.h"
#include "ring.h"

struct told {
	struct known known;
	bool is_linked; /* as far as it was looked, or may be: what is told is noted */
};

enum told_before {
	TOLD_NEVER, /* to be told now, and noted */
	TOLD_ONCE,  /* it was */
	TOLD_LATER, /* a later one of its writer was: this one is late */
};

/* Notes what the ring has before this ticket, as far as it still knows. */
void told_note_ring(struct told *told, const struct ring *ring, uint64_t at);
/* The next message of the lane, read at this ticket: all before it are told. */
enum told_before told_take(struct told *told, const struct ring *ring, uint64_t ticket,
                           const struct ring_message *message);

#endif
