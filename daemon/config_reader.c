/* SPDX-License-Identifier: MIT */
/* config_reader.c - main's side of the process that reads the configuration; see config_reader.h. */
#include "config_reader.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "exit.h"
#include "helper.h"
#include "limit.h"
#include "log.h"
#include "os/os.h"
#include "sandbox.h"

#define READ_AT_ONCE 65536u

struct config_reader {
	struct config_reader_process process;
	struct loop *loop;
	config_reader_fn *fn;
	void *arg;
	int pipe;                    /* what it answers; -1: it is not asked */
	struct loop_event *readable; /* with it */
	struct loop_event *timer;
	char *data;
	size_t used, room;
};

/* --- the process ----------------------------------------------------------------------------------- */

static int start(const struct config_place *place, const struct service_user *user, bool sandboxed, struct config_reader_process *ret)
{
	struct config_reader_process process = { 0 };
	char flags[8], uid[16] = "-", gid[16] = "-";
	const char *const argv[] = { "pathbusd", CONFIG_READER_ARGUMENT, flags, uid, gid, place->path,
		                     sandboxed ? NULL : SANDBOX_OFF_ARGUMENT, NULL };
	int pair[2], r;

	snprintf(flags, sizeof(flags), "-%s%s%s", user ? "s" : "", place->may_be_missing ? "m" : "", place->trusted ? "t" : "");
	if (user) {
		snprintf(uid, sizeof(uid), "%u", (unsigned)user->uid);
		snprintf(gid, sizeof(gid), "%u", (unsigned)user->gid);
	}
	r = helper_pair(pair);
	if (r < 0)
		return r;
	process.socket = pair[0];
	r = helper_start("/proc/self/exe", argv, (const int[]){ pair[1] }, 1, &process.pid);
	close(pair[1]);
	if (r < 0)
		close(pair[0]);
	else
		*ret = process;
	return r;
}

int config_reader_start(const struct options *options, const struct service_user *user, struct config_reader_process *ret)
{
	struct config_place place;
	int r = options_place(options, &place) ? start(&place, user, !options->no_sandbox, ret) : 0;

	if (r < 0)
		log_event(REASON_START_FAILED, "the process that reads the configuration anew cannot be started: %s", strerror(-r));
	return r < 0 ? EXIT_FAILED : EXIT_STOPPED;
}

void config_reader_process_end(struct config_reader_process *process)
{
	uint64_t until = os_now_ns() + LIMIT_FILES_END_MS * UINT64_C(1000000);

	if (process->pid <= 0)
		return;
	close(process->socket);
	while (!helper_has_ended(process->pid, "what reads the configuration")) {
		/* It waits for a child that a file system holds back from dying. */
		if (os_now_ns() > until)
			(void)kill(process->pid, SIGKILL);
		(void)poll(NULL, 0, 1);
	}
	process->pid = 0;
}

void config_reader_reap(struct config_reader *reader)
{
	if (!reader || reader->process.pid <= 0 || !helper_has_ended(reader->process.pid, "what reads the configuration"))
		return;
	log_event(REASON_READER_LOST, "the process that reads the configuration has ended: it cannot be read anew until pathbusd is started again");
	close(reader->process.socket);
	reader->process.pid = 0;
}

/* --- its answer ------------------------------------------------------------------------------------ */

static void stop_reading(struct config_reader *reader)
{
	reader->readable = loop_event_free(reader->readable);
	if (reader->pipe >= 0)
		close(reader->pipe);
	reader->pipe = -1;
	loop_disable(reader->timer);
	free(reader->data);
	reader->data = NULL;
	reader->used = reader->room = 0;
}

static void fail(struct config_reader *reader, int error, const char *text)
{
	stop_reading(reader);
	reader->fn(reader->arg, error, text, NULL);
}

static void timer(void *arg)
{
	fail(arg, -ETIMEDOUT, "the files, or who tells users' and groups' names, did not answer in time");
}

