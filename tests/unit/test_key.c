/* SPDX-License-Identifier: MIT */
/*
 * test_key.c - from a path to a topic: spellings that agree, links, foreign roots, limits, rights, and that
 * the file itself is never opened.
 */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "harness/process.h"
#include "key.h"
#include "os/os.h"

#define NOBODY 65534u
#define CANNOT 77 /* exit status of a child that lacks what it needs */

/* --- the folder of each case, which is the working directory too -------------------------------------- */

static int root = -1; /* the case's folder */

static void setup(void)
{
	ck_assert_int_eq(chdir(harness_tmpdir()), 0);
	root = os_open_folder(AT_FDCWD, ".", true);
	ck_assert_int_ge(root, 0);
}

static void teardown(void)
{
	close(root);
	ck_assert_int_eq(chdir("/"), 0);
}

static void make_file(const char *name)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	ck_assert_msg(fd >= 0, "%s", name);
	close(fd);
}

static void make_folder(const char *name)
{
	ck_assert_int_eq(mkdir(name, 0755), 0);
	ck_assert_int_eq(chmod(name, 0755), 0);
}

static void make_link(const char *target, const char *name)
{
	ck_assert_msg(symlink(target, name) == 0, "%s", name);
}

/* folder/{file,missing,sub/}, and links to them */
static void make_tree(void)
{
	make_file("file");
	make_folder("folder");
	make_folder("folder/sub");
	make_file("folder/file");
	make_link("folder/file", "relative");
	make_link("../file", "folder/up");
	make_link("/folder/file", "absolute-in-root");
	make_link(harness_path("folder/file"), "absolute");
	make_link("relative", "chain");
	make_link("folder", "to-folder");
	make_link("folder/", "to-folder-slash");
	make_link("folder/sub/..", "to-folder-dots");
	make_link("folder/sub/.", "to-sub-dot");
	make_link("folder/missing", "dangling");
	make_link("nowhere/missing", "dangling-folder");
	make_link("loop", "loop");
	make_link("loop-b", "loop-a");
	make_link("loop-a", "loop-b");
	make_link("../../../../../../../../../../../../folder/file", "escape");
}

static struct topic_key key_of(const char *folder, const char *name)
{
	struct topic_key key = { .name_size = (uint32_t)strlen(name) };
	struct stat st;

	ck_assert_msg(stat(folder, &st) == 0, "%s", folder);
	key.dir_dev = st.st_dev;
	key.dir_ino = st.st_ino;
	memcpy(key.name, name, strlen(name));
	return key;
}

/* --- spellings --------------------------------------------------------------------------------------- */

enum { IN_OWN = 1, IN_ROOT = 2, IN_BOTH = 3 };

