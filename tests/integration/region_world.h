/* SPDX-License-Identifier: MIT */
/* region_world.h - a daemon that comes and goes, handles that take what there is, and regions with known bytes in them. */
#ifndef PATHBUS_TESTS_REGION_WORLD_H
#define PATHBUS_TESTS_REGION_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "conformance/transports.h"

enum { REGION_BYTES = 20000 };

extern struct harness_daemon world_daemon;

/* A runtime folder and a folder `files` of the case's own; with `serves` a daemon. */
void world_begin(bool serves);
void world_end(void); /* for a suite's teardown */

/* A handle and its topic, "files/data", of this kind. */
struct world_member {
	pathbus *bus;
	pathbus_topic *topic;
};
struct world_member world_join(enum pathbus_transport_kind kind, unsigned timeout_ms);
void world_leave(struct world_member *member);
/* Lets it do what is due, and takes what there is. Returns how many events were of this kind. */
unsigned world_pump(struct world_member *member, enum pathbus_event_kind kind);
/* Until it is on such a channel, taking what there is. */
void world_await_place(struct world_member *member, enum pathbus_transport_kind kind);

pathbus_region *world_create(struct world_member *member, const char *name, unsigned flags);
/* 0 or -errno; what is opened or made is closed again. */
int world_try_open(struct world_member *member, const char *name);
int world_try_create(struct world_member *member, const char *name);
void world_publish(pathbus_region *region, int byte);
/* It shows frames of this byte, and of that version. */
void world_expect(pathbus_region *region, int byte, uint64_t version);
struct pathbus_region_info world_info(const pathbus_region *region);
/* Files of regions in the runtime folder. */
int world_region_files(void);

#endif
