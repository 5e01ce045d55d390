/* SPDX-License-Identifier: MIT */
/* thing.c - opening the topic, and errors that name the thing, the cause and the next step. */
#include "thing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "tell.h"

int thing_open_topic(const struct pathbus_options *options, const char *file, unsigned flags, pathbus **ret_bus,
		     pathbus_topic **ret_topic)
{
	pathbus *bus;
	int error = pathbus_new(&bus, options), status;

	if (error < 0)
		return tell_daemon_error(options, error);
	error = pathbus_open(bus, file, flags, ret_topic);
	if (error < 0) {
		status = tell_file_error("open", file, error);
		pathbus_free(bus);
		return status;
	}
	*ret_bus = bus;
	return STATUS_OK;
}

static bool is_region(const struct thing *thing)
{
	return strcmp(thing->kind, "region") == 0;
}

/* Cause and next step of what only a region or only an endpoint can fail with; NULL: see below. */
static const char *explain_region(const char *verb, int error)
{
	bool is_opened = strcmp(verb, "open") == 0 || strcmp(verb, "create") == 0;

	switch (-error) {
	case EACCES:
		return "the rights of the file do not allow it; who may read the file may read its regions, who may write it "
		       "may make and write them";
	case EAGAIN:
		return "it was being written all the time, or its writer has stopped half-way; see who has it: "
		       "pathbusctl %s list, or wait longer: --timeout";
	case EBUSY:
		return is_opened ? "a daemon has it that is not reached from here, or a program that makes it stands still; see "
				   "the daemon: pathbusctl ping" :
				   "another program is writing it, or reads the part that is to be written; see who has it: "
				   "pathbusctl %s list, or wait longer: --timeout";
	case ESTALE:
		return "another region has taken its place; try again with that one";
	case EDQUOT:
		return "this user has as many regions as the daemon allows; end who holds others, or start it with a larger "
		       "--max-regions or --max-region-bytes";
	case ENOSPC:
		return "there is no space left for it in memory; take less, or end who holds others";
	case ENOMEM:
		return "there is not so much memory, or a limit of this process is reached; see: ulimit -v";
	case ETIMEDOUT:
		return "the daemon does not answer; see: pathbusctl ping";
	default:
		return NULL;
	}
}

static const char *explain_endpoint(int error)
{
	switch (-error) {
	case EACCES:
		return "it is not for this user; who listens decides whether those who may read the file, or those who may write "
		       "it, may connect";
	case EAGAIN:
		return "who listens there has not taken the connections before; wait for it: --timeout";
	case ECONNREFUSED:
		return "nobody listens there; see where somebody does: pathbusctl %s list, or wait for one: --timeout";
	case ETIMEDOUT:
		return "nobody has listened there in time, or taken the connection; wait longer: --timeout";
	default:
		return NULL;
	}
}

/* NULL: it is told as an error of the file. %s: the thing's kind. */
static const char *explain(const struct thing *thing, const char *verb, int error)
{
	const char *text = is_region(thing) ? explain_region(verb, error) : explain_endpoint(error);

	if (text)
		return text;
	switch (-error) {
	case ENOENT:
		return "there is none of that name; see those there are: pathbusctl %s list";
	case EEXIST:
		return "there is one of that name already; see who has it: pathbusctl %s list";
	case EINVAL:
		return "a name has 1 to 255 bytes, and a size is from 1 byte to 4T";
	case ENAMETOOLONG:
		return "a name has at most 255 bytes";
	case EOPNOTSUPP:
		return "it needs shared memory, which --transport socket does without, or a newer daemon";
	default:
		return NULL;
	}
}

static int status_of(int error)
{
	switch (-error) {
	case ENOENT:
		return STATUS_NO_FOLDER;
	case EACCES:
	case EPERM:
		return STATUS_DENIED;
	case ENOTCONN:
	case ECONNREFUSED:
		return STATUS_NO_DAEMON;
	case EAGAIN:
	case EBUSY:
	case ETIMEDOUT:
		return STATUS_TIMEOUT;
	case EINVAL:
	case ENAMETOOLONG:
		return STATUS_USAGE;
	default:
		return STATUS_FAILED;
	}
}

/* "region "NAME" of FILE", or "the regions of FILE". NULL: out of memory. */
static char *describe(const struct thing *thing)
{
	char *name = thing->name ? strdup(tell_name(thing->name)) : NULL, *text;
	int length;

	if (thing->name && !name)
		return NULL;
	length = name ? asprintf(&text, "%s \"%s\" of %s", thing->kind, name, tell_name(thing->file)) :
			asprintf(&text, "the %ss of %s", thing->kind, tell_name(thing->file));
	free(name);
	return length < 0 ? NULL : text;
}

int thing_tell_error(const struct thing *thing, const char *verb, int error)
{
	const char *cause = explain(thing, verb, error), *list = cause ? strstr(cause, "%s list") : NULL;
	char *what;

	/* A lost daemon, a full table of descriptors and the like. */
	if (!cause)
		return tell_file_error(verb, thing->file, error);
	what = describe(thing);
	if (!what) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	if (list)
		tell("cannot %s %s: %.*s%s list %s%s", verb, what, (int)(list - cause), cause, thing->kind,
		     tell_name(thing->file), list + strlen("%s list"));
	else
		tell("cannot %s %s: %s", verb, what, cause);
	free(what);
	return status_of(error);
}
