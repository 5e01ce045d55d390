/* SPDX-License-Identifier: MIT */
/*
 * linux_beside.c - a file beside another, which those may open who may write the other one.
 *
 * Each class of users (owner, named users and groups, group, others) may read and write it if it may write the model,
 * and else do nothing: who could only read it could lock it for reading and keep everybody out. The maker is the
 * owner, unless it is root, who gives it to the model's. The model's owner and group, where the new file has others,
 * are named in a list.
 */
#include "os.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#define FD_LINK_SIZE (sizeof("/proc/self/fd/") + 12)
#define ACL_NAME "system.posix_acl_access"
#define MAX_ENTRIES 128 /* of a list; the model of a longer one is for its owner alone */
#define NOBODY_NAMED UINT32_MAX /* ACL_UNDEFINED_ID */

static const char *fd_link(int fd, char *ret)
{
	snprintf(ret, FD_LINK_SIZE, "/proc/self/fd/%d", fd);
	return ret;
}

/* --- who may write the model -------------------------------------------------------------------------------- */

struct entry {
	unsigned tag, id; /* ACL_ */
	bool may;
};

struct rights {
	uid_t uid;
	gid_t gid;
	bool owner, group, others; /* may they? */
	unsigned n;
	struct entry named[MAX_ENTRIES + 2]; /* users and groups */
};

struct acl {
	struct posix_acl_xattr_header header;
	struct posix_acl_xattr_entry entries[MAX_ENTRIES + 8];
};

/* The entries of a list, from the file with this link in /proc; 0: there is none. */
static size_t read_list(const char *path, struct acl *acl)
{
	ssize_t n = getxattr(path, ACL_NAME, acl, sizeof(*acl));

	if (n < (ssize_t)sizeof(acl->header))
		return n < 0 && errno == ERANGE ? SIZE_MAX : 0;
	if (le32toh(acl->header.a_version) != POSIX_ACL_XATTR_VERSION)
		return 0;
	n = (n - (ssize_t)sizeof(acl->header)) / (ssize_t)sizeof(acl->entries[0]);
	return n > MAX_ENTRIES ? SIZE_MAX : (size_t)n;
}

static void add_named(struct rights *rights, unsigned tag, unsigned id, bool may)
{
	for (unsigned i = 0; i < rights->n; i++)
		if (rights->named[i].tag == tag && rights->named[i].id == id)
			return;
	rights->named[rights->n++] = (struct entry){ .tag = tag, .id = id, .may = may };
}

static void add_list(struct rights *rights, const struct acl *acl, size_t n, unsigned needed)
{
	unsigned mask = 07;

	for (size_t i = 0; i < n; i++)
		if (le16toh(acl->entries[i].e_tag) == ACL_MASK)
			mask = le16toh(acl->entries[i].e_perm);
	for (size_t i = 0; i < n; i++) {
		unsigned tag = le16toh(acl->entries[i].e_tag), id = le32toh(acl->entries[i].e_id);
		bool may = (le16toh(acl->entries[i].e_perm) & mask & needed) == needed;

		if (tag == ACL_GROUP_OBJ)
			rights->group = may; /* in the mode the mask stands in its place */
		else if (tag == ACL_USER || tag == ACL_GROUP)
			add_named(rights, tag, id, may);
	}
}

