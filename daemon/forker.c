/* SPDX-License-Identifier: MIT */
/* forker.c - main's side of the files process. */
#include "forker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "forker_protocol.h"
#include "helper.h"
#include "limit.h"
#include "log.h"
#include "sandbox.h"

struct forker {
	struct forker_setting set;
	struct forker_process process;
	struct loop_event *readable;
	struct forked *forked;
	uint32_t last_id;
};

/* --- starting it ------------------------------------------------------------------------------------- */

static int wait_until_ready(const struct forker_process *process)
{
	struct pollfd one = { .fd = process->socket, .events = POLLIN };
	struct forker_message message;
	unsigned n_fds;
	ssize_t n;

	if (poll(&one, 1, (int)LIMIT_WORKER_START_MS) <= 0)
		return -ETIMEDOUT;
	n = helper_receive(process->socket, &message, sizeof(message), NULL, 0, &n_fds, MSG_DONTWAIT);
	if (n != (ssize_t)sizeof(message) || message.type != FORKER_READY)
		return n < 0 ? (int)n : -EPIPE;
	if (message.error > 0)
		log_event(REASON_SETUP, "no CAP_SYS_PTRACE: programs in a root folder of their own, and those that protect themselves, cannot "
		            "open topics");
	return message.error < 0 ? message.error : 0;
}

int forker_start(const struct service_user *user, int listener, bool managed, bool sandboxed, struct forker_process *ret)
{
	struct forker_process process;
	char uid[16], gid[16];
	const char *argv[] = { "pathbusd", FORKER_ARGUMENT, uid, gid, NULL, NULL, NULL };
	unsigned n = 4;
	int pair[2], r;

	if (managed)
		argv[n++] = FORKER_MANAGED_ARGUMENT;
	if (!sandboxed)
		argv[n++] = SANDBOX_OFF_ARGUMENT;
	snprintf(uid, sizeof(uid), "%u", (unsigned)user->uid);
	snprintf(gid, sizeof(gid), "%u", (unsigned)user->gid);
	r = helper_pair(pair);
	if (r == 0) {
		privileges_lend();
		process.socket = pair[0];
		r = helper_start("/proc/self/exe", argv, (const int[]){ pair[1], listener }, 2, &process.pid);
		close(pair[1]);
		if (r < 0)
			close(pair[0]);
	}
	if (r == 0) {
		r = wait_until_ready(&process);
		if (r < 0)
			forker_process_end(&process);
	}
	if (r == -EPERM)
		log_event(REASON_SERVICE_USER,
		          "the process that looks at files may not become other users: start pathbusd as root, or as user %u with "
		          "CAP_SETUID, CAP_SETGID and CAP_SYS_PTRACE", (unsigned)user->uid);
	else if (r < 0)
		log_event(REASON_START_FAILED, "the process that looks at files cannot be started: %s", strerror(-r));
	if (r == 0)
		*ret = process;
	return r;
}

void forker_process_end(struct forker_process *process)
{
	int status = 0;
	pid_t pid;

	if (process->pid <= 0)
		return;
	close(process->socket);
	/* It ends its children first; that takes as long as those need, or a while. */
	while ((pid = waitpid(process->pid, &status, 0)) < 0 && errno == EINTR)
		;
	if (pid > 0)
		helper_note_end(pid, status, "the files process");
	*process = (struct forker_process){ .pid = 0, .socket = -1 };
}

/* --- what it says ------------------------------------------------------------------------------------ */

static struct forked *find(const struct forker *forker, uint32_t id)
{
	struct forked *forked = forker->forked;

	while (forked && forked->id != id)
		forked = forked->next;
	return forked;
}

void forker_forget(struct forker *forker, struct forked *forked)
{
	struct forked **at = &forker->forked;

	while (*at && *at != forked)
		at = &(*at)->next;
	if (*at)
		*at = forked->next;
	*forked = (struct forked){ .id = 0 };
}

static void lose(struct forker *forker)
{
	if (!forker->readable)
		return;
	forker->readable = loop_event_free(forker->readable);
	forker->set.lost(forker->set.arg);
}

static void readable(void *arg)
{
	struct forker *forker = arg;
	struct forker_message message;
	struct forked *forked;
	unsigned n_fds;
	ssize_t n = helper_receive(forker->process.socket, &message, sizeof(message), NULL, 0, &n_fds, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return;
	if (n != (ssize_t)sizeof(message)) {
		lose(forker);
		return;
	}
	forked = find(forker, message.id);
	if (!forked)
		return;
	if (message.type == FORKER_STARTED) {
		forked->pid = message.pid;
	} else if (message.type == FORKER_ENDED) {
		void (*ended)(void *, int) = forked->ended;
		void *whose = forked->arg;

		forker_forget(forker, forked);
		ended(whose, message.error);
	}
}

/* --- what it is told --------------------------------------------------------------------------------- */

static int start(struct forker *forker, enum forker_type type, const int *fds, unsigned n_fds, struct forked *forked)
{
	struct forker_message message = { .type = type };
	int r;

	if (fds[0] < 0)
		return -ENOTCONN;
	do
		message.id = ++forker->last_id;
	while (message.id == 0 || find(forker, message.id));
	r = helper_send(forker->process.socket, &message, sizeof(message), fds, n_fds);
	if (r < 0)
		return r;
	forked->id = message.id;
	forked->pid = 0;
	forked->next = forker->forked;
	forker->forked = forked;
	return 0;
}

int forker_start_worker(struct forker *forker, const struct identity *identity, int socket, struct forked *forked)
{
	return start(forker, FORKER_WORKER, (const int[]){ identity->socket, socket }, 2, forked);
}

int forker_start_agent(struct forker *forker, const struct identity *identity, int socket, int death, struct forked *forked)
{
	return start(forker, FORKER_AGENT, (const int[]){ identity->socket, socket, death }, 3, forked);
}

void forker_kill(struct forker *forker, const struct forked *forked)
{
	struct forker_message message = { .type = FORKER_KILL, .id = forked->id };
	int r = forked->id != 0 ? helper_send(forker->process.socket, &message, sizeof(message), NULL, 0) : 0;

	if (r < 0)
		log_event(REASON_WARNING, "a process could not be ended: %s", strerror(-r));
}

/* --- life -------------------------------------------------------------------------------------------- */

int forker_new(const struct forker_setting *setting, const struct forker_process *process, struct forker **ret)
{
	struct forker_message message = { .type = FORKER_WATCH };
	struct forker *forker = calloc(1, sizeof(*forker));
	int r;

	if (!forker)
		return -ENOMEM;
	forker->set = *setting;
	forker->process = *process;
	forker->readable = loop_on_readable(setting->loop, process->socket, readable, forker);
	r = forker->readable ? helper_send(process->socket, &message, sizeof(message), &setting->watch, 1) : -ENOMEM;
	if (r < 0) {
		loop_event_free(forker->readable);
		free(forker);
		return r;
	}
	*ret = forker;
	return 0;
}

struct forker *forker_free(struct forker *forker)
{
	if (forker) {
		loop_event_free(forker->readable);
		forker_process_end(&forker->process);
		free(forker);
	}
	return NULL;
}

void forker_reap(struct forker *forker)
{
	/* Its socket says that it has ended; whoever waits for it in the end does not need its status. */
	if (forker->process.pid > 0 && helper_has_ended(forker->process.pid, "the files process")) {
		lose(forker);
		close(forker->process.socket);
		forker->process.pid = 0;
	}
}
