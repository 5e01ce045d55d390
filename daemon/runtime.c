/* SPDX-License-Identifier: MIT */
/*
 * runtime.c - the user's runtime folder.
 *
 * It is not held open: the kernel tells of a folder's removal only when nobody holds it. Since others may
 * hold it, each look also sees whether it is still the one that is watched.
 */
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "address.h"
#include "log.h"
#include "own_folder.h"

struct runtime {
	struct folders *folders;
	dev_t dev; /* of the one that is watched */
	ino_t ino; /* 0: none is */
	char path[ADDRESS_SIZE];
	runtime_appeared_fn *appeared;
	void *arg;
};

static void changed(void *arg, const char *entry, bool gone);

static void establish(struct runtime *runtime)
{
	struct stat st;
	int dir, r;

	runtime->ino = 0;
	r = own_folder_open(runtime->path, &dir);
	if (r == 0) {
		r = folders_watch_own(runtime->folders, dir, changed, runtime);
		if (r == 0 && fstat(dir, &st) == 0) {
			runtime->dev = st.st_dev;
			runtime->ino = st.st_ino;
		}
		close(dir);
	}
	if (r < 0)
		log_event(REASON_FOLDER_UNWATCHED, "%s cannot be watched (%s): processes that meet there are not heard of", runtime->path,
		          r == -EPERM ? "it is not this user's alone" : strerror(-r));
}

static void changed(void *arg, const char *entry, bool gone)
{
	struct runtime *runtime = arg;

	if (gone)
		establish(runtime);
	runtime->appeared(runtime->arg, entry);
}

/* Is the folder still the one that is watched? Else another is made or found, and anything may be in that. */
static void check(struct runtime *runtime)
{
	struct stat st;

	if (lstat(runtime->path, &st) == 0 && st.st_dev == runtime->dev && st.st_ino == runtime->ino)
		return;
	establish(runtime);
	if (runtime->ino != 0)
		runtime->appeared(runtime->arg, NULL);
}

int runtime_new(struct folders *folders, runtime_appeared_fn *appeared, void *arg, struct runtime **ret)
{
	struct runtime *runtime = calloc(1, sizeof(*runtime));
	int r;

	if (!runtime)
		return -ENOMEM;
	*runtime = (struct runtime){ .folders = folders, .appeared = appeared, .arg = arg };
	r = address_runtime_folder(geteuid(), runtime->path, sizeof(runtime->path));
	if (r < 0) {
		free(runtime);
		return r;
	}
	establish(runtime);
	*ret = runtime;
	return 0;
}

struct runtime *runtime_free(struct runtime *runtime)
{
	free(runtime);
	return NULL;
}

bool runtime_may_have(struct runtime *runtime, const struct topic_key *key)
{
	char name[KEY_NAME_MAX + 1], path[ADDRESS_SIZE + KEY_NAME_MAX + 1];
	struct stat st;

	if (!runtime)
		return false;
	check(runtime);
	if (runtime->ino == 0)
		return false;
	key_runtime_name(key, name);
	snprintf(path, sizeof(path), "%s/%s", runtime->path, name);
	return lstat(path, &st) == 0 || errno != ENOENT;
}

int runtime_open(const struct runtime *runtime, int *ret_dir)
{
	return own_folder_open(runtime->path, ret_dir);
}
