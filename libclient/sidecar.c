/* SPDX-License-Identifier: MIT */
/*
 * sidecar.c - a folder with `page`, `bell`, CACHEDIR.TAG and .gitignore.
 *
 * Made under a temporary name and renamed into place, so that what stands there is always whole. Each member
 * holds a shared lock on byte LOCK_MEMBER of `page`; the maker takes it before the renaming. Who comes tries
 * the exclusive lock first: whoever gets it has found what a crash left behind, and removes it. Otherwise the
 * shared one, and then the path must still name this inode, else all over again. Who leaves drops its shared
 * lock and tries the exclusive one: two who upgraded at once would both fail and nobody would clean up.
 *
 * Only a holder of LOCK_KICK renames the folder away, after checking that the path still names its page: the
 * last one out holds both bytes, and so does who removes a leftover. (tests/model/leave.pml)
 *
 * A temporary name is the sidecar's name and a number, so that what a crash leaves of the making or the
 * removing is found again without listing the user's folder. While it is made the folder itself is locked
 * (flock): numbers are used again, and a maker that was overtaken must not work in another's folder. Folders are
 * emptied by descriptor only, never by name, for the same reason.
 */
#include "sidecar.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "address.h"
#include "endpoint_files.h"
#include "os/os.h"

enum {
	N_TEMPORARY = 10, /* names for folders in the making or being removed */
	MIN_TRIES = 8,    /* and a pause of a millisecond after each, while another process is coming or going */
};

static const char *const entries[] = { "page", "bell", "CACHEDIR.TAG", ".gitignore" };

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

void sidecar_drop(struct sidecar *sidecar)
{
	close_if_open(&sidecar->bell);
	close_if_open(&sidecar->file);
	close_if_open(&sidecar->parent);
	*sidecar = SIDECAR_NONE;
}

/* --- removing --------------------------------------------------------------------------------------- */

static void temporary_name(const char *name, int number, char *ret)
{
	snprintf(ret, KEY_NAME_MAX + 1, "%.252s~%c", name, (char)('0' + number)); /* N_TEMPORARY digits */
}

/* By descriptor: what has come to stand under the name meanwhile is not touched. */
static void empty_folder(int dir)
{
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		unlinkat(dir, entries[i], 0);
	endpoint_files_remove(dir);
}

static void remove_folder(int parent, const char *name)
{
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return;
	empty_folder(dir);
	close(dir);
	unlinkat(parent, name, AT_REMOVEDIR);
}

/* Does nobody work on this temporary folder any more? Its maker holds the folder's own lock, its remover that of
 * the page. *ret_file receives the page, locked; -1: none. */
static bool is_abandoned(int dir, int *ret_file)
{
	struct stat st;
	int file;

	*ret_file = -1;
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid() || flock(dir, LOCK_EX | LOCK_NB) < 0)
		return false;
	file = os_open_own_file(dir, "page");
	if (file >= 0)
		*ret_file = file;
	return file == -ENOENT || (file >= 0 && os_lock(file, OS_LOCK_EXCLUSIVE, LOCK_MEMBER, 2) == 0);
}

