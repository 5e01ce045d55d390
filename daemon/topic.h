/* SPDX-License-Identifier: MIT */
/*
 * topic.h - the topic engine: keys, names, lanes, members. Knows no sockets and no event loop.
 *
 * A topic has one or more names (hard links of one file are one topic) and a lane for each user, and each set of rights, that
 * its members have (topic_lane.h). It lives while it has members; or without, while its state is kept (keeping.h).
 */
#ifndef PATHBUS_DAEMON_TOPIC_H
#define PATHBUS_DAEMON_TOPIC_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "key.h"
#include "page.h"
#include "table.h"
#include "topic_lane.h"

enum { TOPIC_PLACES = 2 }; /* where a topic may have a sidecar: enum link_place */

struct topics;
struct topic;
struct member;
struct identity;
struct meeting; /* meeting.h */
struct opening; /* opening.c */
struct check;   /* rights_watch.c */
struct endpoint;   /* endpoints.c */
struct crossing;   /* crossing.c */
struct syncs;      /* syncing.c */
struct subscriber; /* subscriber.c */
struct kept;       /* keeping.c */
struct topic_log;
struct region;        /* regions.c */
struct region_holder;

enum check_state { CHECK_NONE, CHECK_QUEUED, CHECK_ASKED };

/* One name of a topic. */
struct topic_name {
	struct topic *topic;
	struct topic_name *next; /* of the same topic */
	struct table_entry by_key;
	struct topic_key key;
	char *path; /* where a worker last found it; in our root, if it has been found there */
	bool is_foreign; /* it is not in ours, or that is not known: the path is what the client wrote */

	/* The existing file at the last opening, for hard links; file_ino 0: there was none. */
	struct table_entry by_file;
	uint64_t file_dev, file_ino;

	unsigned n_members; /* that have opened it by this name */
	struct user *user; /* whom its watch is charged to: one who has the topic open by it, or had last; NULL: nobody yet */

	/* folders.c: the watch of its folder; 0: none. */
	int watch;
	struct topic_name *watch_next, **watch_at;

	/* rights_watch.c: its members' rights are to be decided anew, or that is under way. */
	enum check_state check_state;
	struct check *check;
	uint64_t check_round;
	uint64_t check_since; /* what happened first that it is about; ns */
	struct topic_name *check_next;

	struct meeting *meetings; /* one for each user who has opened it by this name */
};

struct topic {
	struct topics *topics;
	uint64_t number;    /* this daemon's how-manieth: no other one ever has it */
	uint64_t opened_ns; /* os_now_ns */
	struct topic_name *names;
	struct member *members;
	unsigned n_members;

	bool has_opened; /* somebody has: who watches has been told */
	struct topic_lane *lanes; /* at least one while it has members */
	struct lane_sums counted; /* of all its lanes, those that have gone too, as far as has been looked */

	struct endpoint *endpoints; /* endpoints.c; they end with their members */
	struct region *regions; /* regions.c: named memory under it, the oldest first */

	struct crossing *crossing; /* crossing.c; NULL: it has one lane only */
	struct syncs *syncs;       /* syncing.c; NULL: none was asked for yet */

	struct topic_walk *walks; /* of who goes through its members */

	struct opening *waiting; /* opening.c: those that wait for links of their user */

	/* What the configuration said when it was opened last. */
	uint64_t keep_s; /* keeping.c: for so long its state is kept without members; 0: not */
	struct topic_log *log; /* topic_log.c; NULL: what happens is not logged */

	uint64_t concerned; /* reload.c: the last reading anew that changed rules about any of its names */

	struct kept *kept; /* keeping.c: what main knows of the state itself; NULL: nothing, or it is in a crossing or a lane */
};

/* One open handle of a client on a topic. */
struct member {
	struct topic_name *name;
	struct topic_lane *lane;
	struct member *next, **at; /* among the topic's, the last who came first */
	uint64_t number;           /* this daemon's how-manieth */
	uint64_t since_ns;
	uint32_t rights;           /* WIRE_RIGHT_*: the lane's */
	char *path;       /* by which its file is found as this one finds it; NULL: not known. Owned */
	bool is_foreign;  /* the path is to be seen in another root than ours */
	uint64_t checked; /* rights_watch.c: the last check that is done with it */
	uint32_t slot;             /* WIRE_NO_SLOT: beyond the table's size */
	pid_t pid;                 /* the client's; 0: not known */
	struct identity *identity; /* the client's, which has it; set by opening.c */
	uint32_t id;               /* the connection's, for CLOSE; set by client.c */
	uint64_t client;           /* the same, by its number */
	unsigned group;            /* TOPIC_NO_GROUP: a socket-only one, for which the daemon listens */
	bool told;                 /* the client has had the answer, so it may have posted */
	bool has_joined;           /* it was opened: who watches has been told */
	struct region_holder *regions; /* regions.c: what it holds of the topic's */
	unsigned n_regions;
	struct subscriber *subscriber; /* a socket-only one's; subscriber.c */
};
#define TOPIC_NO_GROUP UINT_MAX

