/* SPDX-License-Identifier: MIT */
/*
 * loop.c - the event loop of `listen`.
 *
 * At any time it does one of three things: it prints a line, it waits for the child of --exec, or it takes
 * events. While it does one of the first two, events stay in the bus and merge there, so a slow reader or a
 * slow command costs no memory. In all three it notices signals, the deadline, and that the reader of its
 * output has gone.
 *
 * Lines are written without stdio, in pieces that a pipe takes as a whole, and only when poll says that there
 * is room: so printing never holds up a signal.
 */
#include "loop.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "line.h"
#include "run.h"
#include "stop.h"
#include "tell.h"

#define NS 1000000000u

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS + (uint64_t)now.tv_nsec;
}

static void end(struct loop *loop, int status)
{
	loop->ending = true;
	/* The first failure counts, except that running out of time says more about the whole. */
	if (loop->status == STATUS_OK || status == STATUS_TIMEOUT)
		loop->status = status;
	free(loop->line);
	loop->line = NULL;
}

static void fail(struct loop *loop, const char *what, int error)
{
	tell("cannot %s: %s", what, strerror(-error));
	end(loop, STATUS_FAILED);
}

static void finish_event(struct loop *loop)
{
	if (loop->count && loop->n_events == loop->count)
		end(loop, STATUS_OK);
}

static void finish_line(struct loop *loop)
{
	int error;

	free(loop->line);
	loop->line = NULL;
	if (loop->event.kind == PATHBUS_EVENT_ERROR)
		return;
	if (loop->format != LOOP_RAW || loop->event.kind == PATHBUS_EVENT_MESSAGE)
		loop->n_events++;
	if (!loop->command) {
		finish_event(loop);
		return;
	}
	error = run_start(loop->command, &loop->shown, &loop->child);
	if (error < 0) {
		loop->child = 0;
		fail(loop, "run /bin/sh", error);
	}
}

/* Poll has said that there is room. */
static void write_line(struct loop *loop)
{
	size_t size = loop->line_size - loop->line_used;
	ssize_t n = 0;

	if (size > 0)
		n = write(STDOUT_FILENO, loop->line + loop->line_used, size < PIPE_BUF ? size : PIPE_BUF);
	if (n < 0 && errno == EPIPE)
		end(loop, STATUS_OK);
	else if (n < 0 && errno != EINTR && errno != EAGAIN)
		fail(loop, "write to the output", -errno);
	else if (n >= 0 && (loop->line_used += (size_t)n) == loop->line_size)
		finish_line(loop);
}

/*
 * A daemon that is away may come back, and then the library joins it. With any other error no event will
 * come: the rights are gone, or the folder; and waiting for one would be waiting forever.
 */
static void take_error(struct loop *loop, struct loop_file *file)
{
	int error = loop->event.error, status = tell_file_error("go on listening on", file->name, error);

	if (error == -ENOTCONN || error == -ETIMEDOUT)
		return;
	file->topic = pathbus_close(file->topic);
	if (loop->status == STATUS_OK)
		loop->status = status;
	if (++loop->n_lost == loop->n_files)
		loop->ending = true;
}

/* The output has no place for what is no message, and yet nothing may be missing in silence. */
static void tell_missing(const struct loop *loop)
{
	if (loop->event.kind == PATHBUS_EVENT_GAP)
		tell("missed %llu messages on %s; a larger ring keeps more: --ring",
		     (unsigned long long)loop->event.count, tell_name(loop->shown.file));
	else if (loop->event.kind == PATHBUS_EVENT_RESYNC)
		tell("something may have been missed on %s", tell_name(loop->shown.file));
}

/* Sets the line; no memory: it stays NULL. */
static void make_line(struct loop *loop)
{
	bool is_message = loop->event.kind == PATHBUS_EVENT_MESSAGE;
	size_t size = is_message ? loop->event.data_size : 0;

	if (loop->format != LOOP_RAW) {
		loop->line = loop->format == LOOP_JSON ? line_event_json(&loop->shown) : line_event_text(&loop->shown);
		loop->line_size = loop->line ? strlen(loop->line) : 0;
		return;
	}
	loop->line = malloc(size + 1);
	if (!loop->line)
		return;
	if (is_message)
		memcpy(loop->line, loop->event.data, size);
	else
		tell_missing(loop);
	if (is_message && loop->separator >= 0)
		loop->line[size++] = (char)loop->separator;
	loop->line_size = size;
}

