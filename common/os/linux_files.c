/* SPDX-License-Identifier: MIT */
/*
 * linux_files.c - what is known and done about files: by O_PATH, stat and the links in /proc/self/fd. Folders are
 * watched by inotify.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static int fd_or_errno(int fd)
{
	return fd >= 0 ? fd : -errno;
}

#define FD_LINK_SIZE (sizeof("/proc/self/fd/") + 12)

/* The kernel's link to what a descriptor refers to. `ret` has FD_LINK_SIZE bytes. */
static const char *fd_link(int fd, char *ret)
{
	snprintf(ret, FD_LINK_SIZE, "/proc/self/fd/%d", fd);
	return ret;
}

/* --- files ----------------------------------------------------------------------------------------- */

int os_replace(int fd, int to)
{
	return dup3(fd, to, O_CLOEXEC) < 0 ? -errno : 0;
}

int os_open_path(int dir, const char *name, bool follow)
{
	return fd_or_errno(openat(dir, name, O_PATH | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW)));
}

int os_open_folder(int dir, const char *path, bool follow)
{
	return fd_or_errno(openat(dir, path, O_PATH | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW)));
}

static int open_resolved(int dir, const char *path, uint64_t resolve)
{
	struct open_how how = { .flags = O_PATH | O_CLOEXEC | O_DIRECTORY, .resolve = resolve };

	for (int i = 0; i < 64; i++) {
		long fd = syscall(SYS_openat2, dir, path, &how, sizeof(how));

		if (fd >= 0)
			return (int)fd;
		if (errno != EAGAIN && errno != EINTR) /* EAGAIN: something was renamed meanwhile */
			return -errno;
	}
	return -EAGAIN;
}

int os_open_in_root(int root, const char *path)
{
	return open_resolved(root, path, RESOLVE_IN_ROOT);
}

int os_open_folder_plainly(int dir, const char *path)
{
	int fd = open_resolved(dir, path, RESOLVE_NO_MAGICLINKS);

	return fd == -ENOSYS ? os_open_folder(dir, path, true) : fd;
}

/*
 * Opens `name` in `dir` read-write if it is of this type, of this user, has one link and mode 0600. It is held
 * by O_PATH and checked before it is opened: opening and closing what is not ours may drop its owner's locks,
 * or do things to a device.
 */
static int open_own(int dir, const char *name, mode_t type)
{
	int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	char link[FD_LINK_SIZE];
	struct stat st;
	int path, fd;

	path = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
	if (path < 0)
		return -errno;
	if (fstat(path, &st) < 0)
		fd = -errno;
	else if ((st.st_mode & S_IFMT) != type)
		fd = -EEXIST;
	else if (st.st_uid != geteuid())
		fd = -EPERM;
	else if (st.st_nlink == 0)
		fd = -ENOENT; /* removed just now */
	else if (st.st_nlink != 1 || (st.st_mode & 07777) != 0600)
		fd = -EEXIST;
	else {
		fd = open(fd_link(path, link), flags);
		if (fd < 0 && errno == ENOENT) /* no /proc: our own folder, nobody else can exchange the name */
			fd = openat(dir, name, flags | O_NOFOLLOW);
		if (fd < 0)
			fd = -errno;
	}
	close(path);
	return fd;
}

int os_bell_open(int dir, const char *name)
{
	return open_own(dir, name, S_IFIFO);
}

int os_open_own_file(int dir, const char *name)
{
	return open_own(dir, name, S_IFREG);
}

int os_make_unnamed(int dir)
{
	char link[FD_LINK_SIZE];
	int fd = open(fd_link(dir, link), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0)
		return -errno;
	if (fchmod(fd, 0600) < 0) { /* whatever the umask */
		int r = -errno;

		close(fd);
		return r;
	}
	return fd;
}

int os_link_new(int fd, int dir, const char *name)
{
	char link[FD_LINK_SIZE];

	return linkat(AT_FDCWD, fd_link(fd, link), dir, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static bool ends_with(const char *text, const char *end)
{
	size_t n = strlen(text), n_end = strlen(end);

	return n >= n_end && strcmp(text + n - n_end, end) == 0;
}

static bool is_at(const char *path, const struct stat *st)
{
	struct stat there;

	return lstat(path, &there) == 0 && there.st_dev == st->st_dev && there.st_ino == st->st_ino;
}

bool os_is_same_place(int a, int b)
{
	struct statx one, other;

	/* A mount's number is the same in all namespaces, and not another's while a descriptor holds it. */
	return statx(a, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &one) == 0 &&
	       statx(b, "", AT_EMPTY_PATH, STATX_INO | STATX_MNT_ID, &other) == 0 && (one.stx_mask & STATX_MNT_ID) &&
	       (other.stx_mask & STATX_MNT_ID) && one.stx_mnt_id == other.stx_mnt_id && one.stx_ino == other.stx_ino &&
	       one.stx_dev_major == other.stx_dev_major && one.stx_dev_minor == other.stx_dev_minor;
}

bool os_is_of_processes(int dir)
{
	struct statfs st;

	return fstatfs(dir, &st) == 0 && st.f_type == PROC_SUPER_MAGIC;
}

int os_path_of(int fd, char *ret, size_t size)
{
	char link[FD_LINK_SIZE];
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) < 0)
		return -errno;
	n = readlink(fd_link(fd, link), ret, size - 1);
	if (n < 0)
		return -errno;
	if ((size_t)n >= size - 1)
		return -ENAMETOOLONG;
	ret[n] = '\0';
	if (ret[0] != '/' || strncmp(ret, "/memfd:", 7) == 0)
		return -EINVAL;
	if (st.st_nlink == 0 || (ends_with(ret, " (deleted)") && !is_at(ret, &st)))
		return -ENOENT; /* removed, if only from under this name */
	return 0;
}

