/* SPDX-License-Identifier: MIT */
/*
 * pathbus-link - joins a daemon's lanes with sidecars, for programs that reach only one of the two.
 *
 * A process of its own, so that it outlives the daemon: it carries what is in the lanes then, announces itself
 * once more in each sidecar, and ends. Started by pathbusd; see protocol.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link.h"
#include "os/os.h"
#include "protocol.h"
#include "../sandbox.h"

enum { TAG_CONTROL = 1, TAG_STOP = 2, TAG_TIMER = 3, TAG_DEADLINE = 4, TAG_LEASE = 5 };
/* A service manager ends us and the daemon together: what is posted until its word is marked is still carried. */
enum { STOP_MS = 2000 };
enum { TAG_PEER = 1 }; /* lowest bit of a link's address: its sidecar's bell */

static struct agent {
	int set, control, stop;
	int deadline; /* a timer, set by SIGTERM */
	int lease;    /* a timer, for links that wait for a writer that stands still */
	uint64_t lease_ns; /* what it is set to; 0: not */
	struct link *links;
	bool done;
} agent = { .set = -1, .control = LINK_FD_CONTROL, .stop = -1, .deadline = -1, .lease = -1 };

static void on_signal(int number)
{
	int error = errno;

	(void)number;
	os_bell_ring(agent.stop);
	errno = error;
}

static void answer(uint32_t id, enum link_type type, int error)
{
	struct link_message message = { .type = type, .link = id, .error = error };

	/* A daemon that is gone does not need it. One that does not read is not waited for for ever: the pair
	 * holds hundreds of these, and a main that is stopped comes back. */
	while (send(agent.control, &message, sizeof(message), MSG_NOSIGNAL) < 0 && errno == EINTR)
		;
}

/* --- links ------------------------------------------------------------------------------------------------ */

static int watch(struct link *link)
{
	uint64_t tag = (uint64_t)(uintptr_t)link;
	int r = os_set_add(agent.set, link->bus.lane.bell, OS_READ | OS_EDGE, tag);

	if (r == 0) {
		r = os_set_add(agent.set, link->peer.lane.bell, OS_READ | OS_EDGE, tag | TAG_PEER);
		if (r < 0)
			os_set_remove(agent.set, link->bus.lane.bell);
	}
	return r;
}

/* Takes it out of the list and of the set, and ends it. */
static void end_link(struct link *link)
{
	struct link **at = &agent.links;

	while (*at != link)
		at = &(*at)->next;
	*at = link->next;
	os_set_remove(agent.set, link->bus.lane.bell);
	if (link->sidecar.bell >= 0)
		os_set_remove(agent.set, link->sidecar.bell);
	link_free(link);
}

static struct link *find(uint32_t id)
{
	struct link *link = agent.links;

	while (link && link->id != id)
		link = link->next;
	return link;
}

/* A writer stands still in one of its lanes: the lease tells when to look again. */
static void set_lease(uint64_t at_ns)
{
	uint64_t now = os_now_ns();

	if (at_ns == 0 || (agent.lease_ns != 0 && agent.lease_ns <= at_ns))
		return;
	agent.lease_ns = at_ns;
	os_timer_set(agent.lease, at_ns > now ? at_ns - now : 1, 0);
}

static void look_after(struct link *link, bool is_peer)
{
	set_lease(link_carry(link));
	if (is_peer && link_has_ended(link)) {
		uint32_t id = link->id;

		end_link(link);
		answer(id, LINK_GONE, 0);
	}
}

/* --- the daemon's words ------------------------------------------------------------------------------------ */

static void on_join(const struct link_message *message, const int *fds)
{
	struct link *link = NULL;
	int r = link_new(message, fds, &link);

	if (r == 0) {
		link->next = agent.links;
		agent.links = link;
		r = watch(link);
		if (r < 0) {
			end_link(link);
		} else {
			answer(message->link, LINK_LINKED, 0);
			look_after(link, true);
			return;
		}
	}
	answer(message->link, LINK_GONE, r == -ENOENT ? 0 : r);
}

static void on_message(const struct link_message *message, const int *fds, int n_fds)
{
	struct link *link = find(message->link);

	if (message->type == LINK_JOIN && n_fds == LINK_JOIN_DESCRIPTORS && !link) {
		on_join(message, fds);
		return;
	}
	for (int i = 0; i < n_fds; i++)
		close(fds[i]);
	if (message->type == LINK_JOIN)
		answer(message->link, LINK_GONE, -EMFILE);
	if (message->type == LINK_AGAIN && link)
		link_post_to_bus(link);
	if (message->type == LINK_LEAVE) {
		if (link) {
			end_link(link);
			answer(message->link, LINK_LEFT, 0);
		}
	}
}

