/* SPDX-License-Identifier: MIT */
/* ways.h - the ways to pass a turn to another process and to sleep until it comes back. */
#ifndef PATHBUS_BENCH_WAYS_H
#define PATHBUS_BENCH_WAYS_H

#include <pthread.h>
#include <stdatomic.h>

#include "bench.h"

enum { N_WAYS = 6, N_MESSAGE_WAYS = 4, N_REGION_WAYS = 8 };

/* What the two sides of the ways without a topic share. */
struct turns {
	_Alignas(64) _Atomic uint32_t turn;
	_Alignas(64) pthread_mutex_t mutex;
	pthread_cond_t condition;
	uint32_t guarded_turn;
};

struct side;

struct way {
	const char *name;
	enum pathbus_transport_kind transport; /* PATHBUS_AUTO: none, and no topic */
	/* `n` times: passes the turn and sleeps until it is back; the one who is not first sleeps first. */
	void (*play)(struct side *side, unsigned n);
	const char *reference; /* NULL: it is one */
	enum limit limit_of;
	double limit;
};

struct side {
	const struct way *way;
	const struct settings *settings;
	struct turns *turns;
	unsigned number; /* of the topic */
	bool first;
	pathbus *bus;
	pathbus_topic *topic;
	uint64_t seen;
	pathbus_region *region; /* both have the same one */
	uint64_t version;
};

/* A way's reference is the last one before it that has none itself. */
extern const struct way ways[N_WAYS], message_ways[N_MESSAGE_WAYS], region_ways[N_REGION_WAYS];

struct turns *turns_new(void); /* shared with the children that are forked afterwards */
void side_open(struct side *side);
void side_close(struct side *side);

#endif
