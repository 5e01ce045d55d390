/* SPDX-License-Identifier: MIT */
/*
 * anchor.c - made, joined, replaced, left: as a sidecar is (sidecar.c), with one file instead of a folder.
 *
 * Made without a name, filled, locked, and then linked to its name without replacing anything, so that what stands there is
 * always whole and held. Each holder has a shared lock on byte REGION_LOCK_MEMBER. Who comes tries the exclusive lock
 * first: whoever gets it has found what a crash left behind, and removes it. Otherwise the shared one, and then the name must
 * still be this inode's, else all over again. Who leaves drops its lock and tries the exclusive one: the last one out
 * removes the file.
 *
 * To be replaced it is renamed over, by a holder who has the exclusive lock on REGION_LOCK_REPLACE and has found that the
 * name is still this inode's: nobody else can rename it over then, and nobody can remove it, since it is held. The new one has
 * a second name for that moment; one of those that a crash has left is removed by who comes next.
 */
#include "anchor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"
#include "region.h"

enum { QUICK_TRIES = 3 };

bool anchor_is_impossible(int error)
{
	return error < 0 && error != -EEXIST && error != -ENOENT && error != -EBUSY && error != -EMFILE && error != -ENFILE &&
	       error != -ENOMEM;
}

static bool name_is(int dir, const char *name, int file)
{
	struct stat there, mine;

	return fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(file, &mine) == 0 && there.st_dev == mine.st_dev &&
	       there.st_ino == mine.st_ino;
}

static void temporary_name(const char *name, char ret[ANCHOR_NAME_SIZE + 1])
{
	snprintf(ret, ANCHOR_NAME_SIZE + 1, "%s~", name);
}

/* Removes it if nobody holds it. True: it is gone. */
static bool remove_if_dead(int dir, const char *name, int file)
{
	if (os_lock(file, OS_LOCK_EXCLUSIVE, REGION_LOCK_MEMBER, 2) < 0)
		return false;
	if (name_is(dir, name, file))
		(void)unlinkat(dir, name, 0);
	return true;
}

void anchor_tidy(int dir, const char *name)
{
	int file = os_open_own_file(dir, name);

	if (file < 0)
		return;
	(void)remove_if_dead(dir, name, file);
	close(file);
}

static void tidy_temporary(int dir, const char *name)
{
	char temporary[ANCHOR_NAME_SIZE + 1];

	temporary_name(name, temporary);
	anchor_tidy(dir, temporary);
}

static void leave(int dir, const char *name, int file)
{
	os_lock(file, OS_LOCK_NONE, REGION_LOCK_MEMBER, 1);
	if (remove_if_dead(dir, name, file))
		tidy_temporary(dir, name);
}

/* -EAGAIN: somebody is coming or going, try again. */
static int join_once(int dir, const char *name, int *ret_file)
{
	int file = os_open_own_file(dir, name), r;

	if (file < 0)
		return file;
	if (remove_if_dead(dir, name, file)) {
		tidy_temporary(dir, name);
		close(file);
		return -EAGAIN;
	}
	r = os_lock(file, OS_LOCK_SHARED, REGION_LOCK_MEMBER, 1);
	if (r == 0 && !name_is(dir, name, file)) {
		leave(dir, name, file);
		r = -EAGAIN;
	}
	if (r < 0)
		close(file);
	else
		*ret_file = file;
	return r;
}

/* A file without a name, filled and held. */
static int make_file(int dir, anchor_fill_fn *fill, void *arg)
{
	int file = os_make_unnamed(dir), r;

	if (file < 0)
		return file;
	r = os_lock(file, OS_LOCK_SHARED, REGION_LOCK_MEMBER, 1);
	if (r == 0 && fill)
		r = fill(file, arg);
	if (r < 0) {
		close(file);
		return r;
	}
	return file;
}

static void pause_between(int tries)
{
	if (tries >= QUICK_TRIES)
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
}

static int make_in(int dir, const char *name, int file)
{
	uint64_t deadline = os_now_ns() + JOIN_MS * UINT64_C(1000000);

	tidy_temporary(dir, name);
	for (int i = 0;; i++) {
		int other, r = os_link_new(file, dir, name);

		if (r != -EEXIST)
			return r;
		r = join_once(dir, name, &other);
		if (r == 0) { /* it lives */
			leave(dir, name, other);
			close(other);
			return -EEXIST;
		}
		if (r != -EAGAIN && r != -ENOENT)
			return r;
		if (os_now_ns() >= deadline)
			return -EBUSY;
		pause_between(i);
	}
}

int anchor_make(const char *name, anchor_fill_fn *fill, void *arg, struct anchor *ret)
{
	int dir = sidecar_runtime_folder(), file, r;

	if (dir < 0)
		return dir;
	file = r = make_file(dir, fill, arg);
	if (r >= 0)
		r = make_in(dir, name, file);
	close(dir);
	if (r < 0) {
		if (file >= 0)
			close(file);
		return r;
	}
	ret->file = file;
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	return 0;
}

int anchor_join(const char *name, struct anchor *ret)
{
	uint64_t deadline = os_now_ns() + JOIN_MS * UINT64_C(1000000);
	int dir = sidecar_runtime_folder(), file = -1, r;

	if (dir < 0)
		return dir;
	for (int i = 0; (r = join_once(dir, name, &file)) == -EAGAIN; i++) {
		if (os_now_ns() >= deadline) {
			r = -EBUSY;
			break;
		}
		pause_between(i);
	}
	close(dir);
	if (r < 0)
		return r;
	ret->file = file;
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	return 0;
}

static int rename_over(int dir, const struct anchor *held, int file)
{
	char temporary[ANCHOR_NAME_SIZE + 1];
	int r;

	if (!name_is(dir, held->name, held->file))
		return -ESTALE;
	temporary_name(held->name, temporary);
	(void)unlinkat(dir, temporary, 0); /* whoever made it has died: only who has the lock makes one */
	r = os_link_new(file, dir, temporary);
	if (r == 0 && renameat(dir, temporary, dir, held->name) < 0) {
		r = -errno;
		(void)unlinkat(dir, temporary, 0);
	}
	return r;
}

int anchor_replace(const struct anchor *held, anchor_fill_fn *fill, void *arg, struct anchor *ret)
{
	int dir = sidecar_runtime_folder(), file, r;

	if (dir < 0)
		return dir;
	file = r = make_file(dir, fill, arg);
	if (r >= 0)
		r = os_lock(held->file, OS_LOCK_EXCLUSIVE, REGION_LOCK_REPLACE, 1);
	if (r == 0) {
		r = rename_over(dir, held, file);
		os_lock(held->file, OS_LOCK_NONE, REGION_LOCK_REPLACE, 1);
	} else if (r == -EAGAIN) {
		r = -EBUSY; /* somebody else is at it */
	}
	close(dir);
	if (r < 0) {
		if (file >= 0)
			close(file);
		return r;
	}
	ret->file = file;
	snprintf(ret->name, sizeof(ret->name), "%s", held->name);
	return 0;
}

void anchor_leave(struct anchor *anchor)
{
	int dir;

	if (anchor->file < 0)
		return;
	dir = sidecar_runtime_folder();
	if (dir >= 0) { /* else the next to come removes it */
		leave(dir, anchor->name, anchor->file);
		close(dir);
	}
	os_lock(anchor->file, OS_LOCK_NONE, 0, 0); /* all: a forked child may have a copy of the descriptor */
	anchor_drop(anchor);
}

void anchor_drop(struct anchor *anchor)
{
	if (anchor->file >= 0)
		close(anchor->file);
	anchor->file = -1;
}
