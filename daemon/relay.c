/* SPDX-License-Identifier: MIT */
/* relay.c - a lane that the daemon maps for its socket-only members. */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "names.h"
#include "os/os.h"
#include "subscriber.h"

int relay_join(struct topic *topic, struct loop *loop, struct relay **ret)
{
	size_t size = lane_size(&topic->shape);
	struct relay *relay = topic->relay;
	uint64_t now = os_now_ns();

	if (!relay) {
		unsigned char *map;

		relay = calloc(1, sizeof(*relay));
		if (!relay)
			return -ENOMEM;
		map = os_map(topic->page_fd, size, true, NULL);
		if (!map) {
			int r = -errno;

			free(relay);
			return r;
		}
		relay->topic = topic;
		relay->loop = loop;
		relay->map = map;
		ring_attach(&relay->ring, (struct page *)(void *)map, map + PAGE_SIZE_BYTES, &topic->shape);
		topic->relay = relay;
	}
	/* Who comes may bring an origin to which another daemon has given numbers. It has counted more slowly than the clock,
	 * which does not go back. */
	relay->number = now > relay->number ? now : relay->number;
	relay->n_members++;
	*ret = relay;
	return 0;
}

void relay_leave(struct relay *relay)
{
	struct topic *topic = relay->topic;

	if (--relay->n_members > 0)
		return;
	relay_unlisten(relay);
	munmap(relay->map, lane_size(&topic->shape));
	topic->relay = NULL;
	free(relay);
}

static void rung(void *arg)
{
	const struct relay *relay = arg;

	subscribers_look(relay->subscribers);
}

int relay_listen(struct relay *relay)
{
	int bell;

	if (relay->rung)
		return 0;
	bell = topic_listen(relay->topic, &relay->group);
	if (bell < 0)
		return bell;
	relay->rung = loop_on_edge(relay->loop, bell, rung, relay);
	if (!relay->rung) {
		topic_unlisten(relay->topic, relay->group);
		return -ENOMEM;
	}
	return 0;
}

void relay_unlisten(struct relay *relay)
{
	if (!relay->rung)
		return;
	relay->rung = loop_event_free(relay->rung); /* before its bell is closed */
	topic_unlisten(relay->topic, relay->group);
}

uint64_t relay_new_number(struct relay *relay, uint64_t last)
{
	relay->number++;
	return last < relay->number || last == UINT64_MAX ? relay->number : last + 1;
}

struct lane relay_lane(const struct relay *relay)
{
	return (struct lane){
		.page = relay->ring.page,
		.bell = relay->topic->groups[0].bell, /* with others the lane is offloaded */
		.carrier = relay->topic->topics->carrier_bell,
	};
}
