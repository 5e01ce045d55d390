/* SPDX-License-Identifier: MIT */
/* files_process.c - forks workers and link agents as the users they are for. */
#include "files_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent_program.h"
#include "client_root.h"
#include "files_protocol.h"
#include "files_worker.h"
#include "forker_protocol.h"
#include "helper.h"
#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "privileges.h"
#include "sandbox.h"

#define MAX_OF_CHILD 4 /* descriptors, beside 0 to 2 */

/* What was started for a client. */
struct child {
	pid_t pid; /* 0: this place is free */
	uint32_t id;
	uid_t uid;
	gid_t gid;
	bool is_agent;
	int channel;   /* to a worker, which asks for what only we may open; -1: none (any more) */
	pid_t opener;  /* the child that answers it; 0: none */
};

struct peer {
	uid_t uid;
	gid_t gid;
	gid_t *groups;
	unsigned n_groups;
};

static struct files_process {
	struct service_user user;
	struct client_address address;
	int signals, watch, agent_program;
	int home; /* the root folder where everybody is who is nowhere else; O_PATH */
	bool sandboxed;
	struct child children[LIMIT_FORKED];
} self = { .signals = -1, .watch = -1, .agent_program = -1, .home = -1 };

static void tell(enum forker_type type, uint32_t id, pid_t pid, int error)
{
	struct forker_message message = { .type = type, .id = id, .pid = pid, .error = error };

	/* Main reads it soon, or has ended. */
	while (helper_send(FORKER_FD_MAIN, &message, sizeof(message), NULL, 0) == -EAGAIN)
		(void)poll(&(struct pollfd){ .fd = FORKER_FD_MAIN, .events = POLLOUT }, 1, -1);
}

/* --- in a child --------------------------------------------------------------------------------------- */

/* Makes these its descriptors 3, 4..., and has no others but 0 to 2. */
static int take_descriptors(const int *fds, unsigned n_fds)
{
	int high[MAX_OF_CHILD];

	for (unsigned i = 0; i < n_fds; i++) {
		high[i] = fcntl(fds[i], F_DUPFD, HELPER_FIRST_FD + MAX_OF_CHILD);
		if (high[i] < 0)
			return -errno;
	}
	for (unsigned i = 0; i < n_fds; i++)
		if (dup2(high[i], HELPER_FIRST_FD + (int)i) < 0)
			return -errno;
	return helper_close_from(HELPER_FIRST_FD + (int)n_fds);
}

