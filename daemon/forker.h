/* SPDX-License-Identifier: MIT */
/*
 * forker.h - main's side of the files process, which starts workers and link agents as the users they are for.
 *
 * Only in the daemon of all users. Main cannot start another one, so its end is main's.
 */
#ifndef PATHBUS_DAEMON_FORKER_H
#define PATHBUS_DAEMON_FORKER_H

#include <stdbool.h>
#include <sys/types.h>

#include "identity.h"
#include "loop.h"
#include "privileges.h"

struct forker;

struct forker_process {
	pid_t pid;
	int socket;
};

/* Starts it, while this process is still root, and waits until it is ready. 0, or -errno, and the log says why. */
int forker_start(const struct service_user *user, int listener, bool managed, bool sandboxed, struct forker_process *ret);

struct forker_setting {
	struct loop *loop;
	int watch; /* as files_setting's */
	void (*lost)(void *arg); /* it has ended */
	void *arg;
};

/* Takes the process over if it succeeds. */
int forker_new(const struct forker_setting *setting, const struct forker_process *process, struct forker **ret);
/* Ends it, and with it all workers. */
struct forker *forker_free(struct forker *forker);
void forker_process_end(struct forker_process *process); /* without a forker */

/* `ended` is called once, in the loop, unless forker_forget was; error 0: it was started and has ended. `pid` is set when it
 * is known. */
struct forked {
	struct forked *next;
	uint32_t id; /* 0: none */
	pid_t pid;
	void (*ended)(void *arg, int error);
	void *arg;
};

/* `socket` (and `death`) stay the caller's. The identity's connection must be there: -ENOTCONN. */
int forker_start_worker(struct forker *forker, const struct identity *identity, int socket, struct forked *forked);
int forker_start_agent(struct forker *forker, const struct identity *identity, int socket, int death, struct forked *forked);
void forker_kill(struct forker *forker, const struct forked *forked);
void forker_forget(struct forker *forker, struct forked *forked);

void forker_reap(struct forker *forker); /* on SIGCHLD */

#endif
