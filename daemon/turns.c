/* SPDX-License-Identifier: MIT */
/*
 * turns.c - takes socket-only members from rest to being told and back.
 *
 * One that has told everything rests with its relay. When the lane changes, all that rest are to be looked at, which
 * is one step; they become due, some at a time, and those of a connection are told in turn, a few events at a time,
 * while it has room. So one who posts pays for what has been told since the last post, never for how many there are.
 */
#include "turns.h"

#include <errno.h>

#include "connection.h"
#include "limit.h"
#include "os/os.h"
#include "relay.h"

#define EVENTS_OF_ONE 64u      /* that a topic tells before others of the connection get their turn */
#define EVENTS_OF_DELIVERY 16u /* that a connection is sent before a post is answered */

static struct turn *turn_of(struct queue *place)
{
	return place ? queue_container(place, struct turn, place) : NULL;
}

/* The lane is armed as well: whichever comes first. */
static void look_at_lease(struct relay *relay, uint64_t lease_ns)
{
	uint64_t now = os_now_ns();

	if (relay->lease_ns && relay->lease_ns <= lease_ns)
		return;
	relay->lease_ns = lease_ns;
	loop_set(relay->lease, lease_ns > now ? (unsigned)((lease_ns - now) / 1000000u) + 1 : 1);
}

/* Some events for this connection. */
static void tell(struct client *client, unsigned budget)
{
	for (bool is_over = false; !is_over && queue_first(&client->due) && budget > 0 && client_has_room(client);
	     is_over = share_is_over(user_share(client->user))) {
		struct turn *turn = turn_of(queue_first(&client->due));
		unsigned share = budget < EVENTS_OF_ONE ? budget : EVENTS_OF_ONE, left = share;
		uint64_t lease_ns = 0;
		enum turn_end end = subscriber_take_turn(turn->subscriber, &left, &lease_ns);

		budget -= share - left;
		queue_move(end == TURN_GOES_ON ? &client->due : &turn->relay->resting, &turn->place);
		if (end == TURN_STALLED)
			look_at_lease(turn->relay, lease_ns);
	}
	client_flush(client);
	turns_go_on(client);
}

static void tell_some(void *arg)
{
	tell(arg, LIMIT_EVENTS_IN_A_ROW);
}

static void pump(void *arg)
{
	struct client *client = arg;

	(void)share_run(user_share(client->user), &client->pump_turn);
}

/* Its user has room again. */
static void waited(void *arg)
{
	turns_go_on(arg);
}

void turns_go_on(struct client *client)
{
	if (client->ending || !queue_first(&client->due))
		return;
	if (client_has_room(client))
		loop_call_soon(client->pump);
	else
		client_wait_for_room(client, &client->pump_wait);
}

static void make_due(struct turn *turn)
{
	queue_move(&turn->client->due, &turn->place);
}

void turns_looking(void *arg)
{
	struct relay *relay = arg;

	for (unsigned n = 0; queue_first(&relay->looked_at) && n < LIMIT_LOOKS_IN_A_ROW; n++) {
		struct turn *turn = turn_of(queue_first(&relay->looked_at));

		make_due(turn);
		turns_go_on(turn->client);
	}
	if (queue_first(&relay->looked_at))
		loop_call_soon(relay->looking);
}

void turns_look(struct relay *relay)
{
	queue_move_all(&relay->looked_at, &relay->resting);
	turns_looking(relay);
}

void turns_lease_is_over(void *arg)
{
	struct relay *relay = arg;

	relay->lease_ns = 0;
	turns_look(relay);
}

void turns_deliver(struct relay *relay, struct client *poster)
{
	struct turn *turn;

	queue_move_all(&relay->looked_at, &relay->resting);
	while (poster->deliveries > 0 && (turn = turn_of(queue_first(&relay->looked_at)))) {
		struct client *client = turn->client;

		/* Those of one connection stand together, if it opened them together. */
		for (; turn && turn->client == client && poster->deliveries > 0;
		     turn = turn_of(queue_first(&relay->looked_at))) {
			make_due(turn);
			poster->deliveries--;
		}
		if (!client->ending)
			tell(client, EVENTS_OF_DELIVERY);
	}
	if (queue_first(&relay->looked_at))
		loop_call_soon(relay->looking);
}

int turns_join(struct turn *turn)
{
	struct client *client = turn->client;

	if (!client->pump) {
		client->pump = loop_timer(client->context->loop, pump, client);
		client->pump_turn = (struct share_place){ .fn = tell_some, .arg = client };
		client->pump_wait = (struct share_place){ .fn = waited, .arg = client };
	}
	if (!client->pump)
		return -ENOMEM;
	make_due(turn);
	loop_call_soon(client->pump);
	return 0;
}

void turns_leave(struct turn *turn)
{
	queue_remove(&turn->place);
}
