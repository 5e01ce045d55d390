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
	uint64_t begin_ns = os_now_ns(), ns;

	place->fn(place->arg);
	ns = os_now_ns() - begin_ns;
	share->spent_ns += ns > 0 ? ns : 1;
}

bool share_run(struct share *share, struct share_place *place)
{
	if (has_time(share) && !queue_first(&share->parked)) {
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

void share_room(struct share *share)
{
	if (share->room && queue_first(&share->waiting))
		loop_call_soon(share->room);
}

/* Those that wait now, some at a time. Each waits again if it has to. */
static void look_again(void *arg)
{
	struct share *share = arg;
	struct queue *last = share->waiting.before;

	for (unsigned n = 0; queue_first(&share->waiting); n++) {
		struct queue *first = queue_first(&share->waiting);
		struct share_place *place = place_of(first);
		bool is_last = first == last;

		if (n == LIMIT_WAITING_IN_A_ROW) {
			loop_call_soon(share->room);
			return;
		}
		queue_remove(first);
		place->fn(place->arg);
		if (is_last)
			return;
	}
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
	if (!loop)
		return 0;
	share->turn = loop_timer(loop, take_turns, share);
	share->wake = loop_timer(loop, wake, share);
	share->room = loop_timer(loop, look_again, share);
	return share->turn && share->wake && share->room ? 0 : -ENOMEM;
}

void share_deinit(struct share *share)
{
	share->turn = loop_event_free(share->turn);
	share->wake = loop_event_free(share->wake);
	share->room = loop_event_free(share->room);
}
