/* SPDX-License-Identifier: MIT */
/*
 * carrier.c - rings offloaded lanes, and finds those that are to be.
 *
 * One bell for all of them, which every client has: whose lane it was for is seen by the generations. The bell
 * is drained before they are looked at, so a post that comes during the walk rings again. It is a module of
 * main here, where all clients are this user's processes; clients could make the bell block.
 */
#include "carrier.h"

#include <stdlib.h>

#include "os/os.h"
#include "topic.h"

struct carrier {
	int bell;
	struct topics *topics;
	struct loop_event *readable, *looking;
};

static void look(void *arg)
{
	struct carrier *carrier = arg;

	if (topics_look_for_messages(carrier->topics, false))
		loop_call_soon(carrier->looking);
}

static void rung(void *arg)
{
	struct carrier *carrier = arg;

	os_bell_drain(carrier->bell);
	topics_carry(carrier->topics);
	if (topics_look_for_messages(carrier->topics, true))
		loop_call_soon(carrier->looking);
}

int carrier_bell_new(void)
{
	return os_bell_new();
}

struct carrier *carrier_new(struct loop *loop, int bell, struct topics *topics)
{
	struct carrier *carrier = calloc(1, sizeof(*carrier));

	if (!carrier)
		return NULL;
	carrier->bell = bell;
	carrier->topics = topics;
	carrier->readable = loop_on_readable(loop, bell, rung, carrier);
	carrier->looking = loop_timer(loop, look, carrier);
	return carrier->readable && carrier->looking ? carrier : carrier_free(carrier);
}

struct carrier *carrier_free(struct carrier *carrier)
{
	if (carrier) {
		loop_event_free(carrier->readable);
		loop_event_free(carrier->looking);
		free(carrier);
	}
	return NULL;
}
