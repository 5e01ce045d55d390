/* SPDX-License-Identifier: MIT */
/* tell.c - errors for people. */
#include "tell.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "address.h"
#include "command.h"
#include "escape.h"

void tell(const char *format, ...)
{
	char *line = NULL;
	va_list list;

	va_start(list, format);
	/* stdio may write the parts of a line to stderr one by one: other lines would get in between */
	if (vasprintf(&line, format, list) >= 0)
		fprintf(stderr, "pathbusctl: %s\n", line);
	else
		fprintf(stderr, "pathbusctl: out of memory\n");
	free(line);
	va_end(list);
}

const char *tell_part(const char *name, size_t size)
{
	static char *texts[TELL_NAMES];
	static unsigned next;
	char **text = &texts[next++ % TELL_NAMES];

	free(*text);
	*text = malloc(ESCAPE_SIZE(size));
	if (!*text)
		return "(out of memory)";
	escape(name, size, *text, ESCAPE_SIZE(size));
	return *text;
}

const char *tell_name(const char *name)
{
	return tell_part(name, strlen(name));
}

/* NULL: strerror says it. */
static const char *explain(int error)
{
	switch (-error) {
	case ENOENT:
		return "no such folder; topics need an existing folder, the file itself may be missing";
	case ENOTDIR:
		return "a part of the path is not a folder; check its spelling";
	case EACCES:
		return "the rights of the file or of a folder above it do not allow it; who may read a file "
		       "may listen, who may write it may post";
	case EPERM:
		return "the hidden folder beside it belongs to another user; start a daemon for both: pathbusd";
	case ENOTCONN:
		return "no daemon answers; start one with: pathbusd, or do without: --transport auto";
	case ETIMEDOUT:
		return "the daemon or its file system does not answer; see: pathbusctl ping, and whether `ls` on "
		       "that folder does";
	case EROFS:
		return "the hidden folder beside it is on a read-only mount; start a daemon: pathbusd";
	case EEXIST:
		return "something foreign has the name of the hidden folder beside it; move it away";
	case EBUSY:
		return "another process is stuck half-way through leaving; end it, then try again";
	case EMFILE:
	case ENFILE:
		return "too many open files; raise the limit with: ulimit -n";
	case ENOSPC:
		return "no space left on its file system or in /dev/shm; free some";
	case ENOBUFS:
		return "every place for a message is held by a program that was stopped while it published; continue "
		       "or end those";
	case EUSERS:
		return "more than 240 programs have it open, and only the first of them can set its state; close some";
	case EOPNOTSUPP:
		return "others have it open over the daemon, so only they can compare and swap; see why this one has "
		       "not: pathbusctl check";
	case EPROTONOSUPPORT:
		return "programs with another version of the library have it open; end them, or start a daemon: "
		       "pathbusd";
	case EIO:
		return "the memory that its programs share is damaged; end all of them, then start them again";
	case EMSGSIZE:
		return "the daemon allows no messages as large as that; ask for less, or start it with a larger "
		       "--max-message";
	case ENAMETOOLONG:
		return "the path is too long; change to a folder near it and use a relative path";
	case ELOOP:
		return "too many symbolic links in the path; see whether they form a circle";
	case EINVAL:
		return "this is not a path; it must not be empty";
	default:
		return NULL;
	}
}

const char *tell_explain(int error)
{
	const char *text = explain(error);

	return text ? text : strerror(-error);
}

static int status_of(int error)
{
	switch (-error) {
	case ENOENT:
	case ENOTDIR:
		return STATUS_NO_FOLDER;
	case EACCES:
	case EPERM:
		return STATUS_DENIED;
	case ENOTCONN:
		return STATUS_NO_DAEMON;
	default:
		return STATUS_FAILED;
	}
}

int tell_file_error(const char *verb, const char *file, int error)
{
	tell("cannot %s %s: %s", verb, file[0] ? tell_name(file) : "\"\"", tell_explain(error));
	return status_of(error);
}

/* Where the library looked, in its own order. */
static void tell_tried(const struct pathbus_options *options)
{
	const char *given = options->address ? options->address : address_from_environment();
	char of_user[ADDRESS_SIZE];

	if (given)
		tell("no daemon answers at %s%s; start one with: pathbusd --address SOCKET", tell_name(given),
		     options->address ? "" : " ($PATHBUS_ADDRESS)");
	else
		tell("no daemon answers; tried %s and %s; start one with: pathbusd", ADDRESS_SYSTEM,
		     address_of_user(geteuid(), of_user) == 0 ? of_user : "the user's own");
}

int tell_daemon_error(const struct pathbus_options *options, int error)
{
	switch (-error) {
	case ENOTCONN:
	case ETIMEDOUT:
		tell_tried(options);
		return STATUS_NO_DAEMON;
	case EPERM:
		tell("the daemon belongs to another user, who is not trusted; start your own: pathbusd");
		return STATUS_DENIED;
	case EPROTO:
		tell("the daemon speaks another version of the protocol; restart it after the upgrade");
		return STATUS_FAILED;
	case EINVAL:
		tell("the address of the daemon's socket is empty or too long; it may have %zu bytes",
		     ADDRESS_SIZE - 1);
		return STATUS_USAGE;
	default:
		tell("cannot start: %s", strerror(-error));
		return STATUS_FAILED;
	}
}

int tell_flush(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return STATUS_OK;
	tell("cannot write to the output: %s", strerror(errno));
	return STATUS_FAILED;
}

const char *tell_transport(enum pathbus_transport_kind kind)
{
	switch (kind) {
	case PATHBUS_BUS:
		return "bus";
	case PATHBUS_PEER:
		return "peer";
	case PATHBUS_SOCKET:
		return "socket";
	case PATHBUS_AUTO:
		break;
	}
	return "none";
}
