/* SPDX-License-Identifier: MIT */
/*
 * key.c - from a path to a topic's key, by O_PATH and stat only.
 *
 * The kernel resolves folders; the last component is followed here, one link at a time, because what is
 * wanted is the folder and name where the file is or would be, which an opened file does not tell.
 */
#include "key.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hash.h"
#include "os/os.h"

#define MAX_LINKS 40 /* as the kernel's own limit */

bool key_equal(const struct topic_key *a, const struct topic_key *b)
{
	return memcmp(a, b, sizeof(*a)) == 0;
}

static bool same_inode(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Where the walk is: a text, as seen from a folder or from the root. */
struct walk {
	int root, at;            /* `at` is owned unless AT_FDCWD */
	bool for_another;        /* process than this one */
	char text[PATH_MAX + 8]; /* room for a "." and some slashes of our own */
};

static int open_folder(const struct walk *walk, const char *path)
{
	if (walk->root >= 0)
		return os_open_in_root(walk->root, path);
	return walk->for_another ? os_open_folder_plainly(walk->at, path) : os_open_folder(walk->at, path, true);
}

/* The folder's folder. In a root by the path once more: the folder may have been moved out of there meanwhile, and its
 * ".." with it. */
static int open_parent(const struct walk *walk, int folder)
{
	char path[PATH_MAX + 8];
	int n;

	if (walk->root < 0)
		return os_open_folder(folder, "..", true);
	n = snprintf(path, sizeof(path), "%s/..", walk->text);
	return n < 0 || (size_t)n >= sizeof(path) ? -ENAMETOOLONG : os_open_in_root(walk->root, path);
}

/*
 * A path that ends in a folder without naming it (".", "..", "/"): opens the folder's folder and finds the
 * name. The root has none. Needs no right but to pass through that one folder.
 */
static int open_folder_of_folder(const struct walk *walk, char *ret_name)
{
	int folder, parent = -1, root = walk->root, r;
	struct stat self, other;
	char text[PATH_MAX];
	const char *name;

	folder = open_folder(walk, walk->text);
	if (folder < 0)
		return folder;
	if (fstat(folder, &self) < 0 || (root >= 0 && fstat(root, &other) < 0)) {
		r = -errno;
		goto finish;
	}
	r = os_path_of(folder, text, sizeof(text));
	if ((root >= 0 && same_inode(&self, &other)) || (root < 0 && r == 0 && strcmp(text, "/") == 0)) {
		ret_name[0] = '\0';
		return folder;
	}
	if (r < 0)
		goto finish;
	/* Only the name is taken from the text, which may be seen from another root or be outdated. */
	name = strrchr(text, '/') + 1;
	parent = open_parent(walk, folder);
	if (parent < 0)
		r = parent;
	else if (fstatat(parent, name, &other, AT_SYMLINK_NOFOLLOW) < 0)
		r = -errno;
	else if (!same_inode(&self, &other) || strlen(name) > KEY_NAME_MAX)
		r = -ENOENT;
	else
		strcpy(ret_name, name);
finish:
	close(folder);
	if (r < 0 && parent >= 0)
		close(parent);
	return r < 0 ? r : parent;
}

static void fill_rights(struct place *place, const struct os_found *found)
{
	bool is_folder = S_ISDIR(found->st.st_mode);

	place->may_read = found->read && (place->exists || found->search);
	place->may_write = found->write && (!is_folder || found->search);
	place->read_only = found->read_only;
}

/* `dir` is consumed on success. Returns 0, 1 (the name has become a link: look again), -errno. */
static int fill_place(int dir, const char *name, bool must_be_folder, struct place *ret)
{
	struct place place = { .dir = dir };
	size_t size = strlen(name);
	struct os_found found;
	struct stat folder;
	int r;

	if (fstat(dir, &folder) < 0)
		return -errno;
	r = os_find(dir, name, &found);
	if (r < 0 && r != -ENOENT)
		return r;
	place.exists = r == 0;
	if (place.exists) {
		if (S_ISLNK(found.st.st_mode))
			return 1;
		if (must_be_folder && !S_ISDIR(found.st.st_mode))
			return -ENOTDIR;
		place.file_dev = (uint64_t)found.st.st_dev;
		place.file_ino = found.st.st_ino;
		place.n_links = found.st.st_nlink;
	} else if ((r = os_find(dir, "", &found)) < 0) {
		return r;
	}
	place.key.dir_dev = (uint64_t)folder.st_dev;
	place.key.dir_ino = folder.st_ino;
	place.key.name_size = (uint32_t)size;
	memcpy(place.key.name, name, size);
	fill_rights(&place, &found);
	*ret = place;
	return 0;
}

/* Splits off the last component; `path` becomes the folder's ("." if it has none). `ret_name` has
 * KEY_NAME_MAX + 1 bytes. */
static int split(char *path, char *ret_name, bool *ret_slash)
{
	size_t size = strlen(path);
	const char *name;
	char *slash;

	*ret_slash = false;
	while (size > 1 && path[size - 1] == '/') {
		path[--size] = '\0';
		*ret_slash = true;
	}
	slash = strrchr(path, '/');
	name = slash ? slash + 1 : path;
	if (strlen(name) > KEY_NAME_MAX)
		return -ENAMETOOLONG;
	strcpy(ret_name, name);
	if (!slash)
		strcpy(path, ".");
	else
		slash[slash == path ? 1 : 0] = '\0';
	return 0;
}

static bool names_no_entry(const char *name)
{
	return name[0] == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

/* Goes from the folder that `text` names on to `name`, in place. */
static int append(char *text, size_t text_size, const char *name)
{
	size_t size = strlen(text), more = strlen(name);

	if (name[0] == '/')
		size = 0;
	else
		text[size++] = '/';
	if (size + more >= text_size)
		return -ENAMETOOLONG;
	memcpy(text + size, name, more + 1);
	return 0;
}

static void walk_from(struct walk *walk, int at)
{
	if (walk->at >= 0)
		close(walk->at);
	walk->at = at;
}

/* With a "." behind it, since a link at the end of a path is more than one on the way: there are some that only
 * that may not be followed (fs.protected_symlinks). */
static int open_folder_on_the_way(struct walk *walk)
{
	size_t size = strlen(walk->text);
	int r = append(walk->text, sizeof(walk->text), ".");

	if (r == 0)
		r = open_folder(walk, walk->text);
	walk->text[size] = '\0';
	return r;
}

/* Opens the folder of the last component, whose name is put out. Leaves the folder's path in the text. */
static int walk_open(struct walk *walk, char *ret_name, bool *ret_slash)
{
	int r, dir;

	r = split(walk->text, ret_name, ret_slash);
	if (r < 0)
		return r;
	if (!names_no_entry(ret_name))
		return open_folder_on_the_way(walk);
	if (ret_name[0] && (r = append(walk->text, sizeof(walk->text), ret_name)) < 0)
		return r;
	dir = open_folder_of_folder(walk, ret_name);
	if (dir >= 0 && (r = append(walk->text, sizeof(walk->text), "..")) < 0) {
		close(dir);
		return r;
	}
	return dir;
}

/*
 * Follows a link that lies in `dir`, which is consumed. A relative one goes on from the descriptor: the joined
 * text may be longer than PATH_MAX. In a foreign root only the text will do.
 */
static int walk_follow(struct walk *walk, int dir, const char *target)
{
	if (walk->root < 0) {
		walk_from(walk, target[0] == '/' ? AT_FDCWD : dir);
		if (target[0] == '/')
			close(dir);
		strcpy(walk->text, target);
		return 0;
	}
	close(dir);
	return append(walk->text, sizeof(walk->text), target);
}

/* The target of a link, with a slash if the path had one. Returns 1, 0 (no link, or not there), -errno. */
static int read_target(int dir, const char *name, bool slash, char *ret, size_t size)
{
	ssize_t n = name[0] ? readlinkat(dir, name, ret, size - 2) : 0;
	int r;

	if (n < 0)
		return errno == EINVAL || errno == ENOENT ? 0 : -errno;
	if (n == 0)
		return 0;
	r = os_may_follow(dir, name);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (slash)
		ret[n++] = '/';
	ret[n] = '\0';
	return 1;
}

static int resolve(int root, bool for_another, const char *path, struct place *ret)
{
	struct walk walk = { .root = root, .at = AT_FDCWD, .for_another = for_another };
	char name[KEY_NAME_MAX + 1], target[PATH_MAX + 2];
	int r = 1;

	if (path[0] == '\0')
		return -EINVAL;
	if (strlen(path) >= PATH_MAX)
		return -ENAMETOOLONG;
	strcpy(walk.text, path);
	for (int i = 0; i <= MAX_LINKS && r == 1; i++) {
		bool slash;
		int dir;

		dir = walk_open(&walk, name, &slash);
		if (dir < 0) {
			r = dir;
			break;
		}
		if (for_another && os_is_of_processes(dir)) {
			close(dir);
			r = -EXDEV;
			break;
		}
		r = read_target(dir, name, slash, target, sizeof(target));
		if (r == 1) {
			r = walk_follow(&walk, dir, target) < 0 ? -ENAMETOOLONG : 1;
			continue;
		}
		if (r == 0)
			r = fill_place(dir, name, slash, ret);
		if (r != 0)
			close(dir);
		if (r == 1 && append(walk.text, sizeof(walk.text), name) < 0)
			r = -ENAMETOOLONG;
	}
	walk_from(&walk, AT_FDCWD);
	return r == 1 ? -ELOOP : r;
}

int place_resolve(int root, const char *path, struct place *ret)
{
	return resolve(root, false, path, ret);
}

int place_resolve_for(int root, const char *path, struct place *ret)
{
	return resolve(root, true, path, ret);
}

int place_look_again(struct place *place)
{
	return fill_place(place->dir, place->key.name, false, place);
}

void place_deinit(struct place *place)
{
	if (place->dir >= 0)
		close(place->dir);
	place->dir = -1;
}

/* --- names of folders and files ------------------------------------------------------------------------------- */

#define SUFFIX ".pathbus"
#define LOCK_SUFFIX ".pathbus-lock"

/* Three bytes are left for the number that a folder in the making carries (sidecar.c). */
static void name_beside(const struct topic_key *key, const char *suffix, char *ret)
{
	char hash[HASH_TEXT_SIZE];

	if (key->name_size + 1 + strlen(suffix) + 3 <= KEY_NAME_MAX) {
		ret[0] = '.';
		memcpy(ret + 1, key->name, key->name_size);
		strcpy(ret + 1 + key->name_size, suffix);
		return;
	}
	hash_text(key->name, key->name_size, hash);
	snprintf(ret, KEY_NAME_MAX + 1, ".%s%s", hash, suffix);
}

void key_sidecar_name(const struct topic_key *key, char *ret)
{
	name_beside(key, SUFFIX, ret);
}

void key_lock_name(const struct topic_key *key, char *ret)
{
	name_beside(key, LOCK_SUFFIX, ret);
}

void key_runtime_name(const struct topic_key *key, char *ret)
{
	char hash[HASH_TEXT_SIZE];

	hash_text(key, sizeof(*key), hash);
	snprintf(ret, KEY_NAME_MAX + 1, "%s" SUFFIX, hash);
}
