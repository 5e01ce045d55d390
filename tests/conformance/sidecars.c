/* SPDX-License-Identifier: MIT */
/* sidecars.c - the hidden folders that lie in a case's folder, as seen from outside the library. */
#include "conformance/sidecars.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conformance/transports.h"
#include "harness/process.h"

const char *sidecar_path(const char *name, const char *entry)
{
	return entry ? harness_path("files/.%s.pathbus/%s", name, entry) : harness_path("files/.%s.pathbus", name);
}

bool is_there(const char *path)
{
	return inode_of(path) != 0;
}

ino_t inode_of(const char *path)
{
	struct stat st;

	return lstat(path, &st) == 0 ? st.st_ino : 0;
}

bool is_held(const char *path)
{
	return n_holds(path) > 0;
}

/* By the links in /proc: other threads open and close while we look. */
int n_holds(const char *path)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	struct stat there, st;
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	if (lstat(path, &there) == 0)
		while ((entry = readdir(dir)))
			n += fstatat(dirfd(dir), entry->d_name, &st, 0) == 0 && st.st_dev == there.st_dev &&
			     st.st_ino == there.st_ino;
	closedir(dir);
	return n;
}

int count_entries(const char *folder, const char *prefix)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int n = 0;

	if (!dir)
		return 0;
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			n += strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return n;
}

void remove_all(const char *path)
{
	ck_assert_int_eq(harness_run((const char *const[]){ "rm", "-rf", "--", path, NULL }, NULL, NULL), 0);
}

void copy_all(const char *from, const char *to)
{
	ck_assert_int_eq(harness_run((const char *const[]){ "cp", "-a", "--", from, to, NULL }, NULL, NULL), 0);
}

static int live_in_it(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();

	transport_open(bus, arg, 0);
	harness_tell(peer, "ready");
	(void)harness_hear(peer);
	return 1;
}

void leave_sidecar(const char *name)
{
	struct harness_process process;

	harness_spawn(&process, live_in_it, (void *)(uintptr_t)name);
	harness_expect_line(&process, "ready");
	harness_signal(&process, SIGKILL);
	harness_expect_signal(&process, SIGKILL);
	ck_assert(is_there(sidecar_path(name, "page")));
}
