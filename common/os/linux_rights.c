/* SPDX-License-Identifier: MIT */
/*
 * linux_rights.c - what open(2) would say to this user, without opening: an O_PATH descriptor is asked, so that what was looked at
 * and whose rights are told are one inode.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef ST_NODEV
#define ST_NODEV 4
#endif
#define NO_SYMLINK_FOLLOW 0x2000 /* a mount's flag as statvfs tells it, Linux 5.10 and later */

#define FD_LINK_SIZE (sizeof("/proc/self/fd/") + 12)

static const char *fd_link(int fd, char *ret)
{
	snprintf(ret, FD_LINK_SIZE, "/proc/self/fd/%d", fd);
	return ret;
}

static int faccess(int fd, int mode)
{
	return syscall(SYS_faccessat2, fd, "", mode, AT_EACCESS | AT_EMPTY_PATH) < 0 ? -errno : 0;
}

/* Before Linux 5.8 there is no such call, and filters of system calls that do not know it answer EPERM, as the kernel does for a
 * file that nobody may change. */
static bool cannot_ask(int fd, int r)
{
	return r == -ENOSYS || (r == -EPERM && faccess(fd, F_OK) < 0);
}

/* 0, -EACCES, -EPERM (immutable), -EROFS, or what the file system says. */
static int ask(int fd, int mode)
{
	char link[FD_LINK_SIZE];
	int r = faccess(fd, mode);

	if (!cannot_ask(fd, r))
		return r;
	/* By the link: what the kernel decides itself if real and effective ids are the same, as in a files worker; else the C
	 * library goes by the mode bits. */
	return faccessat(AT_FDCWD, fd_link(fd, link), mode, AT_EACCESS) < 0 ? -errno : 0;
}

static bool in_group(gid_t gid)
{
	gid_t groups[256];
	int n = getgroups(256, groups); /* of more than that: -1, which is no */

	if (gid == getegid())
		return true;
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* What the mode bits say. Of a file with an access control list they are not the whole truth: then only its
 * owner is believed. */
static bool mode_allows(int fd, const struct stat *st, int mode)
{
	char link[FD_LINK_SIZE];

	if (geteuid() == 0)
		return true;
	if (st->st_uid == geteuid())
		return ((unsigned)mode << 6 & ~st->st_mode) == 0;
	if (getxattr(fd_link(fd, link), "system.posix_acl_access", NULL, 0) >= 0)
		return false;
	return ((unsigned)mode << (in_group(st->st_gid) ? 3 : 0) & ~st->st_mode) == 0;
}

/* The kernel opens no device on a mount that has none, and asks for that before it looks at rights. */
static bool is_barred_device(int fd, const struct stat *st)
{
	struct statvfs fs;

	if (!S_ISCHR(st->st_mode) && !S_ISBLK(st->st_mode))
		return false;
	return fstatvfs(fd, &fs) < 0 || fs.f_flag & ST_NODEV;
}

static void fill(int fd, struct os_found *ret)
{
	int r;

	ret->read = ret->write = ret->search = ret->read_only = false;
	if (S_ISLNK(ret->st.st_mode) || is_barred_device(fd, &ret->st))
		return;
	ret->read = ask(fd, R_OK) == 0;
	r = ask(fd, W_OK);
	/* A read-only file system refuses before it looks at whose the file is. */
	ret->read_only = r == -EROFS;
	ret->write = r == 0 || (r == -EROFS && mode_allows(fd, &ret->st, W_OK));
	ret->search = S_ISDIR(ret->st.st_mode) && ask(fd, X_OK) == 0;
}

int os_find(int dir, const char *name, struct os_found *ret)
{
	int fd = name[0] ? openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : dir, r = 0;

	if (fd < 0)
		return -errno;
	if (fstat(fd, &ret->st) < 0)
		r = -errno;
	else
		fill(fd, ret);
	if (fd != dir)
		close(fd);
	return r;
}

/* fs.protected_symlinks; where that cannot be known it is on. */
static bool links_are_protected(void)
{
	int fd = open("/proc/sys/fs/protected_symlinks", O_RDONLY | O_CLOEXEC);
	char value = '1';

	if (fd >= 0) {
		if (read(fd, &value, 1) != 1)
			value = '1';
		close(fd);
	}
	return value != '0';
}

/* Without openat2, before Linux 5.6, by its rule. */
static int link_guess(int dir, const struct stat *link)
{
	struct stat folder;

	if (fstat(dir, &folder) < 0)
		return -errno;
	if (link->st_uid == geteuid() || link->st_uid == folder.st_uid ||
	    (folder.st_mode & (S_ISVTX | S_IWOTH)) != (S_ISVTX | S_IWOTH))
		return 0;
	return links_are_protected() ? -EACCES : 0;
}

int os_may_follow(int dir, const char *name)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS };
	struct statvfs fs;
	struct stat link;
	long fd;

	if (fstatvfs(dir, &fs) == 0 && fs.f_flag & NO_SYMLINK_FOLLOW)
		return -ELOOP;
	/* The kernel asks whether it may be followed first, and then finds that here none is to be. */
	fd = syscall(SYS_openat2, dir, name, &how, sizeof(how));
	if (fd >= 0) {
		close((int)fd);
		return -ENOENT;
	}
	if (errno == ELOOP)
		return 0;
	if (errno != ENOSYS && errno != EPERM)
		return -errno;
	if (fstatat(dir, name, &link, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	return S_ISLNK(link.st_mode) ? link_guess(dir, &link) : -ENOENT;
}
