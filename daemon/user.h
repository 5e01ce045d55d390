/* SPDX-License-Identifier: MIT */
/*
 * user.h - the users whose programs the daemon serves: what each has, and how much it may have.
 *
 * What a user has is charged before it is allocated, and released when it goes; a user's account lives while anything
 * refers to it. Knows no sockets.
 */
#ifndef PATHBUS_DAEMON_USER_H
#define PATHBUS_DAEMON_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct carrier;
struct loop;
struct user;
struct users;

enum charge {
	CHARGE_CONNECTIONS,
	CHARGE_MEMBERS,    /* open topics of all connections */
	CHARGE_LANES,
	CHARGE_LANE_BYTES, /* of lanes' memory, whether it is touched or not */
	N_CHARGES
};

struct users_setting {
	struct loop *loop; /* NULL: nothing rings by itself (tests) */
	unsigned offload_members, offload_message_members;
	uint64_t most[N_CHARGES]; /* of each user */
};

struct users *users_new(const struct users_setting *setting); /* NULL: no memory */
struct users *users_free(struct users *users);                /* nothing refers to any of them */

/* The user's account, made if there is none; to be given back with user_unref. -EMFILE, -ENFILE, -ENOMEM. */
int users_get(struct users *users, uid_t uid, struct user **ret);
struct user *user_ref(struct user *user); /* returns it */
void user_unref(struct user *user);       /* takes NULL */

uid_t user_uid(const struct user *user);
struct carrier *user_carrier(const struct user *user);

/* 0, or -EDQUOT, counted and logged: charge_text says which limit it was. */
int user_charge(struct user *user, enum charge charge, uint64_t amount);
void user_release(struct user *user, enum charge charge, uint64_t amount);
uint64_t user_has(const struct user *user, enum charge charge);

/* What a client is told that has hit the limit: a sentence that names the limit and its option. */
const char *charge_text(enum charge charge);

#endif
