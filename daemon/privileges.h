/* SPDX-License-Identifier: MIT */
/*
 * privileges.h - what the processes of the daemon of all users give up, each for good.
 *
 * main becomes the service user with no capability; the files process that user with the three that it needs; a worker its
 * client, with none, whoever that is. None may be traced or dumped, gain anything by running a program, or get back
 * what it gave up.
 */
#ifndef PATHBUS_DAEMON_PRIVILEGES_H
#define PATHBUS_DAEMON_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

#if defined(__SANITIZE_ADDRESS__)
#define PRIVILEGES_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PRIVILEGES_SANITIZED 1
#endif
#endif
#ifndef PRIVILEGES_SANITIZED
#define PRIVILEGES_SANITIZED 0
#endif

struct service_user {
	uid_t uid;
	gid_t gid;
};

/* By name, or by number, which needs no entry anywhere (its group is then the same number). 0; -ENOENT: no such name;
 * -EPERM: that is root; -EINVAL. */
int privileges_find_user(const char *name, struct service_user *ret);

/* Before main starts the files process: what this process has not by being root, that one is to keep. */
void privileges_lend(void);

/* Each 0 or -errno, after which the process must not go on. They check what they have done. */
int privileges_become_main(const struct service_user *user);
/* -EPERM: it may not change its user or its groups. *ret_ptrace: may it look at processes that are not its own? */
int privileges_become_files(const struct service_user *user, bool *ret_ptrace);
/* In a child of the files process. */
int privileges_become_client(uid_t uid, gid_t gid, const gid_t *groups, unsigned n_groups);
/* In a child of it too: CAP_SYS_PTRACE is all that is left. */
int privileges_become_opener(void);

/* Sends SIGKILL to a child of the files process that has become a client. Needs no CAP_KILL: the effective user is that
 * one's for the moment. The real and saved ones are not, so whoever that is can do nothing to us meanwhile. */
int privileges_kill(const struct service_user *user, uid_t uid, pid_t pid);

/* Root, as who it goes on: files are made, changed and looked for as this user, and without the capabilities for that, until they
 * are taken back. 0 or -EPERM. */
int privileges_lend_files(const struct service_user *user);
void privileges_take_files_back(void);

#endif