static const struct spelling {
	int where;
	const char *path;
	int result;
	const char *folder, *name; /* what it must be, or NULL */
	bool exists;
} spellings[] = {
	{ IN_OWN, "file", 0, ".", "file", true },
	{ IN_BOTH, "/file", 0, ".", "file",
	  true }, /* in its own root: with the case's folder before it */
	{ IN_BOTH, "//folder///file", 0, "folder", "file", true },
	{ IN_OWN, "./folder/./file", 0, "folder", "file", true },
	{ IN_BOTH, "/folder/sub/../file", 0, "folder", "file", true },
	{ IN_BOTH, "/to-folder/file", 0, "folder", "file", true },
	{ IN_BOTH, "/missing", 0, ".", "missing", false },
	{ IN_BOTH, "/folder/missing", 0, "folder", "missing", false },
	/* links */
	{ IN_BOTH, "/relative", 0, "folder", "file", true },
	{ IN_OWN, "relative", 0, "folder", "file", true },
	{ IN_BOTH, "/chain", 0, "folder", "file", true },
	{ IN_BOTH, "/folder/up", 0, ".", "file", true },
	{ IN_BOTH, "/to-folder/up", 0, ".", "file", true },
	{ IN_OWN, "absolute", 0, "folder", "file", true },
	{ IN_ROOT, "/absolute-in-root", 0, "folder", "file", true },
	{ IN_OWN, "absolute-in-root", -ENOENT, NULL, NULL, false },
	{ IN_ROOT, "/absolute", -ENOENT, NULL, NULL, false },
	{ IN_ROOT, "/escape", 0, "folder", "file", true },
	{ IN_OWN, "escape", -ENOENT, NULL, NULL, false },
	{ IN_BOTH, "/dangling", 0, "folder", "missing", false },
	{ IN_BOTH, "/dangling-folder", -ENOENT, NULL, NULL, false },
	{ IN_BOTH, "/loop", -ELOOP, NULL, NULL, false },
	{ IN_BOTH, "/loop-a", -ELOOP, NULL, NULL, false },
	{ IN_BOTH, "/loop/file", -ELOOP, NULL, NULL, false },
	/* folders */
	{ IN_BOTH, "/folder", 0, ".", "folder", true },
	{ IN_BOTH, "/folder/", 0, ".", "folder", true },
	{ IN_BOTH, "/folder///", 0, ".", "folder", true },
	{ IN_BOTH, "/folder/.", 0, ".", "folder", true },
	{ IN_BOTH, "/folder/sub/..", 0, ".", "folder", true },
	{ IN_BOTH, "/folder/sub/../", 0, ".", "folder", true },
	{ IN_BOTH, "/folder/sub/./.././sub/..", 0, ".", "folder", true },
	{ IN_BOTH, "/folder/sub/.", 0, "folder", "sub", true },
	{ IN_BOTH, "/to-folder", 0, ".", "folder", true },
	{ IN_BOTH, "/to-folder/", 0, ".", "folder", true },
	{ IN_BOTH, "/to-folder-slash", 0, ".", "folder", true },
	{ IN_BOTH, "/to-folder-dots", 0, ".", "folder", true },
	{ IN_BOTH, "/to-folder-dots/", 0, ".", "folder", true },
	{ IN_BOTH, "/to-sub-dot", 0, "folder", "sub", true },
	{ IN_BOTH, "/to-folder/.", 0, ".", "folder", true },
	{ IN_BOTH, "/to-folder/sub/..", 0, ".", "folder", true },
	{ IN_BOTH, "/missing/", 0, ".", "missing", false },
	{ IN_BOTH, "/dangling/", 0, "folder", "missing", false },
	{ IN_ROOT, "/", 0, ".", "", true },
	{ IN_ROOT, "/.", 0, ".", "", true },
	{ IN_ROOT, "/..", 0, ".", "", true },
	{ IN_ROOT, "/folder/..", 0, ".", "", true },
	{ IN_ROOT, "/folder/../../../", 0, ".", "", true },
	{ IN_ROOT, "/../folder/../../file", 0, ".", "file", true },
	{ IN_OWN, "/", 0, "/", "", true },
	{ IN_OWN, "//", 0, "/", "", true },
	{ IN_OWN, "/..", 0, "/", "", true },
	/* what is no folder */
	{ IN_BOTH, "/file/", -ENOTDIR, NULL, NULL, false },
	{ IN_BOTH, "/relative/", -ENOTDIR, NULL, NULL, false },
	{ IN_BOTH, "/file/.", -ENOTDIR, NULL, NULL, false },
	{ IN_BOTH, "/file/..", -ENOTDIR, NULL, NULL, false },
	{ IN_BOTH, "/file/x", -ENOTDIR, NULL, NULL, false },
	{ IN_BOTH, "/missing/.", -ENOENT, NULL, NULL, false },
	{ IN_BOTH, "/missing/..", -ENOENT, NULL, NULL, false },
	{ IN_BOTH, "/missing/file", -ENOENT, NULL, NULL, false },
	{ IN_BOTH, "", -EINVAL, NULL, NULL, false },
};
#define N_SPELLINGS (int)(sizeof(spellings) / sizeof(spellings[0]))

static void check_place(int in, const char *path, const struct spelling *expected)
{
	struct topic_key key;
	struct place place;
	struct stat st;
	int r;

	memset(&place, 0xa5, sizeof(place));
	r = place_resolve(in, path, &place);
	ck_assert_msg(r == expected->result, "\"%.60s\": %s, not %s", path, strerror(-r),
		      strerror(-expected->result));
	if (r < 0) {
		for (size_t i = 0; i < sizeof(place); i++)
			ck_assert_uint_eq(((unsigned char *)&place)[i], 0xa5);
		return;
	}
	key = key_of(expected->folder, expected->name);
	ck_assert_msg(key_equal(&place.key, &key), "\"%s\": is \"%s\"", path, place.key.name);
	ck_assert_int_eq(place.exists, expected->exists);
	ck_assert_int_eq(fstat(place.dir, &st), 0);
	ck_assert_uint_eq(st.st_ino, key.dir_ino);
	if (place.exists) {
		const char *name = key.name[0] ? key.name : ".";

		ck_assert_int_eq(fstatat(place.dir, name, &st, AT_SYMLINK_NOFOLLOW), 0);
		ck_assert_uint_eq(place.file_ino, st.st_ino);
		ck_assert_uint_eq(place.file_dev, st.st_dev);
		ck_assert_uint_eq(place.n_links, st.st_nlink);
	}
	place_deinit(&place);
	place_deinit(&place);
}

START_TEST(spelling)
{
	const struct spelling *s = &spellings[_i];

	make_tree();
	if (s->where & IN_ROOT) {
		struct place place;

		if (place_resolve(root, "/", &place) == -ENOSYS)
			harness_skip("no openat2");
		place_deinit(&place);
		check_place(root, s->path, s);
	}
	if (s->where == IN_BOTH && s->path[0])
		check_place(-1, harness_path("%s", s->path + 1), s);
	else if (s->where & IN_OWN)
		check_place(-1, s->path, s);
}
END_TEST

