/* SPDX-License-Identifier: MIT */
/* agent.h - the link agent of a daemon, as tests find it and hold it up. */
#ifndef PATHBUS_TESTS_SEAMS_AGENT_H
#define PATHBUS_TESTS_SEAMS_AGENT_H

#include "harness/daemon.h"

/* Its process: a child of the daemon with that name; 0: none. */
pid_t agent_of(const struct harness_daemon *daemon);
/* SIGSTOP; returns when it stands still. */
void agent_stop(pid_t agent);

#endif
