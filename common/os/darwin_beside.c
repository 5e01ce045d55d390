/* SPDX-License-Identifier: MIT */
/* darwin_beside.c - a file beside another, for those who may write that one: by group and mode only. Compiled, not run. */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static int stat_model(int dir, const char *model, struct stat *ret)
{
	if (fstatat(dir, model[0] ? model : ".", ret, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISLNK(ret->st_mode) ? -ELOOP : 0;
	return errno != ENOENT ? -errno : fstat(dir, ret) < 0 ? -errno : 0;
}

int os_share_beside(int fd, int dir, const char *model)
{
	mode_t needed, mode = 0600;
	struct stat st;
	int r = stat_model(dir, model, &st);

	if (r < 0)
		return r;
	needed = S_ISDIR(st.st_mode) ? 03 : 02;
	if ((st.st_mode & needed) == needed)
		mode |= 06;
	/* A group that is not the model's is everybody else. */
	if (fchown(fd, (uid_t)-1, st.st_gid) < 0)
		mode |= (mode & 06) << 3;
	else if ((st.st_mode >> 3 & needed) == needed)
		mode |= 060;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

static int check(int dir, const char *model, const struct stat *st)
{
	struct stat folder, of_model;

	if (!S_ISREG(st->st_mode) || st->st_nlink != 1)
		return -EEXIST;
	if (fstat(dir, &folder) < 0)
		return -errno;
	if (!(folder.st_mode & S_ISVTX) || st->st_uid == 0 || st->st_uid == geteuid() || st->st_uid == folder.st_uid)
		return 0;
	return stat_model(dir, model, &of_model) == 0 && st->st_uid == of_model.st_uid ? 0 : -EPERM;
}

/* Checked before it is opened, and compared afterwards: nothing holds a file without opening it here. */
int os_open_beside(int dir, const char *name, const char *model, bool writable)
{
	int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW;
	struct stat before, after;
	int fd, r;

	if (fstatat(dir, name, &before, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	r = check(dir, model, &before);
	if (r < 0)
		return r;
	fd = openat(dir, name, flags);
	if (fd < 0)
		return errno == ELOOP ? -EEXIST : -errno;
	if (fstat(fd, &after) < 0)
		r = -errno;
	else if (before.st_dev != after.st_dev || before.st_ino != after.st_ino)
		r = -ENOENT; /* exchanged just now */
	if (r < 0) {
		close(fd);
		return r;
	}
	return fd;
}

/* Others may have come to it meanwhile, and gone again, and made another: only what nobody has a lock on, and is ours. */
static void take_back(int fd, int dir, const char *name)
{
	struct stat there, mine;

	if (os_lock(fd, OS_LOCK_EXCLUSIVE, 0, 0) == 0 && fstat(fd, &mine) == 0 &&
	    fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_dev == mine.st_dev && there.st_ino == mine.st_ino)
		unlinkat(dir, name, 0);
}

int os_make_beside(int dir, const char *name, const char *model, int (*prepare)(int fd, void *arg), void *arg)
{
	int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600), r;

	if (fd < 0)
		return -errno;
	r = prepare(fd, arg);
	if (r == 0)
		r = os_share_beside(fd, dir, model);
	if (r < 0) {
		take_back(fd, dir, name);
		close(fd);
		return r;
	}
	return fd;
}
