/* SPDX-License-Identifier: MIT */
/*
 * states.h - the topic's state, for members that ask the daemon: those without shared memory, and all others where the topic
 * has several lanes.
 */
#ifndef PATHBUS_DAEMON_STATES_H
#define PATHBUS_DAEMON_STATES_H

#include "state.h"
#include "topic.h"
#include "wire.h"

/* 0; -EACCES: no right; -EAGAIN: the state was another; -EUSERS: no slot to put it in; -ENOMEM. */
int states_set(struct member *member, const struct wire_set_state *set);
int states_get(struct member *member, struct state *ret);

#endif