START_TEST(working_directory)
{
	const struct spelling folder = { IN_OWN, "", 0, "..", "folder", true };
	const struct spelling sub = { IN_OWN, "", 0, ".", "sub", true };

	make_tree();
	ck_assert_int_eq(chdir("folder"), 0);
	check_place(-1, ".", &folder);
	check_place(-1, "./", &folder);
	check_place(-1, "sub/..", &folder);
	check_place(-1, "../folder", &folder);
	check_place(-1, "sub", &sub);
	check_place(-1, "./sub/", &sub);
	ck_assert_int_eq(chdir("sub"), 0);
	check_place(-1, "..", &(struct spelling){ IN_OWN, "", 0, "../..", "folder", true });
	check_place(-1, ".", &(struct spelling){ IN_OWN, "", 0, "..", "sub", true });
	ck_assert_int_eq(rmdir("../sub"), 0);
	check_place(-1, ".", &(struct spelling){ .result = -ENOENT });
	ck_assert_int_eq(chdir(harness_tmpdir()), 0);
}
END_TEST

/* --- links ------------------------------------------------------------------------------------------- */

START_TEST(chain_of_links)
{
	struct spelling file = { IN_OWN, "", 0, ".", "l0", true };
	char name[16], target[16];

	make_file("l0");
	for (int i = 1; i <= 41; i++) {
		snprintf(name, sizeof(name), "l%d", i);
		snprintf(target, sizeof(target), "l%d", i - 1);
		make_link(target, name);
	}
	ck_assert_int_eq(access("l40", F_OK), 0); /* as the kernel */
	ck_assert_int_eq(access("l41", F_OK), -1);
	check_place(-1, "l40", &file);
	check_place(root, "/l40", &file);
	file.result = -ELOOP;
	check_place(-1, "l41", &file);
	check_place(root, "/l41", &file);
}
END_TEST

/* A relative link in a deep folder: the two texts together are longer than any path may be. */
START_TEST(long_link_in_deep_folder)
{
	char part[201], path[PATH_MAX] = "", target[PATH_MAX] = "";
	int deep = AT_FDCWD;

	memset(part, 'd', 200);
	part[200] = '\0';
	for (int i = 0; i < 15; i++) {
		int fd;

		ck_assert_int_eq(mkdirat(deep, part, 0700), 0);
		fd = os_open_folder(deep, part, false);
		ck_assert_int_ge(fd, 0);
		if (deep >= 0)
			close(deep);
		deep = fd;
		strcat(strcat(path, part), "/");
	}
	for (int i = 0; i < 1000; i++)
		strcat(target, "./");
	strcat(target, "file");
	ck_assert_int_eq(symlinkat(target, deep, "link"), 0);
	close(deep);
	deep = openat(AT_FDCWD, path, O_PATH | O_CLOEXEC);
	ck_assert_int_ge(deep, 0);
	close(deep);
	{
		struct topic_key key = key_of(path, "file");
		struct place place;

		strcat(path, "link");
		ck_assert_int_eq(place_resolve(-1, path, &place), 0);
		ck_assert(key_equal(&place.key, &key));
		place_deinit(&place);
	}
}
END_TEST

struct swapper {
	_Atomic bool end;
	pthread_t thread;
};

static void *swap(void *arg)
{
	struct swapper *swapper = arg;

	while (!atomic_load(&swapper->end))
		ck_assert_int_eq(renameat2(AT_FDCWD, "name", AT_FDCWD, "other", RENAME_EXCHANGE),
				 0);
	return NULL;
}

/* While a file and a link change places all the time, the answer is one of the two. */
START_TEST(link_appears_meanwhile)
{
	struct swapper swapper = { false };
	struct topic_key as_file, as_link;
	struct stat file, linked;
	int n_files = 0, n_links = 0;

	make_folder("folder");
	make_file("folder/file");
	make_file("name");
	make_link("folder/file", "other");
	if (renameat2(AT_FDCWD, "name", AT_FDCWD, "other", RENAME_EXCHANGE) < 0)
		harness_skip("names cannot be exchanged here");
	ck_assert_int_eq(lstat("other", &file), 0);
	ck_assert_int_eq(stat("folder/file", &linked), 0);
	as_file = key_of(".", "name");
	as_link = key_of("folder", "file");
	ck_assert_int_eq(pthread_create(&swapper.thread, NULL, swap, &swapper), 0);
	for (int i = 0; i < 20000; i++) {
		struct place place;

		ck_assert_int_eq(place_resolve(i % 2 ? root : -1, i % 2 ? "/name" : "name", &place),
				 0);
		ck_assert(place.exists);
		ck_assert_uint_eq(place.file_ino,
				  key_equal(&place.key, &as_file) ? file.st_ino : linked.st_ino);
		if (key_equal(&place.key, &as_file))
			n_files++;
		else if (key_equal(&place.key, &as_link))
			n_links++;
		place_deinit(&place);
	}
	atomic_store(&swapper.end, true);
	ck_assert_int_eq(pthread_join(swapper.thread, NULL), 0);
	ck_assert_int_eq(n_files + n_links, 20000);
}
END_TEST

