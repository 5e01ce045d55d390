/* SPDX-License-Identifier: MIT */
/*
 * user.h - the users whose programs the daemon serves: what each has, and how much it may have.
 *
 * What a user has is charged before it is allocated, and released when it goes; a user's account lives while anything
 * refers to it. There is a limit for each user, and for some things one for all together, of which the last part is kept for
 * users who have little. Knows no sockets.
 */
#ifndef PATHBUS_DAEMON_USER_H
#define PATHBUS_DAEMON_USER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct carrier;
struct loop;
struct share;
struct user;
struct users;

enum charge {
	CHARGE_CONNECTIONS,
	CHARGE_DESCRIPTORS,  /* of the daemon's table: connections, lanes' memory and bells, regions, folders, what waits to be sent */
	CHARGE_IN_FLIGHT,    /* descriptors that were sent and that the other side has not taken from its socket */
	CHARGE_MEMBERS,      /* open topics of all connections */
	CHARGE_LANES,
	CHARGE_LANE_BYTES,   /* of lanes' memory, whether it is touched or not */
	CHARGE_WATCHES,      /* names of files whose folders are watched */
	CHARGE_REGIONS,      /* by who has made them, or brought them back, until they are freed */
	CHARGE_REGION_BYTES,
	CHARGE_HOLDERS,      /* of regions */
	CHARGE_ENDPOINTS,    /* and names that are waited for */
	CHARGE_CONNECTS,     /* that wait */
	CHARGE_TOKENS,
	CHARGE_SYNCS,        /* that wait */
	CHARGE_REQUESTS,     /* that the files process is asked or is going to be */
	CHARGE_QUEUE_BYTES,  /* of what is sent and received, and of what is asked meanwhile */
	CHARGE_HISTORY_BYTES, /* of what socket-only openings remember of what they told and published */
	CHARGE_KEPT,         /* topics without members whose state this one has set, and that is kept */
	CHARGE_CARRIED,      /* no amount: user_carry's, for its counts */
	N_CHARGES
};

struct users_setting {
	struct loop *loop; /* NULL: nothing rings, and nobody is called again, by itself (tests) */
	unsigned offload_members, offload_message_members;
	uint64_t most[N_CHARGES]; /* of each user; CHARGE_CARRIED: per second; 0, or more than 10^9: any number */
	uint64_t carry_burst;     /* posts and messages at once */
	uint64_t all[N_CHARGES];  /* of all users together; 0: no limit */
	bool is_shared;           /* by several users: nobody gets the last part of what there is, nor of main's time */
};

struct users *users_new(const struct users_setting *setting); /* NULL: no memory */
/* Other limits from now on: what is about limits in `setting`, and the numbers for offloading. Nobody loses what it has. */
void users_set(struct users *users, const struct users_setting *setting);
struct users *users_free(struct users *users);                /* nothing refers to any of them */

/* The user's account, made if there is none; to be given back with user_unref. -EMFILE, -ENFILE, -ENOMEM. */
int users_get(struct users *users, uid_t uid, struct user **ret);
struct user *user_ref(struct user *user); /* returns it */
/* Takes NULL. With the last one everything that was charged has been released: what has not is told, and a build for tests
 * ends. */
void user_unref(struct user *user);

/* Walks all accounts; none comes or goes meanwhile. */
void users_each(const struct users *users, void (*fn)(const struct user *user, void *arg), void *arg);

uid_t user_uid(const struct user *user);
struct carrier *user_carrier(const struct user *user);
struct share *user_share(struct user *user); /* share.h: of main's time */

/* 0; -EDQUOT: the user has as much as it may have; or charge_all_error: all together have. Counted and logged; user_refusal
 * says it. */
int user_charge(struct user *user, enum charge charge, uint64_t amount);
/* Without asking: what must not fail, and is bounded by something else that is charged. */
void user_charge_anyway(struct user *user, enum charge charge, uint64_t amount);
/* Would it be granted? Neither counted nor logged; user_note_refusal does that. */
bool user_may_have(const struct user *user, enum charge charge, uint64_t amount);
void user_note_refusal(struct user *user, enum charge charge, int error);
void user_release(struct user *user, enum charge charge, uint64_t amount);
/* Several at once, or none of them: then *ret_limit says which limit it was, as user_refusal does. */
struct cost {
	enum charge charge;
	uint64_t amount;
};
int user_charge_costs(struct user *user, const struct cost *costs, unsigned n, const char **ret_limit);
void user_release_costs(struct user *user, const struct cost *costs, unsigned n);
/* The other's from now on, whatever its limit. */
void user_move_charge(struct user *from, struct user *to, enum charge charge, uint64_t amount);

uint64_t user_has(const struct user *user, enum charge charge);
uint64_t user_may_most(const struct user *user, enum charge charge);
uint64_t user_n_refused(const struct user *user, enum charge charge);
uint64_t users_all_have(const struct users *users, enum charge charge);

const char *charge_option(enum charge charge); /* the name of its key */
const char *charge_limit_name(enum charge charge); /* "limit-topics": as the log has it */
int charge_all_error(enum charge charge);      /* -errno where the limit of all together is reached */

/* What a client is told whose user was refused this last: what the limit is called, its value, the option that sets it. Valid
 * until it is called again. */
const char *user_refusal(const struct user *user, enum charge charge);

/*
 * How many of `wanted` posts and messages of this user may be carried to others now; with less *ret_again_ns is when there may
 * be one more. What is over is not to be lost: it waits, or is merged, or counted as missed. `now_ns`: os_now_ns.
 */
unsigned user_carry(struct user *user, unsigned wanted, uint64_t now_ns, uint64_t *ret_again_ns);

/* Of lines in the log that it causes where an admin wants to know of all that happens. */
bool user_may_be_logged(struct user *user, uint64_t now_ns);

/* Of what costs a look at all its connections: once in LIMIT_IN_FLIGHT_REST_MS. */
bool user_may_look(struct user *user, uint64_t now_ns);

/* One line in the log: what the user was refused since the last such line; none, if nothing was. */
void user_tell_refused(struct user *user);

#endif
