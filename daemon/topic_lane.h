/* SPDX-License-Identifier: MIT */
/*
 * topic_lane.h - a lane of a topic as the daemon has it: its memory, its bells, its slots.
 *
 * A lane belongs to one user and to one set of rights, so that nobody can do more than post to oneself by writing into
 * memory. It lives while it has members or links, or the topic's end waits for something. Its page stays unmapped here
 * unless it is, or may have to be, offloaded (carrier.h), or the daemon is in it itself (relay.h, crossing.h).
 */
#ifndef PATHBUS_DAEMON_TOPIC_LANE_H
#define PATHBUS_DAEMON_TOPIC_LANE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "key.h"
#include "lane.h"
#include "lane_counts.h"
#include "page.h"

struct carrier; /* carrier.h */
struct crossing_lane; /* crossing.h */
struct relay;   /* relay.h */
struct trace;   /* trace.c */
struct topic;   /* topic.h */
struct user;    /* user.h */

/* One bell and who shares it. */
struct lane_group {
	int bell;
	unsigned n_listening; /* members, links, and the daemon */
};

struct topic_lane {
	struct topic *topic;
	struct topic_lane *next; /* of the same topic */
	uint64_t number;         /* this daemon's how-manieth */
	struct user *user;
	uint32_t rights;    /* WIRE_RIGHT_*: its members' */
	unsigned n_members;
	unsigned n_links;
	bool kept;          /* its user's last member has left, and links may still be made */
	bool rights_changed; /* of some of its members: it is about to be retired (rights_watch.c) */
	bool retired;       /* its members are joining anew, since what they may do has changed: nobody joins it any more */

	int page_fd;
	struct page *page; /* mapped only once the lane has been, or may have to be, offloaded; NULL before */
	struct lane_group *groups; /* at least one */
	unsigned n_groups;
	unsigned n_listening;
	struct lane_shape shape;
	uint64_t slots[(PAGE_SLOTS + 63) / 64]; /* taken ones, a bit each */
	unsigned n_unslotted;                   /* members beyond */

	/* carrier.c */
	bool offloaded;    /* what the page's flag was set to last */
	bool has_messages; /* as far as has been looked */
	uint64_t carried;  /* the generation for which the carrier rang last */
	struct topic_lane *carry_next, **carry_at;
	struct topic_lane *candidate_next, **candidate_at; /* among those that are offloaded once they have messages */

	/* lane_counts.c: what the daemon has put in by itself (of a crossing that is there, crossing->side.own comes on top); what was
	 * seen last; and what that came to. */
	struct lane_own own;
	struct lane_look look;
	struct lane_sums counted;

	struct crossing_lane *crossing; /* crossing.c; NULL: what is posted here is not carried to others, nor here */
	struct trace *trace; /* trace.c; NULL: nobody watches what is posted here */
	struct relay *relay; /* relay.c; NULL: it has no members without shared memory */
};

/* For `user`, which it refers to, and by whose carrier it is offloaded. -EMFILE, -ENFILE, -ENOMEM. */
int topic_lane_new(struct user *user, uint32_t rights, const struct topic_key *key, const struct lane_shape *shape,
                   struct topic_lane **ret);
/* Is nobody in it any more, nor to come? */
static inline bool topic_lane_is_empty(const struct topic_lane *lane)
{
	return lane->n_members == 0 && lane->n_links == 0 && !lane->kept;
}

/* It has no members, links or relay. Takes NULL. Returns NULL. */
struct topic_lane *topic_lane_free(struct topic_lane *lane);

/* The page, mapped for a moment unless it is mapped anyway; to be given back. NULL: errno. */
struct page *topic_lane_borrow(struct topic_lane *lane);
void topic_lane_return(struct topic_lane *lane, struct page *page);

/* What is needed to post in it, and to arm it. With members in other groups the lane is offloaded, and then it is the
 * carrier's bell that is rung. */
struct lane topic_lane_view(const struct topic_lane *lane, struct page *page);

/* A place at a bell for the daemon itself, which listens to it. A bell, the lane's, or -errno. */
int topic_lane_listen(struct topic_lane *lane, unsigned *ret_group);
void topic_lane_unlisten(struct topic_lane *lane, unsigned group);
/* The same with the page at hand. 0 or -errno. */
int topic_lane_listen_in(struct topic_lane *lane, struct page *page, unsigned *ret_group);
/* The numbers have changed by which it is offloaded. */
void topic_lane_offload_anew(struct topic_lane *lane);

/* WIRE_NO_SLOT: there is none left; counted. */
uint32_t topic_lane_take_slot(struct topic_lane *lane);
void topic_lane_return_slot(struct topic_lane *lane, uint32_t slot);
/* What a member that is gone held in the ring is given back. */
void topic_lane_recover(struct topic_lane *lane, const struct page *page, uint32_t slot);

/* Tells all its members "look again"; or one post of the daemon's own. */
void topic_lane_resync(struct topic_lane *lane);
void topic_lane_post(struct topic_lane *lane);
/* Tells all its members to join anew. 0 or -errno. */
int topic_lane_close(struct topic_lane *lane);
/* Has anybody posted in it? True where that cannot be told. */
bool topic_lane_was_posted(struct topic_lane *lane);

#endif
