/* SPDX-License-Identifier: MIT */
/* config_reader_process.c - the process that reads the configuration anew when main asks for it; see config_reader.h. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "log.h"
#include "config_reader.h"
#include "sandbox.h"

enum { FD_MAIN = HELPER_FIRST_FD };

/* --- in a child ------------------------------------------------------------------------------------ */

static void write_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size > 0) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno != EINTR)
			_exit(1); /* main finds that something is missing */
		if (n > 0) {
			at += n;
			size -= (size_t)n;
		}
	}
}

static void answer(int fd, const struct config_place *place)
{
	struct config_reader_head head = { .magic = CONFIG_READER_MAGIC };
	char error[CONFIG_ERROR_SIZE] = "";
	struct sources files = { 0 };
	char *data = NULL;
	size_t size = 0;

	head.error = config_read(place, &files, error);
	if (head.error == 0)
		head.error = sources_write(&files, &data, &size);
	if (head.error == 0 && size > CONFIG_READER_MAX_SIZE - sizeof(head))
		head.error = -E2BIG;
	if (head.error < 0 && error[0] == '\0')
		strcpy(error, head.error == -E2BIG ? "it is too large" : "no memory to read the configuration");
	head.size = (unsigned)(head.error < 0 ? strlen(error) : size);
	write_all(fd, &head, sizeof(head));
	write_all(fd, head.error < 0 ? error : data, head.size);
	free(data);
	sources_deinit(&files);
}

/* --- serving --------------------------------------------------------------------------------------- */

struct child {
	pid_t pid; /* 0: none */
	int alive; /* its other end is closed when it has ended */
};

/* 0 too where there is nothing to wait for. */
static int wait_for(pid_t pid)
{
	int status = 0;

	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

/* It has ended, or main does not wait for it any more. */
static void end(struct child *child)
{
	if (child->pid == 0)
		return;
	(void)kill(child->pid, SIGKILL);
	helper_note_end(child->pid, wait_for(child->pid), "what reads the configuration");
	close(child->alive);
	*child = (struct child){ 0 };
}

static void start(struct child *child, int fd, const struct config_place *place)
{
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return;
	pid = fork();
	if (pid == 0) {
		signal(SIGPIPE, SIG_DFL);
		answer(fd, place);
		_exit(0);
	}
	close(ends[1]);
	if (pid > 0)
		*child = (struct child){ .pid = pid, .alive = ends[0] };
	else
		close(ends[0]);
}

/* Returns whether main is still there. Where no child could be made it finds that nothing comes. */
static bool take_request(int socket, const struct config_place *place, struct child *child)
{
	int fd = -1;
	unsigned n_fds = 0;
	char byte;
	ssize_t n = helper_receive(socket, &byte, sizeof(byte), &fd, 1, &n_fds, MSG_DONTWAIT);

	if (n == -EAGAIN)
		return true;
	if (n > 0 && n_fds == 1) {
		end(child);
		start(child, fd, place);
	}
	if (n_fds > 0)
		close(fd);
	return n > 0;
}

void config_reader_serve(int socket, const struct config_place *place)
{
	struct child child = { 0 };

	for (;;) {
		struct pollfd polled[] = { { .fd = socket, .events = POLLIN }, { .fd = child.pid > 0 ? child.alive : -1, .events = POLLIN } };

		if (poll(polled, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			break;
		}
		if (polled[1].revents)
			end(&child);
		if (polled[0].revents && !take_request(socket, place, &child))
			break;
	}
	end(&child);
}

/* --- life ------------------------------------------------------------------------------------------ */

/* So that it is not found out when it is needed. */
static void tell_if_unreadable(const struct config_place *place)
{
	struct sources files = { 0 };
	char error[CONFIG_ERROR_SIZE] = "";

	if (access(place->path, R_OK) < 0 && errno == EACCES) {
		if (config_read(place, &files, error) < 0)
			log_event(REASON_RELOAD_FAILED, "the configuration could not be read anew: %s", error);
		sources_deinit(&files);
	}
}

static int prepare(const struct config_place *place, const char *uid, const char *gid, bool is_system, bool sandboxed)
{
	struct service_user user = { .uid = (uid_t)strtoul(uid, NULL, 10), .gid = (gid_t)strtoul(gid, NULL, 10) };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), r = 0;
	struct sandbox_state state;

	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(null, STDOUT_FILENO) < 0 ||
	    fcntl(FD_MAIN, F_SETFD, FD_CLOEXEC) < 0)
		return -errno;
	close(null);
	if (is_system)
		r = privileges_become_main(&user);
	if (r < 0)
		return r;
	/* A service manager signals all of us, and main ends us when it ends. */
	signal(SIGTERM, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	if (chdir("/") < 0)
		return -errno;
	tell_if_unreadable(place);
	if (sandboxed && sandbox_enter(SANDBOX_READER, &(struct sandbox_setting){ .system = is_system }, &state) < 0 && is_system) {
		log_event(REASON_SANDBOX_FAILED, "the process that reads the configuration cannot enter its sandbox (%s): " SANDBOX_ADVICE, state.text);
		return -EPERM;
	}
	return 0;
}

int config_reader_run(int argc, char **argv)
{
	struct config_place place;
	const char *flags;
	int r;

	if (argc < 6)
		return 1;
	flags = argv[2];
	place = (struct config_place){ .path = argv[5], .may_be_missing = strchr(flags, 'm'), .trusted = strchr(flags, 't') };
	r = prepare(&place, argv[3], argv[4], strchr(flags, 's'), argc == 6 || strcmp(argv[6], SANDBOX_OFF_ARGUMENT) != 0);
	if (r < 0) {
		log_event(REASON_READER_LOST, "the process that reads the configuration cannot be started: %s", strerror(-r));
		return 1;
	}
	config_reader_serve(FD_MAIN, &place);
	return 0;
}
