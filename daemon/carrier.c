/* SPDX-License-Identifier: MIT */
/*
 * carrier.c - rings offloaded lanes, and finds those that are to be.
 *
 * Whose lane the bell was rung for is seen by the generations, in the user's turns. It is listened to for edges and never read:
 * its user's processes share it, and could make reading it block.
 */
#include "carrier.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "counts.h"
#include "limit.h"
#include "os/os.h"
#include "ringing.h"
#include "share.h"
#include "topic_lane.h"
#include "user.h"

#define LOOKS_AT_THE_TIME 64 /* lanes that are looked at before the time is */

struct carrier {
	int bell;
	unsigned offload_members, offload_message_members;
	struct topic_lane *carried;       /* lanes that are or were offloaded */
	struct topic_lane *candidates;    /* lanes that will be once they have messages */
	struct topic_lane **candidate_at; /* where the look at them has got to; NULL: it is through */
	bool look_again;                  /* from the start, then */
	struct topic_lane **ring_at;      /* where ringing has got to; NULL: it is through */
	unsigned ring_group;              /* the next bell of that lane */
	bool ring_again;                  /* from the start, then */
	uint64_t rung_ns;                 /* when the bell was, for what is not rung yet; 0: all is */
	struct share *share;              /* of its user's time */
	struct share_place turn;
	struct loop_event *rung, *looking, *ringing;
};

/* --- which ------------------------------------------------------------------------------------------- */

static void candidate_remove(struct carrier *carrier, struct topic_lane *lane)
{
	if (!lane->candidate_at)
		return;
	if (carrier->candidate_at == &lane->candidate_next)
		carrier->candidate_at = lane->candidate_at;
	*lane->candidate_at = lane->candidate_next;
	if (lane->candidate_next)
		lane->candidate_next->candidate_at = lane->candidate_at;
	lane->candidate_at = NULL;
}

/* From now on posters ring the carrier's bell. `page` then stays mapped, and the lane stays in the carrier's
 * list as long as it lives: a poster may have seen the flag and not rung yet, whatever the flag says later. */
static void offload(struct carrier *carrier, struct topic_lane *lane, struct page *page)
{
	lane->page = page;
	candidate_remove(carrier, lane);
	if (!lane->carry_at) {
		lane->carry_next = carrier->carried;
		lane->carry_at = &carrier->carried;
		if (carrier->carried)
			carrier->carried->carry_at = &lane->carry_next;
		if (carrier->ring_at == &carrier->carried)
			carrier->ring_at = &lane->carry_next; /* the one that is being rung stays that */
		carrier->carried = lane;
	}
	lane->offloaded = true;
	atomic_store(&page->offload, 1);
}

/* Listeners whose posters ring for themselves. */
static unsigned most_listening(const struct carrier *carrier, const struct topic_lane *lane)
{
	if (lane->has_messages && carrier->offload_message_members < carrier->offload_members)
		return carrier->offload_message_members;
	return carrier->offload_members;
}

static bool has_messages(struct topic_lane *lane, const struct page *page)
{
	if (!lane->has_messages)
		lane->has_messages = atomic_load(&page->messages) != 0;
	return lane->has_messages;
}

/* Is to be offloaded as soon as it has messages: stays mapped until then. */
static void candidate_add(struct carrier *carrier, struct topic_lane *lane, struct page *page)
{
	if (lane->candidate_at || lane->n_listening <= carrier->offload_message_members)
		return;
	lane->page = page;
	lane->candidate_next = carrier->candidates;
	lane->candidate_at = &carrier->candidates;
	if (carrier->candidates)
		carrier->candidates->candidate_at = &lane->candidate_next;
	carrier->candidates = lane;
}

void carrier_members_came(struct topic_lane *lane, struct page *page)
{
	struct carrier *carrier = user_carrier(lane->user);

	/* Whoever publishes first sets the flag and then rings the carrier, which knows this lane by then. */
	if (!lane->offloaded && !has_messages(lane, page))
		candidate_add(carrier, lane, page);
	if (!lane->offloaded && (lane->n_groups > 1 || lane->n_listening > most_listening(carrier, lane)))
		offload(carrier, lane, page);
}

/* Posters ring for themselves again once there are clearly fewer than it took, and only where all share the
 * first bell, since posters know no other. */
void carrier_members_left(struct topic_lane *lane)
{
	struct carrier *carrier = user_carrier(lane->user);

	if (lane->offloaded && lane->n_groups == 1 && lane->n_listening <= most_listening(carrier, lane) / 2) {
		lane->offloaded = false;
		atomic_store(&lane->page->offload, 0);
		if (!has_messages(lane, lane->page))
			candidate_add(carrier, lane, lane->page);
	}
	if (lane->n_listening <= carrier->offload_message_members)
		candidate_remove(carrier, lane);
}

bool carrier_may_change(const struct topic_lane *lane)
{
	const struct carrier *carrier = user_carrier(lane->user);

	return lane->offloaded || lane->candidate_at || lane->n_listening > carrier->offload_members ||
	       lane->n_listening > carrier->offload_message_members;
}

void carrier_set(struct carrier *carrier, unsigned offload_members, unsigned offload_message_members)
{
	carrier->offload_members = offload_members;
	carrier->offload_message_members = offload_message_members;
}