/* Removes the temporary folders whose makers or removers have died. */
static void sweep(int parent, const char *name)
{
	char temporary[KEY_NAME_MAX + 1];

	for (int i = 0; i < N_TEMPORARY; i++) {
		int dir, file;

		temporary_name(name, i, temporary);
		dir = openat(parent, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (dir < 0)
			continue;
		if (is_abandoned(dir, &file)) {
			empty_folder(dir);
			unlinkat(parent, temporary, AT_REMOVEDIR);
		}
		close_if_open(&file);
		close(dir);
	}
}

/* Finds a free temporary name, and makes the folder; *ret receives it. */
static int take_temporary_name(int parent, const char *name, bool make, char *ret)
{
	for (int pass = 0; pass < 2; pass++) {
		for (int i = 0; i < N_TEMPORARY; i++) {
			struct stat st;

			temporary_name(name, i, ret);
			if (make ? mkdirat(parent, ret, 0700) == 0 :
			           fstatat(parent, ret, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
				return 0;
			if (make && errno != EEXIST)
				return -errno;
		}
		sweep(parent, name);
	}
	return -EBUSY;
}

static bool path_is(int parent, const char *name, int file)
{
	char path[KEY_NAME_MAX + 8];
	struct stat there, mine;

	snprintf(path, sizeof(path), "%s/page", name);
	return fstatat(parent, path, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(file, &mine) == 0 &&
	       there.st_dev == mine.st_dev && there.st_ino == mine.st_ino;
}

/* The caller holds LOCK_KICK on `file`, so nobody else renames; and either LOCK_MEMBER as well, so nobody
 * lives here, or has set `closed`, so whoever does will leave. */
static void take_apart(int parent, const char *name, int file)
{
	char temporary[KEY_NAME_MAX + 1];

	if (!path_is(parent, name, file))
		return;
	if (take_temporary_name(parent, name, false, temporary) == 0 && os_rename_new(parent, name, temporary) == 0)
		remove_folder(parent, temporary);
}

/* --- making ----------------------------------------------------------------------------------------- */

static int write_file(int dir, const char *name, const char *text)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	ssize_t n;
	int r = 0;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	if (n < 0)
		r = -errno;
	else if ((size_t)n < strlen(text))
		r = -ENOSPC;
	close(fd);
	return r;
}

static int make_page(int dir, const struct topic_key *key, const struct lane_shape *shape, int *ret_file)
{
	uint8_t id[PAGE_ID_SIZE];
	struct page *page;
	struct stat st;
	int file, r;

	file = openat(dir, "page", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (file < 0)
		return -errno;
	r = os_lock(file, OS_LOCK_SHARED, LOCK_MEMBER, 1);
	if (r == 0)
		r = os_allocate(file, PAGE_SIZE_BYTES);
	/* The ring is allocated by the first who publishes. */
	if (r == 0 && (ftruncate(file, (off_t)lane_size(shape)) < 0 || fchmod(file, 0600) < 0 || fstat(file, &st) < 0))
		r = -errno;
	if (r == 0) {
		page = os_map(file, PAGE_SIZE_BYTES, true, NULL);
		if (page) {
			os_random(id, sizeof(id));
			page_init(page, key, st.st_ino, id, shape);
			munmap(page, PAGE_SIZE_BYTES);
		} else {
			r = -errno;
		}
	}
	if (r < 0)
		close(file);
	else
		*ret_file = file;
	return r;
}

static int fill_folder(int dir, const struct topic_key *key, const struct lane_shape *shape, struct sidecar *made)
{
	int r;

	if (fchmod(dir, 0700) < 0) /* whatever the umask */
		return -errno;
	r = make_page(dir, key, shape, &made->file);
	if (r < 0)
		return r;
	if (mkfifoat(dir, "bell", 0600) < 0 || fchmodat(dir, "bell", 0600, 0) < 0)
		return -errno;
	made->bell = os_bell_open(dir, "bell");
	if (made->bell < 0)
		return made->bell;
	/* The first 43 bytes are the signature of the Cache Directory Tagging Specification. */
	r = write_file(dir, "CACHEDIR.TAG",
	               "Signature: 8a477f597d28d172789f06886806bc55\n"
	               "# Made by pathbus for the file beside it; removed when the last program closes it.\n");
	return r < 0 ? r : write_file(dir, ".gitignore", "*\n");
}

/* -EEXIST: somebody was faster, or disturbed it; -EBUSY: all temporary names are taken, for now. */
static int make(int parent, const char *name, const struct topic_key *key, const struct lane_shape *shape,
                struct sidecar *ret)
{
	struct sidecar made = SIDECAR_NONE;
	char temporary[KEY_NAME_MAX + 1];
	bool claimed = false;
	int dir, r;

	sweep(parent, name);
	r = take_temporary_name(parent, name, true, temporary);
	if (r < 0)
		return r;
	dir = openat(parent, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 && errno == EACCES && fchmodat(parent, temporary, 0700, AT_SYMLINK_NOFOLLOW) == 0) /* by its umask */
		dir = openat(parent, temporary, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	/* The lock says that the folder is being worked on. Who does not get it has come to another's folder: its
	 * own, still empty, was taken for abandoned. */
	if (dir < 0)
		r = -errno;
	else if (flock(dir, LOCK_EX | LOCK_NB) < 0)
		r = errno == EWOULDBLOCK ? -EEXIST : -errno;
	else
		claimed = true;
	if (r == 0)
		r = fill_folder(dir, key, shape, &made);
	if (r == 0)
		r = os_rename_new(parent, temporary, name);
	if (r == -ENOENT || (r == 0 && !path_is(parent, name, made.file)))
		r = -EEXIST; /* taken for abandoned before the lock was there; or removed by hand */
	if (r < 0) {
		if (claimed)
			empty_folder(dir);
		unlinkat(parent, temporary, AT_REMOVEDIR);
		sidecar_drop(&made);
	}
	close_if_open(&dir);
	if (r < 0)
		return r;
	*ret = made;
	return 0;
}

/* --- joining ---------------------------------------------------------------------------------------- */

/* Opens what stands there, if it is a folder of ours. */
static int open_folder(int parent, const char *name)
{
	struct stat st;
	int dir;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (st.st_uid != geteuid())
		return -EPERM;
	if (!S_ISDIR(st.st_mode) || (st.st_mode & 0077) != 0)
		return -EEXIST;
	dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return errno == ELOOP || errno == ENOTDIR ? -EEXIST : -errno;
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0077) != 0) {
		close(dir);
		return -EPERM;
	}
	return dir;
}

/* Is the page of `file` this topic's? Maps it for a moment; the size was checked to be there. */
static int check_page(int file, const struct topic_key *key)
{
	struct lane_shape shape;
	struct page *page;
	struct stat st;
	int r;

	if (fstat(file, &st) < 0)
		return -errno;
	if (st.st_size < (off_t)PAGE_SIZE_BYTES)
		return -EBADMSG;
	page = os_map(file, PAGE_SIZE_BYTES, false, NULL);
	if (!page)
		return -errno;
	r = page_check(page, key, st.st_ino);
	if (r == 0 && (page_shape(page, &shape) < 0 || (uint64_t)st.st_size < lane_size(&shape)))
		r = -EBADMSG;
	if (r == 0 && atomic_load(&page->closed))
		r = -ESTALE;
	munmap(page, PAGE_SIZE_BYTES);
	return r;
}

/* Takes away a sidecar that cannot be joined although somebody may still be in it: a copy, a damaged one, a
 * closed one. Its members, if it has any, are told to join anew. */
static void evict(int parent, const char *name, int dir, int file)
{
	struct page *page;
	struct stat st;
	int bell;

	if (os_lock(file, OS_LOCK_EXCLUSIVE, LOCK_KICK, 1) < 0)
		return; /* somebody else is at it */
	if (fstat(file, &st) == 0 && st.st_size >= (off_t)PAGE_SIZE_BYTES) {
		page = os_map(file, PAGE_SIZE_BYTES, true, NULL);
		bell = os_bell_open(dir, "bell");
		if (page && bell >= 0) {
			lane_close(&(struct lane){ .page = page, .bell = bell, .carrier = -1 });
			os_bell_ring(bell);
		}
		close_if_open(&bell);
		if (page)
			munmap(page, PAGE_SIZE_BYTES);
	}
	take_apart(parent, name, file);
	os_lock(file, OS_LOCK_NONE, LOCK_KICK, 1);
}

/* A folder without a page: being removed, or taken apart by hand. -EAGAIN: it is out of the way. */
static int clear_pageless(int parent, const char *name, int dir)
{
	struct stat there, mine;

	empty_folder(dir);
	if (unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT)
		return -EAGAIN;
	/* Is it this one that stays, or has another come? */
	return fstatat(parent, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(dir, &mine) == 0 &&
	                       there.st_dev == mine.st_dev && there.st_ino == mine.st_ino ?
	               -EEXIST :
	               -EAGAIN;
}

/* One try. -EAGAIN: somebody is coming or going, try again. */
static int join_once(int parent, const char *name, const struct topic_key *key, struct sidecar *ret)
{
	struct sidecar joined = SIDECAR_NONE;
	int dir, r;

	dir = open_folder(parent, name);
	if (dir < 0)
		return dir;
	joined.file = os_open_own_file(dir, "page");
	if (joined.file < 0) {
		/* The folder was being removed when we came in; or somebody took the page out of it. */
		r = joined.file == -ENOENT ? clear_pageless(parent, name, dir) : joined.file;
		goto out;
	}
	r = os_lock(joined.file, OS_LOCK_EXCLUSIVE, LOCK_MEMBER, 2);
	if (r == 0) {
		/* Nobody lives here. */
		take_apart(parent, name, joined.file);
		r = -EAGAIN;
		goto out;
	}
	if (r == -EAGAIN)
		r = os_lock(joined.file, OS_LOCK_SHARED, LOCK_MEMBER, 1);
	if (r == 0 && !path_is(parent, name, joined.file))
		r = -EAGAIN;
	if (r == 0) {
		r = check_page(joined.file, key);
		if (r == -EBADMSG || r == -ESTALE) {
			os_lock(joined.file, OS_LOCK_NONE, LOCK_MEMBER, 1);
			evict(parent, name, dir, joined.file);
			r = -EAGAIN;
		}
	}
	if (r == 0) {
		joined.bell = os_bell_open(dir, "bell");
		if (joined.bell < 0)
			r = joined.bell == -ENOENT ? -EAGAIN : joined.bell;
	}
	/* Somebody may have stayed his hand because of our lock: leave as a member does. */
	if (r < 0) {
		os_lock(joined.file, OS_LOCK_NONE, LOCK_MEMBER, 1);
		if (os_lock(joined.file, OS_LOCK_EXCLUSIVE, LOCK_MEMBER, 2) == 0)
			take_apart(parent, name, joined.file);
	}
out:
	close(dir);
	if (r < 0)
		sidecar_drop(&joined);
	else
		*ret = joined;
	return r;
}

static void take_slot(struct sidecar *sidecar)
{
	for (int i = 0; i < (int)PAGE_SLOTS; i++)
		if (os_lock(sidecar->file, OS_LOCK_EXCLUSIVE, LOCK_SLOT + i, 1) == 0) {
			sidecar->slot = i;
			return;
		}
}

/* `shape` NULL: does not make one. */
static int enter(int parent, const char *name, const struct topic_key *key, const struct lane_shape *shape,
                 uint64_t deadline_ns, struct sidecar *ret, bool *ret_unmakeable)
{
	struct sidecar entered = SIDECAR_NONE;
	int own_parent, r = -EAGAIN;

	/* First, so that no want of a descriptor leaves a sidecar that nobody lives in. */
	own_parent = fcntl(parent, F_DUPFD_CLOEXEC, 0);
	if (own_parent < 0)
		return -errno;
	for (int i = 0; r == -EAGAIN && (i < MIN_TRIES || os_now_ns() < deadline_ns); i++) {
		r = join_once(parent, name, key, &entered);
		if (r == -ENOENT && shape) {
			r = make(parent, name, key, shape, &entered);
			if (r < 0 && r != -EEXIST && r != -EBUSY) {
				*ret_unmakeable = r != -EMFILE && r != -ENFILE && r != -ENOMEM;
				break;
			}
			if (r < 0)
				r = -EAGAIN;
		}
		if (r == -EAGAIN && i > 2)
			pause_ms(1);
	}
	if (r < 0) {
		close(own_parent);
		return r == -EAGAIN ? -EBUSY : r;
	}
	entered.parent = own_parent;
	snprintf(entered.name, sizeof(entered.name), "%s", name);
	take_slot(&entered);
	*ret = entered;
	return 0;
}

int sidecar_join(int parent, const char *name, const struct topic_key *key, uint64_t deadline_ns, struct sidecar *ret)
{
	bool unmakeable;

	return enter(parent, name, key, NULL, deadline_ns, ret, &unmakeable);
}

int sidecar_enter(int parent, const char *name, const struct topic_key *key, const struct lane_shape *shape,
                  uint64_t deadline_ns, struct sidecar *ret, bool *ret_unmakeable)
{
	*ret_unmakeable = false;
	return enter(parent, name, key, shape, deadline_ns, ret, ret_unmakeable);
}

/* --- leaving ---------------------------------------------------------------------------------------- */

static void release_slot(struct sidecar *sidecar, struct page *page)
{
	if (sidecar->slot < 0)
		return;
	if (page)
		page_leave_slot(page, (unsigned)sidecar->slot);
	os_lock(sidecar->file, OS_LOCK_NONE, LOCK_SLOT + sidecar->slot, 1);
	sidecar->slot = -1;
}

void sidecar_leave(struct sidecar *sidecar, struct page *page)
{
	if (sidecar->file < 0)
		return;
	release_slot(sidecar, page);
	os_lock(sidecar->file, OS_LOCK_NONE, LOCK_MEMBER, 1);
	if (os_lock(sidecar->file, OS_LOCK_EXCLUSIVE, LOCK_MEMBER, 2) == 0) {
		close_if_open(&sidecar->bell); /* makes room in a full table for what follows */
		take_apart(sidecar->parent, sidecar->name, sidecar->file);
	} else if (sidecar->bell >= 0) {
		os_bell_ring(sidecar->bell);
	}
	sidecar_drop(sidecar);
}

bool sidecar_leave_if_alone(struct sidecar *sidecar, struct page *page)
{
	/* An upgrade, atomic: it fails and leaves the shared lock as it is if anybody else holds one. Only links
	 * upgrade, and of two at once both fail and stay until the next bell. */
	if (os_lock(sidecar->file, OS_LOCK_EXCLUSIVE, LOCK_MEMBER, 2) < 0)
		return false;
	atomic_store(&page->closed, 1);
	release_slot(sidecar, page);
	take_apart(sidecar->parent, sidecar->name, sidecar->file);
	sidecar_drop(sidecar);
	return true;
}

bool sidecar_is_gone(const struct sidecar *sidecar)
{
	struct stat st;

	return fstat(sidecar->file, &st) == 0 && st.st_nlink == 0;
}

int sidecar_kick(int parent, const char *name, const struct topic_key *key)
{
	struct sidecar found = SIDECAR_NONE;
	struct page *page;
	struct stat st;
	int r;

	if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	r = sidecar_join(parent, name, key, 0, &found);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	page = os_map(found.file, PAGE_SIZE_BYTES, true, NULL);
	r = page ? 0 : -errno;
	if (page) {
		lane_close(&(struct lane){ .page = page, .bell = found.bell, .carrier = -1 });
		os_bell_ring(found.bell);
		sidecar_leave(&found, page);
		munmap(page, PAGE_SIZE_BYTES);
	}
	sidecar_drop(&found);
	return r;
}

int sidecar_runtime_folder(void)
{
	char path[64];
	struct stat st;
	int dir, r;

	r = address_runtime_folder(geteuid(), path, sizeof(path));
	if (r < 0)
		return r;
	if (mkdir(path, 0700) == 0)
		(void)chmod(path, 0700); /* whatever the umask */
	else if (errno != EEXIST)
		return -errno;
	dir = os_open_folder(AT_FDCWD, path, false);
	if (dir < 0)
		return dir == -ENOTDIR || dir == -ELOOP ? -EPERM : dir;
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0077) != 0) {
		close(dir);
		return -EPERM;
	}
	return dir;
}
