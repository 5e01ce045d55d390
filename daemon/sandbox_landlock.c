/* SPDX-License-Identifier: MIT */
/*
 * sandbox_landlock.c - Landlock: everything that the kernel can refuse is refused, and given back by path where
 * a role needs it.
 *
 * What it never restricts: O_PATH, stat, readlink, inotify, and memory without a name (memfds, opened anew by
 * /proc/self/fd too). What it hides: the folders of other processes in /proc, as far as ptrace(2) rules them.
 */
#include "sandbox_landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Newer than the headers of the oldest system we build on; the same on all machines. */
enum { CALL_CREATE = 444, CALL_ADD = 445, CALL_RESTRICT = 446 };
enum { CREATE_VERSION = 1, RULE_PATH = 1 };

enum {
	EXECUTE = 1 << 0,
	WRITE_FILE = 1 << 1,
	READ_FILE = 1 << 2,
	READ_FOLDER = 1 << 3,
	REMOVE_FOLDER = 1 << 4,
	REMOVE_FILE = 1 << 5,
	MAKE_CHAR = 1 << 6,
	MAKE_FOLDER = 1 << 7,
	MAKE_FILE = 1 << 8,
	MAKE_SOCKET = 1 << 9,
	MAKE_FIFO = 1 << 10,
	MAKE_BLOCK = 1 << 11,
	MAKE_LINK = 1 << 12,
	REFER = 1 << 13,    /* version 2; always refused before, without the bit */
	TRUNCATE = 1 << 14, /* 3 */
	IOCTL_DEV = 1 << 15 /* 5 */
};
enum { OF_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV };
enum { NET_BIND_TCP = 1 << 0, NET_CONNECT_TCP = 1 << 1 };        /* 4 */
enum { SCOPE_ABSTRACT_SOCKETS = 1 << 0, SCOPE_SIGNALS = 1 << 1 }; /* 6 */

struct ruleset {
	uint64_t files, net, scoped;
};
struct path_rule {
	uint64_t allowed;
	int32_t fd;
} __attribute__((packed));

int sandbox_landlock_version(const char **ret_why)
{
	long version = syscall(CALL_CREATE, NULL, 0, CREATE_VERSION);

	if (version > 0)
		return (int)version;
	*ret_why = version < 0 && errno == EOPNOTSUPP ? "turned off when the kernel was started" :
	           version < 0 && errno == ENOSYS     ? "not in this kernel" :
	                                                "refused from outside";
	return 0;
}

static uint64_t files_of(int version)
{
	uint64_t files = MAKE_LINK | (MAKE_LINK - 1);

	if (version >= 2)
		files |= REFER;
	if (version >= 3)
		files |= TRUNCATE;
	if (version >= 5)
		files |= IOCTL_DEV;
	return files;
}

/* What is not there is passed over: nobody can open it later either, who may not make it. */
static int allow(int rules, uint64_t handled, const char *path, uint64_t allowed)
{
	struct path_rule rule = { .allowed = allowed & handled, .fd = open(path, O_PATH | O_CLOEXEC) };
	struct stat st;
	int r = 0;

	if (rule.fd < 0)
		return errno == EMFILE || errno == ENFILE || errno == ENOMEM ? -errno : 0;
	if (fstat(rule.fd, &st) == 0 && !S_ISDIR(st.st_mode))
		rule.allowed &= OF_FILES;
	if (rule.allowed != 0 && syscall(CALL_ADD, rules, RULE_PATH, &rule, 0) < 0)
		r = -errno;
	close(rule.fd);
	return r;
}

static int allow_all(int rules, uint64_t handled, const char *const *paths, uint64_t allowed)
{
	int r = 0;

	for (; r == 0 && paths && *paths; paths++)
		r = allow(rules, handled, *paths, allowed);
	return r;
}

static int fill(int rules, uint64_t handled, enum sandbox_role role, const struct sandbox_setting *setting)
{
	/* Of processes and of the memory that is left (common/os/linux.c, linux_shared.c). */
	static const char *const told_by_kernel[] = { "/proc", "/sys/fs/cgroup", "/sys/kernel/mm", "/dev/null", NULL };
	int r;

	switch (role) {
	case SANDBOX_MAIN:
		r = allow_all(rules, handled, told_by_kernel, READ_FILE);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
		if (r == 0)
			r = allow(rules, handled, "/proc", READ_FOLDER); /* leaks are looked for in all threads */
#endif
		if (r == 0)
			r = allow(rules, handled, "/dev/shm", MAKE_FOLDER); /* the runtime folder, which may vanish */
		if (r == 0)
			r = allow_all(rules, handled, setting->readable, READ_FILE | READ_FOLDER);
		if (r == 0 && setting->log_folder)
			r = allow(rules, handled, setting->log_folder, MAKE_FILE | WRITE_FILE);
		return r < 0 ? r : allow_all(rules, handled, setting->own_folders, REMOVE_FILE);
	case SANDBOX_LINK:
		/* Sidecars are anywhere. It joins them and removes them, but runs nothing, and makes no file but folders (a
		 * renamed one counts). */
		return allow(rules, handled, "/",
		             READ_FILE | WRITE_FILE | READ_FOLDER | REMOVE_FILE | REMOVE_FOLDER | MAKE_FOLDER | TRUNCATE);
	case SANDBOX_READER:
		return allow(rules, handled, "/", READ_FILE | READ_FOLDER);
	case SANDBOX_FILES:
	case SANDBOX_WORKER:
		break;
	}
	return 0;
}

int sandbox_landlock_enter(enum sandbox_role role, const struct sandbox_setting *setting, int version)
{
	struct ruleset set = { .files = files_of(version) };
	size_t size = offsetof(struct ruleset, net);
	int rules, r;

	if (version >= 4) {
		set.net = role == SANDBOX_READER ? 0 : NET_BIND_TCP | NET_CONNECT_TCP; /* names may come from a directory service */
		size = offsetof(struct ruleset, scoped);
	}
	if (version >= 6) {
		/* Main ends workers that were there before it. */
		set.scoped = SCOPE_ABSTRACT_SOCKETS | (role == SANDBOX_MAIN ? 0 : SCOPE_SIGNALS);
		size = sizeof(set);
	}
	rules = (int)syscall(CALL_CREATE, &set, size, 0);
	if (rules < 0)
		return -errno;
	r = fill(rules, set.files, role, setting);
	if (r == 0 && syscall(CALL_RESTRICT, rules, 0) < 0)
		r = -errno;
	close(rules);
	return r;
}
