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
#include "identity.h"
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
	struct agent_setting set;

	pid_t pid; /* our child; 0: none, or already waited for */
	struct forked forked; /* or this, in the daemon of all users */
	int socket; /* -1: none */
	struct loop_event *readable, *writable;
	struct waiting *first, **last;
	unsigned n_waiting;

	unsigned n_starts; /* since window_ns */
	uint64_t window_ns;
	uint64_t rest_ns; /* given up until then */
	pid_t old[LIMIT_AGENT_STARTS]; /* ended their sockets; not yet waited for */
};

/* --- the process ----------------------------------------------------------------------------------- */

static void readable(void *arg);
static void writable(void *arg);

/* The files process says that it is gone. Its socket tells us too, and that last. */
static void forked_ended(void *arg, int error)
{
	(void)arg;
	if (error < 0)
		log_event(REASON_LINK_AGENT_UNSTARTED, "a link agent could not be started: %s", strerror(-error));
}

static int start_process(struct agent *agent, const struct identity *identity, int socket, const char *program)
{
	const char *const argv[] = { AGENT_PROGRAM, agent->set.sandboxed ? SANDBOX_IF_ANY_ARGUMENT : SANDBOX_OFF_ARGUMENT, NULL };

	if (!agent->set.forker)
		return helper_start(program, argv, (const int[]){ socket, agent->set.death_fd }, 2, &agent->pid);
	agent->forked.ended = forked_ended;
	agent->forked.arg = agent;
	return forker_start_agent(agent->set.forker, identity, socket, agent->set.death_fd, &agent->forked);
}

static int run(struct agent *agent, const struct identity *identity)
{
	char program[AGENT_PROGRAM_SIZE];
	int pair[2], r;

	agent_program_find(program, sizeof(program));
	r = helper_pair(pair);
	if (r < 0)
		return r;
	/* Who it is for may make it say what he likes. */
	if (agent->set.forker)
		os_refuse_descriptors(pair[0]);
	agent->readable = loop_on_readable(agent->set.loop, pair[0], readable, agent);
	agent->writable = loop_on_writable(agent->set.loop, pair[0], writable, agent);
	r = agent->readable && agent->writable ? start_process(agent, identity, pair[1], program) : -ENOMEM;
	close(pair[1]);
	if (r < 0) {
		agent->readable = loop_event_free(agent->readable);
		agent->writable = loop_event_free(agent->writable);
		agent->pid = 0;
		close(pair[0]);
		log_event(REASON_LINK_AGENT_UNSTARTED,
		          "the link agent %s cannot be started (%s): processes that do not reach this daemon are not joined with "
		          "those that do", program, strerror(-r));
		return r;
	}
	agent->socket = pair[0];
	log_event(REASON_LINK_AGENT_STARTED, "link agent started (pid %d)", (int)agent->pid);
	return 0;
}

static int start(struct agent *agent, const struct identity *identity)
{
	uint64_t now = os_now_ns();

	if (agent->set.forker && (!identity || identity->socket < 0))
		return -ENOTCONN;
	if (now < agent->rest_ns)
		return -EAGAIN;
	if (now - agent->window_ns > UINT64_C(1000000) * LIMIT_AGENT_WINDOW_MS) {
		agent->window_ns = now;
		agent->n_starts = 0;
	}
	if (++agent->n_starts > LIMIT_AGENT_STARTS) {
		agent->rest_ns = now + UINT64_C(1000000) * LIMIT_AGENT_REST_MS;
		log_event(REASON_LINK_AGENT_GIVEN_UP,
		          "the link agent ended, or could not be started, %u times in a row and is given up for %u s: processes that do "
		          "not reach this daemon are not joined with those that do",
		          LIMIT_AGENT_STARTS, LIMIT_AGENT_REST_MS / 1000);
		return -EAGAIN;
	}
	return run(agent, identity);
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
	agent->n_waiting--;
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
	if (agent->set.forker)
		forker_forget(agent->set.forker, &agent->forked);
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
	if (agent->set.forker)
		forker_kill(agent->set.forker, &agent->forked);
	else if (agent->pid > 0)
		kill(agent->pid, SIGKILL);
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
		agent->set.message(agent->set.arg, &message);
		return;
	}
	log_event(REASON_LINK_AGENT, "the link agent has ended unexpectedly");
	disconnect(agent);
	agent->set.lost(agent->set.arg);
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
	struct waiting *waiting;

	if (agent->set.forker && agent->n_waiting >= LIMIT_AGENT_WAITING) {
		/* It does not read, since its user holds it up. */
		agent_kill(agent);
		return 0;
	}
	waiting = calloc(1, sizeof(*waiting));
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
	agent->n_waiting++;
	loop_enable(agent->writable);
	return 0;
}

int agent_send(struct agent *agent, const struct identity *identity, const struct link_message *message, const int *fds,
               unsigned n_fds)
{
	int r = agent->socket >= 0 ? 0 : start(agent, identity);

	if (r < 0)
		return r;
	if (!agent->first)
		r = helper_send(agent->socket, message, sizeof(*message), fds, n_fds);
	if (agent->first || r == -EAGAIN)
		return enqueue(agent, message, fds, n_fds);
	return r == -EPIPE || r == -ECONNRESET ? 0 : r;
}

bool agent_runs(const struct agent *agent)
{
	return agent->socket >= 0;
}

void agent_end(struct agent *agent)
{
	disconnect(agent);
}

/* --- life ------------------------------------------------------------------------------------------ */

struct agent *agent_new(const struct agent_setting *setting)
{
	struct agent *agent = calloc(1, sizeof(*agent));

	if (!agent)
		return NULL;
	agent->set = *setting;
	agent->socket = -1;
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
