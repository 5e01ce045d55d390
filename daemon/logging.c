/* SPDX-License-Identifier: MIT */
/* logging.c - see logging.h. */
#include "logging.h"

#include <errno.h>
#include <string.h>

#include "exit.h"
#include "log.h"
#include "log_target.h"
#include "loop.h"
#include "options.h"

static struct loop_event *timer;

int logging_start(const struct options *options)
{
	char text[LOG_TARGET_ERROR_SIZE];

	log_set_level(options->log_level);
	if (log_target_open(options->log_target ? options->log_target : "auto", text) == 0)
		return EXIT_STOPPED;
	log_event(REASON_START_FAILED, "%s", text);
	return EXIT_FAILED;
}

void logging_give(uid_t uid, gid_t gid)
{
	int r = log_target_give(uid, gid);

	if (r < 0)
		log_event(REASON_LOG_TARGET, "the log's file cannot be given to user %u (%s): it cannot be opened anew after it was moved",
		          (unsigned)uid, strerror(-r));
}

static void tell(void *arg)
{
	unsigned ms = log_tell_left_out();

	(void)arg;
	if (ms > 0)
		loop_set(timer, ms);
}

static void wake(void *arg, unsigned ms)
{
	(void)arg;
	loop_set(timer, ms);
}

int logging_attach(struct loop *loop)
{
	log_target_started();
	timer = loop_timer(loop, tell, NULL);
	if (!timer)
		return -ENOMEM;
	log_set_waker(wake, NULL);
	return 0;
}

void logging_leave(void)
{
	log_set_waker(NULL, NULL);
	timer = loop_event_free(timer);
}

void logging_end(void)
{
	log_tell_all_left_out();
	log_target_close();
}