/* --- limits ------------------------------------------------------------------------------------------ */

START_TEST(longest_names)
{
	char name[258];
	struct spelling expected = { IN_OWN, "", 0, ".", name, false };

	memset(name, 'n', sizeof(name));
	name[255] = '\0';
	check_place(-1, name, &expected);
	make_file(name);
	expected.exists = true;
	check_place(-1, name, &expected);
	check_place(root, name, &expected);
	name[255] = 'n';
	name[256] = '\0';
	expected.result = -ENAMETOOLONG;
	check_place(-1, name, &expected);
	check_place(root, name, &expected);
	make_link("file", "link");
	ck_assert_int_eq(place_resolve(-1, harness_path("%s/x", name), &(struct place){ 0 }),
			 -ENAMETOOLONG);
}
END_TEST

START_TEST(longest_paths)
{
	static char path[PATH_MAX + 2];
	struct spelling expected = { IN_OWN, "", 0, ".", "file", true };
	size_t size = 0;

	make_file("file");
	make_folder("folder");
	for (; size < PATH_MAX - 1 - 5; size++)
		path[size] = size % 2 ? '/' : '.'; /* "./././" */
	while (size < PATH_MAX - 1 - 4)
		path[size++] = '/';
	strcpy(path + size, "file");
	ck_assert_uint_eq(strlen(path), PATH_MAX - 1);
	check_place(-1, path, &expected);
	check_place(root, path, &expected);
	memmove(path + 1, path, PATH_MAX);
	path[1] = '/';
	expected.result = -ENAMETOOLONG;
	check_place(-1, path, &expected);
	check_place(root, path, &expected);

	/* and one that ends in dots */
	strcpy(path + PATH_MAX - 1 - 10, "/folder/..");
	ck_assert_uint_eq(strlen(path), PATH_MAX - 1);
	ck_assert_int_eq(mkdir("inner", 0755), 0);
	ck_assert_int_eq(chdir("inner"), 0);
	make_folder("folder");
	check_place(-1, path, &(struct spelling){ IN_OWN, "", 0, "..", "inner", true });
	ck_assert_int_eq(chdir(".."), 0);
}
END_TEST

START_TEST(names_are_bytes)
{
	static const char *const names[] = { "\xff\xfe", "latin1-\xfc", "new\nline", "-",   " ",
					     "...",	 "\\",		"a:b",	     "\x01" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct spelling expected = { IN_OWN, "", 0, ".", names[i], true };

		make_file(names[i]);
		check_place(-1, names[i], &expected);
		check_place(-1, harness_path("%s", names[i]), &expected);
		check_place(root, names[i], &expected);
	}
}
END_TEST

/* --- what the key stands for --------------------------------------------------------------------------- */

START_TEST(file_is_replaced)
{
	struct place before, after;

	make_file("file");
	ck_assert_int_eq(place_resolve(-1, "file", &before), 0);
	make_file("new");
	ck_assert_int_eq(rename("new", "file"), 0);
	ck_assert_int_eq(place_resolve(-1, "file", &after), 0);
	ck_assert(key_equal(&before.key, &after.key));
	ck_assert_uint_ne(before.file_ino, after.file_ino);
	place_deinit(&after);
	ck_assert_int_eq(unlink("file"), 0);
	ck_assert_int_eq(place_resolve(-1, "file", &after), 0);
	ck_assert(key_equal(&before.key, &after.key));
	ck_assert(!after.exists);
	place_deinit(&after);
	place_deinit(&before);
}
END_TEST

START_TEST(folder_is_replaced)
{
	struct place before, after;

	make_folder("a");
	make_folder("b");
	ck_assert_int_eq(place_resolve(-1, "a/file", &before), 0);
	ck_assert_int_eq(rename("b", "a"), 0);
	ck_assert_int_eq(place_resolve(-1, "a/file", &after), 0);
	ck_assert(!key_equal(&before.key, &after.key));
	place_deinit(&after);
	place_deinit(&before);
}
END_TEST

START_TEST(hard_links)
{
	struct place one, two;

	make_file("one");
	ck_assert_int_eq(link("one", "two"), 0);
	ck_assert_int_eq(place_resolve(-1, "one", &one), 0);
	ck_assert_int_eq(place_resolve(-1, "two", &two), 0);
	ck_assert(!key_equal(&one.key, &two.key));
	ck_assert_uint_eq(one.file_ino, two.file_ino);
	ck_assert_uint_eq(one.n_links, 2);
	place_deinit(&one);
	place_deinit(&two);
}
END_TEST

