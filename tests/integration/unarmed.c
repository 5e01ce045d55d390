/* SPDX-License-Identifier: MIT */
/* unarmed.c - in place of os_death_arm, in a daemon for test_unarmed.c. */
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>

int __wrap_os_death_arm(_Atomic uint32_t *word);
int __wrap_os_death_arm(_Atomic uint32_t *word)
{
	(void)word;
	return -EOPNOTSUPP;
}
