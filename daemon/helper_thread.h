/* SPDX-License-Identifier: MIT */
/* helper_thread.h - a thread of main's for what may block, which is there only while there is something to do. */
#ifndef PATHBUS_DAEMON_HELPER_THREAD_H
#define PATHBUS_DAEMON_HELPER_THREAD_H

#include <stdbool.h>

/* Detached; all signals stay the main thread's. It runs `run(NULL)`. False: there could be none. */
bool helper_thread_start(void *(*run)(void *arg));

#endif