/* --- the file is never touched ------------------------------------------------------------------------- */

static int asks_for_lock(struct harness_process *peer, void *arg)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	int fd = open("folder/file", O_RDWR | O_CLOEXEC);

	(void)peer, (void)arg;
	return fd < 0 || fcntl(fd, F_GETLK, &lock) < 0 || lock.l_type == F_UNLCK;
}

static bool lock_is_held(void)
{
	struct harness_process process;

	harness_spawn(&process, asks_for_lock, NULL);
	return harness_wait(&process) == 0;
}

/* Opening and closing the file would drop the process's own POSIX lock on it. */
START_TEST(posix_locks_survive)
{
	static const char *const paths[] = { "/folder/file",  "/relative",	"/chain",
					     "/folder/.",     "/file",		"/missing",
					     "/folder/file/", "/folder/file/.", "/folder/file/x",
					     "/loop" };
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1 };
	struct os_found found;
	int fd, dir;

	make_tree();
	fd = open("folder/file", O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_SETLK, &lock), 0);
	ck_assert(lock_is_held());
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct place place;

		if (place_resolve(root, paths[i], &place) == 0)
			place_deinit(&place);
		if (place_resolve(-1, paths[i] + 1, &place) == 0)
			place_deinit(&place);
	}
	ck_assert(lock_is_held());

	/* Nor when the data file stands where a sidecar's files should be. */
	dir = os_open_folder(AT_FDCWD, "folder", true);
	ck_assert_int_eq(link("folder/file", "folder/bell"), 0);
	ck_assert_int_eq(os_bell_open(dir, "bell"), -EEXIST);
	ck_assert_int_eq(os_bell_open(dir, "file"), -EEXIST);
	ck_assert_int_eq(os_open_own_file(dir, "bell"), -EEXIST);
	ck_assert_int_eq(os_find(dir, "file", &found), 0);
	ck_assert(found.read && found.write);
	close(dir);
	ck_assert(lock_is_held());
	close(fd);
	ck_assert(!lock_is_held());
}
END_TEST

/* --- in other circumstances: another user, other mounts ------------------------------------------------ */

static void in_child(int (*function)(struct harness_process *peer, void *arg), void *arg)
{
	struct harness_process process;
	int status;

	harness_spawn(&process, function, arg);
	status = harness_wait(&process);
	if (WIFEXITED(status) && WEXITSTATUS(status) == CANNOT)
		harness_skip("needs root");
	ck_assert_msg(status == 0, "the child ended with 0x%x", (unsigned)status);
}

static int become_nobody(gid_t group)
{
	if (setgroups(group ? 1 : 0, &group) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
	    setresuid(NOBODY, NOBODY, NOBODY) < 0)
		return CANNOT;
	return 0;
}

static int own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return CANNOT;
	return 0;
}

static int bound(struct harness_process *peer, void *arg)
{
	struct topic_key file, sub;

	(void)peer, (void)arg;
	make_tree();
	make_folder("mount");
	if (own_mounts() != 0 || mount("folder", "mount", NULL, MS_BIND, NULL) < 0)
		return CANNOT;
	file = key_of("folder", "file");
	sub = key_of("folder", "sub");
	for (int in_root = 0; in_root <= 1; in_root++) {
		struct place place;
		int in = in_root ? os_open_folder(AT_FDCWD, ".", true) : -1;

		ck_assert_int_eq(place_resolve(in, "mount/file", &place), 0);
		ck_assert(key_equal(&place.key, &file));
		place_deinit(&place);
		ck_assert_int_eq(place_resolve(in, "mount/sub/.", &place), 0);
		ck_assert(key_equal(&place.key, &sub));
		place_deinit(&place);
		ck_assert_int_eq(place_resolve(in, "mount/sub/..", &place),
				 0); /* the mount point has its own name */
		ck_assert_str_eq(place.key.name, "mount");
		place_deinit(&place);
	}
	return 0;
}

START_TEST(bind_mounts_agree)
{
	in_child(bound, NULL);
}
END_TEST

/* The root of a process that lives in another root: its "." and "/" are seen from outside. */
START_TEST(changed_root)
{
	struct spelling expected = { IN_ROOT, "", 0, "folder", "sub", true };
	int inner;

	make_tree();
	inner = os_open_folder(AT_FDCWD, "folder", true);
	ck_assert_int_ge(inner, 0);
	check_place(inner, "/sub/.", &expected);
	check_place(inner, "/sub/../sub", &expected);
	check_place(inner, "/../sub", &expected);
	check_place(inner, "/sub/..", &(struct spelling){ IN_ROOT, "", 0, "folder", "", true });
	close(inner);
}
END_TEST

static void set_mode(const char *name, mode_t mode)
{
	ck_assert_int_eq(chmod(name, mode), 0);
}

