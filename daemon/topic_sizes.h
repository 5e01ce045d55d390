/* SPDX-License-Identifier: MIT */
/*
 * topic_sizes.h - how large a topic's ring and its messages may be: what a program asks for, and what the configuration says.
 */
#ifndef PATHBUS_DAEMON_TOPIC_SIZES_H
#define PATHBUS_DAEMON_TOPIC_SIZES_H

#include <stdint.h>

#include "options.h"
#include "page.h"
#include "topic_rules.h"

#define TOPIC_SIZES_TEXT 160u

/*
 * Of what was asked for (0: nothing in particular). 0; -EINVAL: out of any range, or together; -EMSGSIZE: more than the configuration
 * allows; `ret_text` (TOPIC_SIZES_TEXT) says which it is, and what may be asked for.
 */
int topic_sizes_make(const struct options *options, const struct topic_setting *setting, uint32_t ring_slots, uint32_t max_message,
                     struct lane_shape *ret, char *ret_text);

#endif
