/* SPDX-License-Identifier: MIT */
/*
 * regions.h - named memory under topics: who holds which, and how much there may be. Knows no sockets and no event loop.
 *
 * A region belongs to a topic and lives while it has holders; a holder belongs to a member and goes with it. The daemon
 * keeps one descriptor of each region and maps none but its own new ones, which nobody can make smaller.
 */
#ifndef PATHBUS_DAEMON_REGIONS_H
#define PATHBUS_DAEMON_REGIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "region.h"

struct member;
struct topic;
struct regions;
struct user;

struct region {
	struct regions *regions;
	struct topic *topic;
	struct region *next, **at; /* among the topic's; in the order of their numbers */
	uint64_t number;           /* this daemon's how-manieth */
	int fd;
	uint8_t id[REGION_ID_SIZE];
	struct region_shape shape;
	unsigned flags;            /* REGION_MADE_WITH */
	enum region_pages pages;
	bool replaced;             /* another has its name; who holds it keeps it */
	struct user *user;         /* who made it, or brought it back: it is charged to whom it is, as long as it lives */
	struct region_holder *holders;
	unsigned n_holders;
	uint32_t name_size;
	char name[REGION_MAX_NAME + 1];
};

struct region_holder {
	struct region *region;
	struct member *member;
	struct region_holder *next, **at;               /* among the region's */
	struct region_holder *member_next, **member_at; /* among the member's */
	uint32_t id;                                    /* no other living one has it */
	uint32_t restore;                               /* the request that brought it back; 0: none */
	bool writes;
};

struct regions *regions_new(void); /* NULL: no memory */
struct regions *regions_free(struct regions *regions); /* the topics have been freed */

/* The one that has this name now. */
struct region *region_find(const struct topic *topic, const char *name, size_t size);
/* The first one with a name whose number is larger; NULL: none. */
struct region *region_after(const struct topic *topic, uint64_t number);

struct region_wish {
	const char *name;
	size_t name_size;
	uint64_t data_size;
	unsigned flags;
};
/*
 * A new one of this user's, under a name that is free. `key`: its topic's, for the memory's name. 0; -EINVAL (that size), -EDQUOT
 * (*ret_limit says which limit), -EMFILE, -ENOMEM...
 */
int region_make(struct regions *regions, struct user *user, struct topic *topic, const struct topic_key *key, const struct region_wish *wish,
                struct region **ret, const char **ret_limit);
/* One that holders have kept: takes `fd` over on success. `shape` was compared with the memory by region_is. */
int region_adopt(struct regions *regions, struct user *user, struct topic *topic, const struct region_wish *wish, const uint8_t *id,
                 enum region_pages pages, const struct region_shape *shape, int fd, struct region **ret,
                 const char **ret_limit);
/* Is the memory sealed, and as large as that? */
bool region_is(int fd, const struct region_shape *shape);
/* Has another memory been given its name? As far as its holders leave that readable. */
bool region_was_replaced(int fd);
/* Another is to have its name: its holders keep it, and will be told. Without holders it is freed. */
void region_set_replaced(struct region *region);
uint64_t region_version_now(const struct region *region);
/* Nobody has come to hold it. */
void region_free_unheld(struct region *region);

/* Adds a holder. -EMFILE: the member has as many as it may; -EDQUOT: its user has; -ENFILE: all together have; -ENOMEM. */
int region_hold(struct region *region, struct member *member, bool writes, struct region_holder **ret);
struct region_holder *region_holder_find(const struct member *member, uint32_t id);
struct region_holder *region_holder_find_restored(const struct member *member, uint32_t restore);
/* Frees it, and with the last one the region. */
void region_release(struct region_holder *holder);
/* All of a member's. */
void regions_leave(struct member *member);

#endif
