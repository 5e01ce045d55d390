/* SPDX-License-Identifier: MIT */
/*
 * darwin_files.c - what is known and done about files. Folders are watched by EVFILT_VNODE, which does not name
 * what appeared. Compiled, not run.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/event.h>
#include <sys/mount.h>
#include <sys/param.h>
#include <sys/stat.h>
#include <unistd.h>

/* Folders are opened for passing through only, where there is such a thing; else they must be readable. */
#ifdef O_SEARCH
#define FOLDER_FLAGS (O_SEARCH | O_CLOEXEC)
#else
#define FOLDER_FLAGS (O_RDONLY | O_DIRECTORY | O_CLOEXEC)
#endif

static int fd_or_errno(int fd)
{
	return fd >= 0 ? fd : -errno;
}

static bool same_inode(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* --- files ----------------------------------------------------------------------------------------- */

int os_replace(int fd, int to)
{
	return dup2(fd, to) < 0 || fcntl(to, F_SETFD, FD_CLOEXEC) < 0 ? -errno : 0;
}

int os_open_path(int dir, const char *name, bool follow)
{
	return fd_or_errno(openat(dir, name, O_EVTONLY | O_CLOEXEC | (follow ? 0 : O_SYMLINK)));
}

int os_open_folder(int dir, const char *path, bool follow)
{
	return fd_or_errno(openat(dir, path, FOLDER_FLAGS | (follow ? 0 : O_NOFOLLOW)));
}

int os_open_folder_plainly(int dir, const char *path)
{
	return os_open_folder(dir, path, true);
}

int os_open_in_root(int root, const char *path)
{
	(void)root, (void)path;
	return -ENOSYS;
}

static int check_own(const struct stat *st, mode_t type)
{
	if ((st->st_mode & S_IFMT) != type)
		return -EEXIST;
	if (st->st_uid != geteuid())
		return -EPERM;
	return st->st_nlink == 1 && (st->st_mode & 07777) == 0600 ? 0 : -EEXIST;
}

/* Checked before it is opened, and compared afterwards: nothing holds a file without opening it here. */
static int open_own(int dir, const char *name, mode_t type)
{
	struct stat before, after;
	int fd, r;

	if (fstatat(dir, name, &before, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	r = check_own(&before, type);
	if (r < 0)
		return r;
	fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
	if (fd < 0)
		return errno == ELOOP ? -EEXIST : -errno;
	r = fstat(fd, &after) < 0 ? -errno : same_inode(&before, &after) ? check_own(&after, type) : -EEXIST;
	if (r < 0) {
		close(fd);
		return r;
	}
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

static bool in_group(gid_t gid)
{
	gid_t groups[NGROUPS_MAX + 1];
	int n = getgroups(NGROUPS_MAX + 1, groups);

	if (gid == getegid())
		return true;
	for (int i = 0; i < n; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* What the mode bits say; lists of access control are not looked at. */
static bool mode_allows(const struct stat *st, int mode)
{
	int shift;

	if (geteuid() == 0)
		return true;
	shift = st->st_uid == geteuid() ? 6 : in_group(st->st_gid) ? 3 : 0;
	return ((unsigned)mode << shift & ~(unsigned)st->st_mode) == 0;
}

int os_find(int dir, const char *name, struct os_found *ret)
{
	if (name[0] == '\0')
		name = ".";
	if (fstatat(dir, name, &ret->st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	ret->read = ret->write = ret->search = ret->read_only = false;
	if (S_ISLNK(ret->st.st_mode))
		return 0;
	ret->read = faccessat(dir, name, R_OK, AT_EACCESS) == 0;
	ret->write = faccessat(dir, name, W_OK, AT_EACCESS) == 0;
	/* A read-only file system refuses before it looks at whose the file is. */
	ret->read_only = !ret->write && errno == EROFS;
	if (ret->read_only)
		ret->write = mode_allows(&ret->st, W_OK);
	ret->search = S_ISDIR(ret->st.st_mode) && faccessat(dir, name, X_OK, AT_EACCESS) == 0;
	return 0;
}

int os_may_follow(int dir, const char *name)
{
	(void)dir, (void)name;
	return 0;
}

int os_path_of(int fd, char *ret, size_t size)
{
	char path[MAXPATHLEN];
	struct stat st, there;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode) && !S_ISLNK(st.st_mode) && !S_ISFIFO(st.st_mode))
		return -EINVAL;
	if (fcntl(fd, F_GETPATH, path) < 0)
		return errno == ENOENT ? -ENOENT : -EINVAL;
	if (lstat(path, &there) == 0 ? !same_inode(&st, &there) : errno == ENOENT)
		return -ENOENT;
	if (strlen(path) + 1 >= size)
		return -ENAMETOOLONG;
	strcpy(ret, path);
	return 0;
}

int os_rename_new(int dir, const char *from, const char *to)
{
	if (renameatx_np(dir, from, dir, to, RENAME_EXCL) == 0)
		return 0;
	/* A file system without the flag: a folder is never renamed over a folder that holds something. */
	if (errno == ENOTSUP && renameat(dir, from, dir, to) == 0)
		return 0;
	return errno == ENOTEMPTY || errno == ENOTDIR ? -EEXIST : -errno;
}

bool os_is_same_place(int a, int b)
{
	(void)a;
	(void)b;
	return false;
}

bool os_is_of_processes(int dir)
{
	(void)dir;
	return false;
}

bool os_is_remote(int dir)
{
	struct statfs st;

	return fstatfs(dir, &st) == 0 && !(st.f_flags & MNT_LOCAL);
}

/* Not emptied by the system at night, as /private/tmp is. */
const char *os_runtime_root(void)
{
	return "/private/var/tmp";
}

int os_user_runtime_root(uid_t uid, char *ret, size_t size)
{
	(void)uid, (void)ret, (void)size;
	return -ENOENT;
}

/* --- watching folders ------------------------------------------------------------------------------ */

/*
 * Each watched folder is held open; the descriptor is its id. Which ones belong to a watch is remembered here,
 * since a watch is a mere descriptor for its owner, who closes it. What it still held goes when its number
 * comes again.
 */
static struct watched {
	int watch, fd;
	dev_t dev;
	ino_t ino;
	struct watched *next;
} *all_watched;
static pthread_mutex_t watched_lock = PTHREAD_MUTEX_INITIALIZER;

static void forget(int watch, int fd)
{
	struct watched **at = &all_watched;

	pthread_mutex_lock(&watched_lock);
	while (*at) {
		struct watched *watched = *at;

		if (watched->watch != watch || (fd >= 0 && watched->fd != fd)) {
			at = &watched->next;
			continue;
		}
		*at = watched->next;
		close(watched->fd); /* which takes it out of the kqueue */
		free(watched);
	}
	pthread_mutex_unlock(&watched_lock);
}

int os_watch_new(void)
{
	int watch;

	if (os_seams.no_inotify)
		return -EMFILE;
	watch = os_set_new();
	if (watch >= 0)
		forget(watch, -1);
	return watch;
}

static int watch_add_locked(int watch, int dir)
{
	struct watched *watched;
	struct kevent change;
	struct stat st;
	int fd, error;

	if (fstat(dir, &st) < 0)
		return -errno;
	if (!S_ISDIR(st.st_mode))
		return -ENOTDIR;
	for (watched = all_watched; watched; watched = watched->next)
		if (watched->watch == watch && watched->dev == st.st_dev && watched->ino == st.st_ino)
			return watched->fd;
	fd = openat(dir, ".", O_EVTONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	EV_SET(&change, (uintptr_t)fd, EVFILT_VNODE, EV_ADD | EV_CLEAR, NOTE_WRITE | NOTE_DELETE | NOTE_REVOKE, 0, NULL);
	watched = malloc(sizeof(*watched));
	if (!watched || kevent(watch, &change, 1, NULL, 0, NULL) < 0) {
		error = watched ? -errno : -ENOMEM;
		free(watched);
		close(fd);
		return error;
	}
	*watched = (struct watched){ .watch = watch, .fd = fd, .dev = st.st_dev, .ino = st.st_ino, .next = all_watched };
	all_watched = watched;
	return fd;
}

int os_watch_add(int watch, int dir)
{
	int r;

	pthread_mutex_lock(&watched_lock);
	r = watch_add_locked(watch, dir);
	pthread_mutex_unlock(&watched_lock);
	return r;
}

/* It tells that something has changed there, whatever it is. */
int os_watch_add_removals(int watch, int dir)
{
	return os_watch_add(watch, dir);
}

void os_watch_remove(int watch, int id)
{
	if (id > 0)
		forget(watch, id);
}

bool os_watch_has_next(int watch)
{
	(void)watch;
	return true;
}

int os_watch_each(int watch, void (*fn)(void *arg, int id), void *arg)
{
	(void)watch;
	(void)fn;
	(void)arg;
	return -EOPNOTSUPP;
}

int os_watch_next(int watch, struct os_watch_buffer *buffer, struct os_watch_event *ret)
{
	const struct timespec now = { 0, 0 };
	struct kevent event;
	int n;

	(void)buffer;
	do
		n = kevent(watch, NULL, 0, &event, 1, &now);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	if (n == 0)
		return 0;
	*ret = (struct os_watch_event){
		.id = (int)event.ident,
		.gone = (event.fflags & (NOTE_DELETE | NOTE_REVOKE)) != 0,
	};
	if (ret->gone)
		forget(watch, ret->id);
	return 1;
}
