/* SPDX-License-Identifier: MIT */
/* lock.c - `pathbusctl lock run|show`: its options, waiting for the lock, and who holds it. */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "held.h"
#include "line.h"
#include "os/os.h"
#include "tell.h"
#include "wait.h"

static bool shared, no_wait, mends, as_json;
static uint64_t timeout_ns = UINT64_MAX;

enum { OPTION_SHARED = OPTION_LONG, OPTION_TIMEOUT, OPTION_NO_WAIT, OPTION_CONSISTENT, OPTION_JSON };

static const struct option_spec run_specs[] = {
	{ OPTION_SHARED, "shared", NULL, "together with others that share it" },
	{ OPTION_TIMEOUT, "timeout", "SECONDS", "how long to wait for the lock, such as 2 or 0.5; else for ever" },
	{ OPTION_NO_WAIT, "no-wait", NULL, "do not wait: exit status 75 if others hold it" },
	{ OPTION_CONSISTENT, "consistent", NULL,
	  "if it was abandoned and COMMAND succeeds, all is well again,\n"
	  "and nobody is told any more" },
	{ 0 },
};

static const struct option_spec show_specs[] = {
	{ OPTION_JSON, "json", NULL, "print a JSON object per lock" },
	{ 0 },
};

static bool set(int id, const char *value)
{
	if (id == OPTION_TIMEOUT)
		return options_seconds("timeout", value, &timeout_ns);
	*(id == OPTION_SHARED ? &shared : id == OPTION_NO_WAIT ? &no_wait : id == OPTION_CONSISTENT ? &mends : &as_json) = true;
	return true;
}

/* Cause and next step of what locks have for themselves. */
static int tell_lock_error(const char *file, const char *name, int error)
{
	static const struct {
		int error, status;
		const char *text;
	} rows[] = {
		{ EACCES, STATUS_DENIED, "who may write the file may lock it; or the folder takes no file for it, or the lock's "
		                         "file, .NAME.pathbus-lock, has other rights than the file" },
		{ EPERM, STATUS_DENIED, "another user has put the lock's file, .NAME.pathbus-lock, into this folder for all; "
		                        "its owner, or that of the folder, can remove it" },
		{ EROFS, STATUS_FAILED, "the folder is on a read-only mount, so it takes no file for the lock" },
		{ EEXIST, STATUS_FAILED, "what has the name of the lock's file, .NAME.pathbus-lock, is none; move it away" },
		{ EBUSY, STATUS_FAILED, "another process is stuck half-way through opening or closing a lock; end it" },
		{ EUSERS, STATUS_FAILED, "1024 locks of this file are open or abandoned" },
		{ EINVAL, STATUS_USAGE, "a lock's name must not be empty" },
		{ ENAMETOOLONG, STATUS_USAGE, "a lock's name may have 255 bytes" },
	};
	char what[64];

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].error == -error) {
			snprintf(what, sizeof(what), "%.60s", tell_name(name));
			tell("cannot use the lock \"%s\" of %s: %s", what, tell_name(file), rows[i].text);
			return rows[i].status;
		}
	return tell_file_error("use the lock of", file, error);
}

/* --- run ------------------------------------------------------------------------------------------------------ */

/* Waits for the lock. Returns STATUS_OK, or why not; after a signal STATUS_FAILED, and nothing is told. */
static int acquire(pathbus_lock *lock, const char *file, const char *name, bool *ret_abandoned)
{
	unsigned flags = shared ? PATHBUS_LOCK_SHARED : 0;
	uint64_t deadline_ns = timeout_ns == UINT64_MAX ? UINT64_MAX : os_now_ns() + timeout_ns;
	int error;

	do
		error = no_wait ? pathbus_lock_try(lock, flags) : pathbus_lock_acquire(lock, flags, deadline_ns);
	while (error == -EINTR && !wait_stopped());
	*ret_abandoned = error == -EOWNERDEAD;
	if (error == 0 || error == -EOWNERDEAD)
		return STATUS_OK;
	if (error == -EINTR)
		return STATUS_FAILED;
	if (no_wait && error == -EBUSY) {
		tell("others hold this lock of %s; see: pathbusctl lock show", tell_name(file));
		return STATUS_BUSY;
	}
	if (error == -ETIMEDOUT) {
		tell("others have held this lock of %s for %g s; see: pathbusctl lock show", tell_name(file),
		     (double)timeout_ns / 1e9);
		return STATUS_TIMEOUT;
	}
	return tell_lock_error(file, name, error);
}

