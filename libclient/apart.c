/* SPDX-License-Identifier: MIT */
/*
 * apart.c - PATHBUS_LOCKS_ONLY: a topic on no channel. It has a lane that nobody else is on, so that whatever looks
 * at a topic's lane finds one.
 */
#include <errno.h>
#include <unistd.h>

#include "internal.h"

static int apart_settle(pathbus_topic *topic, uint64_t deadline_ns)
{
	static const struct wire_opened nobody = { .topic = 0 };
	struct joined joined = { .page = -1, .bell = -1, .sidecar = SIDECAR_NONE, .why = "asked for: locks only" };
	struct place place;
	bool may_write;
	int r = place_resolve(-1, topic->path, &place);

	(void)deadline_ns;
	if (r < 0)
		return r;
	may_write = place.may_write;
	topic->key = place.key;
	place_deinit(&place);
	if (!may_write)
		return -EACCES;
	r = socket_make_lane(topic, &nobody, &joined);
	if (r < 0)
		return r;
	joined.place = PLACE_APART;
	return topic_install(topic, &joined);
}

const struct transport transport_apart = { .kind = PATHBUS_AUTO, .settle = apart_settle };
