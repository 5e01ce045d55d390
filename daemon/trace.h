/* SPDX-License-Identifier: MIT */
/*
 * trace.h - tells those who watch (happening.h) of posts and messages in lanes.
 *
 * For that main listens in the lanes that they want to hear of, like a member; as long as they do, and in no others. What was posted
 * between two looks is one event for each who posted. Whose it was is what members' slots say: they may say anything, and it is
 * only told. What main itself has carried there is told where it came from.
 */
#ifndef PATHBUS_DAEMON_TRACE_H
#define PATHBUS_DAEMON_TRACE_H

#include "context.h"

struct member;
struct topic_lane;

int trace_start(const struct context *context); /* 0, -ENOMEM */
void trace_stop(void);                          /* before the topics are freed; takes what was never started */

/* It has been opened: its lane may be one that somebody watches. */
void trace_joined(const struct member *member);
/* It goes; its slot is still what it was. */
void trace_left(const struct member *member);
/* Its lane ends. */
void trace_forget(struct topic_lane *lane);

#endif
