/* SPDX-License-Identifier: MIT */
/* departure.c - waits for the end of a process that is not our child. */
#include "departure.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "limit.h"
#include "os/os.h"

struct departure {
	departure_fn *decided;
	void *arg;
	pid_t pid;
	int process; /* -1: the system does not tell, or it is gone already */
	bool is_gone;
	struct loop_event *ended, *timer;
};

static void ended(void *arg)
{
	struct departure *departure = arg;

	departure->decided(departure->arg, true); /* frees it */
}

static void waited(void *arg)
{
	struct departure *departure = arg;
	/* Where the system does not tell: a number that is not in use any more. */
	bool is_gone = departure->is_gone ||
		       (departure->process < 0 && departure->pid > 0 && kill(departure->pid, 0) < 0 && errno == ESRCH);

	departure->decided(departure->arg, is_gone); /* frees it */
}

struct departure *departure_new(struct loop *loop, pid_t pid, departure_fn *decided, void *arg)
{
	struct departure *departure = calloc(1, sizeof(*departure));

	if (!departure)
		return NULL;
	*departure = (struct departure){ .decided = decided, .arg = arg, .pid = pid, .process = -1 };
	departure->timer = loop_timer(loop, waited, departure);
	if (pid > 0) /* 0: in a namespace that is not seen from here */
		departure->process = os_process_watch(pid);
	departure->is_gone = departure->process == -ESRCH;
	if (departure->process >= 0)
		departure->ended = loop_on_readable(loop, departure->process, ended, departure);
	if (!departure->timer || (departure->process >= 0 && !departure->ended))
		return departure_free(departure);
	if (departure->is_gone)
		loop_call_soon(departure->timer);
	else
		loop_set(departure->timer, LIMIT_DEPARTURE_MS);
	return departure;
}

struct departure *departure_free(struct departure *departure)
{
	if (!departure)
		return NULL;
	loop_event_free(departure->ended);
	loop_event_free(departure->timer);
	if (departure->process >= 0)
		close(departure->process);
	free(departure);
	return NULL;
}
