/* SPDX-License-Identifier: MIT */
/*
 * pump.c - joins a connected socket to standard input and output.
 *
 * Each direction is a buffer that is filled when it is empty and emptied before it is filled again; both go on while the
 * other is stuck. Standard input and output may be shared with other processes, so they are not made non-blocking: they
 * are read and written when poll says so, in pieces that a pipe takes as a whole.
 *
 * A side that has said all shuts down its direction, and the other one goes on. That the other side is gone altogether
 * is told by POLLHUP, which comes only when both directions are closed.
 */
#include "pump.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "tell.h"
#include "wait.h"

enum { PIECE = 65536, MOST_MESSAGE = 1048576 };

struct half {
	char *bytes;
	size_t size, at, used; /* what is still to be passed on: from `at` to `used` */
	bool ended;            /* nothing more comes in */
	bool passed_on;        /* and that has been told */
};

struct pump {
	int socket;
	bool keeps_bounds;
	struct half in, out; /* from the socket; to it */
	bool over;
	int status;
};

static bool is_empty(const struct half *half)
{
	return half->at == half->used;
}

static void finish(struct pump *pump, int status)
{
	pump->over = true;
	if (pump->status == STATUS_OK)
		pump->status = status;
}

static void fail(struct pump *pump, const char *what)
{
	tell("cannot %s: %s", what, strerror(errno));
	finish(pump, STATUS_FAILED);
}

static void read_input(struct pump *pump)
{
	struct half *half = &pump->out;
	ssize_t n = read(STDIN_FILENO, half->bytes, half->size);

	if (n < 0) {
		if (errno != EINTR && errno != EAGAIN)
			fail(pump, "read the input");
		return;
	}
	half->ended = n == 0;
	half->at = 0;
	half->used = (size_t)n;
}

static void send_some(struct pump *pump)
{
	struct half *half = &pump->out;
	ssize_t n = send(pump->socket, half->bytes + half->at, half->used - half->at, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0) {
		half->at += (size_t)n;
	} else if (errno == EPIPE || errno == ECONNRESET) {
		/* What it has said before that is still printed. */
		tell("the other side has gone before it had all of the input");
		pump->status = STATUS_FAILED;
		half->at = half->used;
		half->ended = true;
	} else if (errno != EINTR && errno != EAGAIN) {
		fail(pump, "send");
	}
}

static void receive_some(struct pump *pump, short events)
{
	struct half *half = &pump->in;
	ssize_t n = recv(pump->socket, half->bytes, half->size, MSG_DONTWAIT | (pump->keeps_bounds ? MSG_TRUNC : 0));

	if (n < 0) {
		if (errno == ECONNRESET) /* it went away without having read all */
			half->ended = true;
		else if (errno != EINTR && errno != EAGAIN)
			fail(pump, "receive");
		return;
	}
	if ((size_t)n > half->size) {
		tell("a message of %zd bytes is more than this takes", n);
		finish(pump, STATUS_FAILED);
		return;
	}
	/* A message may be empty, and is no end then. */
#ifdef POLLRDHUP
	half->ended = n == 0 && (!pump->keeps_bounds || events & (POLLRDHUP | POLLHUP));
#else
	(void)events;
	half->ended = n == 0;
#endif
	half->at = 0;
	half->used = (size_t)n;
}

static void write_output(struct pump *pump)
{
	struct half *half = &pump->in;
	size_t size = half->used - half->at;
	ssize_t n = write(STDOUT_FILENO, half->bytes + half->at, size < PIPE_BUF ? size : PIPE_BUF);

	if (n >= 0)
		half->at += (size_t)n;
	else if (errno == EPIPE)
		finish(pump, STATUS_OK);
	else if (errno != EINTR && errno != EAGAIN)
		fail(pump, "write to the output");
}

/* Who reads our output sees its end, though we may go on sending. */
static void close_output(void)
{
	int nothing = open("/dev/null", O_WRONLY | O_CLOEXEC);

	if (nothing < 0 || dup2(nothing, STDOUT_FILENO) < 0)
		close(STDOUT_FILENO);
	if (nothing >= 0)
		close(nothing);
}

static void pass_ends_on(struct pump *pump)
{
	if (pump->out.ended && is_empty(&pump->out) && !pump->out.passed_on) {
		pump->out.passed_on = true;
		(void)shutdown(pump->socket, SHUT_WR);
	}
	if (pump->in.ended && is_empty(&pump->in) && !pump->in.passed_on) {
		pump->in.passed_on = true;
		close_output();
	}
	if (pump->in.passed_on && pump->out.passed_on)
		finish(pump, STATUS_OK);
}

static void step(struct pump *pump)
{
	struct half *in = &pump->in, *out = &pump->out;
	short wanted = (short)((is_empty(in) && !in->ended ? POLLIN : 0) | (is_empty(out) ? 0 : POLLOUT));
	/* Not to be told over and over of an end that is known: what was received is printed first. */
	bool watched = wanted || in->passed_on;
	struct pollfd at[3] = {
		{ .fd = is_empty(out) && !out->ended ? STDIN_FILENO : -1, .events = POLLIN },
		{ .fd = watched ? pump->socket : -1, .events = wanted },
		{ .fd = in->passed_on ? -1 : STDOUT_FILENO, .events = is_empty(in) ? 0 : POLLOUT },
	};

#ifdef POLLRDHUP
	if (wanted & POLLIN)
		at[1].events |= POLLRDHUP;
#endif
	if (poll(at, 3, -1) < 0) {
		if (errno != EINTR)
			fail(pump, "wait");
		return;
	}
	if (at[2].revents & (POLLERR | POLLHUP)) {
		finish(pump, STATUS_OK); /* nobody reads it any more */
		return;
	}
	if (at[2].revents & (POLLOUT | POLLNVAL) && !is_empty(in))
		write_output(pump);
	if (!pump->over && at[1].revents & POLLOUT)
		send_some(pump);
	if (!pump->over && wanted & POLLIN && at[1].revents & ~POLLOUT)
		receive_some(pump, at[1].revents);
	else if (!pump->over && in->passed_on && at[1].revents & POLLHUP && is_empty(out))
		finish(pump, STATUS_OK); /* what may still come in has nowhere to go */
	if (!pump->over && at[0].revents)
		read_input(pump);
}

int pump_run(int socket, bool keeps_bounds)
{
	struct pump pump = { .socket = socket, .keeps_bounds = keeps_bounds };

	pump.out.size = PIECE;
	pump.in.size = keeps_bounds ? MOST_MESSAGE : PIECE;
	pump.out.bytes = malloc(pump.out.size);
	pump.in.bytes = malloc(pump.in.size);
	if (!pump.out.bytes || !pump.in.bytes) {
		tell("out of memory");
		finish(&pump, STATUS_FAILED);
	}
	while (!pump.over) {
		step(&pump);
		if (!pump.over)
			pass_ends_on(&pump);
		if (!pump.over && wait_stopped())
			finish(&pump, STATUS_FAILED);
	}
	free(pump.out.bytes);
	free(pump.in.bytes);
	close(socket);
	return pump.status;
}
