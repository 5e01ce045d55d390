/* SPDX-License-Identifier: MIT */
/*
 * drop.h - why a connection is ended by the daemon: each reason has a name, a count and a text.
 */
#ifndef PATHBUS_DAEMON_DROP_H
#define PATHBUS_DAEMON_DROP_H

#include <stdint.h>
#include <sys/types.h>

enum drop {
	DROP_NONE,
	DROP_SIZE,        /* a frame larger than WIRE_MAX_FRAME, or smaller than its header */
	DROP_MALFORMED,   /* a frame whose contents are not valid */
	DROP_TYPE,        /* an unknown type */
	DROP_ORDER,       /* something else before the greeting, or a second greeting */
	DROP_VERSION,     /* no common version */
	DROP_SILENT,      /* no greeting in time */
	DROP_DESCRIPTORS, /* it sent descriptors */
	DROP_TOPIC,       /* CLOSE of a topic that is not open */
	DROP_NO_TOPIC,    /* POST and the like on one that is not open for the socket */
	DROP_NOT_OPEN,    /* LISTEN and the like on one that is not open */
	DROP_USER,        /* another user's process */
	DROP_TOO_MANY,    /* the limit of connections is reached */
	DROP_QUOTA,       /* its user has as much as it may have */
	DROP_NO_DESCRIPTORS,
	DROP_NO_MEMORY,
	DROP_BROKEN,      /* the socket failed */
	DROP_ADMIN,       /* by the control socket */
	DROP_N,
};

int drop_error(enum drop why); /* the errno that the client is told */
const char *drop_text(enum drop why);
const char *drop_name(enum drop why); /* "drop-size": as the log has it */

/* Counts, and writes a line that names the process (pid 0: not known) unless there were many of them. */
void drop_note(enum drop why, pid_t pid, const char *text);
uint64_t drop_count(enum drop why);

#endif