static void check_rights(const char *path, bool exists, bool may_read, bool may_write)
{
	struct place place;
	int r = place_resolve(-1, path, &place);

	ck_assert_msg(r == 0, "%s: %s", path, strerror(-r));
	ck_assert_msg(place.exists == exists && place.may_read == may_read &&
			      place.may_write == may_write,
		      "%s:%s%s%s", path, place.exists ? " exists" : "",
		      place.may_read ? " read" : "", place.may_write ? " write" : "");
	place_deinit(&place);
}

/* An access control list that lets one user read and write, and others nothing; as the kernel stores it. */
static bool set_list(const char *name, uint32_t uid)
{
	const struct {
		uint32_t version;
		struct {
			uint16_t tag, perm;
			uint32_t id;
		} entries[5];
	} list = { 2,
		   { { 1, 6, UINT32_MAX },
		     { 2, 6, uid },
		     { 4, 0, UINT32_MAX },
		     { 16, 6, UINT32_MAX },
		     { 32, 0, UINT32_MAX } } };

	return setxattr(name, "system.posix_acl_access", &list, sizeof(list), 0) == 0;
}

static void make_files_with_rights(void)
{
	static const struct {
		const char *name;
		mode_t mode;
		uid_t uid;
		gid_t gid;
	} files[] = {
		{ "world-read", 0644, 0, 0 },	  { "world-write", 0666, 0, 0 },
		{ "secret", 0600, 0, 0 },	  { "mine", 0600, NOBODY, 0 },
		{ "mine-read", 0400, NOBODY, 0 }, { "group", 0660, 0, 1234 },
		{ "group-read", 0640, 0, 1234 },  { "own-group", 0620, 0, NOBODY },
		{ "other-group", 0660, 0, 4321 }, { "not-my-group", 0606, 0, 1234 },
		{ "list", 0600, 0, 0 },
	};

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		make_file(files[i].name);
		ck_assert_int_eq(chown(files[i].name, files[i].uid, files[i].gid), 0);
		set_mode(files[i].name, files[i].mode);
	}
}

static void check_files_with_rights(void)
{
	check_rights("world-read", true, true, false);
	check_rights("world-write", true, true, true);
	check_rights("secret", true, false, false);
	check_rights("mine", true, true, true);
	check_rights("mine-read", true, true, false);
	check_rights("group", true, true, true);
	check_rights("group-read", true, true, false);
	check_rights("own-group", true, false, true);
	check_rights("other-group", true, false, false);
	check_rights("not-my-group", true, false, false);
}

static int rights_of_nobody(struct harness_process *peer, void *arg)
{
	bool has_list;

	(void)peer, (void)arg;
	if (geteuid() != 0)
		return CANNOT;
	make_folder("open");
	ck_assert_int_eq(chdir("open"), 0);
	make_files_with_rights();
	has_list = set_list("list", NOBODY);
	make_folder("closed"); /* not even to pass through */
	make_file("closed/file");
	set_mode("closed", 0700);
	make_folder("unwritable");
	make_folder("writable");
	set_mode("writable", 0777);
	make_folder("unreadable"); /* names in it can be used, not listed */
	make_file("unreadable/file");
	set_mode("unreadable", 0711);
	make_link("closed/file", "into-closed");
	make_link("secret", "to-secret");

	if (become_nobody(1234) != 0)
		return CANNOT;
	check_files_with_rights();
	if (has_list)
		check_rights("list", true, true, true);
	check_rights("to-secret", true, false, false);
	check_rights("unreadable/file", true, true, false);
	check_rights("unwritable/missing", false, true, false);
	check_rights("writable/missing", false, true, true);
	check_rights("unwritable", true, true, false);
	check_rights("writable", true, true, true);
	check_rights("unreadable", true, false, false);
	check_rights("closed", true, false, false);
	check_rights("writable/.", true, true, true);
	ck_assert_int_eq(place_resolve(-1, "closed/file", &(struct place){ 0 }), -EACCES);
	ck_assert_int_eq(place_resolve(-1, "closed/missing", &(struct place){ 0 }), -EACCES);
	ck_assert_int_eq(place_resolve(-1, "closed/.", &(struct place){ 0 }), -EACCES);
	ck_assert_int_eq(place_resolve(-1, "into-closed", &(struct place){ 0 }), -EACCES);
	ck_assert_int_eq(place_resolve(-1, "closed/x/y", &(struct place){ 0 }), -EACCES);
	return 0;
}

START_TEST(rights_follow_the_file)
{
	in_child(rights_of_nobody, NULL);
}
END_TEST

/* The effective user decides, not the real one. */
static int rights_of_effective(struct harness_process *peer, void *arg)
{
	(void)peer, (void)arg;
	make_folder("open");
	ck_assert_int_eq(chdir("open"), 0);
	make_files_with_rights();
	if (setgroups(0, NULL) < 0 || setresgid((gid_t)-1, NOBODY, (gid_t)-1) < 0 ||
	    setresuid((uid_t)-1, NOBODY, (uid_t)-1) < 0)
		return CANNOT;
	check_rights("world-read", true, true, false);
	check_rights("secret", true, false, false);
	check_rights("mine", true, true, true);
	return 0;
}

