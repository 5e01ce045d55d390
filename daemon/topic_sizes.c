/* SPDX-License-Identifier: MIT */
/* topic_sizes.c - see topic_sizes.h. */
#include "topic_sizes.h"

#include <errno.h>
#include <stdio.h>

#define IN_SECTION "in a [topic] section of the daemon's configuration"

static int refuse_message(uint32_t most, bool is_of_section, char *ret_text)
{
	snprintf(ret_text, TOPIC_SIZES_TEXT, "the daemon allows no messages of more than %u bytes %s", most,
	         is_of_section ? "here (max-message " IN_SECTION ")" : "(--max-message)");
	return -EMSGSIZE;
}

static int refuse_ring(uint32_t most, char *ret_text)
{
	snprintf(ret_text, TOPIC_SIZES_TEXT, "the daemon allows no rings of more than %u messages here (max-ring " IN_SECTION ")", most);
	return -EMSGSIZE;
}

/* What a section wants the ring to have, but no more than there is room for with such messages: who asked for nothing is not to
 * be refused. */
static uint32_t ring_of(const struct topic_setting *setting, uint32_t asked, uint32_t max_message)
{
	uint32_t slots = setting->ring_slots > asked ? setting->ring_slots : asked;
	struct lane_shape shape;

	if (slots == 0 && setting->max_ring_slots > 0 && setting->max_ring_slots < LANE_DEFAULT_SLOTS)
		slots = setting->max_ring_slots;
	while (slots > asked && slots > LANE_MIN_SLOTS && lane_shape_make(slots, max_message, &shape) < 0)
		slots = slots / 2 > asked ? slots / 2 : asked;
	return slots;
}

int topic_sizes_make(const struct options *options, const struct topic_setting *setting, uint32_t ring_slots, uint32_t max_message,
                     struct lane_shape *ret, char *ret_text)
{
	uint32_t most = setting->max_message > 0 ? setting->max_message : options->max_message;
	struct lane_shape shape;

	if (max_message == 0 && most < LANE_DEFAULT_MESSAGE)
		max_message = most;
	if (lane_shape_make(ring_slots, max_message, &shape) < 0) {
		snprintf(ret_text, TOPIC_SIZES_TEXT, "the ring, or its largest message, is too large");
		return -EINVAL;
	}
	if (max_message > most)
		return refuse_message(most, setting->max_message > 0, ret_text);
	if (setting->max_ring_slots > 0 && ring_slots > setting->max_ring_slots)
		return refuse_ring(setting->max_ring_slots, ret_text);
	return lane_shape_make(ring_of(setting, ring_slots, max_message), max_message, ret);
}