static void let_signals_in(void)
{
	sigset_t none;

	signal(SIGTERM, SIG_DFL);
	signal(SIGINT, SIG_DFL);
	signal(SIGPIPE, SIG_DFL);
	signal(SIGHUP, SIG_DFL);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Nothing is run as a program here: for a moment that would be one of the user's, whom it may be traced by. */
static void be_worker(const struct peer *peer, int socket, int channel)
{
	(void)setsid(); /* nor has it root's terminal, should there be one */
	if (privileges_become_client(peer->uid, peer->gid, peer->groups, peer->n_groups) < 0 ||
	    take_descriptors((const int[]){ socket, self.watch, channel, self.home }, 4) < 0)
		_exit(1);
	let_signals_in();
	/* The log is main's; a sanitizer's words would be lost otherwise. */
	if (!PRIVILEGES_SANITIZED && dup2(STDIN_FILENO, STDERR_FILENO) < 0)
		_exit(1);
	_exit(files_worker_run(true, self.sandboxed));
}

/* It may be traced by its user from here on: that one's lane, and that one's sidecar, are all that it will have. */
static void be_agent(const struct peer *peer, int socket, int death)
{
	(void)setsid(); /* nor has it root's terminal, should there be one */
	if (privileges_become_client(peer->uid, peer->gid, peer->groups, peer->n_groups) < 0 ||
	    take_descriptors((const int[]){ socket, death, self.agent_program }, 3) < 0 ||
	    fcntl(HELPER_FIRST_FD + 2, F_SETFD, FD_CLOEXEC) < 0)
		_exit(1);
	let_signals_in();
	/* Nor does its user write into the log. */
	if (!PRIVILEGES_SANITIZED && dup2(STDIN_FILENO, STDERR_FILENO) < 0)
		_exit(1);
	agent_program_become(HELPER_FIRST_FD + 2, self.sandboxed ? NULL : SANDBOX_OFF_ARGUMENT);
	_exit(1);
}

/* What a worker may not do: look at a process that protects itself, or that has what its user has not. Main and the
 * worker are believed nothing: the connection tells which process it is. Nothing that the worker sends is taken in by the
 * files process itself, which a descriptor might hold up. */
static void be_opener(const struct child *child)
{
	static struct files_request request;
	struct opener_reply reply = { .error = -EPROTO };
	struct os_peer peer;
	int client = -1, fd = -1;
	unsigned n_fds;
	ssize_t n;

	if (privileges_become_opener() < 0)
		_exit(1);
	let_signals_in();
	n = helper_receive(child->channel, &request, sizeof(request), &client, 1, &n_fds, MSG_DONTWAIT);
	if (n <= (ssize_t)offsetof(struct files_request, path) || n_fds != 1)
		_exit(1);
	request.path[(size_t)n - offsetof(struct files_request, path) - 1] = '\0';
	reply.error = client_check(&self.address, client);
	if (reply.error == 0)
		reply.error = os_peer_credentials(client, &peer);
	if (reply.error == 0 && (peer.uid != child->uid || peer.gid != child->gid))
		reply.error = -EPERM;
	if (reply.error == 0) {
		fd = request.descriptor < 0 ? client_open_root(client, self.home) :
		                              client_open_memory(client, request.descriptor, request.path);
		reply.error = fd < 0 ? fd : 0;
	}
	(void)helper_send(child->channel, &reply, sizeof(reply), &fd, fd >= 0 ? 1 : 0);
	_exit(0);
}

/* --- starting ----------------------------------------------------------------------------------------- */

static struct child *child_new(uint32_t id, const struct peer *peer)
{
	for (unsigned i = 0; i < LIMIT_FORKED; i++) {
		struct child *child = &self.children[i];

		if (child->pid == 0) {
			*child = (struct child){ .id = id, .uid = peer->uid, .gid = peer->gid, .channel = -1 };
			return child;
		}
	}
	return NULL;
}

static int start_worker(struct child *child, const struct peer *peer, int socket)
{
	int pair[2], r;

	if (self.watch < 0)
		return -EPROTO;
	r = helper_pair(pair);
	if (r < 0)
		return r;
	child->pid = fork();
	if (child->pid == 0)
		be_worker(peer, socket, pair[1]);
	if (child->pid < 0) {
		r = -errno;
		close(pair[0]);
	} else {
		child->channel = pair[0];
	}
	close(pair[1]);
	return r;
}

static int start_agent(struct child *child, const struct peer *peer, int socket, int death)
{
	if (self.agent_program < 0)
		return self.agent_program;
	child->is_agent = true;
	child->pid = fork();
	if (child->pid == 0)
		be_agent(peer, socket, death);
	return child->pid < 0 ? -errno : 0;
}

/* Who is it? The kernel says. */
static int look_at_peer(int client, struct peer *ret)
{
	struct os_peer peer;
	int r = client_check(&self.address, client);

	if (r == 0)
		r = os_peer_credentials(client, &peer);
	if (r == 0)
		r = os_peer_groups(client, &ret->groups, &ret->n_groups);
	if (r < 0)
		return r;
	ret->uid = peer.uid;
	ret->gid = peer.gid;
	if (peer.uid != (uid_t)-1 && peer.gid != (gid_t)-1)
		return 0;
	free(ret->groups);
	return -EPERM;
}

static void start(const struct forker_message *message, const int *fds, unsigned n_fds)
{
	struct child *child = NULL;
	struct peer peer;
	int r = n_fds == (message->type == FORKER_WORKER ? 2 : 3) ? 0 : -EPROTO;

	if (r == 0)
		r = look_at_peer(fds[0], &peer);
	if (r == 0) {
		child = child_new(message->id, &peer);
		r = !child ? -EUSERS : message->type == FORKER_WORKER ? start_worker(child, &peer, fds[1]) :
		                                                        start_agent(child, &peer, fds[1], fds[2]);
		free(peer.groups);
	}
	if (r < 0) {
		if (child)
			child->pid = 0;
		tell(FORKER_ENDED, message->id, 0, r);
	} else {
		tell(FORKER_STARTED, message->id, child->pid, 0);
	}
}

static void start_opener(struct child *child)
{
	pid_t pid = fork();

	if (pid == 0)
		be_opener(child);
	if (pid > 0)
		child->opener = pid;
	else
		(void)poll(NULL, 0, 10); /* out of processes; it goes on asking */
}

/* --- ending ------------------------------------------------------------------------------------------- */

static void end(struct child *child)
{
	if (child->pid > 0)
		(void)privileges_kill(&self.user, child->uid, child->pid);
	if (child->opener > 0)
		(void)kill(child->opener, SIGKILL);
}

static void kill_by_id(uint32_t id)
{
	for (unsigned i = 0; i < LIMIT_FORKED; i++)
		if (self.children[i].pid > 0 && self.children[i].id == id)
			end(&self.children[i]);
}

static void drop_channel(struct child *child)
{
	if (child->channel >= 0)
		close(child->channel);
	child->channel = -1;
}

static void ended(pid_t pid, int status)
{
	for (unsigned i = 0; i < LIMIT_FORKED; i++) {
		struct child *child = &self.children[i];

		if (child->opener == pid) {
			child->opener = 0;
			helper_note_end(pid, status, "what opens for a files worker");
		}
		if (child->pid != pid)
			continue;
		if (child->opener > 0)
			(void)kill(child->opener, SIGKILL);
		drop_channel(child);
		helper_note_end(pid, status, child->is_agent ? AGENT_PROGRAM : "a files worker");
		child->pid = 0;
		tell(FORKER_ENDED, child->id, pid, 0);
	}
}

static void reap(void)
{
	struct signalfd_siginfo info;
	int status;
	pid_t pid;

	while (read(self.signals, &info, sizeof(info)) > 0)
		;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		ended(pid, status);
}

static bool has_workers(void)
{
	for (unsigned i = 0; i < LIMIT_FORKED; i++)
		if ((self.children[i].pid > 0 && !self.children[i].is_agent) || self.children[i].opener > 0)
			return true;
	return false;
}

/* Main has ended: so do the workers. Those that a file system holds back from dying are not waited for for ever; agents end by
 * themselves, when they have carried what there is. */
static void end_all(void)
{
	uint64_t until = os_now_ns() + LIMIT_FILES_END_MS * UINT64_C(1000000);

	for (unsigned i = 0; i < LIMIT_FORKED; i++)
		if (!self.children[i].is_agent)
			end(&self.children[i]);
	while (has_workers() && os_now_ns() < until) {
		(void)poll(&(struct pollfd){ .fd = self.signals, .events = POLLIN }, 1, 100);
		reap();
	}
}

/* --- running ------------------------------------------------------------------------------------------ */

/* Returns whether main is still there. */
static bool take_message(void)
{
	struct forker_message message;
	int fds[FORKER_MAX_DESCRIPTORS];
	unsigned n_fds = 0;
	ssize_t n = helper_receive(FORKER_FD_MAIN, &message, sizeof(message), fds, FORKER_MAX_DESCRIPTORS, &n_fds, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return true;
	if (n != (ssize_t)sizeof(message))
		return false;
	if (message.type == FORKER_WATCH && n_fds == 1 && self.watch < 0) {
		self.watch = fds[0];
		return true;
	}
	if (message.type == FORKER_WORKER || message.type == FORKER_AGENT)
		start(&message, fds, n_fds);
	else if (message.type == FORKER_KILL)
		kill_by_id(message.id);
	while (n_fds > 0)
		close(fds[--n_fds]);
	return true;
}

static void look_at_channel(struct child *child, short events)
{
	if (child->pid == 0 || child->channel < 0 || child->opener > 0 || events == 0)
		return;
	if (events & (POLLHUP | POLLERR))
		drop_channel(child); /* nobody waits for an answer any more */
	else
		start_opener(child);
}

static void run(void)
{
	struct pollfd polled[2 + LIMIT_FORKED];
	struct child *whose[2 + LIMIT_FORKED];

	for (;;) {
		nfds_t n = 2;

		polled[0] = (struct pollfd){ .fd = FORKER_FD_MAIN, .events = POLLIN };
		polled[1] = (struct pollfd){ .fd = self.signals, .events = POLLIN };
		for (unsigned i = 0; i < LIMIT_FORKED; i++) {
			struct child *child = &self.children[i];

			if (child->pid <= 0 || child->channel < 0 || child->opener > 0)
				continue;
			whose[n] = child;
			polled[n++] = (struct pollfd){ .fd = child->channel, .events = POLLIN };
		}
		if (poll(polled, n, -1) < 0 && errno != EINTR)
			return;
		for (nfds_t i = 2; i < n; i++)
			look_at_channel(whose[i], polled[i].revents);
		if (polled[1].revents)
			reap();
		if (polled[0].revents && !take_message())
			return;
	}
}

static int enter_sandbox(void)
{
	struct sandbox_state state;
	int r;

	if (!self.sandboxed)
		return 0;
	r = sandbox_enter(SANDBOX_FILES, &(struct sandbox_setting){ .system = true }, &state);
	if (r < 0)
		log_event(REASON_SANDBOX_FAILED, "the process that looks at files cannot enter its sandbox (%s): " SANDBOX_ADVICE, state.text);
	return r;
}

/*
 * Where everybody is who is nowhere else: where we are. Or, where a service manager has given us mounts of our own of the same
 * root folder, in process 1's: that is who made the others. In our own, paths are not what others call by them, or cannot be
 * written.
 */
static int find_home(bool managed)
{
	int own = os_open_folder(AT_FDCWD, "/", true), first = managed ? os_open_folder(AT_FDCWD, "/proc/1/root", true) : -1, there;
	struct stat ours, theirs;

	if (own >= 0 && first >= 0 && fstat(own, &ours) == 0 && fstat(first, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	    ours.st_ino == theirs.st_ino && !os_is_same_place(own, first) && (there = os_open_in_root(first, "/")) >= 0) {
		close(there);
		close(own);
		return first;
	}
	if (first >= 0)
		close(first);
	return own;
}

static int prepare(const char *uid, const char *gid, bool managed)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), r;
	bool may_trace = false;
	sigset_t child;

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0)
		return -errno;
	close(null);

	self.user = (struct service_user){ .uid = (uid_t)strtoul(uid, NULL, 10), .gid = (gid_t)strtoul(gid, NULL, 10) };
	self.agent_program = agent_program_open();
	r = client_address_of(FORKER_FD_LISTENER, &self.address);
	close(FORKER_FD_LISTENER);
	if (r == 0)
		r = privileges_become_files(&self.user, &may_trace);
	if (r == 0) {
		self.home = find_home(managed);
		r = self.home < 0 ? self.home : 0;
	}
	if (r < 0)
		return r;
	/* A service manager signals all of us. Main has to hear of it first, and then ends us. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	self.signals = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
	if (self.signals < 0 || fcntl(FORKER_FD_MAIN, F_SETFD, FD_CLOEXEC) < 0 || chdir("/") < 0)
		return -errno;
	r = enter_sandbox();
	return r < 0 ? r : may_trace ? 0 : 1;
}

int files_process_run(const char *uid, const char *gid, bool managed, bool sandboxed)
{
	int r;

	self.sandboxed = sandboxed;
	r = prepare(uid, gid, managed);
	tell(FORKER_READY, 0, 0, r);
	if (r < 0)
		return 1;
	run();
	end_all();
	return 0;
}