/* How a member ends. */
enum leave {
	LEAVE_CLOSED, /* in good order */
	LEAVE_DIED,   /* its process has ended, so it may have changed the file and not posted: the others get RESYNC; and
	               * what it held in the ring is given back */
	LEAVE_LOST,   /* the connection has ended, but the process may live on, with the lane mapped: the others get RESYNC,
	               * and nobody else gets its slot */
};

struct topics *topics_new(void); /* NULL: no memory */
struct topics *topics_free(struct topics *topics); /* and all topics, members and names */
size_t topics_count(const struct topics *topics);
/* Called when the last one has gone, but not by topics_free. */
void topics_on_empty(struct topics *topics, void (*fn)(void *arg), void *arg);

struct topic_name *topics_find(const struct topics *topics, const struct topic_key *key);
/* By the name of its folder in the runtime folder. */
struct topic_name *topics_find_runtime(const struct topics *topics, const char *name);
/* Another name whose file was this one when it was opened last; may be out of date. */
struct topic_name *topics_find_file(const struct topics *topics, uint64_t dev, uint64_t ino);
struct topic_name *topics_next_of_file(const struct topic_name *name); /* and one more, of this one's */
/* By its number; and the first one with a larger number. NULL: there is none. */
struct topic *topics_find_number(const struct topics *topics, uint64_t number);
struct topic *topics_after(const struct topics *topics, uint64_t number);
/* Walks all names: NULL gives the first; NULL after the last. The table must not change meanwhile. */
void topics_each(const struct topics *topics, void (*fn)(struct topic_name *name, void *arg), void *arg);

/* A new topic with one name and no members. -ENOMEM. */
int topics_add(struct topics *topics, const struct topic_key *key, struct topic_name **ret);
/* Another name for a topic. -ENOMEM. */
int topic_add_name(struct topic *topic, const struct topic_key *key, struct topic_name **ret);
/* It has no members any more: its lanes go, and all that joins them. */
void topic_empty(struct topic *topic);
/* Nobody may refer to it, its names or its members any more. Returns NULL. */
struct topic *topic_free(struct topic *topic);

/* By which it is told to people: one of its names'. NULL: not known. */
static inline const char *topic_path(const struct topic *topic)
{
	return topic->names ? topic->names->path : NULL;
}

void topic_name_set_file(struct topic_name *name, bool exists, uint64_t dev, uint64_t ino);
/* Copies; -ENOMEM: keeps the old one. A path in our root is not replaced by one in another. */
int topic_name_set_path(struct topic_name *name, const char *path, bool is_foreign);

/* Who joins a topic, and how. */
struct joining {
	struct user *user;
	pid_t pid;
	uint32_t rights;         /* WIRE_RIGHT_* */
	bool listens;            /* with shared memory */
	struct lane_shape shape; /* a checked one, for its lane if that is made */
};
/* Adds a member: finds or makes its lane, gives out a slot and, if it `listens`, a place at a bell; offloads the lane first
 * if it gets too many. -EMFILE, -ENFILE, -ENOMEM; -EDQUOT: *ret_limit says why. */
int topic_join(struct topic_name *name, const struct joining *joining, struct member **ret, const char **ret_limit);
/* Takes the member out and frees it. A topic that has no members left is the caller's to free. */
void topic_leave(struct member *member, enum leave how);
int member_bell(const struct member *member); /* the lane's */

/* A lane goes with the last who is in it; but the topic's last ones stay for what its end waits for. */
void topic_drop_empty_lanes(struct topic *topic);
/* This user's lanes stay although nobody may be in them. */
void topic_keep_lanes(struct topic *topic, const struct user *user, bool keep);

/* Going through the members, the last who came first, in pieces between which members, this one too, and the topic may go. Zeroed
 * at first, and its owner's. */
struct topic_walk {
	struct topic *topic; /* NULL: it has gone */
	struct member *member; /* the next one; NULL: there is none */
	struct topic_walk *next;
};
void topic_walk_begin(struct topic_walk *walk, struct topic *topic);
void topic_walk_end(struct topic_walk *walk); /* nothing, if it has not begun */

/* The lane that members of this user with these rights are in; NULL: none. */
struct topic_lane *topic_find_lane(const struct topic *topic, const struct user *user, uint32_t rights);

/* A link has a place at a bell and a slot, in which it writes as `pid`, but is no member. Returns a bell, the lane's, or
 * -errno. */
int topic_link_join(struct topic_lane *lane, pid_t pid, unsigned *ret_group, uint32_t *ret_slot);
/* `died`: its process has ended, so what it held in the ring is given back. */
void topic_link_leave(struct topic_lane *lane, unsigned group, uint32_t slot, bool died);

/* Has anybody posted in this user's lanes? True where that cannot be told. */
bool topic_was_posted(struct topic *topic, const struct user *user);
bool topic_has_members_of(const struct topic *topic, const struct user *user);

/* Tells all members "look again". */
void topic_resync(struct topic *topic);
/* Something of this user's may have been missed: the same for its lanes, and where it may post for all. */
void topic_resync_for(struct topic *topic, const struct user *user);
/* One post of the daemon's own, in each lane. */
void topic_post(struct topic *topic);

#endif
