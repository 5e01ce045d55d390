/* SPDX-License-Identifier: MIT */
/*
 * world.h - what the processes of the chaos test share, and the claim they make about it.
 *
 * The files are numbers here. A commit raises a file's `truth`; a post that returns 0 makes it `returned`. A
 * subscriber that hears of a file looks at it: it copies the truth. Claim, at each quiet point: every live
 * subscriber has looked, since then, at what every other process had committed and posted.
 */
#ifndef PATHBUS_TESTS_CHAOS_WORLD_H
#define PATHBUS_TESTS_CHAOS_WORLD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { N_MEMBERS = 8, N_FILES = 4 };

enum phase { PHASE_BUSY, PHASE_QUIET, PHASE_END };

struct seat {
	_Atomic uint64_t returned[N_FILES]; /* the highest commit whose post returned, of all who sat here */
	_Atomic uint64_t look[N_FILES];     /* what the one who sits here now has seen */
	_Atomic uint64_t posts, failed, events, resyncs;
	_Atomic bool joined;                /* has opened everything */
	_Atomic bool quiet;                 /* has stopped posting */
};

struct world {
	_Atomic uint64_t truth[N_FILES];
	_Atomic int phase;
	const char *files[N_FILES];
	const char *address;                /* of the daemon */
	const char *nowhere;                /* an address without one */
	bool has_daemon;
	bool is_mixed;                      /* odd members do not reach the daemon */
	struct seat seats[N_MEMBERS];
};

struct world *world_new(void);
struct world *world_free(struct world *world);

/* The first member that has not seen what it should have; -1: none. */
int world_first_miss(const struct world *world, int *ret_file, int *ret_poster);

/* member.c: what a process does until it is killed or the phase is PHASE_END. */
int member_run(struct world *world, int me, unsigned seed);

#endif
