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

struct topic;

/*
 * WIRE_RIGHT_*, by a worker's answer for this identity. *ret_narrowed (may be NULL): those that the file gives and the configuration
 * does not leave. `topic` (may be NULL): the one it is about, if it is there. Where that has names to which different rules apply,
 * because they came to be in force later, all of them count until it ends: else another name of the file would lead past them.
 */
uint32_t rights_of(const struct options *options, const struct identity *identity, const struct files_reply *reply,
                   const struct topic *topic, uint32_t *ret_narrowed);

#endif
