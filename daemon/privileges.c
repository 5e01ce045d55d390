/* SPDX-License-Identifier: MIT */
/* privileges.c - users, groups, capabilities and what goes with them (Linux). */
#include "privileges.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/securebits.h>
#include <pwd.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP(number) (UINT64_C(1) << (number))
#define CAPS_OF_FILES (CAP(CAP_SETUID) | CAP(CAP_SETGID) | CAP(CAP_SYS_PTRACE))

/* Root is nobody special any more, neither by changing to it nor by running a program; none of it can be undone. */
#define SECURE_BITS                                                                                                    \
	(SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP | SECBIT_NO_SETUID_FIXUP_LOCKED |               \
	 SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

struct caps {
	uint64_t effective, permitted, inheritable;
};

static int caps_get(struct caps *ret)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &header, data) < 0)
		return -errno;
	*ret = (struct caps){
		.effective = data[0].effective | (uint64_t)data[1].effective << 32,
		.permitted = data[0].permitted | (uint64_t)data[1].permitted << 32,
		.inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32,
	};
	return 0;
}

static int caps_set(const struct caps *caps)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)caps->effective, (uint32_t)caps->permitted, (uint32_t)caps->inheritable },
		{ (uint32_t)(caps->effective >> 32), (uint32_t)(caps->permitted >> 32), (uint32_t)(caps->inheritable >> 32) },
	};

	return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* Exactly these, of those that it has, and none for a program that it might run. */
static int caps_keep(uint64_t keep, uint64_t *ret_kept)
{
	struct caps caps = { 0 }, got = { 0 };
	int r = caps_get(&caps);

	if (r < 0)
		return r;
	keep &= caps.permitted;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	caps = (struct caps){ .effective = keep, .permitted = keep };
	r = caps_set(&caps);
	if (r == 0)
		r = caps_get(&got);
	if (r == 0 && (got.effective != keep || got.permitted != keep || got.inheritable != 0))
		r = -EPERM;
	*ret_kept = keep;
	return r;
}

static int hide(void)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}

/* As far as the process may: one that was not started as root may not, and has nothing to lose by running a program. */
static void lock_root_out(void)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		(void)prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	if (prctl(PR_SET_SECUREBITS, SECURE_BITS, 0, 0, 0) < 0)
		(void)prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0); /* changing the effective user to root and back takes them away */
}

static int set_ids(uid_t uid, gid_t gid, const gid_t *groups, unsigned n_groups)
{
	uid_t ruid, euid, suid;
	gid_t rgid, egid, sgid;

	if ((setgroups(n_groups, groups) < 0 && (n_groups > 0 || getgroups(0, NULL) != 0)) ||
	    setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0 || getresuid(&ruid, &euid, &suid) < 0 ||
	    getresgid(&rgid, &egid, &sgid) < 0)
		return -errno;
	return ruid == uid && euid == uid && suid == uid && rgid == gid && egid == gid && sgid == gid &&
	                       getgroups(0, NULL) == (int)n_groups ? 0 : -EPERM;
}

int privileges_find_user(const char *name, struct service_user *ret)
{
	unsigned long number;
	struct passwd *entry;
	char *end;

	errno = 0;
	number = strtoul(name, &end, 10);
	if (name[0] < '0' || name[0] > '9' || *end != '\0') {
		entry = getpwnam(name);
		if (!entry)
			return -ENOENT;
		*ret = (struct service_user){ .uid = entry->pw_uid, .gid = entry->pw_gid };
	} else if (errno || number >= UINT32_MAX) {
		return -EINVAL;
	} else {
		entry = getpwuid((uid_t)number);
		*ret = (struct service_user){ .uid = (uid_t)number, .gid = entry ? entry->pw_gid : (gid_t)number };
	}
	return ret->uid == 0 ? -EPERM : 0;
}

void privileges_lend(void)
{
	struct caps caps = { 0 };

	if (geteuid() == 0 || caps_get(&caps) < 0)
		return;
	caps.inheritable |= caps.permitted & CAPS_OF_FILES;
	if (caps_set(&caps) < 0)
		return;
	for (unsigned long cap = 0; cap < 64; cap++)
		if (caps.permitted & CAPS_OF_FILES & CAP(cap))
			(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, cap, 0, 0);
}

/* What a sandbox, and being traced by nobody, rest on. */
static int close_doors(const struct service_user *user, uint64_t keep, uint64_t *ret_kept)
{
	int r;

	if (geteuid() != 0 && geteuid() != user->uid)
		return -EPERM;
	lock_root_out();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -errno;
	r = set_ids(user->uid, user->gid, NULL, 0);
	if (r == 0)
		r = hide(); /* while it still has what others have not */
	return r < 0 ? r : caps_keep(keep, ret_kept);
}

int privileges_become_main(const struct service_user *user)
{
	uint64_t kept;

	return close_doors(user, 0, &kept);
}

int privileges_become_files(const struct service_user *user, bool *ret_ptrace)
{
	uint64_t kept = 0;
	int r = close_doors(user, CAPS_OF_FILES, &kept);

	if (r < 0)
		return r;
	*ret_ptrace = kept & CAP(CAP_SYS_PTRACE);
	return kept & CAP(CAP_SETUID) && kept & CAP(CAP_SETGID) ? 0 : -EPERM;
}

int privileges_become_client(uid_t uid, gid_t gid, const gid_t *groups, unsigned n_groups)
{
	uint64_t kept;
	int r = hide();

	if (r == 0)
		r = set_ids(uid, gid, groups, n_groups);
	/* In this order: it cannot be traced for want of what it has, until it cannot be traced at all. */
	if (r == 0)
		r = hide();
	return r < 0 ? r : caps_keep(0, &kept);
}

int privileges_become_opener(void)
{
	uint64_t kept;
	int r = hide();

	return r < 0 ? r : caps_keep(CAP(CAP_SYS_PTRACE), &kept);
}

int privileges_kill(const struct service_user *user, uid_t uid, pid_t pid)
{
	struct caps caps = { 0 };
	int r = 0;

	if (caps_get(&caps) < 0 || setresuid((uid_t)-1, uid, (uid_t)-1) < 0)
		return -errno;
	if (kill(pid, SIGKILL) < 0)
		r = -errno;
	if (setresuid((uid_t)-1, user->uid, (uid_t)-1) < 0 || hide() < 0 || caps_set(&caps) < 0)
		_exit(1); /* must not be who it is now */
	return r;
}

/* They tell only what was before. */
static bool are_ids_of_files(uid_t uid, gid_t gid)
{
	return (uid_t)setfsuid((uid_t)-1) == uid && (gid_t)setfsgid((gid_t)-1) == gid;
}

int privileges_lend_files(const struct service_user *user)
{
	if (setgroups(0, NULL) < 0 && getgroups(0, NULL) != 0) /* for good: nobody needs them any more */
		return -EPERM;
	(void)setfsgid(user->gid);
	(void)setfsuid(user->uid); /* last: it takes the capabilities */
	if (are_ids_of_files(user->uid, user->gid))
		return 0;
	privileges_take_files_back();
	return -EPERM;
}

void privileges_take_files_back(void)
{
	(void)setfsuid(geteuid());
	(void)setfsgid(getegid());
}
