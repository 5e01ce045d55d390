/* SPDX-License-Identifier: MIT */
/*
 * death_page.h - the daemon's end of the death word (common/death.h).
 */
#ifndef PATHBUS_DAEMON_DEATH_PAGE_H
#define PATHBUS_DAEMON_DEATH_PAGE_H

#include "death.h"

struct death_page {
	struct death *page; /* this process's mapping, the only writable one */
	int fd;             /* for clients and the link agent: they cannot map it writable */
};

/* To be called by the thread whose death is meant: the main one, which ends last. 0 or -errno. */
int death_page_init(struct death_page *ret);

/* A daemon that stops: before it closes any socket. */
void death_page_mark(struct death_page *page);

/* Closes the descriptor only. The mapping stays until the process ends, since the kernel holds its address. */
void death_page_deinit(struct death_page *page);

#endif
