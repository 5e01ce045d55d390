/* SPDX-License-Identifier: MIT */
/*
 * reload.c - see reload.h.
 *
 * Everything that can fail is done first, beside what is in force: reading, checking, and the memory for it. Then the new options
 * take the place of the old ones, and who has copies of them is told; nothing of that can fail.
 */
#include "reload.h"

#include <errno.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "files.h"
#include "happening.h"
#include "idle.h"
#include "keeping.h"
#include "keys.h"
#include "limits.h"
#include "linker.h"
#include "log.h"
#include "log_target.h"
#include "loop.h"
#include "narrow.h"
#include "rights_watch.h"
#include "topic.h"
#include "topic_log.h"
#include "topic_rules.h"
#include "user.h"

struct reload_request {
	struct reload *reload;
	struct reload_request *next;
	reload_fn *fn;
	void *arg;
};

struct reload {
	struct context *context;
	struct options *options;
	struct config_reader *reader; /* NULL: nothing is read */
	bool is_reading;
	struct reload_request *asking, *waiting; /* for what is being read; and for the next time */
	struct loop_event *soon;
};

/* --- what has copies of the options ------------------------------------------------------------------ */

static void set_limits(const struct context *context)
{
	const struct options *options = context->options;
	struct users_setting setting = {
		.offload_members = options->offload_members,
		.offload_message_members = options->offload_message_members,
	};
	struct rlimit limit;
	uint64_t n = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? limit.rlim_cur : FOPEN_MAX;

	limits_make(options, n, &setting);
	limits_tell(options, &setting, n);
	users_set(context->users, &setting);
}

/* What was decided when it was opened. */
static void set_topic(struct topic_name *name, void *arg)
{
	const struct options *options = arg;
	struct topic_setting setting;

	if (name != name->topic->names)
		return; /* once for each topic */
	for (struct topic_lane *lane = name->topic->lanes; lane; lane = lane->next)
		topic_lane_offload_anew(lane);
	topic_rules_find(options->topic_rules, name->is_foreign || !name->path ? "" : name->path, &setting);
	keeping_set(name->topic, setting.keep_s);
	topic_log_set(name->topic, setting.log);
}

struct rules {
	const struct narrow *old, *new;
	uint64_t round; /* this reading anew */
};

static bool concerns(const struct rules *rules, const char *path, bool is_foreign)
{
	if (is_foreign || !path)
		path = "";
	return narrow_concerns(rules->old, path) || narrow_concerns(rules->new, path);
}

/* By a path of its own: a folder may have several. */
static bool concerns_member(const struct rules *rules, const struct member *member)
{
	const struct topic_name *name = member->name;

	if (!member->path || (member->is_foreign == name->is_foreign && name->path && strcmp(member->path, name->path) == 0))
		return false;
	return concerns(rules, member->path, member->is_foreign);
}

/* What rules say of one of its names holds for those who have opened another. */
static void find_concerned(struct topic_name *name, void *arg)
{
	const struct rules *rules = arg;
	struct topic *topic = name->topic;

	if (topic->concerned != rules->round && concerns(rules, name->path, name->is_foreign))
		topic->concerned = rules->round;
	/* Once for each topic. */
	for (const struct member *member = name == topic->names ? topic->members : NULL; member && topic->concerned != rules->round;
	     member = member->next)
		if (concerns_member(rules, member))
			topic->concerned = rules->round;
}

static bool is_concerned(const struct topic_name *name, void *arg)
{
	const struct rules *rules = arg;

	return name->topic->concerned == rules->round;
}

/* Members may go by it. */
static void decide_rights(const struct context *context, struct narrow *old, struct narrow *new)
{
	static uint64_t last_round;
	struct rules rules = { .old = old, .new = new, .round = ++last_round };

	narrow_compare(old, new);
	if (!concerns(&rules, NULL, true))
		return; /* nothing is other */
	topics_each(context->topics, find_concerned, &rules);
	rights_watch_note_all(context->rights_watch, is_concerned, &rules);
}

/* `old` is what was in force. Each part may be missing (tests). */
static void apply(const struct context *context, struct options *old)
{
	const struct options *options = context->options;

	log_set_level(options->log_level);
	if (context->users)
		set_limits(context);
	if (context->topics)
		topics_each(context->topics, set_topic, (void *)(uintptr_t)options);
	if (context->files)
		files_set_times(context->files, options->files_ms, options->idle_ms);
	if (context->linker)
		linker_set_idle(context->linker, options->idle_ms);
	idle_note(context->idle);
	if (context->rights_watch)
		decide_rights(context, old->narrow, options->narrow); /* last */
}

/* --- what is other ----------------------------------------------------------------------------------- */

