/* SPDX-License-Identifier: MIT */
/*
 * region_write.c - the write bracket: one writer at a time, whose death frees it.
 *
 * Each handle that writes has a random number, and holds an exclusive lock in the memory at that number for as long as
 * it is open. Who has its number in `claim` is within its bracket. Who finds another's number there looks whether its lock
 * is still held: the number of a dead one is exchanged for one's own. So an uncontended bracket is one compare-and-swap,
 * and no system call.
 *
 * Double: the frame that is not shown is written. A reader that is still in it, since before the last version, holds a shared
 * lock on it, and is waited for.
 */
#include <errno.h>
#include <sched.h>
#include <time.h>

#include "region_internal.h"

enum { MOST_DEAD = 1000, YIELDS = 16, FIRST_PAUSE_NS = 1000000, LAST_PAUSE_NS = 20000000 };

struct patience {
	uint64_t deadline_ns, pause_ns;
	unsigned tries;
};

/* Sleeps until it is time to look again. False: the deadline has come. */
static bool look_again(struct patience *patience)
{
	uint64_t now = os_now_ns(), pause = patience->pause_ns;

	if (now >= patience->deadline_ns)
		return false;
	if (patience->tries++ < YIELDS) {
		sched_yield();
		return true;
	}
	if (pause > patience->deadline_ns - now)
		pause = patience->deadline_ns - now;
	nanosleep(&(struct timespec){ .tv_nsec = (long)pause }, NULL);
	if (patience->pause_ns < LAST_PAUSE_NS)
		patience->pause_ns = 2 * pause < LAST_PAUSE_NS ? 2 * pause : LAST_PAUSE_NS;
	return true;
}

/* --- one writer at a time ------------------------------------------------------------------------------- */

static int take_number(pathbus_region *region)
{
	uint64_t number;
	int r = -EAGAIN;

	for (int i = 0; i < 8 && r == -EAGAIN; i++) {
		os_random(&number, sizeof(number));
		number &= REGION_CLAIM_MASK;
		if (number != 0)
			r = os_lock(region->file, OS_LOCK_EXCLUSIVE, REGION_LOCK_CLAIM + (off_t)number, 1);
	}
	if (r == 0)
		region->claim = number;
	return r == -EAGAIN ? -EBUSY : r;
}

/* Who has this number: does it live? Numbers that nobody can have are nobody's. */
static bool lives(const pathbus_region *region, uint64_t number)
{
	return number <= REGION_CLAIM_MASK && os_lock_is_exclusive(region->file, REGION_LOCK_CLAIM + (off_t)number, 1) > 0;
}

static int take_claim(pathbus_region *region, struct patience *patience)
{
	_Atomic uint64_t *claim = &region->header->claim;
	uint64_t found = 0;

	for (unsigned dead = 0;;) {
		/* Partner: who gave it back, or died: what it wrote is seen. */
		if (atomic_compare_exchange_strong(claim, &found, region->claim))
			return 0;
		if (found != 0 && !lives(region, found)) {
			if (dead++ >= MOST_DEAD)
				return -EBUSY; /* somebody writes there who is no writer */
			continue; /* exchanges that very number */
		}
		if (found != 0 && !look_again(patience))
			return -EBUSY;
		found = 0;
	}
}

static void give_claim_back(pathbus_region *region)
{
	uint64_t mine = region->claim;

	atomic_compare_exchange_strong(&region->header->claim, &mine, 0);
}

/* --- the bracket ---------------------------------------------------------------------------------------- */

/* Waits for readers that are still in the frame that is not shown. */
static int clear_frame(pathbus_region *region, unsigned frame, unsigned flags, struct patience *patience)
{
	int r;

	/* One's own lock there keeps nobody out but others. */
	if (region->reading && (region_version(region->read_sequence) & 1) == frame && !(flags & PATHBUS_REGION_OVERTAKE))
		return -EBUSY;
	while ((r = os_lock(region->file, OS_LOCK_EXCLUSIVE, REGION_LOCK_FRAME + (off_t)frame, 1)) == -EAGAIN)
		if (!look_again(patience))
			return flags & PATHBUS_REGION_OVERTAKE ? 0 : -EBUSY;
	return r;
}

int pathbus_region_begin(pathbus_region *region, unsigned flags, uint64_t deadline_ns, void **ret_data)
{
	struct patience patience = { .deadline_ns = deadline_ns, .pause_ns = FIRST_PAUSE_NS };
	unsigned frame = 0;
	uint64_t sequence;
	int r;

	if (!region || !ret_data || (flags & ~PATHBUS_REGION_OVERTAKE))
		return -EINVAL;
	if (is_forked(region->attachment.topic->alive))
		return -ECHILD;
	if (!region->writable)
		return -EACCES;
	if (region->writing)
		return -EALREADY;
	r = region->claim ? 0 : take_number(region);
	if (r == 0)
		r = take_claim(region, &patience);
	if (r < 0)
		return r;
	/* Odd: who wrote last has died in between. Its half is written over. */
	sequence = atomic_load(&region->header->sequence) | 1;
	if (region->shape.n_frames == 2) {
		frame = (unsigned)(region_version(sequence) + 1) & 1;
		r = clear_frame(region, frame, flags, &patience);
		if (r < 0) {
			give_claim_back(region);
			return r;
		}
	}
	region->write_sequence = sequence;
	atomic_store_explicit(&region->header->sequence, sequence, memory_order_relaxed);
	/* Partner: the fence in pathbus_region_read_end. Who has read anything that is written from here on finds the
	 * sequence changed. */
	atomic_thread_fence(memory_order_release);
	if (region->shape.n_frames == 2) /* who comes to it from now on finds that it is being written */
		os_lock(region->file, OS_LOCK_NONE, REGION_LOCK_FRAME + (off_t)frame, 1);
	region->writing = true;
	*ret_data = region_frame(region, frame);
	return 0;
}

int pathbus_region_end(pathbus_region *region)
{
	uint64_t version;

	if (!region)
		return -EINVAL;
	if (is_forked(region->attachment.topic->alive))
		return -ECHILD;
	if (!region->writing)
		return -EINVAL;
	region->writing = false;
	/* Partner: region_sequence, and the CAS of the next writer. What was written is seen with it. */
	atomic_store_explicit(&region->header->sequence, region->write_sequence + 1, memory_order_release);
	version = region_version(region->write_sequence + 1);
	if (region->told + 1 == version)
		region->told = version; /* one's own is no news */
	give_claim_back(region);
	return pathbus_post(region->attachment.topic);
}
