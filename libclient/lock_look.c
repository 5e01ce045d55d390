/* SPDX-License-Identifier: MIT */
/*
 * lock_look.c - who holds a lock, since when, and who waits. Only reads: it makes no file, and keeps none.
 *
 * That somebody holds a lock, or a slot, is the kernel's word; who it is, their own. Who is not alive any more is
 * left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "lock_file.h"

enum {
	MAX_PARTIES = sizeof(((struct pathbus_lock_info *)0)->parties) / sizeof(struct pathbus_lock_party),
	N_TRIES = 100,
};

struct look {
	int file;
	unsigned n_slots;
	struct lock_slot *slots; /* as they were when the look began */
};

static int begin(pathbus_topic *topic, struct look *ret)
{
	size_t size = LOCK_FILE_N_SLOTS * sizeof(struct lock_slot);
	char name[KEY_NAME_MAX + 1];
	struct place place;
	ssize_t n;
	int r = lock_place(topic, &place);

	if (r < 0)
		return r;
	key_lock_name(&place.key, name);
	ret->file = os_open_beside(place.dir, name, place.key.name, false);
	place_deinit(&place);
	if (ret->file < 0)
		return ret->file;
	r = lock_file_check(ret->file);
	if (r < 0) {
		close(ret->file);
		return r;
	}
	ret->slots = malloc(size);
	n = ret->slots ? lock_file_read(ret->file, ret->slots, size, LOCK_FILE_SLOTS_AT) : -ENOMEM;
	if (n < 0) {
		free(ret->slots);
		close(ret->file);
		return (int)n;
	}
	ret->n_slots = (unsigned)((size_t)n / sizeof(struct lock_slot));
	return 0;
}

static void finish(struct look *look)
{
	free(look->slots);
	close(look->file);
}

static void add_party(struct pathbus_lock_info *info, const struct lock_party *party, bool waits, bool shared)
{
	struct pathbus_lock_party *to;

	info->n_holders += !waits;
	info->n_waiters += waits;
	if (info->n_parties == MAX_PARTIES)
		return;
	to = &info->parties[info->n_parties++];
	*to = (struct pathbus_lock_party){
		.pid = (pid_t)party->pid,
		.uid = (uid_t)party->uid,
		.since_ns = party->since_ns,
		.waits = waits,
		.shared = shared,
	};
	memcpy(to->command, party->command, sizeof(to->command) - 1);
}

static void add_slots(const struct look *look, uint64_t hash, uint32_t which, struct pathbus_lock_info *info)
{
	for (unsigned i = 0; i < look->n_slots; i++) {
		const struct lock_slot *slot = &look->slots[i];

		if (slot->hash == hash && (slot->flags & which) &&
		    os_lock_is_held(look->file, LOCK_FILE_SLOT + (off_t)i, 1) == 1)
			add_party(info, &slot->party, which == LOCK_SLOT_WAITS, (slot->flags & LOCK_SLOT_SHARED) != 0);
	}
}

static bool is_same_hold(const struct lock_name *a, const struct lock_name *b)
{
	return a->flags == b->flags && a->near_kept == b->near_kept && a->near_since == b->near_since &&
	       memcmp(&a->party, &b->party, sizeof(a->party)) == 0;
}

/* Has who keeps it near the lock? It has it without having its byte. */
static int is_held_near(const struct look *look, int number, const struct lock_name *record)
{
	if (!record->near_kept || !record->near_since)
		return 0;
	return os_lock_is_held(look->file, LOCK_FILE_NEAR + (off_t)number, 1);
}

/* *record is as it was read; is read again. Returns the kind of the lock while the record was that. */
static int look_at_bytes(const struct look *look, int number, uint64_t hash, struct lock_name *record, int *ret_near)
{
	off_t at = LOCK_FILE_NAMES_AT + (off_t)number * (off_t)sizeof(*record);
	int kind = 0;

	for (int i = 0; i < N_TRIES; i++) {
		struct lock_name before = *record;
		ssize_t n;

		kind = os_lock_look(look->file, (off_t)(LOCK_FILE_BYTE + (int64_t)hash), 1);
		*ret_near = is_held_near(look, number, &before);
		n = lock_file_read(look->file, record, sizeof(*record), at);
		if (kind < 0 || n < 0 || *ret_near < 0)
			return kind < 0 ? kind : n < 0 ? (int)n : *ret_near;
		/* Else it may have been given back in between, and what says HELD would pass for abandoned. */
		if (is_same_hold(&before, record))
			break;
	}
	return kind;
}

/* -ENOENT: nobody has it open, and nothing is remembered of it. `name` is the caller's, and stays. */
static int fill(const struct look *look, int number, struct lock_name record, const char *name, size_t size,
                struct pathbus_lock_info *ret)
{
	struct pathbus_lock_info info = { .size = sizeof(info), .name = name };
	uint64_t hash = lock_file_hash(name, size);
	int near = 0, kind = look_at_bytes(look, number, hash, &record, &near), used;