static int read_rights(int dir, const char *model, struct rights *ret)
{
	char link[FD_LINK_SIZE];
	struct rights rights = { .n = 0 };
	struct acl acl;
	unsigned needed, mode;
	struct stat st;
	size_t n;
	int fd = openat(dir, model[0] ? model : ".", O_PATH | O_NOFOLLOW | O_CLOEXEC), r = 0;

	if (fd < 0 && errno == ENOENT)
		fd = openat(dir, ".", O_PATH | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		r = -errno;
	else if (S_ISLNK(st.st_mode))
		r = -ELOOP; /* it has just become one */
	n = r == 0 ? read_list(fd_link(fd, link), &acl) : 0;
	close(fd);
	if (r < 0)
		return r;
	rights.uid = st.st_uid;
	rights.gid = st.st_gid;
	mode = (unsigned)st.st_mode;
	needed = S_ISDIR(mode) ? 03 : 02; /* of a folder: who may make files in it */
	rights.owner = (mode >> 6 & needed) == needed;
	rights.group = (mode >> 3 & needed) == needed;
	rights.others = (mode & needed) == needed;
	if (n == SIZE_MAX)
		rights.group = rights.others = false;
	else if (n > 0)
		add_list(&rights, &acl, n, needed);
	*ret = rights;
	return 0;
}

/* --- and so the file ------------------------------------------------------------------------------------------ */

static int by_tag_and_id(const void *a, const void *b)
{
	const struct entry *one = a, *other = b;

	if (one->tag != other->tag)
		return one->tag < other->tag ? -1 : 1;
	return one->id < other->id ? -1 : one->id > other->id;
}

static void put_entry(struct acl *acl, size_t *n, unsigned tag, unsigned id, bool may)
{
	acl->entries[(*n)++] = (struct posix_acl_xattr_entry){
		.e_tag = htole16((uint16_t)tag), .e_perm = htole16(may ? 06 : 0), .e_id = htole32(id)
	};
}

/* Returns its size. */
static size_t make_list(struct rights *rights, bool group, struct acl *ret)
{
	static const unsigned tags[] = { ACL_USER, ACL_GROUP };
	size_t n = 0;

	qsort(rights->named, rights->n, sizeof(rights->named[0]), by_tag_and_id);
	ret->header.a_version = htole32(POSIX_ACL_XATTR_VERSION);
	put_entry(ret, &n, ACL_USER_OBJ, NOBODY_NAMED, true);
	for (int t = 0; t < 2; t++) {
		for (unsigned i = 0; i < rights->n; i++)
			if (rights->named[i].tag == tags[t])
				put_entry(ret, &n, tags[t], rights->named[i].id, rights->named[i].may);
		if (t == 0)
			put_entry(ret, &n, ACL_GROUP_OBJ, NOBODY_NAMED, group);
	}
	/* Never nothing: then the kernel does not look at the list, and who is named there counts as one of the others. */
	put_entry(ret, &n, ACL_MASK, NOBODY_NAMED, true);
	put_entry(ret, &n, ACL_OTHER, NOBODY_NAMED, rights->others);
	return sizeof(ret->header) + n * sizeof(ret->entries[0]);
}

/* Is there anybody besides the owner? Else who is named need not be. */
static bool is_for_several(const struct rights *rights, bool group)
{
	bool several = group || rights->others;

	for (unsigned i = 0; i < rights->n; i++)
		several |= rights->named[i].may;
	return several;
}

/* Changes nothing that is as it should be: others may be opening it. */
static int set_rights(int fd, struct rights *rights, const struct stat *st)
{
	mode_t mode;
	bool group = st->st_gid == rights->gid ? rights->group : rights->others;
	struct acl wanted, there;
	ssize_t size;

	if (st->st_uid != rights->uid)
		add_named(rights, ACL_USER, rights->uid, rights->owner);
	if (st->st_gid != rights->gid)
		add_named(rights, ACL_GROUP, rights->gid, rights->group);
	if (rights->n > 0 && is_for_several(rights, group)) {
		size = (ssize_t)make_list(rights, group, &wanted);
		if (fgetxattr(fd, ACL_NAME, &there, sizeof(there)) == size && memcmp(&there, &wanted, (size_t)size) == 0)
			return 0;
		if (fsetxattr(fd, ACL_NAME, &wanted, (size_t)size, 0) == 0)
			return 0;
		if (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL)
			return -errno;
		/* No lists here: who was named may not be let in, which is told when it comes. */
	} else if (fgetxattr(fd, ACL_NAME, NULL, 0) > 0) {
		(void)fremovexattr(fd, ACL_NAME); /* the folder's default, or of yesterday */
	}
	mode = 0600 | (group ? 060 : 0) | (rights->others ? 06 : 0);
	if ((st->st_mode & 07777) == mode)
		return 0;
	return fchmod(fd, mode) < 0 ? -errno : 0;
}

int os_share_beside(int fd, int dir, const char *model)
{
	struct rights rights;
	struct stat st;
	int r = read_rights(dir, model, &rights);

	if (r < 0)
		return r;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (st.st_uid != geteuid() && geteuid() != 0)
		return 0;
	/* What is refused here is made up for by a list. */
	if (geteuid() == 0 && st.st_uid != rights.uid)
		(void)!fchown(fd, rights.uid, (gid_t)-1);
	if (st.st_gid != rights.gid)
		(void)!fchown(fd, (uid_t)-1, rights.gid);
	if (fstat(fd, &st) < 0)
		return -errno;
	return set_rights(fd, &rights, &st);
}

/* --- opening and making --------------------------------------------------------------------------------------- */

/* In a sticky folder anybody may make files, but not take away others': one that has been planted there would stay. */
static int check(int dir, const char *model, const struct stat *st)
{
	struct stat folder, of_model;

	if (!S_ISREG(st->st_mode) || st->st_nlink > 1)
		return -EEXIST;
	if (st->st_nlink == 0)
		return -ENOENT; /* removed just now */
	if (fstat(dir, &folder) < 0)
		return -errno;
	if (!(folder.st_mode & S_ISVTX) || st->st_uid == 0 || st->st_uid == geteuid() || st->st_uid == folder.st_uid)
		return 0;
	if (fstatat(dir, model[0] ? model : ".", &of_model, AT_SYMLINK_NOFOLLOW) == 0 && st->st_uid == of_model.st_uid)
		return 0;
	return -EPERM;
}

int os_open_beside(int dir, const char *name, const char *model, bool writable)
{
	int flags = (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int path = openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), fd, r;
	char link[FD_LINK_SIZE];
	struct stat st, opened;

	if (path < 0)
		return -errno;
	r = fstat(path, &st) < 0 ? -errno : check(dir, model, &st);
	if (r < 0) {
		close(path);
		return r;
	}
	fd = open(fd_link(path, link), flags);
	if (fd < 0 && errno == ENOENT) { /* no /proc: by name, and then compared */
		fd = openat(dir, name, flags | O_NOFOLLOW);
		if (fd >= 0 && (fstat(fd, &opened) < 0 || opened.st_dev != st.st_dev || opened.st_ino != st.st_ino)) {
			close(fd);
			fd = -1;
			errno = ENOENT;
		}
	}
	if (fd < 0)
		fd = -errno;
	close(path);
	return fd;
}

static bool has_no_unnamed(int error)
{
	return error == EOPNOTSUPP || error == EISDIR || error == EINVAL || error == ENOENT;
}

/* Others may have come to it meanwhile, and gone again, and made another: only what nobody has a lock on, and is ours. */
static void take_back(int fd, int dir, const char *name)
{
	struct stat there, mine;

	if (os_lock(fd, OS_LOCK_EXCLUSIVE, 0, 0) == 0 && fstat(fd, &mine) == 0 &&
	    fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) == 0 && there.st_dev == mine.st_dev && there.st_ino == mine.st_ino)
		unlinkat(dir, name, 0);
}

int os_make_beside(int dir, const char *name, const char *model, int (*prepare)(int fd, void *arg), void *arg)
{
	int fd = openat(dir, ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600), r;
	bool named = false;
	char link[FD_LINK_SIZE];

	if (fd < 0 && has_no_unnamed(errno)) {
		/* For a moment others see it half made, and are refused. */
		fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
		named = true;
	}
	if (fd < 0)
		return -errno;
	r = prepare(fd, arg);
	if (r == 0)
		r = os_share_beside(fd, dir, model);
	if (r == 0 && !named && linkat(AT_FDCWD, fd_link(fd, link), dir, name, AT_SYMLINK_FOLLOW) < 0)
		r = -errno;
	if (r < 0) {
		if (named)
			take_back(fd, dir, name);
		close(fd);
		return r;
	}
	return fd;
}
