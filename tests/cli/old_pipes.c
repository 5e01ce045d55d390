/* SPDX-License-Identifier: MIT */
/*
 * old_pipes.c - to be preloaded: a kernel whose pipes wake edge-triggered listeners only when they were empty, as far as somebody can
 * tell who writes twice and looks after each: the second look in a row at a set is told of nothing.
 */
#include <dlfcn.h>
#include <sys/epoll.h>

__attribute__((visibility("default"))) int epoll_wait(int set, struct epoll_event *events, int max, int timeout_ms)
{
	static int (*real)(int, struct epoll_event *, int, int);
	static int last = -1;
	int n;

	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "epoll_wait");
	n = real(set, events, max, timeout_ms);
	if (set == last && timeout_ms == 0)
		n = 0;
	last = set;
	return n;
}