static void take_event(struct loop *loop)
{
	struct loop_file *file = loop->event.userdata;
	struct pathbus_transport transport = { .size = sizeof(transport) };

	loop->shown = (struct line_event){ .file = file->name, .event = &loop->event };
	if (pathbus_transport(file->topic, &transport) == 0)
		loop->shown.transport = transport.kind;
	clock_gettime(CLOCK_REALTIME, &loop->shown.time);
	if (loop->event.wall_ns)
		loop->shown.time = (struct timespec){ .tv_sec = (time_t)(loop->event.wall_ns / NS),
						      .tv_nsec = (long)(loop->event.wall_ns % NS) };
	make_line(loop);
	if (!loop->line) {
		fail(loop, "print an event", -ENOMEM);
		return;
	}
	loop->line_used = 0;
	if (loop->event.kind == PATHBUS_EVENT_ERROR)
		take_error(loop, file);
}

static void reap(struct loop *loop)
{
	int status;

	if (!loop->child || !run_reap(loop->child, &status))
		return;
	loop->child = 0;
	if (!loop->stopped_by && run_failed(status) && loop->status == STATUS_OK)
		loop->status = STATUS_FAILED;
	finish_event(loop);
}

static void take_signal(struct loop *loop)
{
	int number = stop_take();

	reap(loop);
	if (!number)
		return;
	end(loop, STATUS_OK);
	if (loop->child)
		run_signal(loop->child, loop->stopped_by ? SIGKILL : number);
	loop->stopped_by = number;
}

/* Milliseconds for poll: rounded up, so that it does not wake up before the deadline. -1: no limit. */
static int time_left(const struct loop *loop)
{
	uint64_t now, ms;

	/* When no more events are taken, only a line that the output does not take is cut off in time. */
	if (!loop->limited || (loop->ending && !loop->line))
		return -1;
	now = now_ns();
	if (now >= loop->deadline_ns)
		return 0;
	ms = (loop->deadline_ns - now + NS / 1000 - 1) / (NS / 1000);
	return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* One wait for whatever may happen now. */
static void wait_once(struct loop *loop)
{
	bool idle = !loop->ending && !loop->line && !loop->child;
	/* Without events poll still says that the other side has gone. */
	bool watched = loop->line || (!loop->ending && !loop->blind);
	struct pollfd at[3] = {
		{ .fd = loop->signals, .events = POLLIN },
		{ .fd = watched ? STDOUT_FILENO : -1, .events = loop->line ? POLLOUT : 0 },
		{ .fd = idle ? pathbus_fd(loop->bus) : -1, .events = POLLIN },
	};
	int timeout = time_left(loop);

	if (poll(at, 3, timeout) < 0) {
		if (errno != EINTR)
			fail(loop, "wait", -errno);
		return;
	}
	if (at[1].revents & POLLNVAL)
		loop->blind = true;
	else if (at[1].revents & (POLLERR | POLLHUP))
		end(loop, STATUS_OK);
	/* What has been taken from the bus is printed if it can be, so before anything that ends. */
	if (loop->line && at[1].revents & (POLLOUT | POLLNVAL))
		write_line(loop);
	else if (timeout == 0)
		end(loop, loop->count ? STATUS_TIMEOUT : STATUS_OK);
	if (at[0].revents)
		take_signal(loop);
}

int loop_run(struct loop *loop)
{
	loop->deadline_ns = now_ns() + loop->timeout_ns;
	loop->event.size = sizeof(loop->event);
	while (!loop->ending || loop->line || loop->child) {
		int n = 0;

		if (!loop->ending && !loop->line && !loop->child)
			n = pathbus_next(loop->bus, &loop->event);
		if (n > 0)
			take_event(loop);
		else if (n < 0)
			fail(loop, "take an event", n);
		if (n >= 0)
			wait_once(loop);
	}
	return loop->status;
}
