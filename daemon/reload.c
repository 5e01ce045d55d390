/* SPDX-License-Identifier: MIT */
/* reload.c - see reload.h. */
#include "reload.h"

#include <stdlib.h>

#include "config.h"
#include "keys.h"
#include "log.h"
#include "log_target.h"
#include "loop.h"
#include "options.h"

struct reload_request {
	struct reload *reload;
	struct reload_request *next;
	reload_fn *fn;
	void *arg;
};

struct reload {
	struct context *context;
	struct reload_request *waiting;
	struct loop_event *soon;
};

static void answer_all(struct reload *reload, const struct reload_answer *answer)
{
	while (reload->waiting) {
		struct reload_request *request = reload->waiting;

		reload->waiting = request->next;
		if (request->fn)
			request->fn(request->arg, answer);
		free(request);
	}
}

static void run(void *arg)
{
	static const char *const none[] = { NULL }, *const level[] = { "log-level", NULL };
	struct reload *reload = arg;
	const struct options *old = reload->context->options;
	struct reload_answer answer = { .text = "nothing has changed", .changed = none, .restart_needed = none };
	char error[CONFIG_ERROR_SIZE] = "";
	struct sources files = { 0 };
	struct options options = { 0 };
	struct config_place place;

	if (options_place(old, &place))
		answer.error = config_read(&place, &files, error);
	if (answer.error == 0)
		answer.error = options_make(old, &files, &options, error);
	if (answer.error < 0) {
		answer.text = error;
	} else if (options.log_level != log_level()) {
		log_set_level(options.log_level);
		answer.text = "changed: log-level";
		answer.changed = level;
	}
	sources_deinit(&files);
	options_deinit(&options);
	log_event(answer.error < 0 ? REASON_RELOAD_FAILED : REASON_RELOADED, "reload: %s", answer.text);
	answer_all(reload, &answer);
}

struct reload_request *reload_ask(struct reload *reload, reload_fn *fn, void *arg)
{
	struct reload_request *request = malloc(sizeof(*request)), **last = &reload->waiting;

	log_target_reopen(); /* whatever comes of the rest */
	if (!request)
		return NULL;
	*request = (struct reload_request){ .reload = reload, .fn = fn, .arg = arg };
	while (*last)
		last = &(*last)->next;
	*last = request;
	loop_call_soon(reload->soon);
	return request;
}

void reload_forget(struct reload_request *request)
{
	struct reload_request **at = &request->reload->waiting;

	while (*at != request)
		at = &(*at)->next;
	*at = request->next;
	free(request);
}

struct reload *reload_new(struct context *context)
{
	struct reload *reload = calloc(1, sizeof(*reload));

	if (!reload)
		return NULL;
	reload->context = context;
	reload->soon = loop_timer(context->loop, run, reload);
	return reload->soon ? reload : reload_free(reload);
}

struct reload *reload_free(struct reload *reload)
{
	if (reload) {
		while (reload->waiting)
			reload_forget(reload->waiting);
		loop_event_free(reload->soon);
	}
	free(reload);
	return NULL;
}
