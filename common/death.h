/* SPDX-License-Identifier: MIT */
/*
 * death.h - the death word: how clients learn at once that their daemon has died.
 *
 * A small page, made by the daemon, mapped read-only by its clients. While the daemon lives the word holds
 * the id of one of its threads; the kernel sets OS_DEAD in it when that thread dies (os_death_arm), and a
 * daemon that stops does so itself, in both cases before the sockets end. So a program that only posts finds
 * out without a system call. (tests/model/seams.pml, -DNO_WORD, shows what is lost without it.)
 */
#ifndef PATHBUS_COMMON_DEATH_H
#define PATHBUS_COMMON_DEATH_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "os/os.h"

#define DEATH_MAGIC UINT64_C(0x3144534542485450) /* "PTHBESD1" */
#define DEATH_SIZE 4096u

struct death {
	uint64_t magic;         /* DEATH_MAGIC; written once before anybody else maps it */
	_Atomic uint32_t word;  /* written by the daemon and by the kernel; read at every post, after the
	                         * generation was raised (seq_cst; partner: lane_post) */
	uint32_t armed;         /* 1: the kernel marks the word; 0: clients must watch their socket as well */
};

static inline bool death_has_come(const struct death *death)
{
	return (atomic_load(&((struct death *)(uintptr_t)death)->word) & OS_DEAD) != 0;
}

#endif
