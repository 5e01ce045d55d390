/* SPDX-License-Identifier: MIT */
/* settings.c - GET /v1/config, and reading it anew. What is told of it is what --print-config --json prints. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "control_limit.h"
#include "daemon/context.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "daemon/reload.h"
#include "daemon/show_config.h"
#include "list.h"
#include "routes.h"

/* --- what is in force ---------------------------------------------------------------------------------- */

struct showing {
	enum { SHOWS_KEYS, SHOWS_RIGHTS, SHOWS_SECTIONS } part;
	size_t at;
	bool is_cut;
};

/* False: no memory. */
static bool tell_key(struct answer *answer, const struct options *options, size_t index)
{
	struct shown_key shown;

	if (shown_key_init(&shown, options, index) < 0)
		return false;
	answer_object(answer, NULL);
	answer_text(answer, "section", shown.key->section);
	answer_text(answer, "key", shown.key->name);
	answer_path(answer, "value", shown.value);
	answer_text(answer, "default", shown.normal);
	answer_text(answer, "from", shown.from);
	answer_bool(answer, "restart", !shown.key->live);
	answer_end(answer);
	shown_key_deinit(&shown);
	return true;
}

/* Of sections whose keys may be there more than once: those with an argument, or those without. */
static bool tell_setting(struct answer *answer, const struct setting *setting, bool with_argument)
{
	char *from;

	/* One without a name only begins its section. */
	if (!setting->name[0] || (setting->argument != NULL) != with_argument || (!with_argument && strcmp(setting->section, KEY_SECTION_RIGHTS) != 0))
		return true;
	from = setting_from(setting);
	if (!from)
		return false;
	answer_object(answer, NULL);
	if (with_argument)
		answer_path(answer, "pattern", setting->argument);
	answer_text(answer, "key", setting->name);
	answer_path(answer, "value", setting->value);
	answer_text(answer, "from", from);
	answer_end(answer);
	free(from);
	return true;
}

static void finish(struct control_request *request, const struct options *options, bool is_cut)
{
	struct answer *answer = control_answer(request);

	answer_end(answer);
	answer_list(answer, "restart_needed");
	for (size_t i = 0; i < n_keys; i++)
		if (options->kept_from[i])
			answer_text(answer, NULL, keys[i].name);
	answer_end(answer);
	answer_bool(answer, "cut", is_cut);
	answer_end(answer);
	control_reply(request);
}

/* A reload in between exchanges the options: nothing of them is kept from turn to turn. */
static void show(struct control_request *request)
{
	const struct options *options = control_context(request)->options;
	const struct list_page whole = { .limit = UINT64_MAX };
	struct showing *showing = control_state(request);
	struct answer *answer = control_answer(request);

	for (;; showing->at++) {
		size_t n = showing->part == SHOWS_KEYS ? n_keys : options->sources.n;
		bool is_told = true;

		if (list_is_full(request, &whole))
			showing->is_cut = true;
		if (showing->at >= n || showing->is_cut) {
			if (showing->part == SHOWS_SECTIONS)
				break;
			answer_end(answer);
			answer_list(answer, showing->part == SHOWS_KEYS ? "rights" : "topic_sections");
			showing->part++;
			showing->at = (size_t)-1;
			continue;
		}
		if (control_turn_is_over(request))
			return;
		if (showing->part == SHOWS_KEYS)
			is_told = tell_key(answer, options, showing->at);
		else
			is_told = tell_setting(answer, &options->sources.list[showing->at], showing->part == SHOWS_SECTIONS);
		if (!is_told) {
			control_reply_error(request, 503, "no-memory", "try again later", "no memory");
			return;
		}
	}
	finish(request, options, showing->is_cut);
}

void control_get_config(struct control_request *request)
{
	const struct options *options = control_context(request)->options;
	struct showing *showing = calloc(1, sizeof(*showing));
	struct answer *answer = control_answer(request);

	if (!showing) {
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
		return;
	}
	answer_object(answer, NULL);
	answer_list(answer, "files");
	for (size_t i = 0; i < options->sources.n_files && i < LIMIT_CONTROL_PAGE; i++)
		answer_text(answer, NULL, options->sources.files[i]);
	answer_end(answer);
	answer_list(answer, "keys");
	control_go_on(request, show, showing, free);
}

/* --- reading it anew ----------------------------------------------------------------------------------- */

static void tell_names(struct answer *answer, const char *key, const char *const *names)
{
	answer_list(answer, key);
	for (; *names; names++)
		answer_text(answer, NULL, *names);
	answer_end(answer);
}

static void reloaded(void *arg, const struct reload_answer *reloaded)
{
	struct control_request *request = arg;
	struct answer *answer = control_answer(request);

	control_wait_over(request);
	if (reloaded->error < 0) {
		control_reply_error(request, reloaded->error == -ENOMEM ? 503 : 409, "not-reloaded",
		                    "what was in force still is; pathbusd --check-config looks through all of it", "%s",
		                    reloaded->text);
		return;
	}
	answer_object(answer, NULL);
	tell_names(answer, "changed", reloaded->changed);
	tell_names(answer, "restart_needed", reloaded->restart_needed);
	answer_text(answer, "text", reloaded->text);
	answer_end(answer);
	control_reply(request);
}

static void forget(void *asked)
{
	reload_forget(asked);
}

void control_reload(struct control_request *request)
{
	struct reload_request *asked = reload_ask(control_context(request)->reload, reloaded, request);

	if (!asked) {
		control_reply_error(request, 503, "no-memory", "try again later", "no memory");
		return;
	}
	log_event(REASON_ADMIN, "%s asks for the configuration to be read anew", control_who(request));
	control_wait(request, asked, forget);
}
