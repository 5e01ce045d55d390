/* SPDX-License-Identifier: MIT */
/*
 * region_read.c - the read bracket, waiting for versions, and what pathbus_next tells of them.
 *
 * Single: what was read while the sequence changed is torn. Double: a reader locks the frame that is shown (a read-only
 * descriptor can) and then looks whether it still is one that nobody writes; from then on a writer waits for it, unless it
 * was told to overtake, which the sequence shows: a frame is written again once the version is one more and the next one
 * has begun.
 */
#include <errno.h>
#include <sched.h>

#include "region_internal.h"

enum { PIN_TRIES = 1000 };

/* Has nobody begun to write the frame that was shown at the sequence `then`? */
static bool is_whole(const pathbus_region *region, uint64_t then, uint64_t now)
{
	return region->shape.n_frames == 2 ? now - (then & ~UINT64_C(1)) <= 2 : now == then;
}

static off_t frame_lock(uint64_t sequence)
{
	return REGION_LOCK_FRAME + (off_t)(region_version(sequence) & 1);
}

static int pin(pathbus_region *region, uint64_t *ret_sequence)
{
	for (int i = 0; i < PIN_TRIES; i++) {
		uint64_t sequence = region_sequence(region);
		int r = os_lock(region->file, OS_LOCK_SHARED, frame_lock(sequence), 1);

		if (r == 0 && is_whole(region, sequence, region_sequence(region))) {
			*ret_sequence = sequence;
			return 0;
		}
		if (r == 0)
			os_lock(region->file, OS_LOCK_NONE, frame_lock(sequence), 1);
		else if (r != -EAGAIN)
			return r;
		sched_yield(); /* a writer is about to write it: another is shown by now */
	}
	return -EAGAIN;
}

int pathbus_region_read_begin(pathbus_region *region, const void **ret_data, uint64_t *ret_version)
{
	bool is_double;
	uint64_t sequence = 0;
	int r = 0;

	if (!region || !ret_data)
		return -EINVAL;
	if (is_forked(region->attachment.topic->alive))
		return -ECHILD;
	if (region->reading)
		return -EALREADY;
	is_double = region->shape.n_frames == 2;
	if (is_double)
		r = pin(region, &sequence);
	else if ((sequence = region_sequence(region)) & 1)
		r = -EAGAIN;
	if (r < 0)
		return r;
	region->reading = true;
	region->read_sequence = sequence;
	*ret_data = region_frame(region, is_double ? (unsigned)region_version(sequence) & 1 : 0);
	if (ret_version)
		*ret_version = region_version(sequence);
	return 0;
}

int pathbus_region_read_end(pathbus_region *region)
{
	uint64_t now;

	if (!region)
		return -EINVAL;
	if (is_forked(region->attachment.topic->alive))
		return -ECHILD;
	if (!region->reading)
		return -EINVAL;
	region->reading = false;
	/* Partner: the fence in pathbus_region_begin. What was read comes before this look. */
	atomic_thread_fence(memory_order_acquire);
	now = atomic_load_explicit(&region->header->sequence, memory_order_relaxed);
	if (region->shape.n_frames == 2)
		os_lock(region->file, OS_LOCK_NONE, frame_lock(region->read_sequence), 1);
	return is_whole(region, region->read_sequence, now) ? 0 : -EAGAIN;
}

/* --- what is new ------------------------------------------------------------------------------------------ */

static bool is_newer(uint64_t version, uint64_t than)
{
	return version != than && version - than < UINT64_MAX / 2;
}

int pathbus_region_wait(pathbus_region *region, uint64_t *version, uint64_t deadline_ns, unsigned spin_us)
{
	pathbus_topic *topic;

	if (!region || !version)
		return -EINVAL;
	topic = region->attachment.topic;
	if (is_forked(topic->alive))
		return -ECHILD;
	for (;;) {
		uint64_t now;
		int r;

		/* First the cursor, then the look: what is published afterwards is later than the cursor. */
		r = pathbus_check(topic, &region->seen);
		if (r < 0)
			return r;
		now = region_version(region_sequence(region));
		if (is_newer(now, *version)) {
			*version = now;
			return 1;
		}
		if (region_is_replaced(region))
			return -ESTALE;
		r = pathbus_wait(topic, &region->seen, deadline_ns, spin_us);
		if (r < 0)
			return r;
		if (r == 0 && !is_newer(region_version(region_sequence(region)), *version))
			return 0;
	}
}

/* Asked at each look at the topic: a file is looked at only when something has been posted. */
static bool seems_replaced(pathbus_region *region, uint64_t generation)
{
	if (region->place == PATHBUS_PEER && region->looked != generation) {
		region->looked = generation;
		return region_is_replaced(region);
	}
	return region->lost_name || atomic_load_explicit(&region->header->replaced, memory_order_relaxed);
}

/* Whoever has been replaced does not keep the name in use. */
static void note_replaced(pathbus_region *region)
{
	if (region->place == PATHBUS_BUS)
		anchor_leave(&region->anchor);
}

bool region_take_event(struct attachment *attachment, uint64_t generation, struct pathbus_event *event)
{
	pathbus_region *region = (pathbus_region *)attachment;
	uint64_t version = region_version(region_sequence(region)), told = region->told;

	if (version != told) {
		region->told = version;
		if (is_newer(version, told)) {
			event->kind = PATHBUS_EVENT_REGION;
			event->region = region;
			event->version = version;
			event->count = version - told;
			return true;
		}
	}
	if (seems_replaced(region, generation)) {
		note_replaced(region);
		if (!region->replaced_told) {
			region->replaced_told = true;
			event->kind = PATHBUS_EVENT_REGION_REPLACED;
			event->region = region;
			return true;
		}
	}
	return false;
}
