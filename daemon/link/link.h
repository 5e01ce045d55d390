/* SPDX-License-Identifier: MIT */
/*
 * link.h - one lane joined with one sidecar: what happens in one is told in the other.
 */
#ifndef PATHBUS_DAEMON_LINK_LINK_H
#define PATHBUS_DAEMON_LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "known.h"
#include "lane.h"
#include "protocol.h"
#include "reader.h"
#include "libclient/sidecar.h"

/* One side. Own posts and messages are counted before they are made, so that they are not carried back. */
struct side {
	struct lane lane;
	void *map;            /* the whole lane, which `lane.page` is the start of */
	size_t size;
	struct ring ring;
	unsigned slot;        /* in its member table, or WIRE_NO_SLOT */
	int file;             /* the sidecar's: to allocate the ring from, and then allocated bytes; -1 */
	size_t allocated;
	uint64_t own;         /* in units of the generation */
	struct reader reader; /* what the other side knows of */
	void *buffer;
	struct known carried; /* messages that were put here */
	uint64_t *tickets;    /* of those, by slot of the ring */
	bool late;            /* something was read here that can only be told as RESYNC */
	uint64_t seen_resync;
	uint64_t stalled_ns;  /* a writer stands still: look again then; 0: none does */
};

struct link {
	struct link *next;
	uint32_t id;
	struct side bus, peer;
	struct sidecar sidecar;
};

/*
 * Joins the lane (descriptors page, bell and carrier's bell: taken over, on failure too) and the sidecar of
 * `key` in `folder` or the runtime folder, takes the baselines, and then announces itself with one post to
 * each side. Never makes a sidecar.
 * Returns 0; -ENOENT: there is none, and the lane has had a post; or an error of sidecar_join.
 */
int link_new(const struct link_message *join, const int fds[LINK_JOIN_DESCRIPTORS], struct link **ret);

/* Carries what is new, both ways, until there is nothing and both sides are armed. Returns when it wants to look again
 * in any case, CLOCK_MONOTONIC; 0: not. */
uint64_t link_carry(struct link *link);

/* One post into the lane: the sidecar has come again. */
void link_post_to_bus(struct link *link);

/* Has the sidecar ended: closed by one who moves, removed, or nobody but us in it (then it is taken apart
 * here)? What was in it has then been carried. */
bool link_has_ended(struct link *link);

/* Carries what is in the lane, announces itself once more in the sidecar, leaves both. Returns NULL. */
struct link *link_free(struct link *link);

#endif
