/* SPDX-License-Identifier: MIT */
/*
 * rights.h - what somebody may do with a topic: what the file gives, less what the daemon takes.
 */
#ifndef PATHBUS_DAEMON_RIGHTS_H
#define PATHBUS_DAEMON_RIGHTS_H

#include <stdint.h>

#include "files_protocol.h"
#include "identity.h"
#include "options.h"

/*
 * WIRE_RIGHT_*, by a worker's answer for this identity. *ret_narrowed (may be NULL): those that the file gives and the configuration
 * does not leave.
 */
uint32_t rights_of(const struct options *options, const struct identity *identity, const struct files_reply *reply,
                   uint32_t *ret_narrowed);

#endif
