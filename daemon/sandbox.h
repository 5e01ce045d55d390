/* SPDX-License-Identifier: MIT */
/*
 * sandbox.h - what a process of the daemon may ask of the kernel once it is set up: a list of system calls (seccomp), and
 * where the kernel has it, of accesses to files (Landlock). Linked into the link agent too, so nothing of the daemon
 * is used here, and nothing is logged.
 *
 * Both are inherited: what a process starts later is held by its list as well as by that of its own. So main of a user's
 * daemon, which starts workers and agents at any time, has a list that covers theirs and no Landlock; in the system
 * instance, where others start them, it has neither their calls nor any way to run a program.
 */
#ifndef PATHBUS_DAEMON_SANDBOX_H
#define PATHBUS_DAEMON_SANDBOX_H

#include <stdbool.h>

/* The argument that says so to the daemon and, from it, to its helpers. */
#define SANDBOX_OFF_ARGUMENT "--no-sandbox"
/* To the link agent of a user's daemon: it runs without, too, where there is none. */
#define SANDBOX_IF_ANY_ARGUMENT "--sandbox-if-any"
/* What to do where there is none, for the log of the daemon of all users. */
#define SANDBOX_ADVICE "allow seccomp (a kernel with CONFIG_SECCOMP_FILTER; a container that lets it be used), or give --no-sandbox"

enum sandbox_role {
	SANDBOX_MAIN,
	SANDBOX_FILES,  /* forks workers with their clients' identities */
	SANDBOX_WORKER, /* looks at paths as one client */
	SANDBOX_LINK,   /* pathbus-link: uses sidecars */
	SANDBOX_READER, /* reads files, and looks users' and groups' names up, by whatever library does that on this machine */
};

struct sandbox_setting {
	bool system; /* the instance for all users */
	/* A worker that looks at other processes by /proc/PID (their root folders, their memory). Landlock hides
	 * those, so it is not used then. */
	bool peers;
	/* Main of the system instance, which may open nothing else; both may be NULL. Files and folders to read later,
	 * and folders from which it removes its own files (its socket, its lock). Both lists end with NULL; what is not there is
	 * passed over. */
	const char *const *readable, *const *own_folders;
	/* Of main: where it makes the log's file anew, and writes it; NULL: nowhere. */
	const char *log_folder;
};

/* What has been entered: a text for the log, such as "seccomp, landlock ABI 6". */
struct sandbox_state {
	char text[128];
};

/*
 * Restricts this process for good, and sets no_new_privs; to be called while it has one thread. 0: system calls are
 * restricted, and files too unless *ret says why not. -errno: system calls are not (an old kernel, a container that
 * refuses it), *ret says what has failed, and the caller decides whether to go on.
 */
int sandbox_enter(enum sandbox_role role, const struct sandbox_setting *setting, struct sandbox_state *ret);

/* Did a child with this status of waitpid() end because it asked for what its sandbox refuses? */
bool sandbox_has_killed(int status);

#endif
