/* SPDX-License-Identifier: MIT */
/* crossing.c - carries between the lanes of a topic. */
#include "crossing.h"

#include "context.h"

int crossing_update(const struct context *context, struct topic *topic)
{
	(void)context;
	topic_drop_empty_lanes(topic);
	return 0;
}

void crossing_end(struct topic *topic)
{
	(void)topic;
}
