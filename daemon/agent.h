/* SPDX-License-Identifier: MIT */
/*
 * agent.h - the link agent's process and the socket to it; linker.c says what is to be linked.
 */
#ifndef PATHBUS_DAEMON_AGENT_H
#define PATHBUS_DAEMON_AGENT_H

#include <stdbool.h>

#include "forker.h"
#include "link/protocol.h"
#include "loop.h"

struct agent;
struct identity;

typedef void agent_message_fn(void *arg, const struct link_message *message);
typedef void agent_lost_fn(void *arg);

struct agent_setting {
	struct loop *loop;
	struct forker *forker; /* in the daemon of all users, where it is one user's; NULL: it is as we are */
	int death_fd;          /* stays the caller's */
	bool sandboxed;        /* where the files process does not decide */
	agent_message_fn *message;
	agent_lost_fn *lost; /* the agent has ended; nothing that it was told counts any more */
	void *arg;
};

struct agent *agent_new(const struct agent_setting *setting);
/* Ends the control socket; the process outlives it. */
struct agent *agent_free(struct agent *agent);

/*
 * Sends, with descriptors that stay the caller's; starts the agent if there is none, with this identity in the daemon of all
 * users. Returns 0 also where it has just ended: `lost` follows. -EAGAIN: given up for a while; -ENOTCONN: nobody to
 * start it for; else why it cannot be started.
 */
int agent_send(struct agent *agent, const struct identity *identity, const struct link_message *message, const int *fds,
               unsigned n_fds);
bool agent_runs(const struct agent *agent);
/* It has nothing to do any more: as agent_free, but another may be started. */
void agent_end(struct agent *agent);

/* SIGKILL; `lost` follows when its socket ends. */
void agent_kill(struct agent *agent);
bool agent_is_given_up(const struct agent *agent);
void agent_reap(struct agent *agent); /* on SIGCHLD */

#endif