/* All is there that is to come. */
static void take(struct config_reader *reader)
{
	struct config_reader_head head = { 0 };
	struct sources files;
	char text[2 * CONFIG_ERROR_SIZE];
	int r;

	if (reader->used >= sizeof(head))
		memcpy(&head, reader->data, sizeof(head));
	if (head.magic != CONFIG_READER_MAGIC || head.size != reader->used - sizeof(head) || head.error > 0) {
		fail(reader, -EPIPE, "the process that read it has ended before it was through");
		return;
	}
	if (head.error < 0) {
		/* A path was escaped where it was put in; what has no place in a log is escaped once more. */
		size_t size = head.size < CONFIG_ERROR_SIZE ? head.size : CONFIG_ERROR_SIZE;
		const char *from = reader->data + sizeof(head);

		text[0] = '\0';
		for (size_t i = 0, used = 0; i < size && used + 8 < sizeof(text); i++)
			used += (size_t)snprintf(text + used, sizeof(text) - used, (unsigned char)from[i] < 0x20 || from[i] == 0x7f ? "\\x%02x" : "%c",
			                         (unsigned char)from[i]);
		fail(reader, head.error, text);
		return;
	}
	r = sources_read(reader->data + sizeof(head), head.size, &files);
	if (r < 0) {
		fail(reader, r, r == -ENOMEM ? "no memory" : "what the process that read it says makes no sense");
		return;
	}
	stop_reading(reader);
	reader->fn(reader->arg, 0, "", &files);
	sources_deinit(&files);
}

static void readable(void *arg)
{
	struct config_reader *reader = arg;
	ssize_t n;

	if (reader->room - reader->used < READ_AT_ONCE) {
		size_t room = 2 * reader->room + READ_AT_ONCE;
		char *data = room <= CONFIG_READER_MAX_SIZE ? realloc(reader->data, room) : NULL;

		if (!data) {
			fail(reader, -ENOMEM, "no memory");
			return;
		}
		reader->data = data;
		reader->room = room;
	}
	n = read(reader->pipe, reader->data + reader->used, READ_AT_ONCE);
	if (n > 0)
		reader->used += (size_t)n;
	else if (n == 0)
		take(reader);
	else if (errno != EAGAIN && errno != EINTR)
		fail(reader, -errno, "its answer cannot be read");
}

int config_reader_ask(struct config_reader *reader)
{
	int ends[2], r;

	if (reader->process.pid <= 0)
		return -ESRCH;
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	r = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (r == 0) {
		reader->readable = loop_on_readable(reader->loop, ends[0], readable, reader);
		r = reader->readable ? helper_send(reader->process.socket, "?", 1, &ends[1], 1) : -ENOMEM;
	}
	close(ends[1]);
	if (r < 0) {
		reader->readable = loop_event_free(reader->readable);
		close(ends[0]);
		return r;
	}
	reader->pipe = ends[0];
	loop_set(reader->timer, LIMIT_CONFIG_MS);
	return 0;
}

/* --- life ------------------------------------------------------------------------------------------ */

int config_reader_new(struct loop *loop, const struct config_reader_process *process, config_reader_fn *fn, void *arg, struct config_reader **ret)
{
	struct config_reader *reader = calloc(1, sizeof(*reader));

	if (!reader)
		return -ENOMEM;
	*reader = (struct config_reader){ .loop = loop, .fn = fn, .arg = arg, .pipe = -1 };
	reader->timer = loop_timer(loop, timer, reader);
	if (!reader->timer) {
		free(reader);
		return -ENOMEM;
	}
	reader->process = *process;
	*ret = reader;
	return 0;
}

struct config_reader *config_reader_free(struct config_reader *reader)
{
	if (reader) {
		stop_reading(reader);
		loop_event_free(reader->timer);
		config_reader_process_end(&reader->process);
	}
	free(reader);
	return NULL;
}
