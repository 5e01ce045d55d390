/* SPDX-License-Identifier: MIT */
/*
 * proc.h - what the system shows of another process, for people who look for a fault. Linux; elsewhere nothing is known.
 *
 * What is asked may be over by the time that it is told.
 */
#ifndef PATHBUS_CLI_PROC_H
#define PATHBUS_CLI_PROC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { PROC_MAX_GROUPS = 256 };

struct proc {
	pid_t pid;
	char state; /* R, S, T (stopped), Z (has ended) ... */
	uid_t uid;  /* effective */
	gid_t gid;
	gid_t groups[PROC_MAX_GROUPS];
	unsigned n_groups;
	char command[64]; /* as the system has it; any bytes */
};

/* 0, -ESRCH: there is no such process; -errno. */
int proc_look(pid_t pid, struct proc *ret);
/* Of the environment that it was started with. 1: *ret_value is to be freed; 0: it has none; -EACCES ... */
int proc_environment(pid_t pid, const char *name, char **ret_value);
/* Is it in the same namespace ("mnt", "pid", "user", "net") as this process? 1, 0, -errno. */
int proc_same_namespace(pid_t pid, const char *kind);
/* Its root folder: an O_PATH descriptor, the caller's; -errno. */
int proc_root(pid_t pid);
/* Does a file of this name belong to the memory that it has mapped? A part of the name. 1, 0, -errno. */
int proc_maps(pid_t pid, const char *part);

/* Each descriptor that it has, by the path that the system shows for it, until `look` returns false. 0, -errno. `dir` and
 * `name` lead to the open file itself: for fstatat, following. */
typedef bool proc_file(int dir, const char *name, const char *path, void *arg);
int proc_files(pid_t pid, proc_file *look, void *arg);

/* Who has this file open? Calls `look` for each process that can be looked into, and for each once. *ret_n_hidden: how many
 * could not be. */
typedef void proc_holder(const struct proc *process, void *arg);
int proc_holders(uint64_t dev, uint64_t ino, proc_holder *look, void *arg, unsigned *ret_n_hidden);

/* Does the process hold an open file description lock on this byte of the file, exclusively, by one of its descriptors? */
bool proc_has_lock(pid_t pid, uint64_t dev, uint64_t ino, uint64_t byte);

#endif
