/* SPDX-License-Identifier: MIT */
/*
 * lock_file.c - coming to the file, its records, and going.
 *
 * Coming: the file is opened, a shared lock taken on LOCK_FILE_MEMBER, and then the folder must still have this file under
 * its name, else all over again. Going: the shared lock is dropped, then the exclusive one tried (two who changed theirs at
 * once would both fail); who gets it is alone, and removes the name before it lets go. So nobody works on a file that others
 * do not find. What is removed, or moved away, by hand under living handles is noticed when a lock has been taken.
 *
 * A lock that is held alone: first its byte is taken, then its record says HELD. Before the byte is given back the
 * record says that it is free. So who takes the byte and finds HELD knows that the last holder died with it. Who dies
 * before it has said HELD has not been told that it has the lock.
 */
#include "lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "hash.h"

enum { JOIN_NS = 500000000, CHUNK = 8 };

void (*lock_seam)(enum lock_step step);

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * 1000000 }, NULL);
}

static void close_if_open(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

uint64_t lock_file_wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/* --- reading and writing ------------------------------------------------------------------------------------- */

ssize_t lock_file_read(int file, void *to, size_t size, off_t at)
{
	ssize_t n;

	do
		n = pread(file, to, size, at);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	memset((char *)to + n, 0, size - (size_t)n);
	return n;
}

int lock_file_write(int file, const void *from, size_t size, off_t at)
{
	ssize_t n;

	do
		n = pwrite(file, from, size, at);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : (size_t)n < size ? -ENOSPC : 0;
}

uint64_t lock_file_hash(const char *lock, size_t size)
{
	return hash_number(lock, size) & ((UINT64_C(1) << 62) - 1);
}

bool lock_name_is(const struct lock_name *record, const char *lock, size_t size)
{
	uint32_t there = record->size;

	if (there == 0 || there > LOCK_NAME_MAX || memchr(record->name, '\0', there))
		return false;
	return !lock || (there == size && memcmp(record->name, lock, size) == 0);
}

bool lock_name_is_marked(const struct lock_name *record)
{
	return (record->flags & (LOCK_NAME_HELD | LOCK_NAME_ABANDONED)) || (record->near_kept && record->near_since);
}

static off_t record_at(int record)
{
	return LOCK_FILE_NAMES_AT + (off_t)record * (off_t)sizeof(struct lock_name);
}

static off_t byte_of(const struct lock_file *file)
{
	return (off_t)(LOCK_FILE_BYTE + (int64_t)file->hash);
}

/* What comes before the name; and so long as the name is there, all that changes. */
static int write_state(const struct lock_file *file, uint32_t flags, const struct lock_party *party)
{
	struct lock_name record = { .size = file->lock_size, .flags = flags };

	if (party)
		record.party = *party;
	/* Without a party: who had it last stays. */
	return lock_file_write(file->file, &record,
	                       party ? offsetof(struct lock_name, near_since) : offsetof(struct lock_name, party),
	                       record_at(file->record));
}

/* --- names' records ------------------------------------------------------------------------------------------- */

static int lock_table(int file)
{
	uint64_t deadline = os_now_ns() + JOIN_NS;
	int r;

	for (;;) {
		r = os_lock(file, OS_LOCK_EXCLUSIVE, LOCK_FILE_TABLE, 1);
		if (r != -EAGAIN || os_now_ns() >= deadline)
			return r == -EAGAIN ? -EBUSY : r;
		pause_ms(1);
	}
}

static bool is_spare(int file, const struct lock_name *record, int number)
{
	if (lock_name_is(record, NULL, 0) && lock_name_is_marked(record))
		return false;
	return os_lock(file, OS_LOCK_EXCLUSIVE, LOCK_FILE_USE + number, 1) == 0;
}

/* Returns the lock's record; -ENOENT, and *ret_spare: one that nobody needs, locked, or -1. */
static int search(const struct lock_file *file, int *ret_spare)
{
	struct lock_name records[CHUNK];

	for (int first = 0; first < LOCK_FILE_N_NAMES; first += CHUNK) {
		ssize_t n = lock_file_read(file->file, records, sizeof(records), record_at(first));

		if (n < 0)
			return (int)n;
		for (int i = 0; i < CHUNK; i++) {
			if (lock_name_is(&records[i], file->lock, file->lock_size))
				return first + i;
			if (*ret_spare < 0 && is_spare(file->file, &records[i], first + i))
				*ret_spare = first + i;
		}
		if (n == 0 && *ret_spare >= 0)
			break;
	}
	return -ENOENT;
}

static int write_name(const struct lock_file *file, int number)
{
	struct lock_name record = { .size = file->lock_size };

	memcpy(record.name, file->lock, file->lock_size);
	return lock_file_write(file->file, &record, sizeof(record), record_at(number));
}

/* With the table: finds the lock's record, or makes it one. */
static int take_record(struct lock_file *file)
{
	int spare = -1, r = search(file, &spare);

	if (r == -ENOENT && spare >= 0) {
		r = write_name(file, spare);
		lock_file_step(LOCK_STEP_NAMED);
		if (r == 0)
			r = spare;
	} else if (r == -ENOENT) {
		r = -EUSERS;
	}
	if (spare >= 0 && r != spare)
		os_lock(file->file, OS_LOCK_NONE, LOCK_FILE_USE + spare, 1);
	if (r < 0)
		return r;
	file->record = r;
	r = os_lock(file->file, OS_LOCK_SHARED, LOCK_FILE_USE + file->record, 1);
	return r == -EAGAIN ? -EBUSY : r;
}

int lock_file_check(int file)
{
	static const char nothing[sizeof(LOCK_FILE_MAGIC)];
	char there[sizeof(LOCK_FILE_MAGIC)];
	size_t left = 0;
	ssize_t n = lock_file_read(file, there, sizeof(there), 0);

	if (n < 0 || memcmp(there, LOCK_FILE_MAGIC, sizeof(there)) == 0)
		return n < 0 ? (int)n : 0;
	while (there[left] != '\0' && there[left] == LOCK_FILE_MAGIC[left])
		left++;
	return memcmp(there + left, nothing, sizeof(there) - left) == 0 ? 1 : -EEXIST;
}

/* The first time, and when the record turns out to be missing, or another's. */
static int find_record(struct lock_file *file)
{
	uint32_t mapped;
	int r;

	near_unmap(file);
	if (file->record >= 0)
		os_lock(file->file, OS_LOCK_NONE, LOCK_FILE_USE + file->record, 1);
	file->record = -1;
	r = lock_table(file->file);
	if (r < 0)
		return r;
	lock_file_step(LOCK_STEP_TABLE);
	r = lock_file_check(file->file);
	if (r == 1)
		r = lock_file_write(file->file, LOCK_FILE_MAGIC, sizeof(LOCK_FILE_MAGIC), 0);
	/* It may have been made when others could write the topic's file; and its owner alone can change that. */
	if (r == 0 && lock_file_read(file->file, &mapped, sizeof(mapped), LOCK_FILE_MAPPED_AT) >= 0 && mapped == 0)
		(void)os_share_beside(file->file, file->dir, file->beside);
	if (r == 0)
		r = take_record(file);
	if (r < 0)
		file->record = -1;
	os_lock(file->file, OS_LOCK_NONE, LOCK_FILE_TABLE, 1);
	return r;
}

/* --- coming --------------------------------------------------------------------------------------------------- */

static int prepare(int file, void *arg)
{
	int r = os_lock(file, OS_LOCK_SHARED, LOCK_FILE_MEMBER, 1);

	(void)arg;
	if (r == 0)
		r = lock_file_write(file, LOCK_FILE_MAGIC, sizeof(LOCK_FILE_MAGIC), 0);
	lock_file_step(LOCK_STEP_PREPARED);
	return r;
}

int lock_file_find(const struct lock_file *file)
{
	struct stat there, mine;

	if (fstat(file->file, &mine) < 0)
		return -errno;
	if (mine.st_nlink == 0)
		return 0;
	if (fstatat(file->dir, file->name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	return there.st_dev == mine.st_dev && there.st_ino == mine.st_ino;
}

static bool path_is(const struct lock_file *file)
{
	return lock_file_find(file) == 1;
}

/* One try. -EAGAIN: somebody is coming or going. */
static int join_once(struct lock_file *file)
{
	int r;

	file->file = os_open_beside(file->dir, file->name, file->beside, true);
	if (file->file == -ENOENT) {
		file->file = os_make_beside(file->dir, file->name, file->beside, prepare, NULL);
		lock_file_step(LOCK_STEP_MADE);
		if (file->file == -EEXIST)
			return -EAGAIN;
	}
	if (file->file < 0)
		return file->file;
	lock_file_step(LOCK_STEP_OPENED);
	r = os_lock(file->file, OS_LOCK_SHARED, LOCK_FILE_MEMBER, 1);
	if (r == 0 && !path_is(file))
		r = -EAGAIN;
	return r;
}

/* --- going ---------------------------------------------------------------------------------------------------- */

/* Is there a lock that its last holder has died with? Nobody else is here, so what is held is not. */
static bool remembers(const struct lock_file *file)
{
	struct lock_name records[CHUNK];

	for (int first = 0; first < LOCK_FILE_N_NAMES; first += CHUNK) {
		ssize_t n = lock_file_read(file->file, records, sizeof(records), record_at(first));

		if (n <= 0)
			return n < 0;
		for (int i = 0; i < CHUNK; i++)
			if (lock_name_is(&records[i], NULL, 0) && lock_name_is_marked(&records[i]))
				return true;
	}
	return false;
}

static void leave(struct lock_file *file)
{
	if (file->file < 0)
		return;
	near_drop(file);
	near_unmap(file);
	os_lock(file->file, OS_LOCK_NONE, LOCK_FILE_MEMBER, 1);
	lock_file_step(LOCK_STEP_LEFT);
	if (os_lock(file->file, OS_LOCK_EXCLUSIVE, LOCK_FILE_MEMBER, 1) == 0) {
		lock_file_step(LOCK_STEP_ALONE);
		if (!remembers(file) && path_is(file))
			unlinkat(file->dir, file->name, 0); /* refused to who is not its owner in a sticky folder: it stays */
		lock_file_step(LOCK_STEP_REMOVED);
	}
	file->waits = false;
	os_lock(file->file, OS_LOCK_NONE, 0, 0); /* all: a forked child may have a copy of the descriptor */
	close_if_open(&file->file);
}

void lock_file_leave(struct lock_file *file)
{
	leave(file);
	lock_file_drop(file);
}

void lock_file_drop(struct lock_file *file)
{
	near_unmap(file);
	close_if_open(&file->file);
	close_if_open(&file->dir);
}

/* --- coming, to its end --------------------------------------------------------------------------------------- */

int lock_file_join(struct lock_file *file)
{
	uint64_t deadline = os_now_ns() + JOIN_NS;
	int r;

	for (int i = 0;; i++) {
		r = join_once(file);
		if (r == 0)
			break;
		close_if_open(&file->file);
		if (r != -EAGAIN || os_now_ns() >= deadline)
			return r == -EAGAIN ? -EBUSY : r;
		if (i > 2)
			pause_ms(1);
	}
	lock_file_step(LOCK_STEP_JOINED);
	file->record = file->slot = -1;
	r = lock_file_check(file->file);
	if (r >= 0)
		r = find_record(file);
	if (r == -EEXIST)
		close_if_open(&file->file); /* nothing of ours */
	else if (r < 0)
		leave(file);
	return r < 0 ? r : 0;
}

int lock_file_open(const struct place *place, const char *lock, struct lock_file *ret)
{
	struct lock_file file = LOCK_FILE_NONE;
	uid_t uid;
	int r;

	if (!place->may_write)
		return -EACCES;
	file.lock_size = (uint32_t)strlen(lock);
	memcpy(file.lock, lock, file.lock_size);
	file.hash = lock_file_hash(lock, file.lock_size);
	memcpy(file.beside, place->key.name, sizeof(file.beside));
	key_lock_name(&place->key, file.name);
	file.me.pid = (uint32_t)getpid();
	file.me.uid = (uint32_t)geteuid();
	(void)os_process_name(getpid(), &uid, file.me.command, sizeof(file.me.command));
	file.dir = fcntl(place->dir, F_DUPFD_CLOEXEC, 0);
	if (file.dir < 0)
		return -errno;
	r = lock_file_join(&file);
	if (r < 0) {
		lock_file_drop(&file);
		return r;
	}
	*ret = file;
	return 0;
}

/* --- slots: who waits, and who holds a lock shared ------------------------------------------------------------ */

static void write_slot(struct lock_file *file, uint32_t flags)
{
	struct lock_slot slot = { .hash = file->hash, .flags = flags, .party = file->me };

	slot.party.since_ns = lock_file_wall_ns();
	for (int i = 0; file->slot < 0 && i < LOCK_FILE_N_SLOTS; i++)
		if (os_lock(file->file, OS_LOCK_EXCLUSIVE, LOCK_FILE_SLOT + i, 1) == 0)
			file->slot = i;
	if (file->slot >= 0) /* without a place it is not seen, no more */
		(void)lock_file_write(file->file, &slot, sizeof(slot),
		                      LOCK_FILE_SLOTS_AT + (off_t)file->slot * (off_t)sizeof(slot));
	file->waits = (flags & LOCK_SLOT_WAITS) != 0;
}

void lock_file_wait_begins(struct lock_file *file, bool shared)
{
	write_slot(file, LOCK_SLOT_WAITS | (shared ? LOCK_SLOT_SHARED : 0u));
}

void lock_file_wait_ends(struct lock_file *file)
{
	if (file->waits)
		write_slot(file, 0);
}

/* --- taking and giving back ----------------------------------------------------------------------------------- */

/* The record of the name as it is; found anew, or made, where it has gone. */
static int read_record(struct lock_file *file, struct lock_name *ret)
{
	for (int tries = 0; tries < 3; tries++) {
		ssize_t n = file->record < 0 ? 0 : lock_file_read(file->file, ret, sizeof(*ret), record_at(file->record));
		int r;

		if (n < 0)
			return (int)n;
		if (file->record >= 0 && lock_name_is(ret, file->lock, file->lock_size))
			return 0;
		r = find_record(file);
		if (r < 0)
			return r;
	}
	return -EIO; /* somebody removes it as fast as we write it */
}

/* What the record says of the last holder. Among those who share the lock another may be changing it: it writes down that
 * somebody has died before it says that nobody keeps the lock near, which we have looked at already. */
static int look_at_flags(struct lock_file *file, enum os_lock kind, struct lock_name *record)
{
	struct lock_name again;

	if (kind == OS_LOCK_SHARED) {
		if (lock_file_read(file->file, &again, sizeof(again), record_at(file->record)) < 0)
			return -EIO;
		if (lock_name_is(&again, file->lock, file->lock_size))
			record->flags = again.flags;
	}
	return (record->flags & (LOCK_NAME_HELD | LOCK_NAME_ABANDONED)) != 0;
}

/* With the lock's byte. */
static int note(struct lock_file *file, enum os_lock kind, bool wait)
{
	struct lock_name record;
	int r, died;

	if (lock_file_find(file) == 0) /* who may not look into the folder any more goes on */
		return -ESTALE;
	r = read_record(file, &record);
	if (r < 0)
		return r;
	died = near_settle(file, &record, wait);
	r = died < 0 ? died : look_at_flags(file, kind, &record);
	if (r < 0)
		return r;
	file->abandoned = r || died;
	r = 0;
	if (kind == OS_LOCK_SHARED) {
		if (died)
			r = write_state(file, LOCK_NAME_ABANDONED, NULL);
		write_slot(file, LOCK_SLOT_HOLDS | LOCK_SLOT_SHARED);
	} else {
		lock_file_wait_ends(file);
		file->me.since_ns = lock_file_wall_ns();
		r = write_state(file, LOCK_NAME_HELD | (file->abandoned ? LOCK_NAME_ABANDONED : 0u), &file->me);
	}
	if (r == 0 && record.near_kept) {
		r = near_forget(file);
		file->n_undisturbed = 0;
	}
	return r < 0 ? r : file->abandoned;
}

int lock_file_take(struct lock_file *file, enum os_lock kind, bool wait)
{
	int r;

	if (file->kept) {
		if (kind == OS_LOCK_EXCLUSIVE && near_take(file))
			return 0;
		near_drop(file);
	}
	r = wait ? os_lock_wait(file->file, kind, byte_of(file), 1) : os_lock(file->file, kind, byte_of(file), 1);
	if (r < 0) {
		file->n_undisturbed = 0;
		return r;
	}
	lock_file_step(LOCK_STEP_TAKEN);
	r = note(file, kind, wait);
	lock_file_step(LOCK_STEP_NOTED);
	if (r >= 0)
		return r;
	if (r == -ESTALE)
		leave(file);
	else
		os_lock(file->file, OS_LOCK_NONE, byte_of(file), 1);
	return r;
}

int lock_file_mend(struct lock_file *file)
{
	int r = write_state(file, LOCK_NAME_HELD, NULL);

	if (r == 0)
		file->abandoned = false;
	return r;
}

int lock_file_give_back(struct lock_file *file, enum os_lock kind, bool near)
{
	int r = 0;

	if (file->near_held) {
		near_give(file);
		return 0;
	}
	if (kind == OS_LOCK_SHARED) {
		write_slot(file, 0);
	} else {
		if (near && !file->abandoned)
			near_keep(file);
		r = write_state(file, file->abandoned ? LOCK_NAME_ABANDONED : 0u, NULL);
	}
	lock_file_step(LOCK_STEP_FREED);
	os_lock(file->file, OS_LOCK_NONE, byte_of(file), 1);
	lock_file_step(LOCK_STEP_GIVEN);
	return r;
}
