/* SPDX-License-Identifier: MIT */
/*
 * link.h - one lane joined with one sidecar: what happens in one is told in the other.
 */
#ifndef PATHBUS_DAEMON_LINK_LINK_H
#define PATHBUS_DAEMON_LINK_LINK_H

#include <stdbool.h>
#include <stdint.h>

#include "known.h"
#include "protocol.h"
#include "side.h"
#include "libclient/sidecar.h"

struct link {
	struct link *next;
	uint32_t id;
	struct side bus, peer;
	struct known in_bus, in_peer; /* messages that were put there */
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
