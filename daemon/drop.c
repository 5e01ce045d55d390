/* SPDX-License-Identifier: MIT */
/* drop.c - why a connection is ended by the daemon. */
#include "drop.h"

#include <errno.h>

#include "log.h"

static const struct reason {
	int error;
	enum log_reason reason;
	const char *text;
} reasons[DROP_N] = {
	[DROP_NONE] = { 0, REASON_DROP_NONE, "no reason" },
	[DROP_SIZE] = { EMSGSIZE, REASON_DROP_SIZE, "a frame's size is out of range" },
	[DROP_MALFORMED] = { EBADMSG, REASON_DROP_MALFORMED, "a malformed frame" },
	[DROP_TYPE] = { EBADMSG, REASON_DROP_TYPE, "a frame of an unknown type" },
	[DROP_ORDER] = { EPROTO, REASON_DROP_ORDER, "the first frame, and only that, is a greeting" },
	[DROP_VERSION] = { EPROTO, REASON_DROP_VERSION, "no common version of the protocol" },
	[DROP_SILENT] = { ETIMEDOUT, REASON_DROP_SILENT, "no greeting in time" },
	[DROP_DESCRIPTORS] = { EBADMSG, REASON_DROP_DESCRIPTORS, "sent descriptors" },
	[DROP_TOPIC] = { EBADMSG, REASON_DROP_TOPIC, "a topic was closed that is not open" },
	[DROP_NO_TOPIC] = { EBADMSG, REASON_DROP_NO_TOPIC, "a frame names a topic that is not open for the socket" },
	[DROP_NOT_OPEN] = { EBADMSG, REASON_DROP_NOT_OPEN, "a frame names a topic that is not open" },
	[DROP_USER] = { EPERM, REASON_DROP_USER, "another user's process" },
	[DROP_TOO_MANY] = { EUSERS, REASON_DROP_TOO_MANY, "the daemon has as many connections as it may have" },
	[DROP_QUOTA] = { EDQUOT, REASON_DROP_QUOTA, "its user has as much as it may have" },
	[DROP_NO_DESCRIPTORS] = { EMFILE, REASON_DROP_NO_DESCRIPTORS, "the daemon has no descriptors left" },
	[DROP_NO_MEMORY] = { ENOMEM, REASON_DROP_NO_MEMORY, "the daemon has no memory left" },
	[DROP_BROKEN] = { EIO, REASON_DROP_BROKEN, "the socket failed" },
	[DROP_ADMIN] = { ECONNABORTED, REASON_DROP_ADMIN, "ended by an admin" },
};

static uint64_t counts[DROP_N];

int drop_error(enum drop why)
{
	return reasons[why].error;
}

const char *drop_name(enum drop why)
{
	return log_reason_name(reasons[why].reason);
}

const char *drop_text(enum drop why)
{
	return reasons[why].text;
}

void drop_note(enum drop why, pid_t pid, const char *text)
{
	counts[why]++;
	log_event(reasons[why].reason, "connection of process %d closed: %s", (int)pid, text ? text : reasons[why].text);
}

uint64_t drop_count(enum drop why)
{
	return counts[why];
}
