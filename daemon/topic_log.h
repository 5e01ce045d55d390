/* SPDX-License-Identifier: MIT */
/*
 * topic_log.h - lines about topics of which the configuration says so: `log` in a section [topic].
 *
 * Who opens them, joins and leaves, how much each has posted, and the state. What programs do in shared memory the daemon sees when
 * somebody comes or goes. What a user does makes so many lines at once, and in a second, and so does what all do; the rest is
 * counted.
 */
#ifndef PATHBUS_DAEMON_TOPIC_LOG_H
#define PATHBUS_DAEMON_TOPIC_LOG_H

#include "state.h"
#include "topic.h"

struct topic_log; /* a topic's; NULL: nothing is logged */

/* The topic is about to be opened: is it to be logged? Without the memory it is not. */
void topic_log_set(struct topic *topic, bool is_on);
struct topic_log *topic_log_free(struct topic_log *log); /* takes NULL, returns it */

/* Each does nothing where nothing is to be logged. */
void topic_log_joined(const struct member *member);
void topic_log_leaves(const struct member *member, enum leave how); /* while it is still in its lane */
/* It may be another; `user`: who has something to do with it. */
void topic_log_state(struct topic *topic, struct user *user, const struct state *state);
void topic_log_look(struct topic *topic, struct user *user);
void topic_log_ends(struct topic *topic, struct user *user, bool is_kept); /* its last member has gone */
void topic_log_forgotten(struct topic *topic, struct user *user);

#endif
