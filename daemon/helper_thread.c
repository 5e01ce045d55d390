/* SPDX-License-Identifier: MIT */
/* helper_thread.c - see helper_thread.h. */
#include "helper_thread.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>

bool helper_thread_start(void *(*run)(void *arg))
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	bool is_started;

	if (pthread_attr_init(&attributes))
		return false;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	is_started = pthread_create(&thread, &attributes, run, NULL) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return is_started;
}
