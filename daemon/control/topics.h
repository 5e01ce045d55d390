/* SPDX-License-Identifier: MIT */
/* topics.h - what several answers tell of a topic. */
#ifndef PATHBUS_DAEMON_CONTROL_TOPICS_H
#define PATHBUS_DAEMON_CONTROL_TOPICS_H

#include "request.h"

struct topic;
struct user;

/* The members of an object that tell of it in short. */
void tell_topic(struct answer *answer, struct topic *topic);
/* ["subscribe", "post"] of WIRE_RIGHT_*. */
void tell_rights(struct answer *answer, const char *key, uint32_t rights);
/* What the process is called; null where it is not there, or another user's by now (it is another one with its number). */
void tell_command(struct answer *answer, pid_t pid, uid_t uid);
/* The topic in the request's path; NULL: there is none, and that has been answered. */
struct topic *topic_of(struct control_request *request);

/* The query's path=, if it is there, is a pattern that can be looked for. False: it is none, and that has been answered. */
bool control_check_pattern(struct control_request *request);

#endif
