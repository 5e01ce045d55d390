/* SPDX-License-Identifier: MIT */
/*
 * agent.h - the link agent's process and the socket to it; linker.c says what is to be linked.
 */
#ifndef PATHBUS_DAEMON_AGENT_H
#define PATHBUS_DAEMON_AGENT_H

#include <stdbool.h>

#include "forker.h"
#include "identity.h"
#include "link/protocol.h"
#include "loop.h"

struct agent;

typedef void agent_message_fn(void *arg, const struct link_message *message);
typedef void agent_lost_fn(void *arg);

/* `lost`: the agent has ended; nothing that it was told counts any more. death_fd stays the caller's. */
struct agent *agent_new(struct loop *loop, int death_fd, bool sandboxed, agent_message_fn *message, agent_lost_fn *lost,
                        void *arg);
/*
 * In the daemon of all users: whose agent it is. It is started by the files process, with this identity, and is to be sent
 * that user's lanes and sidecars only: it may be traced by its user, so it is worth as much as that one. What it says is
 * believed of its own links alone. To be called again when that connection ends and another of the user's is there;
 * without one it cannot be started (-ENOTCONN). Both stay the caller's, the identity as long as it is set; NULL: none.
 */
void agent_set_identity(struct agent *agent, struct forker *forker, const struct identity *identity);
/* Ends the control socket; the process outlives it. */
struct agent *agent_free(struct agent *agent);

/*
 * Sends, with descriptors that stay the caller's; starts the agent if there is none. Returns 0 also where it
 * has just ended: `lost` follows. -EAGAIN: given up for a while; else why it cannot be started.
 */
int agent_send(struct agent *agent, const struct link_message *message, const int *fds, unsigned n_fds);

/* SIGKILL; `lost` follows when its socket ends. */
void agent_kill(struct agent *agent);
bool agent_is_given_up(const struct agent *agent);
void agent_reap(struct agent *agent); /* on SIGCHLD */

#endif
