/* SPDX-License-Identifier: MIT */
/* crossing.c - carries between the lanes of a topic. */
#include "crossing.h"

#include <errno.h>

#include "context.h"

int crossing_update(const struct context *context, struct topic *topic)
{
	(void)context;
	topic_drop_empty_lanes(topic);
	for (struct topic_lane *lane = topic->lanes; lane && topic->lanes->next; lane = lane->next) {
		struct page *page = topic_lane_borrow(lane);

		if (!page)
			return -errno;
		atomic_store(&page->divided, 1);
		topic_lane_return(lane, page);
	}
	return 0;
}

void crossing_end(struct topic *topic)
{
	(void)topic;
}
