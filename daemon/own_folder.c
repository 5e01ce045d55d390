/* SPDX-License-Identifier: MIT */
/* own_folder.c - a folder that is this user's alone. */
#include "own_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "os/os.h"

int own_folder_open(const char *path, int *ret_dir)
{
	struct stat st;
	int dir;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return -errno;
	dir = os_open_folder(AT_FDCWD, path, false);
	if (dir < 0)
		return dir;
	if (fstat(dir, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 0077) != 0) {
		close(dir);
		return -EPERM;
	}
	*ret_dir = dir;
	return 0;
}
