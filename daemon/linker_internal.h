/* SPDX-License-Identifier: MIT */
/*
 * linker_internal.h - what linker.c (where sidecars may be, who waits for them) and links.c (links and what agents say of
 * them) share.
 */
#ifndef PATHBUS_DAEMON_LINKER_INTERNAL_H
#define PATHBUS_DAEMON_LINKER_INTERNAL_H

#include "link_user.h"
#include "linker.h"
#include "log.h"

enum link_state {
	STATE_JOINING, /* JOIN sent; openings wait for it */
	STATE_LINKED,
	STATE_PARTING, /* LEAVE sent, for a user whose end on the topic, or whose openings, wait for it */
	STATE_LEAVING, /* LEAVE sent; the meeting is gone, the id still taken */
};

enum { BESIDE = 1 << LINK_PLACE_FOLDER, IN_RUNTIME = 1 << LINK_PLACE_RUNTIME, ANYWHERE = BESIDE | IN_RUNTIME };

struct link {
	struct table_entry by_id;
	uint32_t id;
	struct link_user *of;
	struct link *next, **at; /* of that user */
	enum link_place place;
	enum link_state state;
	bool again;              /* the watch has fired since JOIN was sent */
	unsigned group;          /* its place at a bell */
	uint32_t slot;           /* in the lane's member table */
	struct meeting *meeting; /* NULL: leaving */
	struct topic_lane *lane; /* as long as there is a meeting */
};

struct linker {
	struct linker_setting set;
	struct link_users *users;
	struct table links; /* by id. A number is not used again soon: an answer to LEAVE may come late, and twice */
	uint32_t last_id;
	const struct topic *held; /* what happens to this user's links of this topic is not told now */
	const struct user *held_for;
};

/* linker.c */

/* Something that was waited for has ended. What is passed is not to be used any more: the topic may go. */
void linker_settle(struct linker *linker, struct topic *topic, struct user *user);
/* Something may have appeared there; looks are queued. */
void linker_look_at(struct linker *linker, struct meeting *meeting, enum link_place place);

/* links.c */

struct topic_lane *links_lane(const struct topic *topic, const struct user *user); /* the best one of the user; NULL: none */
/* Links the meeting with what may be there, or tries again later. folder -1: the agent opens the user's runtime folder itself. */
void links_join(struct linker *linker, struct meeting *meeting, enum link_place place, int folder);
void link_send(const struct link *link, enum link_type type); /* without more */
/* Takes it from its meeting; it carries what is in the lane, and answers. It is waited for: */
void link_part(struct link *link);
/* It is not: the meeting ends. */
void link_leave(struct link *link);
/* For the agents. */
void links_message(void *linker, struct link_user *of, const struct link_message *message);
void links_lost(void *linker, struct link_user *of);

#endif