START_TEST(effective_user_decides)
{
	if (geteuid() != 0)
		harness_skip("needs root");
	in_child(rights_of_effective, NULL);
}
END_TEST

/* A read-only file system: who could write if it were not, may post. `arg`: only the mount is read-only. */
static int rights_read_only(struct harness_process *peer, void *arg)
{
	const bool *only_the_mount = arg;
	unsigned long flags = MS_REMOUNT | MS_RDONLY | (*only_the_mount ? MS_BIND : 0);
	bool has_list;

	(void)peer;
	if (own_mounts() != 0)
		return CANNOT;
	make_folder("mount");
	if (mount("none", "mount", "tmpfs", 0, "mode=0755") < 0)
		return CANNOT;
	ck_assert_int_eq(chdir("mount"), 0);
	make_files_with_rights();
	has_list = set_list("list", NOBODY);
	make_folder("writable");
	set_mode("writable", 0777);
	ck_assert_int_eq(mount("none", harness_path("mount"), NULL, flags, NULL), 0);
	ck_assert_int_eq(chdir(harness_path("mount")), 0);
	ck_assert_int_eq(open("world-write", O_WRONLY | O_CLOEXEC), -1);
	ck_assert_int_eq(errno, EROFS);
	check_rights("secret", true, true, true); /* root */

	if (become_nobody(1234) != 0)
		return CANNOT;
	check_files_with_rights();
	if (has_list)
		check_rights("list", true, true,
			     false); /* nobody to ask for it: the careful answer */
	check_rights("missing", false, true, false);
	check_rights("writable/missing", false, true, true);
	return 0;
}

START_TEST(read_only_file_system)
{
	static const bool only_the_mount[] = { false, true };

	in_child(rights_read_only, (void *)(uintptr_t)&only_the_mount[_i]);
}
END_TEST

/* --- names of folders ---------------------------------------------------------------------------------- */

START_TEST(sidecar_names)
{
	char name[KEY_NAME_MAX + 1], before[KEY_NAME_MAX + 1] = "";

	for (uint32_t size = 0; size <= KEY_NAME_MAX; size++) {
		struct topic_key key = { .dir_ino = 1, .name_size = size };

		memset(key.name, 'n', size);
		memset(name, '#', sizeof(name));
		key_sidecar_name(&key, name);
		ck_assert_ptr_nonnull(memchr(name, '\0', sizeof(name)));
		ck_assert_uint_le(strlen(name) + 3, KEY_NAME_MAX);
		ck_assert_int_eq(name[0], '.');
		ck_assert_str_eq(name + strlen(name) - 8, ".pathbus");
		ck_assert_str_ne(name, before);
		if (size + 12 <= KEY_NAME_MAX)
			ck_assert_mem_eq(name + 1, key.name, size);
		strcpy(before, name);
	}
}
END_TEST

START_TEST(long_names_are_distinct)
{
	struct topic_key key = { .name_size = KEY_NAME_MAX };
	char name[KEY_NAME_MAX + 1], other[KEY_NAME_MAX + 1];

	memset(key.name, 'n', KEY_NAME_MAX);
	key_sidecar_name(&key, name);
	key.name[KEY_NAME_MAX - 1] = 'm';
	key_sidecar_name(&key, other);
	ck_assert_str_ne(name, other);
	key.dir_ino = 7; /* lies in the folder: its identity does not matter */
	key_sidecar_name(&key, name);
	ck_assert_str_eq(name, other);
}
END_TEST

START_TEST(runtime_names_tell_keys_apart)
{
	struct topic_key key = { .dir_dev = 1, .dir_ino = 2, .name_size = 4, .name = "file" };
	char first[KEY_NAME_MAX + 1], name[KEY_NAME_MAX + 1];

	key_runtime_name(&key, first);
	ck_assert_uint_le(strlen(first) + 3, KEY_NAME_MAX);
	key.dir_dev++;
	key_runtime_name(&key, name);
	ck_assert_str_ne(name, first);
	key.dir_dev--;
	key.dir_ino++;
	key_runtime_name(&key, name);
	ck_assert_str_ne(name, first);
	key.dir_ino--;
	key.name[3] = 'f';
	key_runtime_name(&key, name);
	ck_assert_str_ne(name, first);
	key.name[3] = 'e';
	key_runtime_name(&key, name);
	ck_assert_str_eq(name, first);
}
END_TEST

/* --- for another process ------------------------------------------------------------------------------ */

static int resolve_for(int at, const char *path)
{
	struct place place;
	int r = place_resolve_for(at, path, &place);

	if (r == 0)
		place_deinit(&place);
	return r;
}

