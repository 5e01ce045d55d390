/* SPDX-License-Identifier: MIT */
/* share.c - who of a user is called when. */
#include "share.h"

#include <errno.h>

#include "limit.h"
#include "os/os.h"

static struct share_place *place_of(struct queue *place)
{
	return queue_container(place, struct share_place, place);
}

/* --- turns ------------------------------------------------------------------------------------------- */

static void begin_round(struct share *share)
{
	uint64_t round = share->loop ? loop_round(share->loop) : 0;

	if (share->round == round)
		return;
	share->round = round;
	share->spent_ns = 0;
}

static bool has_time(struct share *share)
{
	begin_round(share);
	return share->turn_ns == 0 || share->spent_ns < share->turn_ns;
}

static void run(struct share *share, struct share_place *place)
{
	uint64_t ns;

	share->is_running = true;
	share->began_ns = os_now_ns();
	place->fn(place->arg);
	ns = os_now_ns() - share->began_ns;
	share->is_running = false;
	share->spent_ns += ns > 0 ? ns : 1;
}

bool share_is_over(const struct share *share)
{
	return share->turn_ns > 0 && share->is_running && os_now_ns() - share->began_ns >= share->turn_ns;
}

bool share_run(struct share *share, struct share_place *place)
{
	if (has_time(share) && !share->is_running && !queue_first(&share->parked)) {
		run(share, place);
		return true;
	}
	if (!queue_has(&place->place)) {
		queue_move(&share->parked, &place->place);
		if (share->turn)
			loop_call_soon(share->turn);
	}
	return false;
}

/* In the order in which they came: one that parks again does so behind the others. */
static void take_turns(void *arg)
{
	struct share *share = arg;
	struct queue *first;

	while (has_time(share) && (first = queue_first(&share->parked))) {
		struct share_place *place = place_of(first);

		queue_remove(first);
		run(share, place);
	}
	if (queue_first(&share->parked))
		loop_call_soon(share->turn);
}

/* --- waiting ------------------------------------------------------------------------------------------- */

static void wake_at(struct share *share, uint64_t at_ns)
{
	uint64_t now = os_now_ns();

	if (!share->wake || (share->wake_ns != 0 && share->wake_ns <= at_ns))
		return;
	share->wake_ns = at_ns;
	loop_set(share->wake, at_ns > now ? (unsigned)((at_ns - now) / 1000000u) + 1 : 1);
}

void share_wait(struct share *share, struct share_place *place, uint64_t at_ns)
{
	uint64_t look_ns = os_now_ns() + LIMIT_USER_WAIT_MS * UINT64_C(1000000);

	queue_move(&share->waiting, &place->place);
	wake_at(share, at_ns < look_ns ? at_ns : look_ns);
}

/* Those that waited when there was room last, some at a time. Each waits again if it has to, and then for the next time: how many
 * there are makes no difference to how often they are called. */
static void look_at_some(void *arg)
{
	struct share *share = arg;
	struct queue *first;

	for (unsigned n = 0; n < LIMIT_WAITING_IN_A_ROW && (first = queue_first(&share->looked_at)); n++) {
		struct share_place *place = place_of(first);

		queue_remove(first);
		place->fn(place->arg);
	}
	if (queue_first(&share->looked_at))
		loop_call_soon(share->room);
}

static void look_again(struct share *share)
{
	queue_move_all(&share->looked_at, &share->waiting);
	if (queue_first(&share->looked_at))
		loop_call_soon(share->room);
}

void share_room(struct share *share)
{
	if (share->room)
		look_again(share);
}

static void wake(void *arg)
{
	struct share *share = arg;

	share->wake_ns = 0;
	look_again(share);
}

/* --- life ------------------------------------------------------------------------------------------------ */

int share_init(struct share *share, struct loop *loop, uint64_t turn_ns)
{
	*share = (struct share){ .loop = loop, .turn_ns = turn_ns };
	queue_init(&share->parked);
	queue_init(&share->waiting);
	queue_init(&share->looked_at);
	if (!loop)
		return 0;
	share->turn = loop_timer(loop, take_turns, share);
	share->wake = loop_timer(loop, wake, share);
	share->room = loop_timer(loop, look_at_some, share);
	return share->turn && share->wake && share->room ? 0 : -ENOMEM;
}

void share_deinit(struct share *share)
{
	share->turn = loop_event_free(share->turn);
	share->wake = loop_event_free(share->wake);
	share->room = loop_event_free(share->room);
}
