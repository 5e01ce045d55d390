/* SPDX-License-Identifier: MIT */
/* lockers.c - processes that take locks when they are told to. */
#include "conformance/lockers.h"

#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conformance/transports.h"
#include "libclient/lock_file.h"

static enum lock_step stop_at = LOCK_N_STEPS;

static void seam(enum lock_step step)
{
	if (step != stop_at)
		return;
	stop_at = LOCK_N_STEPS;
	raise(SIGSTOP);
}

static int obey(pathbus_topic *topic, pathbus_lock **lock, const char *name, const char *line)
{
	if (strcmp(line, "try") == 0)
		return pathbus_lock_try(*lock, 0);
	if (strcmp(line, "share") == 0)
		return pathbus_lock_try(*lock, PATHBUS_LOCK_SHARED);
	if (strcmp(line, "acquire") == 0)
		return pathbus_lock_acquire(*lock, 0, UINT64_MAX);
	if (strcmp(line, "acquire shared") == 0)
		return pathbus_lock_acquire(*lock, PATHBUS_LOCK_SHARED, UINT64_MAX);
	if (strcmp(line, "near") == 0)
		return pathbus_lock_acquire(*lock, PATHBUS_LOCK_NEAR, UINT64_MAX);
	if (strcmp(line, "keep") == 0) {
		for (int i = 0; i < 8; i++) {
			ck_assert_int_eq(pathbus_lock_try(*lock, PATHBUS_LOCK_NEAR), 0);
			ck_assert_int_eq(pathbus_lock_release(*lock), 0);
		}
		return 0;
	}
	if (strncmp(line, "within ", 7) == 0)
		return pathbus_lock_acquire(*lock, 0, harness_deadline((unsigned)atoi(line + 7)));
	if (strcmp(line, "consistent") == 0)
		return pathbus_lock_consistent(*lock);
	if (strcmp(line, "release") == 0)
		return pathbus_lock_release(*lock);
	if (strcmp(line, "open") == 0)
		return pathbus_lock_open(topic, name, lock);
	if (strcmp(line, "close") == 0) {
		*lock = pathbus_lock_close(*lock);
		return 0;
	}
	ck_assert_msg(strncmp(line, "stop ", 5) == 0, "no command: %s", line);
	stop_at = (enum lock_step)atoi(line + 5);
	return 0;
}

static void become(unsigned uid, unsigned gid)
{
	if (uid == 0)
		return;
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setgid(gid), 0);
	ck_assert_int_eq(setuid(uid), 0);
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0); /* else /proc/self is no longer ours */
	ck_assert_int_eq(prctl(PR_SET_PDEATHSIG, SIGKILL), 0); /* which a change of user clears */
}

static int be_locker(struct harness_process *peer, void *arg)
{
	const struct locker *me = arg;
	pathbus_lock *lock = NULL;
	pathbus_topic *topic;
	pathbus *bus;
	const char *line;
	int r;

	lock_seam = seam;
	become(me->uid, me->gid);
	/* There is no channel for several users. */
	if (me->uid)
		ck_assert_int_eq(pathbus_new(&bus, &(struct pathbus_options){ .size = sizeof(struct pathbus_options),
		                                                              .transport = PATHBUS_PEER }), 0);
	else
		bus = transport_new();
	r = pathbus_open(bus, me->path, me->uid ? PATHBUS_LOCKS_ONLY : 0, &topic);
	if (r == 0)
		r = pathbus_lock_open(topic, me->lock, &lock);
	harness_tell(peer, "%d", r);
	while ((line = harness_hear(peer)) && strcmp(line, "end") != 0)
		harness_tell(peer, "%d", obey(topic, &lock, me->lock, line));
	pathbus_free(bus);
	return 0;
}

int locker_start_as(struct locker *locker, const char *path, const char *lock, unsigned uid, unsigned gid)
{
	*locker = (struct locker){ .path = path, .lock = lock, .uid = uid, .gid = gid };
	harness_spawn(&locker->process, be_locker, locker);
	return locker_hear(locker);
}

void locker_start(struct locker *locker, const char *path, const char *lock)
{
	int r = locker_start_as(locker, path, lock, 0, 0);

	ck_assert_msg(r == 0, "a locker's lock: %s", strerror(-r));
}

void locker_tell(struct locker *locker, const char *format, ...)
{
	char text[64];
	va_list list;

	va_start(list, format);
	vsnprintf(text, sizeof(text), format, list);
	va_end(list);
	harness_tell(&locker->process, "%s", text);
}

int locker_hear(struct locker *locker)
{
	const char *line = harness_hear(&locker->process);

	ck_assert_msg(line != NULL, "a locker has ended");
	return atoi(line);
}

int locker_ask(struct locker *locker, const char *command)
{
	locker_tell(locker, "%s", command);
	return locker_hear(locker);
}

static bool stands_still(pid_t pid)
{
	int status;

	return waitpid(pid, &status, WNOHANG | WUNTRACED) == pid && WIFSTOPPED(status);
}

void locker_await_stop(struct locker *locker)
{
	harness_await(stands_still(locker->process.pid));
}

void locker_end(struct locker *locker)
{
	locker_tell(locker, "end");
	harness_expect_exit(&locker->process, 0);
}

void locker_kill(struct locker *locker)
{
	harness_signal(&locker->process, SIGKILL);
	harness_expect_signal(&locker->process, SIGKILL);
}

static bool is_so(pathbus_topic *topic, const char *lock, unsigned n_holders, unsigned n_waiters)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	int r = pathbus_lock_get_info(topic, lock, &info);

	ck_assert_msg(r == 0 || r == -ENOENT, "info: %s", strerror(-r));
	return r == 0 ? info.n_holders == n_holders && info.n_waiters == n_waiters : n_holders == 0 && n_waiters == 0;
}

void lock_await(const char *path, const char *lock, unsigned n_holders, unsigned n_waiters)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic;

	ck_assert_int_eq(pathbus_open(bus, path, PATHBUS_POST, &topic), 0);
	harness_await(is_so(topic, lock, n_holders, n_waiters));
	pathbus_free(bus);
}

const char *lock_path(const char *path)
{
	const char *name = strrchr(path, '/');
	static char text[1024];

	snprintf(text, sizeof(text), "%.*s/.%s.pathbus-lock", (int)(name - path), path, name + 1);
	return text;
}

bool lock_is_there(const char *path)
{
	struct stat st;

	return lstat(lock_path(path), &st) == 0;
}