static int run_locked(pathbus_topic *topic, char **words)
{
	pathbus_lock *lock;
	bool abandoned;
	int error = pathbus_lock_open(topic, words[1], &lock), status;

	if (error < 0)
		return tell_lock_error(words[0], words[1], error);
	status = acquire(lock, words[0], words[1], &abandoned);
	if (status != STATUS_OK)
		return status;
	if (abandoned)
		tell("the lock was abandoned: somebody died with it, and may have left %s half changed", tell_name(words[0]));
	status = held_run(words + 2, words[0], words[1], abandoned);
	if (abandoned && mends && status == STATUS_OK && !shared) {
		error = pathbus_lock_consistent(lock);
		if (error < 0)
			return tell_lock_error(words[0], words[1], error);
	}
	return status;
}

static int run_run(const struct pathbus_options *options, size_t n_words, char **words)
{
	pathbus_topic *topic;
	pathbus *bus;
	int error, status;

	words[n_words] = NULL; /* within argv: what stood there was an option, or is its end */
	if (no_wait && timeout_ns != UINT64_MAX) {
		tell("--no-wait and --timeout contradict each other");
		return STATUS_USAGE;
	}
	error = held_init();
	if (error == 0)
		error = wait_init();
	if (error < 0) {
		tell("cannot start: %s", strerror(-error));
		return STATUS_FAILED;
	}
	error = pathbus_new(&bus, options);
	if (error < 0)
		return tell_daemon_error(options, error);
	error = pathbus_open(bus, words[0], PATHBUS_LOCKS_ONLY, &topic);
	status = error < 0 ? tell_lock_error(words[0], words[1], error) : run_locked(topic, words);
	pathbus_free(bus); /* gives the lock back */
	if (wait_stopped()) {
		signal(wait_stopped(), SIG_DFL);
		raise(wait_stopped());
	}
	return status;
}

/* --- show ----------------------------------------------------------------------------------------------------- */

static const char *file_of_listing;

static int print(const struct pathbus_lock_info *info, void *arg)
{
	char *text;

	(void)arg;
	if (!as_json) {
		line_print_lock(info);
		return 0;
	}
	text = line_lock_json(file_of_listing, info);
	if (!text)
		return -ENOMEM;
	fputs(text, stdout);
	free(text);
	return 0;
}

static int show_one(pathbus_topic *topic, const char *name)
{
	static struct pathbus_lock_info info = { .size = sizeof(info) };
	int error = pathbus_lock_get_info(topic, name, &info);

	if (error == -ENOENT) { /* nobody has it open: it is free */
		info.name = name;
		error = 0;
	}
	return error < 0 ? error : print(&info, NULL);
}

static int run_show(const struct pathbus_options *options, size_t n_words, char **words)
{
	pathbus_topic *topic;
	pathbus *bus;
	int error = pathbus_new(&bus, options), status;

	if (error < 0)
		return tell_daemon_error(options, error);
	file_of_listing = words[0];
	error = pathbus_open(bus, words[0], PATHBUS_LOCKS_ONLY, &topic);
	if (error < 0) {
		status = tell_lock_error(words[0], n_words > 1 ? words[1] : "", error);
	} else {
		error = n_words > 1 ? show_one(topic, words[1]) : pathbus_lock_list(topic, print, NULL);
		status = error < 0 ? tell_lock_error(words[0], n_words > 1 ? words[1] : "", error) : tell_flush();
	}
	pathbus_free(bus);
	return status;
}

/* --- the table ------------------------------------------------------------------------------------------------ */

const struct command command_lock_run = {
	.name = "lock run",
	.arguments = "FILE NAME -- COMMAND...",
	.summary = "run a command while holding a named lock of a file",
	.about = "Waits for the lock NAME of FILE, runs COMMAND, gives the lock back, and exits with the\n"
		 "status of COMMAND, or 128 and the number of the signal that ended it. The lock is held\n"
		 "until COMMAND has ended, also if pathbusctl is killed: then it is abandoned. So it is\n"
		 "if the machine, or a program that held it, dies. Who gets an abandoned lock is told so\n"
		 "on stderr, and COMMAND finds PATHBUS_LOCK_ABANDONED=1 in its environment; so is everybody\n"
		 "after it, until one says that all is well: --consistent. COMMAND also finds PATHBUS_FILE\n"
		 "and PATHBUS_LOCK, the names. Signals that ask to end are passed on to it.",
	.options = run_specs,
	.set = set,
	.min_words = 3,
	.max_words = SIZE_MAX,
	.run = run_run,
};

const struct command command_lock_show = {
	.name = "lock show",
	.arguments = "FILE [NAME]",
	.summary = "print who holds the locks of a file, since when, and who waits",
	.about = "Shows the locks that some program has open, and those that are abandoned; or the lock NAME.",
	.options = show_specs,
	.set = set,
	.min_words = 1,
	.max_words = 2,
	.run = run_show,
};