static void append(char *text, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void append(char *text, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	vsnprintf(text + used, RELOAD_TEXT_SIZE - used, format, args);
	va_end(args);
}

static void say(char *text, const char *before, const char *const *names)
{
	for (size_t i = 0; names[i]; i++)
		append(text, "%s%s", i > 0 ? ", " : before, names[i]);
}

static void add_section(const struct options *a, const struct options *b, const char *section, const char *shown,
                        const char ***at)
{
	if (!sources_is_same_section(&a->sources, &b->sources, section))
		*(*at)++ = shown;
}

/* What cannot change stays as it is in force, in `made` too, which remembers where it is from. 0 or -ENOMEM, and then `options` are
 * as they were. */
static int compare(struct options *options, struct options *made, struct reload_names *names)
{
	const char **changed = names->changed, **restart = names->restart_needed;
	char *from[KEY_MAX] = { 0 };
	int r = 0;

	for (size_t i = 0; i < n_keys && r == 0; i++) {
		if (key_is_same(&keys[i], options, made))
			continue;
		if (keys[i].live) {
			*changed++ = keys[i].name;
			continue;
		}
		*restart++ = keys[i].name;
		from[i] = options->kept_from[i] ? strdup(options->kept_from[i]) :
		                                  setting_from(sources_find(&options->sources, keys[i].name));
		r = from[i] ? 0 : -ENOMEM;
	}
	for (size_t i = 0; i < n_keys; i++) {
		if (r < 0)
			free(from[i]);
		else if (from[i])
			key_swap(&keys[i], options, made);
		if (r == 0)
			made->kept_from[i] = from[i];
	}
	add_section(options, made, KEY_SECTION_RIGHTS, "[" KEY_SECTION_RIGHTS "]", &changed);
	add_section(options, made, TOPIC_RULES_SECTION, "[" TOPIC_RULES_SECTION "]", &changed);
	*changed = *restart = NULL;
	return r;
}

void reload_take(struct context *context, struct options *options, const struct sources *files, struct reload_answer *answer,
                 struct reload_names *names, char *text)
{
	struct options made, old;
	int r;

	*names = (struct reload_names){ 0 };
	*answer = (struct reload_answer){ .text = text, .changed = names->changed, .restart_needed = names->restart_needed };
	text[0] = '\0';
	r = options_make(options, files, &made, text);
	if (r == 0) {
		r = compare(options, &made, names);
		if (r < 0)
			options_deinit(&made);
	}
	if (r < 0) {
		*names = (struct reload_names){ 0 };
		answer->error = r;
		if (r == -ENOMEM)
			strcpy(text, "no memory to take it over");
		return;
	}
	old = *options;
	*options = made;
	apply(context, &old);
	options_deinit(&old);
	say(text, "changed: ", names->changed);
	if (text[0] == '\0')
		strcpy(text, "nothing has changed");
	say(text, "; needs a restart: ", names->restart_needed);
}

/* --- asking ------------------------------------------------------------------------------------------ */

static void answer_all(struct reload *reload, const struct reload_answer *answer)
{
	if (answer->error < 0)
		log_event(REASON_RELOAD_FAILED, "reload: refused, all stays as it was: %s", answer->text);
	else
		log_event(REASON_RELOADED, "reload: %s", answer->text);
	happening_note(HAPPENING_RELOAD, .text = answer->text, .what = answer->error < 0 ? "failed" : "done");
	while (reload->asking) {
		struct reload_request *request = reload->asking;

		reload->asking = request->next;
		if (request->fn)
			request->fn(request->arg, answer);
		free(request);
	}
	reload->is_reading = false;
	if (reload->waiting)
		loop_call_soon(reload->soon);
}

static void refuse(struct reload *reload, int error, const char *text)
{
	static const char *const none[] = { NULL };

	answer_all(reload, &(struct reload_answer){ .error = error, .text = text, .changed = none, .restart_needed = none });
}

static void was_read(void *arg, int error, const char *text, const struct sources *files)
{
	struct reload *reload = arg;
	struct reload_answer answer;
	struct reload_names names;
	char said[RELOAD_TEXT_SIZE];

	if (error < 0) {
		refuse(reload, error, text);
		return;
	}
	reload_take(reload->context, reload->options, files, &answer, &names, said);
	answer_all(reload, &answer);
}

static void begin(void *arg)
{
	struct reload *reload = arg;
	char text[128];
	int r;

	if (reload->is_reading || !reload->waiting)
		return;
	reload->is_reading = true;
	reload->asking = reload->waiting;
	reload->waiting = NULL;
	if (!reload->reader) {
		was_read(reload, 0, "", &(struct sources){ 0 });
		return;
	}
	r = config_reader_ask(reload->reader);
	if (r == -ESRCH) {
		refuse(reload, r, "the process that reads it has ended; start pathbusd again");
	} else if (r < 0) {
		snprintf(text, sizeof(text), "the process that reads it cannot be asked: %s", strerror(-r));
		refuse(reload, r, text);
	}
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
	if (!reload->is_reading)
		loop_call_soon(reload->soon);
	return request;
}

static bool take_out(struct reload_request **at, struct reload_request *request)
{
	while (*at && *at != request)
		at = &(*at)->next;
	if (!*at)
		return false;
	*at = request->next;
	return true;
}

void reload_forget(struct reload_request *request)
{
	if (take_out(&request->reload->asking, request) || take_out(&request->reload->waiting, request))
		free(request);
}

/* --- life ------------------------------------------------------------------------------------------ */

int reload_new(struct context *context, struct options *options, const struct config_reader_process *process, struct reload **ret)
{
	struct reload *reload = calloc(1, sizeof(*reload));
	int r;

	if (!reload)
		return -ENOMEM;
	reload->context = context;
	reload->options = options;
	reload->soon = loop_timer(context->loop, begin, reload);
	r = reload->soon ? 0 : -ENOMEM;
	if (r == 0 && process->pid > 0)
		r = config_reader_new(context->loop, process, was_read, reload, &reload->reader);
	if (r < 0)
		reload_free(reload);
	else
		*ret = reload;
	return r;
}

struct reload *reload_free(struct reload *reload)
{
	if (reload) {
		while (reload->asking)
			reload_forget(reload->asking);
		while (reload->waiting)
			reload_forget(reload->waiting);
		loop_event_free(reload->soon);
		config_reader_free(reload->reader);
	}
	free(reload);
	return NULL;
}

void reload_reap(struct reload *reload)
{
	if (reload)
		config_reader_reap(reload->reader);
}
