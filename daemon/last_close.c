/* SPDX-License-Identifier: MIT */
/* last_close.c - closing in a thread, which shares nothing with the rest but this queue. */
#include "last_close.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "helper_thread.h"

struct to_close {
	struct to_close *next;
	int fd;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct to_close *first;
static bool is_running;

static void *run(void *arg)
{
	struct to_close *one;

	for (;;) {
		pthread_mutex_lock(&lock);
		one = first;
		if (one)
			first = one->next;
		else
			is_running = false;
		pthread_mutex_unlock(&lock);
		if (!one)
			return arg;
		close(one->fd);
		free(one);
	}
}

void last_close(int fd)
{
	struct to_close *one = malloc(sizeof(*one));
	bool is_taken = false;

	if (one) {
		*one = (struct to_close){ .fd = fd };
		pthread_mutex_lock(&lock);
		is_running = is_running || helper_thread_start(run);
		if (is_running) {
			one->next = first;
			first = one;
			is_taken = true;
		}
		pthread_mutex_unlock(&lock);
	}
	if (is_taken)
		return;
	free(one);
	close(fd);
}
