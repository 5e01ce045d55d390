/* SPDX-License-Identifier: MIT */
/* system_folder.c - the folder of the socket that serves all users. */
#include "system_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "log.h"
#include "os/os.h"

static int failed(const char *what, const char *path, int error)
{
	log_event(REASON_ADDRESS, "%s %s: %s", what, path, strerror(-error));
	return -1;
}

/* May nobody but root and the service user put another folder in the place of one in there? In a sticky one each owner may
 * move only what is its own; that what lies in there is ours is asked for apart. */
static bool is_safe_above(const struct stat *st, const struct service_user *user)
{
	return (st->st_uid == 0 || st->st_uid == user->uid) && ((st->st_mode & 022) == 0 || (st->st_mode & S_ISVTX) != 0);
}

/* All folders above `dir`. Returns 0, -errno, or -EPERM with the first unsafe one's path. */
static int check_above(int dir, const struct service_user *user, char *ret_path, size_t size)
{
	struct stat here, above;
	int at = fcntl(dir, F_DUPFD_CLOEXEC, 0), r = at < 0 || fstat(at, &here) < 0 ? -errno : 1;

	while (r == 1) {
		int up = os_open_folder(at, "..", true);

		if (up < 0 || fstat(up, &above) < 0) {
			r = up < 0 ? up : -errno;
		} else if (above.st_dev == here.st_dev && above.st_ino == here.st_ino) {
			r = 0;
		} else if (!is_safe_above(&above, user)) {
			r = -EPERM;
			if (os_path_of(up, ret_path, size) < 0)
				snprintf(ret_path, size, "a folder above it");
		}
		close(at);
		at = up;
		here = above;
	}
	if (at >= 0)
		close(at);
	return r;
}

static int check_way(int dir, const char *path, const struct service_user *user)
{
	char above[PATH_MAX];
	int r = check_above(dir, user, above, sizeof(above));

	if (r == -EPERM) {
		log_event(REASON_ADDRESS, "%s is not safe: %s may be written by others, or belongs to another user; choose another --address", path,
		          above);
		return -1;
	}
	return r < 0 ? failed("cannot look above", path, r) : 0;
}

static int check(int dir, const char *path, const struct service_user *user)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return failed("cannot look at", path, -errno);
	if (st.st_uid != user->uid) {
		log_event(REASON_ADDRESS, "%s is user %u's: give it to user %u, as whom pathbusd runs, or let pathbusd make it", path,
		          (unsigned)st.st_uid, (unsigned)user->uid);
		return -1;
	}
	if (st.st_mode & 022) {
		log_event(REASON_ADDRESS, "%s may be written by others than user %u, who could put another socket there: chmod go-w it", path,
		          (unsigned)user->uid);
		return -1;
	}
	return 0;
}

/* Ours from the start, or given to us. */
static int give(int dir, bool is_new, const struct service_user *user)
{
	char link[64];
	struct stat st;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	if (fstat(dir, &st) < 0 || (geteuid() == 0 && st.st_uid == 0 && fchownat(dir, "", user->uid, user->gid, AT_EMPTY_PATH) < 0) ||
	    (is_new && chmod(link, 0755) < 0)) /* whatever the umask */
		return -errno;
	return 0;
}

int system_folder_open(const char *path, const struct service_user *user, bool adopt, int *ret_dir)
{
	bool is_new = mkdir(path, 0700) == 0;
	int dir, r;

	if (!is_new && errno != EEXIST)
		return failed("cannot make", path, -errno);
	dir = os_open_folder(AT_FDCWD, path, !adopt && !is_new);
	if (dir < 0)
		return failed("cannot open", path, dir);
	r = check_way(dir, path, user);
	if (r == 0 && (is_new || adopt)) {
		r = give(dir, is_new, user);
		if (r < 0)
			(void)failed("cannot give to the service user:", path, r);
	}
	if (r == 0)
		r = check(dir, path, user);
	if (r < 0)
		close(dir);
	else
		*ret_dir = dir;
	return r;
}
