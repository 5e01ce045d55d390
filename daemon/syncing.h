/* SPDX-License-Identifier: MIT */
/*
 * syncing.h - SYNC: have the others caught up? Answered once they have, or at its deadline; nobody is held up meanwhile.
 * What it means is said in libclient/sync.c, which does the same where the lane is mapped.
 */
#ifndef PATHBUS_DAEMON_SYNCING_H
#define PATHBUS_DAEMON_SYNCING_H

#include <stdint.h>

#include "wire.h"

struct client;
struct member;
struct syncing;
struct topic;

/* Answers now or later. 0; -EBUSY (it has too many already), -EDQUOT (its user has), -ENOMEM. */
int syncing_new(struct client *client, struct member *member, uint32_t request, const struct wire_sync *sync);
/* Without an answer. */
void syncing_free(struct syncing *syncing);
/* The member is closed: what waits for its answer fails. */
void syncing_cancel(struct client *client, const struct member *member);

/* Somebody has caught up, or left. */
void syncing_look(struct topic *topic);
/* The topic ends; nobody waits. */
void syncing_end(struct topic *topic);

#endif
