/* SPDX-License-Identifier: MIT */
/*
 * key.h - which file is it: from a path to the identity of a topic.
 *
 * The key is the folder's device and inode and the file's name in it, after symbolic links are resolved, the
 * last component's too. So a topic exists before its file does, and outlives a replacement by rename.
 */
#ifndef PATHBUS_COMMON_KEY_H
#define PATHBUS_COMMON_KEY_H

#include <stdbool.h>
#include <stdint.h>

#define KEY_NAME_MAX 255u

/* No padding, unused bytes of `name` zero: keys are compared and hashed as bytes. */
struct topic_key {
	uint64_t dir_dev;
	uint64_t dir_ino;
	uint32_t name_size;
	uint32_t reserved; /* 0 */
	char name[KEY_NAME_MAX + 1];
};
_Static_assert(sizeof(struct topic_key) == 280, "no padding: keys are compared as bytes");

/* What was found behind a path. */
struct place {
	int dir;               /* O_PATH descriptor of the folder; owned: place_deinit */
	struct topic_key key;
	bool exists;           /* the next lines are valid only then */
	uint64_t file_dev, file_ino;
	uint64_t n_links;

	/* As open(2) would let this process's effective user: read it, write it. Of a missing file its folder decides: who may
	 * list and search it, who may make a file in it; and who may do that in a folder may write the folder. */
	bool may_read, may_write;
	bool read_only; /* its mount or file system is: `may_write` is what would be, were it not */
};

/*
 * Resolves a path in the root folder `root` (an O_PATH descriptor; symbolic links cannot leave it) or, with
 * -1, in the caller's own. Relative paths start at the working directory (only with root -1).
 * Never opens the file other than with O_PATH. Blocks as long as the file system does.
 * On success the caller owns *ret; on failure it is untouched.
 * Returns 0, -EINVAL (empty), -ENOENT (no such folder), -ENOTDIR, -ELOOP, -ENAMETOOLONG, -EACCES, -EMFILE...
 */
int place_resolve(int root, const char *path, struct place *ret);
/*
 * The same for another process, which has asked for it. What lies in /proc looks different to each process, and its links
 * (self, cwd, fd/3) would lead where this one is: they are not followed. -EXDEV or -ELOOP: the path leads there.
 */
int place_resolve_for(int root, const char *path, struct place *ret);
/* Looks once more at the file and its rights. 0; 1: there is a link by now, so the path is to be resolved again; -errno. */
int place_look_again(struct place *place);
void place_deinit(struct place *place);

bool key_equal(const struct topic_key *a, const struct topic_key *b);

/* The name of a key's sidecar, in the file's folder: ".NAME.pathbus", or with a hash where that is too long
 * for a file system. `ret` has KEY_NAME_MAX + 1 bytes. */
void key_sidecar_name(const struct topic_key *key, char *ret);
/* The name of the file that holds the locks of a key, in the file's folder: ".NAME.pathbus-lock", or with a hash. Same size. */
void key_lock_name(const struct topic_key *key, char *ret);
/* The name of a key's folder in the runtime folder, where all topics' lie together. Same size. */
void key_runtime_name(const struct topic_key *key, char *ret);

#endif
