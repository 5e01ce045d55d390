/* SPDX-License-Identifier: MIT */
/*
 * limits.h - what each user may have, and all together: from what is set, and from how many descriptors there are.
 *
 * Where a daemon serves one user only, the limits of all are that user's, and those that were not set do not apply.
 */
#ifndef PATHBUS_DAEMON_LIMITS_H
#define PATHBUS_DAEMON_LIMITS_H

#include <stdint.h>

struct options;
struct users_setting;

/* Fills in what is about limits. `n_descriptors`: what this process may have. */
void limits_make(const struct options *options, uint64_t n_descriptors, struct users_setting *ret);
/* So many descriptors a user has that is at its limits. */
uint64_t limits_descriptors(const struct users_setting *setting);
/* Tells the log if what is set does not fit in what there is. */
void limits_tell(const struct options *options, const struct users_setting *setting, uint64_t n_descriptors);

#endif
