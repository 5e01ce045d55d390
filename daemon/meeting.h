/* SPDX-License-Identifier: MIT */
/*
 * meeting.h - where the processes of one user that do not reach the daemon may meet, of one name of a topic: its sidecars,
 * and looking for them.
 *
 * There is one for each user who has opened the topic by that name, as long as that user is on the topic; looks are made
 * as that user, and links are of that user's lanes. So what one user has, or does, holds up no other.
 */
#ifndef PATHBUS_DAEMON_MEETING_H
#define PATHBUS_DAEMON_MEETING_H

#include <stdbool.h>

#include "topic.h"

struct identity;
struct link;      /* linker.c */
struct link_user; /* link_user.h */

enum look_state { LOOK_NONE, LOOK_QUEUED, LOOK_ASKED, LOOK_LATER };

struct meeting {
	struct meeting *next; /* of the same name */
	struct topic_name *name;
	struct user *user;
	struct link_user *of;      /* that one's */
	char *path;                /* where this user has found it in a root that is not ours; NULL: the name's path */
	struct identity *identity; /* held: of the user's last member, for a look when that has gone; NULL: none */

	/* linker.c: links to its sidecars. */
	struct link *links[TOPIC_PLACES];
	bool unsettled; /* something that was waited for has ended, and that is about to be told */

	/* looks.c */
	enum look_state look;
	bool look_again;  /* something may have appeared since the current look began */
	bool look_holds;  /* openings of the user wait for this look */
	unsigned look_for, looked_for; /* where something has appeared (a bit for each enum link_place): for the next look, of this one */
	void *look_request;
	struct meeting *look_next, **look_at;
};

struct meeting *meeting_find(const struct topic_name *name, const struct user *user); /* NULL: none */
/* NULL: no memory. */
struct meeting *meeting_get(struct topic_name *name, struct user *user);
/* It has no links and no look. Returns NULL. */
struct meeting *meeting_free(struct meeting *meeting);

int meeting_set_path(struct meeting *meeting, const char *path); /* copies; NULL: the name's. -ENOMEM */
/* For looks that are made when its last member has gone. NULL: of nobody. */
void meeting_hold_identity(struct meeting *meeting, struct identity *identity);
const char *meeting_path(const struct meeting *meeting); /* NULL: not known */
/* A member of this user, one who opened this very name if there is one; else the one that is held. NULL: none. */
struct identity *meeting_identity(const struct meeting *meeting);

#endif
