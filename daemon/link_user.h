/* SPDX-License-Identifier: MIT */
/*
 * link_user.h - what the linker has of each user: the agent, the looks, and in the daemon of all users the watch of the runtime
 * folder. A user's daemon has one.
 */
#ifndef PATHBUS_DAEMON_LINK_USER_H
#define PATHBUS_DAEMON_LINK_USER_H

#include <stdbool.h>
#include <stdint.h>

#include "agent.h"
#include "looks.h"

struct link; /* linker.c */
struct link_users;

struct link_user {
	struct link_user *next;
	struct link_users *users;
	struct user *user;
	struct agent *agent; /* in the daemon of all users it runs as that user, and ends when it has had nothing to do for a while */
	struct looks *looks;
	struct link *links;
	unsigned n_unanswered; /* of the links: the agent has been asked, and has not answered */
	unsigned n_meetings;
	uint64_t idle_ns;      /* it has had no links since */
	int runtime_watch;     /* 0: none */
};

struct link_users_setting {
	struct loop *loop;
	struct files *files;
	struct folders *folders;
	struct forker *forker; /* of the daemon of all users; else NULL */
	int death_fd;
	bool sandboxed; /* the agent, in a user's daemon */
	unsigned idle_ms; /* linker_setting */
	void (*message)(void *arg, struct link_user *of, const struct link_message *message);
	void (*lost)(void *arg, struct link_user *of);
	/* Something may have appeared in the user's runtime folder. entry NULL: anything. */
	void (*runtime)(void *arg, struct link_user *of, const char *entry);
	/* looks.h */
	bool (*watched)(void *arg, struct meeting *meeting, const struct files_reply *reply, uint64_t since);
	void (*looked)(void *arg, struct meeting *meeting, int error, const struct files_reply *reply, int folder, bool held);
	void *arg;
};

struct link_users *link_users_new(const struct link_users_setting *setting); /* NULL: no memory */
void link_users_set_idle(struct link_users *users, unsigned idle_ms); /* from now on */
/* No look is queued or asked any more. Ends the agents' sockets. */
struct link_users *link_users_free(struct link_users *users);

struct link_user *link_users_get(struct link_users *users, struct user *user); /* made if there is none; NULL: no memory */
/* It has lost a link, or a meeting: perhaps it is not needed any more. It goes later, never from within. */
void link_users_idle(struct link_users *users, struct link_user *of);
void link_users_pump(struct link_users *users); /* looks_pump for all */
void link_users_reap(struct link_users *users);

/* A worker of this user, asked at `since`, has answered with this watch of its runtime folder, or with why there is none. Returns
 * whether something may have appeared in it after the worker looked. */
bool link_user_watch(struct link_user *of, int watch, uint64_t since);

#endif