/* Takes one message. False: none, or the daemon is gone. */
static bool receive(void)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(LINK_JOIN_DESCRIPTORS * sizeof(int))];
	} control;
	struct link_message message;
	struct iovec part = { .iov_base = &message, .iov_len = sizeof(message) };
	struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes,
		                 .msg_controllen = sizeof(control.bytes) };
	int fds[LINK_JOIN_DESCRIPTORS], n_fds = 0;
	ssize_t n = recvmsg(agent.control, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return false;
	if (n != (ssize_t)sizeof(message)) {
		agent.done = true;
		return false;
	}
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c))
		if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS) {
			n_fds = (int)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
			memcpy(fds, CMSG_DATA(c), (size_t)n_fds * sizeof(int));
		}
	on_message(&message, fds, n_fds);
	return true;
}

/* --- running ------------------------------------------------------------------------------------------------ */

static int start(void)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
	struct rlimit limit;
	int timer, r;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit);
	}
	agent.set = os_set_new();
	agent.stop = os_bell_new();
	agent.deadline = os_timer_new();
	agent.lease = os_timer_new();
	if (agent.set < 0 || agent.stop < 0 || agent.deadline < 0 || agent.lease < 0)
		return agent.set < 0 ? agent.set : agent.stop < 0 ? agent.stop : agent.deadline < 0 ? agent.deadline : agent.lease;
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	r = os_set_add(agent.set, agent.control, OS_READ, TAG_CONTROL);
	if (r == 0)
		r = os_set_add(agent.set, agent.stop, OS_READ, TAG_STOP);
	if (r == 0)
		r = os_set_add(agent.set, agent.deadline, OS_READ, TAG_DEADLINE);
	if (r == 0)
		r = os_set_add(agent.set, agent.lease, OS_READ, TAG_LEASE);
	if (r == 0 && !os_bell_fifo_reliable()) {
		/* The kernels on which a FIFO wakes only when it is empty: look every 20 ms. */
		timer = os_timer_new();
		if (timer < 0)
			return timer;
		os_timer_set(timer, 20000000, 20000000);
		r = os_set_add(agent.set, timer, OS_READ | OS_EDGE, TAG_TIMER);
	}
	return r;
}

static void on_tag(uint64_t tag)
{
	struct link *link = (struct link *)(uintptr_t)(tag & ~(uint64_t)TAG_PEER);

	/* An earlier tag of the same batch may have ended this link. */
	for (struct link *known = agent.links; known; known = known->next)
		if (known == link) {
			look_after(link, tag & TAG_PEER);
			return;
		}
}

/* Only after the daemon's end is what a poster was told to be in its lane certain to be there. */
static void on_stop(void)
{
	os_bell_drain(agent.stop);
	os_timer_set(agent.deadline, STOP_MS * UINT64_C(1000000), 0);
}

static void look_at_all(void)
{
	for (struct link *link = agent.links, *next; link; link = next) {
		next = link->next;
		look_after(link, true);
	}
}

static void on_lease(void)
{
	os_timer_clear(agent.lease);
	agent.lease_ns = 0;
	look_at_all();
}

int main(int argc, char **argv)
{
	const char *argument = argc > 1 ? argv[1] : ""; /* what the daemon says of it */
	struct sandbox_state state;
	struct link_message probe;
	int r;

	if (recv(agent.control, &probe, sizeof(probe), MSG_PEEK | MSG_DONTWAIT) < 0 && errno == ENOTSOCK) {
		fprintf(stderr, "pathbus-link: started by pathbusd, not by hand: it joins the daemon's topics with programs "
		                "that do not reach it\n");
		return 2;
	}
	r = start();
	if (r < 0) {
		fprintf(stderr, "pathbus-link: cannot start: %s\n", strerror(-r));
		return 1;
	}
	if (strcmp(argument, SANDBOX_OFF_ARGUMENT) != 0 &&
	    sandbox_enter(SANDBOX_LINK, &(struct sandbox_setting){ .system = false }, &state) < 0) {
		bool is_needed = strcmp(argument, SANDBOX_IF_ANY_ARGUMENT) != 0;

		fprintf(stderr, "pathbus-link: %s without a sandbox (%s)\n", is_needed ? "does not run" : "warning: runs", state.text);
		if (is_needed)
			return 1;
	}
	while (!agent.done) {
		uint64_t tags[64];
		int n = os_set_wait(agent.set, tags, 64, OS_NEVER);

		for (int i = 0; i < n; i++) {
			if (tags[i] == TAG_STOP)
				on_stop();
			else if (tags[i] == TAG_DEADLINE)
				agent.done = true; /* it lives: it starts another of us, which announces itself */
			else if (tags[i] == TAG_TIMER)
				look_at_all();
			else if (tags[i] == TAG_LEASE)
				on_lease();
			else if (tags[i] != TAG_CONTROL)
				on_tag(tags[i]);
		}
		/* Last: a message may end a link whose tag was in this batch. */
		while (receive())
			;
	}
	while (agent.links)
		end_link(agent.links);
	return 0;
}
