/* SPDX-License-Identifier: MIT */
/*
 * tell.h - errors for people: the thing, the cause, the next step. And the exit status that goes with it.
 */
#ifndef PATHBUS_CLI_TELL_H
#define PATHBUS_CLI_TELL_H

#include <stddef.h>

#include "pathbus.h"

/* One line on stderr, "pathbusctl: ...". */
void tell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A name in printable form. So many of them are valid at a time: a line can have several. */
enum { TELL_NAMES = 8 };
const char *tell_name(const char *name);
const char *tell_part(const char *name, size_t size); /* of its first bytes */

/* Cause and next step of a negative errno that opening a topic gave. */
const char *tell_explain(int error);

/* "cannot VERB FILE: ...". `error` is a negative errno of the library. Returns the exit status. */
int tell_file_error(const char *verb, const char *file, int error);

/* pathbus_new or pathbus_ping failed. Returns the exit status. */
int tell_daemon_error(const struct pathbus_options *options, int error);

/* Flushes stdout. Returns STATUS_OK, or STATUS_FAILED (told: what was printed has not arrived). */
int tell_flush(void);

/* "bus", "peer", "socket", or "none" while the topic has neither. */
const char *tell_transport(enum pathbus_transport_kind kind);

#endif
