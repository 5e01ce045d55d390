/* SPDX-License-Identifier: MIT */
/*
 * agent.c - starts pathbus-link when it is first needed, and again when it dies, within reason.
 */
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "agent_program.h"
#include "helper.h"
#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "sandbox.h"

/* A message that did not fit into the socket; owns copies of its descriptors. */
struct waiting {
	struct waiting *next;
	struct link_message message;
	int fds[LINK_JOIN_DESCRIPTORS];
	unsigned n_fds;
};

struct agent {
	struct loop *loop;
	int death_fd;
	bool sandboxed;
	agent_message_fn *message;
	agent_lost_fn *lost;
	void *arg;

	struct forker *forker; /* in the daemon of all users: starts it, with this identity */
	const struct identity *identity;
	struct forked forked;

	pid_t pid; /* 0: none, or already waited for */
	int socket; /* -1: none */
	struct loop_event *readable, *writable;
	struct waiting *first, **last;

	unsigned n_starts; /* since window_ns */
	uint64_t window_ns;
	uint64_t rest_ns; /* given up until then */
	pid_t old[LIMIT_AGENT_STARTS]; /* ended their sockets; not yet waited for */
	struct log_limit failures;
};

/* --- the process ----------------------------------------------------------------------------------- */

static void readable(void *arg);
static void writable(void *arg);

/* The files process has seen it end, which its socket says too, or could not start it. */
static void forked_ended(void *arg, int error)
{
	struct agent *agent = arg;

	if (error < 0 && log_allows(&agent->failures, "the link agent could not be started"))
		log_error("a link agent cannot be started (%s): processes that do not reach this daemon are not joined with those that "
		          "do", strerror(-error));
}

static int start_process(struct agent *agent, const char *program, int socket)
{
	const char *const argv[] = { AGENT_PROGRAM, agent->sandboxed ? SANDBOX_IF_ANY_ARGUMENT : SANDBOX_OFF_ARGUMENT, NULL };

	if (!agent->forker)
		return helper_start(program, argv, (const int[]){ socket, agent->death_fd }, 2, &agent->pid);
	if (!agent->identity)
		return -ENOTCONN;
	agent->forked = (struct forked){ .ended = forked_ended, .arg = agent };
	return forker_start_agent(agent->forker, agent->identity, socket, agent->death_fd, &agent->forked);
}

static int run(struct agent *agent)
{
	char program[AGENT_PROGRAM_SIZE];
	int pair[2], r;

	agent_program_find(program, sizeof(program));
	r = helper_pair(pair);
	if (r < 0)
		return r;
	agent->readable = loop_on_readable(agent->loop, pair[0], readable, agent);
	agent->writable = loop_on_writable(agent->loop, pair[0], writable, agent);
	if (agent->readable && agent->writable)
		r = start_process(agent, program, pair[1]);
	else
		r = -ENOMEM;
	close(pair[1]);
	if (r < 0) {
		agent->readable = loop_event_free(agent->readable);
		agent->writable = loop_event_free(agent->writable);
		agent->pid = 0;
		close(pair[0]);
		if (log_allows(&agent->failures, "the link agent could not be started"))
			log_error("the link agent %s cannot be started (%s): processes that do not reach this daemon are not "
			          "joined with those that do",
			          program, strerror(-r));
		return r;
	}
	agent->socket = pair[0];
	log_debug("link agent started (pid %d)", (int)agent->pid);
	return 0;
}

static int start(struct agent *agent)
{
	uint64_t now = os_now_ns();

	if (now < agent->rest_ns)
		return -EAGAIN;
	if (now - agent->window_ns > UINT64_C(1000000) * LIMIT_AGENT_WINDOW_MS) {
		agent->window_ns = now;
		agent->n_starts = 0;
	}
	if (++agent->n_starts > LIMIT_AGENT_STARTS) {
		agent->rest_ns = now + UINT64_C(1000000) * LIMIT_AGENT_REST_MS;
		log_error("the link agent ended, or could not be started, %u times in a row and is given up for %u s: processes that do not "
		          "reach this daemon are not joined with those that do",
		          LIMIT_AGENT_STARTS, LIMIT_AGENT_REST_MS / 1000);
		return -EAGAIN;
	}
	return run(agent);
}

bool agent_is_given_up(const struct agent *agent)
{
	return os_now_ns() < agent->rest_ns;
}

