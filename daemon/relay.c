/* SPDX-License-Identifier: MIT */
/* relay.c - a lane that the daemon maps for its socket-only members. */
#include "relay.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "limit.h"
#include "names.h"
#include "os/os.h"
#include "turns.h"

static struct relay *relay_free(struct relay *relay)
{
	if (relay->map)
		munmap(relay->map, lane_size(&relay->lane->shape));
	loop_event_free(relay->looking);
	loop_event_free(relay->lease);
	free(relay);
	return NULL;
}

static int relay_new(struct topic_lane *lane, struct loop *loop, struct relay **ret)
{
	size_t size = lane_size(&lane->shape);
	struct relay *relay = calloc(1, sizeof(*relay));
	int r = -ENOMEM;

	if (!relay)
		return r;
	relay->lane = lane;
	relay->loop = loop;
	queue_init(&relay->resting);
	queue_init(&relay->looked_at);
	relay->looking = loop_timer(loop, turns_looking, relay);
	relay->lease = loop_timer(loop, turns_lease_is_over, relay);
	if (relay->looking && relay->lease) {
		relay->map = os_map(lane->page_fd, size, true, NULL);
		r = relay->map ? 0 : -errno;
	}
	if (r < 0) {
		relay_free(relay);
		return r;
	}
	ring_attach(&relay->ring, (struct page *)relay->map, (unsigned char *)relay->map + PAGE_SIZE_BYTES, &lane->shape);
	relay->ring.most_steps = LIMIT_RING_STEPS; /* members with shared memory write there whatever they like */
	*ret = relay;
	return 0;
}

int relay_join(struct topic_lane *lane, struct loop *loop, struct relay **ret)
{
	int r = lane->relay ? 0 : relay_new(lane, loop, &lane->relay);
	struct relay *relay = lane->relay;
	uint64_t now = os_now_ns();

	if (r < 0)
		return r;
	/* Who comes may bring an origin to which another daemon has given numbers. It has counted more slowly than the clock,
	 * which does not go back. */
	relay->number = now > relay->number ? now : relay->number;
	relay->n_members++;
	*ret = relay;
	return 0;
}

void relay_leave(struct relay *relay)
{
	if (--relay->n_members > 0)
		return;
	relay->lane->relay = NULL;
	relay_free(relay);
}

static void rung(void *arg)
{
	struct relay *relay = arg;

	atomic_fetch_add_explicit(&page_tally(relay->ring.page, 0)->wakeups, 1, memory_order_relaxed);
	turns_look(relay);
}

int relay_listen(struct relay *relay)
{
	int bell;

	if (relay->n_listening++ > 0)
		return 0;
	bell = topic_lane_listen(relay->lane, &relay->group);
	if (bell >= 0) {
		relay->rung = loop_on_edge(relay->loop, bell, rung, relay);
		if (relay->rung)
			return 0;
		topic_lane_unlisten(relay->lane, relay->group);
	}
	relay->n_listening--;
	return bell < 0 ? bell : -ENOMEM;
}

void relay_unlisten(struct relay *relay)
{
	if (--relay->n_listening > 0)
		return;
	relay->rung = loop_event_free(relay->rung); /* before its bell is closed */
	topic_lane_unlisten(relay->lane, relay->group);
}

uint64_t relay_new_number(struct relay *relay, uint64_t last)
{
	relay->number++;
	return last < relay->number || last == UINT64_MAX ? relay->number : last + 1;
}

struct lane relay_lane(const struct relay *relay)
{
	return topic_lane_view(relay->lane, relay->ring.page);
}