int os_rename_new(int dir, const char *from, const char *to)
{
	if (renameat2(dir, from, dir, to, RENAME_NOREPLACE) == 0)
		return 0;
	/* A file system without the flag: a folder is never renamed over a folder that holds something. */
	if (errno == EINVAL && renameat(dir, from, dir, to) == 0)
		return 0;
	return errno == ENOTEMPTY || errno == ENOTDIR ? -EEXIST : -errno;
}

bool os_is_remote(int dir)
{
	static const uint32_t types[] = {
		0x6969,     /* NFS */
		0x517B,     /* SMB */
		0xFE534D42, /* SMB2 */
		0xFF534D42, /* CIFS */
		0x01021997, /* 9p */
		0x65735546, /* FUSE: may well be remote */
		0x5346414F, /* AFS */
		0x6B414653, /* AFS of the kernel */
		0x73757245, /* Coda */
		0x47504653, /* GPFS */
		0x19830326, /* BeeGFS */
		0xBACBACBC, /* a host's folder in VMware */
		0x786F4256, /* and in VirtualBox */
		0x00C36400, /* Ceph */
		0x01161970, /* GFS2 */
		0x7461636F, /* OCFS2 */
		0x0BD00BD0, /* Lustre */
	};
	struct statfs st;

	if (fstatfs(dir, &st) < 0)
		return false;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((uint32_t)st.f_type == types[i])
			return true;
	return false;
}

const char *os_runtime_root(void)
{
	return "/dev/shm";
}

int os_user_runtime_root(uid_t uid, char *ret, size_t size)
{
	int n = snprintf(ret, size, "/run/user/%u", (unsigned)uid);

	return n < 0 || (size_t)n >= size ? -ENAMETOOLONG : 0;
}

/* --- watching folders ------------------------------------------------------------------------------ */

int os_watch_new(void)
{
	if (os_seams.no_inotify)
		return -EMFILE;
	return fd_or_errno(inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
}

int os_watch_add(int watch, int dir)
{
	char link[FD_LINK_SIZE];
	const char *path = fd_link(dir, link);

	return fd_or_errno(inotify_add_watch(watch, path, IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF | IN_ONLYDIR));
}

int os_watch_add_removals(int watch, int dir)
{
	char link[FD_LINK_SIZE];
	const char *path = fd_link(dir, link);

	return fd_or_errno(inotify_add_watch(watch, path, IN_CREATE | IN_MOVED_TO | IN_DELETE | IN_MOVE_SELF | IN_DELETE_SELF |
	                                                          IN_ONLYDIR));
}

void os_watch_remove(int watch, int id)
{
	inotify_rm_watch(watch, id);
}

int os_watch_each(int watch, void (*fn)(void *arg, int id), void *arg)
{
	char path[sizeof("/proc/self/fdinfo/") + 11], *line = NULL;
	size_t size = 0;
	FILE *file;
	unsigned id;
	int r;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", watch);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	while (getline(&line, &size, file) >= 0)
		if (sscanf(line, "inotify wd:%x", &id) == 1 && id > 0 && id <= INT_MAX)
			fn(arg, (int)id);
	r = ferror(file) ? -EIO : 0;
	fclose(file);
	free(line);
	return r;
}

bool os_watch_has_next(int watch)
{
	int n = 0;

	return ioctl(watch, FIONREAD, &n) < 0 || n > 0;
}

int os_watch_next(int watch, struct os_watch_buffer *buffer, struct os_watch_event *ret)
{
	struct inotify_event *event;

	if (buffer->at >= buffer->used) {
		ssize_t n;

		do
			n = read(watch, buffer->bytes, sizeof(buffer->bytes));
		while (n < 0 && errno == EINTR);
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		buffer->used = (size_t)n;
		buffer->at = 0;
	}
	event = (struct inotify_event *)(void *)(buffer->bytes + buffer->at);
	buffer->at += sizeof(*event) + event->len;
	*ret = (struct os_watch_event){
		.id = event->mask & IN_Q_OVERFLOW ? 0 : event->wd,
		.name = event->len > 0 ? event->name : NULL,
		.gone = (event->mask & (IN_IGNORED | IN_DELETE_SELF | IN_UNMOUNT)) != 0,
	};
	return 1;
}