static void drop_first(struct agent *agent)
{
	struct waiting *waiting = agent->first;

	agent->first = waiting->next;
	if (!agent->first)
		agent->last = &agent->first;
	for (unsigned i = 0; i < waiting->n_fds; i++)
		close(waiting->fds[i]);
	free(waiting);
}

static void disconnect(struct agent *agent)
{
	if (agent->socket < 0)
		return;
	agent->readable = loop_event_free(agent->readable);
	agent->writable = loop_event_free(agent->writable);
	close(agent->socket);
	agent->socket = -1;
	while (agent->first)
		drop_first(agent);
	if (agent->forker)
		forker_forget(agent->forker, &agent->forked); /* it is waited for elsewhere */
	for (unsigned i = 0; i < LIMIT_AGENT_STARTS && agent->pid > 0; i++) {
		if (agent->old[i] == 0) {
			agent->old[i] = agent->pid;
			agent->pid = 0;
		}
	}
	agent->pid = 0;
}

void agent_kill(struct agent *agent)
{
	if (agent->forker)
		forker_kill(agent->forker, &agent->forked);
	else if (agent->pid > 0)
		kill(agent->pid, SIGKILL);
}

void agent_set_identity(struct agent *agent, struct forker *forker, const struct identity *identity)
{
	agent->forker = forker;
	agent->identity = identity;
}

void agent_reap(struct agent *agent)
{
	if (agent->pid > 0 && helper_has_ended(agent->pid, AGENT_PROGRAM))
		agent->pid = 0; /* its socket says so too */
	for (unsigned i = 0; i < LIMIT_AGENT_STARTS; i++)
		if (agent->old[i] > 0 && helper_has_ended(agent->old[i], AGENT_PROGRAM))
			agent->old[i] = 0;
}

/* --- messages -------------------------------------------------------------------------------------- */

static void readable(void *arg)
{
	struct agent *agent = arg;
	struct link_message message;
	ssize_t n = recv(agent->socket, &message, sizeof(message), MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n == (ssize_t)sizeof(message)) {
		agent->message(agent->arg, &message);
		return;
	}
	log_warning("the link agent has ended unexpectedly");
	disconnect(agent);
	agent->lost(agent->arg);
}

static void writable(void *arg)
{
	struct agent *agent = arg;

	while (agent->first) {
		struct waiting *waiting = agent->first;

		if (helper_send(agent->socket, &waiting->message, sizeof(waiting->message), waiting->fds,
		               waiting->n_fds) == -EAGAIN)
			return;
		drop_first(agent);
	}
	loop_disable(agent->writable);
}

static int enqueue(struct agent *agent, const struct link_message *message, const int *fds, unsigned n_fds)
{
	struct waiting *waiting = calloc(1, sizeof(*waiting));

	if (!waiting)
		return -ENOMEM;
	waiting->message = *message;
	for (; waiting->n_fds < n_fds; waiting->n_fds++) {
		int copy = fcntl(fds[waiting->n_fds], F_DUPFD_CLOEXEC, 0);

		if (copy < 0) {
			int r = -errno;

			while (waiting->n_fds > 0)
				close(waiting->fds[--waiting->n_fds]);
			free(waiting);
			return r;
		}
		waiting->fds[waiting->n_fds] = copy;
	}
	*agent->last = waiting;
	agent->last = &waiting->next;
	loop_enable(agent->writable);
	return 0;
}

int agent_send(struct agent *agent, const struct link_message *message, const int *fds, unsigned n_fds)
{
	int r = agent->socket >= 0 ? 0 : start(agent);

	if (r < 0)
		return r;
	if (!agent->first)
		r = helper_send(agent->socket, message, sizeof(*message), fds, n_fds);
	if (agent->first || r == -EAGAIN)
		return enqueue(agent, message, fds, n_fds);
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

/* --- life ------------------------------------------------------------------------------------------ */

struct agent *agent_new(struct loop *loop, int death_fd, bool sandboxed, agent_message_fn *message, agent_lost_fn *lost,
                        void *arg)
{
	struct agent *agent = calloc(1, sizeof(*agent));

	if (!agent)
		return NULL;
	*agent = (struct agent){
		.loop = loop, .death_fd = death_fd, .sandboxed = sandboxed, .message = message, .lost = lost, .arg = arg,
		.socket = -1,
	};
	agent->last = &agent->first;
	return agent;
}

struct agent *agent_free(struct agent *agent)
{
	if (agent) {
		disconnect(agent);
		free(agent);
	}
	return NULL;
}
