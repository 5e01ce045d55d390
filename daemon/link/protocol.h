/* SPDX-License-Identifier: MIT */
/*
 * protocol.h - what pathbusd and its link agent say to each other.
 *
 * One struct per message over a SOCK_SEQPACKET pair; both ends are of one build, so the layout is the compiler's. In the daemon
 * of all users the agent is another user's, who may make it say anything: it is believed of that user's links only. The agent is started as
 *
 *     pathbus-link            with descriptor 3: its end of the pair, 4: the death page (read-only use)
 *
 * At the end of the pair (the daemon died) it carries what is in the lanes, announces itself once more in each
 * sidecar, leaves, exits. SIGTERM means the same, but waits for that end for two seconds: a service manager
 * signals both, and the last look at a lane has to come after the daemon's death word.
 */
#ifndef PATHBUS_DAEMON_LINK_PROTOCOL_H
#define PATHBUS_DAEMON_LINK_PROTOCOL_H

#include <stdint.h>

#include "key.h"

enum { LINK_FD_CONTROL = 3, LINK_FD_DEATH = 4 };

enum link_type {
	/* daemon to agent */
	LINK_JOIN = 1,  /* join lane and sidecar; 4 descriptors: page, bell, carrier's bell, folder (O_PATH).
	                 * Answered by LINKED or GONE. Never makes a sidecar */
	LINK_LEAVE = 2, /* the lane has no members left: carry what is in it and leave; answered by LEFT, or not at
	                 * all by a link that has ended by itself: its GONE is on the way */
	LINK_AGAIN = 3, /* the folder watch saw the sidecar appear although it is linked: one post to the lane */
	/* agent to daemon */
	LINK_LINKED = 16, /* both joined, baselines taken, announced on both sides */
	LINK_GONE = 17,   /* not, or no longer, linked: see `error`; the lane has had a post since */
	LINK_LEFT = 18,   /* as told: all that was in the lane is in the sidecar */
};

enum link_place {
	LINK_PLACE_FOLDER = 0,  /* the sidecar beside the file */
	LINK_PLACE_RUNTIME = 1, /* the one in the user's runtime folder */
};

struct link_message {
	uint32_t type;
	uint32_t link;        /* chosen by the daemon, unique while linked */
	uint32_t place;       /* JOIN */
	uint32_t slot;        /* JOIN: the link's in the lane's member table, or WIRE_NO_SLOT */
	int32_t error;        /* GONE: 0 the sidecar is not there or its last member left (look again), else -errno */
	struct topic_key key; /* JOIN */
};

#define LINK_JOIN_DESCRIPTORS 4

#endif
