/* SPDX-License-Identifier: MIT */
/* control_limit.h - the control socket's limits, and what happens when one is reached. The others are in limit.h. */
#ifndef PATHBUS_DAEMON_CONTROL_CONTROL_LIMIT_H
#define PATHBUS_DAEMON_CONTROL_CONTROL_LIMIT_H

#include <stdint.h>

/* Connections to the control socket, and of one user (but root, who may have them all; the last ones are root's). The next is
 * answered with 503 and closed. */
#define LIMIT_CONTROL_CONNECTIONS 64u
#define LIMIT_CONTROL_USER 32u
#define LIMIT_CONTROL_KEPT 8u
/* Streams of events among them, and of one user (but root). The next: 503. */
#define LIMIT_CONTROL_STREAMS 16u
#define LIMIT_CONTROL_USER_STREAMS 8u
/* Bytes of a request's line and headers, of its body, and of what is read ahead of what has been dealt with. */
#define LIMIT_CONTROL_HEADERS 8192u
#define LIMIT_CONTROL_BODY 65536u
#define LIMIT_CONTROL_AHEAD (LIMIT_CONTROL_HEADERS + LIMIT_CONTROL_BODY)
/* Bytes of an answer: a page ends there. And of a stream that have not been taken: what comes then is dropped and counted. */
#define LIMIT_CONTROL_ANSWER (UINT64_C(1) << 20)
#define LIMIT_CONTROL_STREAM (UINT64_C(256) << 10)
/* Entries of a page. */
#define LIMIT_CONTROL_PAGE 1000u
#define LIMIT_CONTROL_PAGE_NORMAL 100u
/* Bytes of a pattern of paths, and its components. */
#define LIMIT_CONTROL_PATTERN 1024u
#define LIMIT_CONTROL_PATTERN_COMPONENTS 32u
/* Holders of a region that are told, and lanes that a POST goes through in a row. */
#define LIMIT_CONTROL_HOLDERS 100u
/* A connection that has not sent a whole request for so long is closed, and one that does not take its answer. */
#define LIMIT_CONTROL_WAIT_MS 10000u
#define LIMIT_CONTROL_TAKE_MS 30000u
/* Connections accepted, and nanoseconds of answering, before others get their turn. */
#define LIMIT_CONTROL_ACCEPTS_IN_A_ROW 16u
#define LIMIT_CONTROL_TURN_NS 200000u

#endif
