/* SPDX-License-Identifier: MIT */
/*
 * subscriber.h - a socket-only member: its events as frames, and what it posts.
 *
 * There is no queue for it beside a few frames that its socket has not taken yet: the lane itself is what it reads, at
 * its own pace, so that one that is slow gets posts merged and messages as a GAP, and costs nothing.
 */
#ifndef PATHBUS_DAEMON_SUBSCRIBER_H
#define PATHBUS_DAEMON_SUBSCRIBER_H

#include <stdint.h>

#include "wire.h"

struct client;
struct member;
struct relay;
struct subscriber;

/*
 * Makes a fresh member one: everything up to now, but the `last` messages, counts as seen. `flags`: WIRE_OPEN_ECHO,
 * WIRE_RIGHT_SUBSCRIBE and _POST as they were asked for: only with POST alone there are no events. 0, -ENOMEM, -errno.
 */
int subscriber_new(struct client *client, struct member *member, uint32_t flags, uint32_t last, uint64_t origin);
void subscriber_free(struct member *member); /* nothing, if it is none */

uint64_t subscriber_origin(const struct subscriber *subscriber);

/* 0, -EACCES (no right), and as ring_publish. */
int subscriber_post(struct subscriber *subscriber);
int subscriber_publish(struct subscriber *subscriber, const struct wire_publish *publish);
/* The program has dealt with all events up to this one. */
void subscriber_seen(struct subscriber *subscriber, uint64_t generation);

/* Its lane is being left: its connection ends, and whoever it is comes back and opens its topics anew. */
void subscriber_lose(struct subscriber *subscriber);

/* It has posted or published, and is going to be told so; see turns.h. */
void subscriber_deliver(struct subscriber *subscriber);

#endif