void carrier_forget(struct topic_lane *lane)
{
	struct carrier *carrier = user_carrier(lane->user);

	if (lane->carry_at) {
		if (carrier->ring_at == &lane->carry_next)
			carrier->ring_at = lane->carry_at;
		else if (carrier->ring_at && *carrier->ring_at == lane)
			carrier->ring_group = 0;
		*lane->carry_at = lane->carry_next;
		if (lane->carry_next)
			lane->carry_next->carry_at = lane->carry_at;
		lane->carry_at = NULL;
	}
	candidate_remove(carrier, lane);
}

/* --- ringing ------------------------------------------------------------------------------------------- */

bool carrier_look_for_messages(struct carrier *carrier, bool begin)
{
	if (begin && carrier->candidate_at)
		carrier->look_again = true;
	else if (begin)
		carrier->candidate_at = &carrier->candidates;
	for (unsigned n = 0; n < LIMIT_CANDIDATES_IN_A_ROW && carrier->candidate_at; n++) {
		struct topic_lane *lane = *carrier->candidate_at;

		if (!lane) {
			carrier->candidate_at = carrier->look_again ? &carrier->candidates : NULL;
			carrier->look_again = false;
		} else if (has_messages(lane, lane->page)) {
			offload(carrier, lane, lane->page); /* and the next one has its place */
		} else {
			carrier->candidate_at = &lane->candidate_next;
		}
	}
	return carrier->candidate_at != NULL;
}

/* The bells of one lane, if it has been posted to; those that follow on one that was rung are due in any case. False: there was
 * no time for all. */
static bool ring_lane(struct carrier *carrier, struct topic_lane *lane)
{
	if (carrier->ring_group == 0) {
		uint64_t generation = atomic_load(&lane->page->generation);

		if (generation == lane->carried)
			return true;
		lane->carried = generation;
	}
	while (carrier->ring_group < lane->n_groups) {
		const struct lane_group *group = &lane->groups[carrier->ring_group++];

		if (group->n_listening == 0)
			continue;
		ringing_ring(group->bell);
		counts.bells++;
		if (carrier->share && share_is_over(carrier->share) && carrier->ring_group < lane->n_groups)
			return false;
	}
	carrier->ring_group = 0;
	return true;
}

static void begin_ringing(struct carrier *carrier)
{
	if (carrier->ring_at)
		carrier->ring_again = true;
	else
		carrier->ring_at = &carrier->carried;
}

bool carrier_carry(struct carrier *carrier, bool begin)
{
	if (begin)
		begin_ringing(carrier);
	for (unsigned n = 0; carrier->ring_at; n++) {
		struct topic_lane *lane = *carrier->ring_at;

		if (n % LOOKS_AT_THE_TIME == LOOKS_AT_THE_TIME - 1 && carrier->share && share_is_over(carrier->share))
			return true;
		if (!lane) {
			carrier->ring_at = carrier->ring_again ? &carrier->carried : NULL;
			carrier->ring_again = false;
		} else if (!ring_lane(carrier, lane)) {
			return true;
		} else {
			carrier->ring_at = &lane->carry_next;
		}
	}
	return false;
}

static void look(void *arg)
{
	struct carrier *carrier = arg;

	if (carrier_look_for_messages(carrier, false))
		loop_call_soon(carrier->looking);
}

static void take_turn(void *arg)
{
	struct carrier *carrier = arg;

	uint64_t before = counts.bells;

	if (carrier_carry(carrier, false)) {
		loop_call_soon(carrier->ringing);
		return;
	}
	if (counts.bells != before)
		counts_took(LATENCY_RINGING, carrier->rung_ns);
	carrier->rung_ns = 0;
}

static void ring_some(void *arg)
{
	struct carrier *carrier = arg;

	(void)share_run(carrier->share, &carrier->turn);
}

static void rung(void *arg)
{
	struct carrier *carrier = arg;

	if (carrier->rung_ns == 0)
		carrier->rung_ns = os_now_ns();
	begin_ringing(carrier);
	ring_some(carrier);
	if (carrier_look_for_messages(carrier, true))
		loop_call_soon(carrier->looking);
}

/* --- life ------------------------------------------------------------------------------------------------ */

int carrier_bell(const struct carrier *carrier)
{
	return carrier->bell;
}

int carrier_new(struct loop *loop, struct share *share, unsigned offload_members, unsigned offload_message_members,
                struct carrier **ret)
{
	struct carrier *carrier = calloc(1, sizeof(*carrier));
	int r = 0;

	if (!carrier)
		return -ENOMEM;
	*carrier = (struct carrier){ .offload_members = offload_members, .offload_message_members = offload_message_members };
	carrier->share = share;
	carrier->turn = (struct share_place){ .fn = take_turn, .arg = carrier };
	carrier->bell = os_bell_new();
	if (carrier->bell < 0)
		r = carrier->bell;
	if (r == 0 && loop) {
		carrier->rung = loop_on_edge(loop, carrier->bell, rung, carrier);
		carrier->looking = loop_timer(loop, look, carrier);
		carrier->ringing = loop_timer(loop, ring_some, carrier);
		r = carrier->rung && carrier->looking && carrier->ringing ? 0 : -ENOMEM;
	}
	if (r < 0) {
		carrier_free(carrier);
		return r;
	}
	*ret = carrier;
	return 0;
}

struct carrier *carrier_free(struct carrier *carrier)
{
	if (carrier) {
		share_leave(&carrier->turn);
		loop_event_free(carrier->ringing);
		loop_event_free(carrier->rung);
		loop_event_free(carrier->looking);
		if (carrier->bell >= 0)
			close(carrier->bell);
		free(carrier);
	}
	return NULL;
}
