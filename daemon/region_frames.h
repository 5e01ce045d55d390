/* SPDX-License-Identifier: MIT */
/* region_frames.h - what a connection has under way about regions. */
#ifndef PATHBUS_DAEMON_REGION_FRAMES_H
#define PATHBUS_DAEMON_REGION_FRAMES_H

struct client;
struct member;

/* What this member (NULL: any) wants to bring back is not waited for any more, and not answered. */
void restoring_cancel(struct client *client, const struct member *member);

#endif