/* What a process has means another thing to each: for another one nothing is made of it. */
START_TEST(links_of_processes)
{
	static const char *const paths[] = { "/proc/self/cwd/file", "/proc/self/fd/0", "/proc/self/root/etc/file",
		                             "/proc/thread-self/cwd/file", "/proc/self/status", "/proc/self", "/proc/self/.",
		                             "/proc/uptime", "to-cwd", "to-cwd-file" };
	int slash = os_open_folder(AT_FDCWD, "/", true), r;
	char path[64];
	struct place place;

	ck_assert_int_ge(slash, 0);
	make_link("/proc/self/cwd", "to-cwd");
	make_link("/proc/self/cwd/folder/file", "to-cwd-file");
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		r = resolve_for(-1, paths[i]);
		ck_assert_msg(r == -ELOOP || r == -EXDEV, "%s: %d", paths[i], r);
		r = resolve_for(slash, paths[i][0] == '/' ? paths[i] : harness_path("%s", paths[i]));
		ck_assert_msg(r == -ELOOP || r == -EXDEV || r == -ENOSYS, "%s: %d", paths[i], r);
	}
	snprintf(path, sizeof(path), "/proc/self/fd/%d/etc", slash);
	ck_assert_int_eq(resolve_for(-1, path), -ELOOP);
	/* Other links are as ever; and for itself a process may follow what it likes. */
	ck_assert_int_eq(resolve_for(-1, "chain"), 0);
	ck_assert_int_eq(resolve_for(slash, harness_path("chain")), 0);
	ck_assert_int_eq(place_resolve(-1, "/proc/self/cwd/file", &place), 0);
	ck_assert_uint_eq(place.key.dir_ino, key_of(".", "file").dir_ino);
	place_deinit(&place);
	close(slash);
}
END_TEST

static atomic_bool moving;

static void *move_out_and_in(void *arg)
{
	(void)arg;
	while (atomic_load(&moving))
		if (rename("root/in/sub", "outside/sub") < 0 || rename("outside/sub", "root/in/sub") < 0)
			return "a rename has failed";
	return NULL;
}

/* A folder that is moved out of a root while its folder is looked for does not lead there. */
START_TEST(moved_out_of_a_root)
{
	unsigned n_found = 0, n_missed = 0;
	pthread_t mover;
	void *failed;
	ino_t in;
	int jail;

	make_folder("root");
	make_folder("root/in");
	make_folder("root/in/sub");
	make_folder("outside");
	in = key_of("root/in", "").dir_ino;
	jail = os_open_folder(AT_FDCWD, "root", true);
	ck_assert_int_ge(jail, 0);
	if (resolve_for(jail, "/in") == -ENOSYS)
		harness_skip("no openat2");
	atomic_store(&moving, true);
	ck_assert_int_eq(pthread_create(&mover, NULL, move_out_and_in, NULL), 0);
	for (unsigned i = 0; (i < 20000 || n_found < 10 || n_missed < 10) && i < 2000000; i++) {
		struct place place;
		int r = place_resolve_for(jail, "/in/sub/.", &place);

		if (r == 0) {
			ck_assert_uint_eq(place.key.dir_ino, in);
			place_deinit(&place);
			n_found++;
		} else {
			ck_assert_msg(r == -ENOENT || r == -EAGAIN || r == -EXDEV, "%d", r);
			n_missed++;
		}
	}
	atomic_store(&moving, false);
	ck_assert_int_eq(pthread_join(mover, &failed), 0);
	ck_assert_msg(!failed, "%s", (const char *)failed);
	ck_assert_msg(n_found >= 10 && n_missed >= 10, "%u found, %u missed", n_found, n_missed);
	close(jail);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(spelling, N_SPELLINGS),
	HARNESS_CASE(working_directory),
	HARNESS_CASE(chain_of_links),
	HARNESS_CASE(long_link_in_deep_folder),
	HARNESS_CASE(link_appears_meanwhile),
	HARNESS_CASE(longest_names),
	HARNESS_CASE(longest_paths),
	HARNESS_CASE(names_are_bytes),
	HARNESS_CASE(file_is_replaced),
	HARNESS_CASE(folder_is_replaced),
	HARNESS_CASE(hard_links),
	HARNESS_CASE(posix_locks_survive),
	HARNESS_CASE(bind_mounts_agree),
	HARNESS_CASE(changed_root),
	HARNESS_CASE(links_of_processes),
	HARNESS_CASE(moved_out_of_a_root),
	HARNESS_CASE(rights_follow_the_file),
	HARNESS_CASE(effective_user_decides),
	HARNESS_CASE_EACH(read_only_file_system, 2),
	HARNESS_CASE(sidecar_names),
	HARNESS_CASE(long_names_are_distinct),
	HARNESS_CASE(runtime_names_tell_keys_apart),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(
		argc, argv,
		&(struct harness_suite){
			.name = "key", .cases = cases, .setup = setup, .teardown = teardown });
}
