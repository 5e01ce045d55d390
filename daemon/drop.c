/* SPDX-License-Identifier: MIT */
/* drop.c - why a connection is ended by the daemon. */
#include "drop.h"

#include <errno.h>

#include "log.h"

static const struct reason {
	int error;
	const char *text;
} reasons[DROP_N] = {
	[DROP_NONE] = { 0, "no reason" },
	[DROP_SIZE] = { EMSGSIZE, "a frame's size is out of range" },
	[DROP_MALFORMED] = { EBADMSG, "a malformed frame" },
	[DROP_TYPE] = { EBADMSG, "a frame of an unknown type" },
	[DROP_ORDER] = { EPROTO, "the first frame, and only that, is a greeting" },
	[DROP_VERSION] = { EPROTO, "no common version of the protocol" },
	[DROP_SILENT] = { ETIMEDOUT, "no greeting in time" },
	[DROP_DESCRIPTORS] = { EBADMSG, "sent descriptors" },
	[DROP_TOPIC] = { EBADMSG, "a topic was closed that is not open" },
	[DROP_NO_TOPIC] = { EBADMSG, "a frame names a topic that is not open for the socket" },
	[DROP_NOT_OPEN] = { EBADMSG, "a frame names a topic that is not open" },
	[DROP_USER] = { EPERM, "another user's process" },
	[DROP_TOO_MANY] = { EUSERS, "the daemon has as many connections as it may have" },
	[DROP_QUOTA] = { EDQUOT, "its user has as much as it may have" },
	[DROP_NO_DESCRIPTORS] = { EMFILE, "the daemon has no descriptors left" },
	[DROP_NO_MEMORY] = { ENOMEM, "the daemon has no memory left" },
	[DROP_BROKEN] = { EIO, "the socket failed" },
};

static uint64_t counts[DROP_N];
static struct log_limit limits[DROP_N];

int drop_error(enum drop why)
{
	return reasons[why].error;
}

const char *drop_text(enum drop why)
{
	return reasons[why].text;
}

void drop_note(enum drop why, pid_t pid, const char *text)
{
	counts[why]++;
	if (log_allows(&limits[why], reasons[why].text))
		log_warning("connection of process %d closed: %s", (int)pid, text ? text : reasons[why].text);
}

uint64_t drop_count(enum drop why)
{
	return counts[why];
}
