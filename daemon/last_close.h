/* SPDX-License-Identifier: MIT */
/* last_close.h - closing what may take long to close. */
#ifndef PATHBUS_DAEMON_LAST_CLOSE_H
#define PATHBUS_DAEMON_LAST_CLOSE_H

/*
 * Closes a region's memory. With the last descriptor the kernel gives its pages back, before close() returns: a quarter of a
 * second for each GiB. So a thread does it, which is there only while there is something to close.
 */
void last_close(int fd);

#endif
