/* SPDX-License-Identifier: MIT */
/*
 * states.h - the topic's state, for members that ask the daemon: those without shared memory, and all others where the topic
 * has several lanes.
 */
#ifndef PATHBUS_DAEMON_STATES_H
#define PATHBUS_DAEMON_STATES_H

#include "limit.h"
#include "state.h"
#include "topic.h"
#include "wire.h"

/* The version of a change that is said to have `said`: not an old one, and nobody uses up the numbers by a jump. */
static inline uint64_t states_version(uint64_t known, uint64_t said)
{
	if (said > known && said - known <= LIMIT_STATE_VERSIONS)
		return said;
	return known < STATE_LAST_VERSION ? known + 1 : 1;
}

/* 0; -EACCES: no right; -EAGAIN: the state was another; -EUSERS: no slot to put it in; -ENOMEM. */
int states_set(struct member *member, const struct wire_set_state *set);
int states_get(struct member *member, struct state *ret);
/* The topic's, as far as main knows it from those who may set it. False: it cannot be told. */
bool states_look(const struct topic *topic, struct state *ret);

#endif
