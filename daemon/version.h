/* SPDX-License-Identifier: MIT */
/*
 * version.h - the build says which version this is.
 */
#ifndef PATHBUS_DAEMON_VERSION_H
#define PATHBUS_DAEMON_VERSION_H

#ifndef PATHBUS_VERSION
#define PATHBUS_VERSION "unknown"
#endif

#endif
