/* SPDX-License-Identifier: MIT */
/*
 * ringing.h - ringing bells that the processes of other users share.
 *
 * Whether writing to an eventfd blocks is a property of its open file, which everybody shares who has it: any of them can
 * fill it and clear O_NONBLOCK. So in a daemon that serves several users the kernel rings, as it does when an asynchronous
 * operation ends (IOCB_FLAG_RESFD, io_submit(2)): that never waits, full or not.
 */
#ifndef PATHBUS_DAEMON_RINGING_H
#define PATHBUS_DAEMON_RINGING_H

/* Bells are rung so from now on, by the calling thread only. 0 or -errno: they are written to. */
int ringing_init(void);
void ringing_deinit(void);

/* Wakes who listens to this bell. */
void ringing_ring(int bell);

#endif