	if (kind < 0)
		return kind;
	if (!lock_name_is(&record, name, size))
		return -ENOENT;
	used = os_lock_is_held(look->file, LOCK_FILE_USE + (off_t)number, 1);
	if (used < 0)
		return used;
	info.abandoned = (record.flags & LOCK_NAME_ABANDONED) != 0 ||
	                 ((record.flags & LOCK_NAME_HELD) && kind != OS_LOCK_EXCLUSIVE) ||
	                 (record.near_kept && record.near_since && !near);
	if (!used && !info.abandoned)
		return -ENOENT;
	if (near) { /* who has the byte waits for it, and its slot says so */
		record.party.since_ns = record.near_since;
		record.flags |= LOCK_NAME_HELD;
		kind = OS_LOCK_EXCLUSIVE;
	}
	info.state = kind == OS_LOCK_EXCLUSIVE ? PATHBUS_LOCK_IS_EXCLUSIVE :
	             kind == OS_LOCK_SHARED    ? PATHBUS_LOCK_IS_SHARED :
	                                         PATHBUS_LOCK_FREE;
	if (kind == OS_LOCK_EXCLUSIVE) {
		static const struct lock_party unknown;

		/* It has just taken it, or its record has been torn out. */
		add_party(&info, record.flags & LOCK_NAME_HELD ? &record.party : &unknown, false, false);
	} else if (kind == OS_LOCK_SHARED) {
		add_slots(look, hash, LOCK_SLOT_HOLDS, &info);
		if (info.n_holders == 0)
			info.n_holders = 1;
	}
	add_slots(look, hash, LOCK_SLOT_WAITS, &info);
	*ret = info;
	return 0;
}

/* Calls `fn` for each record that is whole, until it returns something else than 0. */
static int each(const struct look *look, int (*fn)(const struct look *look, int number, const struct lock_name *record,
                                                   void *arg), void *arg)
{
	struct lock_name record;
	ssize_t n;
	int r = 0;

	for (int i = 0; i < LOCK_FILE_N_NAMES && r == 0; i++) {
		n = lock_file_read(look->file, &record, sizeof(record),
		                   LOCK_FILE_NAMES_AT + (off_t)i * (off_t)sizeof(record));
		if (n <= 0)
			return (int)n;
		if (lock_name_is(&record, NULL, 0))
			r = fn(look, i, &record, arg);
	}
	return r;
}

/* --- one ------------------------------------------------------------------------------------------------------ */

struct wanted {
	const char *name;
	size_t size;
	struct pathbus_lock_info *info;
};

static int take_wanted(const struct look *look, int number, const struct lock_name *record, void *arg)
{
	const struct wanted *wanted = arg;
	int r;

	if (!lock_name_is(record, wanted->name, wanted->size))
		return 0;
	r = fill(look, number, *record, wanted->name, wanted->size, wanted->info);
	return r == 0 ? 1 : r == -ENOENT ? 0 : r;
}

int pathbus_lock_get_info(pathbus_topic *topic, const char *name, struct pathbus_lock_info *ret)
{
	struct wanted wanted = { .name = name, .info = ret };
	struct look look;
	int r;

	if (!topic || !name || !ret || ret->size != sizeof(*ret) || name[0] == '\0')
		return -EINVAL;
	wanted.size = strlen(name);
	if (wanted.size > LOCK_NAME_MAX)
		return -ENAMETOOLONG;
	if (is_forked(topic->alive))
		return -ECHILD;
	r = begin(topic, &look);
	if (r < 0)
		return r;
	r = each(&look, take_wanted, &wanted);
	finish(&look);
	return r == 0 ? -ENOENT : r == 1 ? 0 : r;
}

/* --- all ------------------------------------------------------------------------------------------------------ */

struct listing {
	pathbus_lock_fn *fn;
	void *arg;
	struct pathbus_lock_info info;
};

static int take_any(const struct look *look, int number, const struct lock_name *record, void *arg)
{
	struct listing *listing = arg;
	char name[LOCK_NAME_MAX + 1] = { 0 };
	int r;

	memcpy(name, record->name, record->size);
	r = fill(look, number, *record, name, record->size, &listing->info);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	return listing->fn(&listing->info, listing->arg);
}

int pathbus_lock_list(pathbus_topic *topic, pathbus_lock_fn *fn, void *arg)
{
	struct listing listing = { .fn = fn, .arg = arg };
	struct look look;
	int r;

	if (!topic || !fn)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	r = begin(topic, &look);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	r = each(&look, take_any, &listing);
	finish(&look);
	return r;
}
