/* SPDX-License-Identifier: MIT */
/* top_model.c - looks at the daemon's topics, compares with the look before, sorts and filters. */
#include "top_model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "control.h"
#include "escape.h"
#include "line.h"
#include "os/os.h"
#include "report.h"

static const char *const sort_names[TOP_N_SORTS] = {
	[TOP_POSTS_RATE] = "posts/s", [TOP_MESSAGES_RATE] = "msgs/s", [TOP_MEMBERS] = "members", [TOP_SUBSCRIBERS] = "listen",
	[TOP_POSTS] = "posts",	      [TOP_MESSAGES] = "messages",    [TOP_AGE] = "age",	 [TOP_PATH] = "path",
};

const char *top_sort_name(enum top_sort sort)
{
	return sort_names[sort];
}

bool top_sort_find(const char *name, enum top_sort *ret)
{
	for (int i = 0; i < TOP_N_SORTS; i++)
		if (strcmp(sort_names[i], name) == 0) {
			*ret = (enum top_sort)i;
			return true;
		}
	return false;
}

/* --- sorting and filtering ---------------------------------------------------------------------------------------- */

static const struct top_model *sorting; /* qsort has no argument to pass on */

static int compare_numbers(double a, double b)
{
	return a < b ? 1 : a > b ? -1 : 0; /* the largest first */
}

static int compare_by(const struct top_topic *a, const struct top_topic *b)
{
	switch (sorting->sort) {
	case TOP_POSTS_RATE:
		return compare_numbers(a->posts_rate, b->posts_rate);
	case TOP_MESSAGES_RATE:
		return compare_numbers(a->messages_rate, b->messages_rate);
	case TOP_MEMBERS:
		return compare_numbers((double)a->members, (double)b->members);
	case TOP_SUBSCRIBERS:
		return compare_numbers((double)a->subscribers, (double)b->subscribers);
	case TOP_POSTS:
		return compare_numbers((double)a->posts, (double)b->posts);
	case TOP_MESSAGES:
		return compare_numbers((double)a->messages, (double)b->messages);
	case TOP_AGE:
		return -compare_numbers((double)a->opened_ms, (double)b->opened_ms);
	default:
		return 0;
	}
}

static int compare(const void *a_, const void *b_)
{
	const struct top_topic *a = &sorting->topics[*(const size_t *)a_], *b = &sorting->topics[*(const size_t *)b_];
	int order = compare_by(a, b);

	if (order == 0)
		order = strcmp(a->path, b->path);
	if (order == 0)
		order = a->id < b->id ? -1 : a->id > b->id;
	return sorting->reverse ? -order : order;
}

static bool is_pattern(const char *filter)
{
	return filter && filter[0] == '/';
}

static bool matches(const struct top_model *model, const struct top_topic *topic)
{
	const char *filter = model->filter;

	return !filter || !filter[0] || is_pattern(filter) || strstr(topic->shown, filter) || strstr(topic->path, filter);
}

void top_model_arrange(struct top_model *model)
{
	model->n_shown = 0;
	model->posts_rate = model->messages_rate = 0;
	model->members = 0;
	for (size_t i = 0; i < model->n_topics; i++) {
		const struct top_topic *topic = &model->topics[i];

		if (!matches(model, topic))
			continue;
		model->order[model->n_shown++] = i;
		model->posts_rate += topic->posts_rate;
		model->messages_rate += topic->messages_rate;
		model->members += topic->members;
	}
	sorting = model;
	if (model->n_shown > 0)
		qsort(model->order, model->n_shown, sizeof(*model->order), compare);
}

/* --- a look -------------------------------------------------------------------------------------------------------- */

struct look {
	struct top_topic *topics;
	size_t n, size;
	bool is_cut, failed;
};

static void free_topics(struct top_topic *topics, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(topics[i].path);
		free(topics[i].shown);
	}
	free(topics);
}

static bool add(struct look *look, const struct json *from)
{
	struct top_topic *topic;

	if (look->n == look->size) {
		size_t size = look->size ? 2 * look->size : 64;
		struct top_topic *larger = realloc(look->topics, size * sizeof(*larger));

		if (!larger)
			return false;
		look->topics = larger;
		look->size = size;
	}
	topic = &look->topics[look->n++];
	*topic = (struct top_topic){
		.id = json_number(from, "id"),
		.opened_ms = json_number(from, "opened_ms"),
		.posts = json_number(from, "posts"),
		.messages = json_number(from, "messages"),
		.members = json_number(from, "members"),
		.subscribers = json_number(from, "subscribers"),
		.path = json_name(from, "path"),
	};
	if (!topic->path)
		topic->path = strdup("?");
	topic->shown = topic->path ? malloc(ESCAPE_SIZE(strlen(topic->path))) : NULL;
	if (!topic->shown)
		return false;
	escape(topic->path, strlen(topic->path), topic->shown, ESCAPE_SIZE(strlen(topic->path)));
	return true;
}

static bool take_page(const struct json *page, void *userdata)
{
	struct look *look = userdata;
	const struct json *topics = json_get(page, "topics");

	for (size_t i = 0; i < json_length(topics) && !look->failed; i++) {
		look->is_cut = look->n == TOP_MOST;
		if (look->is_cut)
			return false;
		look->failed = !add(look, json_at(topics, i));
	}
	return !look->failed;
}

static int compare_ids(const void *a_, const void *b_)
{
	const struct top_topic *a = a_, *b = b_;

	return a->id < b->id ? -1 : a->id > b->id;
}

/* The one of the look before, or NULL. Those are sorted by their numbers. */
static const struct top_topic *before(const struct top_model *model, const struct top_topic *topic)
{
	const struct top_topic *found =
		model->n_topics > 0 ? bsearch(topic, model->topics, model->n_topics, sizeof(*topic), compare_ids) : NULL;

	return found && found->opened_ms == topic->opened_ms ? found : NULL;
}

static void set_rates(const struct top_model *model, struct top_topic *topic, double seconds)
{
	const struct top_topic *old = before(model, topic);

	/* Counts of members who have gone may be missing from the sum. */
	if (!old || seconds <= 0)
		return;
	topic->has_rate = true;
	topic->posts_rate = topic->posts > old->posts ? (double)(topic->posts - old->posts) / seconds : 0;
	topic->messages_rate = topic->messages > old->messages ? (double)(topic->messages - old->messages) / seconds : 0;
}

static void take_stats(struct top_model *model, const struct json *stats)
{
	free(model->version);
	free(model->instance);
	model->version = json_shown(stats, "version");
	model->instance = json_shown(stats, "instance");
	model->pid = json_number(stats, "pid");
	model->uptime_ms = json_number(stats, "uptime_ms");
	model->clients = json_number(json_get(stats, "totals"), "clients");
	model->all_topics = json_number(json_get(stats, "totals"), "topics");
}

int top_model_look(struct top_model *model, struct control *control, bool *ret_given_up)
{
	const char *pairs[] = { "path", is_pattern(model->filter) ? model->filter : NULL, NULL };
	struct json *stats = NULL;
	struct look look = { 0 };
	uint64_t now;
	size_t *order = NULL;
	double seconds;
	int status = control_get(control, "/v1/stats", &stats);

	*ret_given_up = status == STATUS_OK && !stats;
	if (status != STATUS_OK || !stats)
		return status;
	now = os_now_ns();
	status = control_pages(control, "/v1/topics", pairs, take_page, &look);
	order = status == STATUS_OK ? calloc(look.n + 1, sizeof(*order)) : NULL;
	if (!order || look.failed) {
		free(order);
		free_topics(look.topics, look.n);
		json_free(stats);
		*ret_given_up = status == STATUS_OK;
		return status;
	}
	seconds = model->at_ns ? (double)(now - model->at_ns) / 1e9 : 0;
	if (look.n > 0)
		qsort(look.topics, look.n, sizeof(*look.topics), compare_ids);
	for (size_t i = 0; i < look.n; i++)
		set_rates(model, &look.topics[i], seconds);
	free_topics(model->topics, model->n_topics);
	free(model->order);
	model->topics = look.topics;
	model->n_topics = look.n;
	model->order = order;
	model->is_cut = look.is_cut;
	model->at_ns = now;
	model->seconds = seconds;
	take_stats(model, stats);
	json_free(stats);
	top_model_arrange(model);
	return STATUS_OK;
}

void top_model_forget(struct top_model *model)
{
	model->at_ns = 0;
}

void top_model_free(struct top_model *model)
{
	free_topics(model->topics, model->n_topics);
	free(model->order);
	free(model->filter);
	free(model->version);
	free(model->instance);
	*model = (struct top_model){ 0 };
}

/* --- JSON ----------------------------------------------------------------------------------------------------------- */

static void report_topic(struct report *report, const struct top_topic *topic)
{
	report_item(report, "topics");
	report_number(report, "id", topic->id);
	report_name(report, "path", topic->path);
	report_number(report, "members", topic->members);
	report_number(report, "subscribers", topic->subscribers);
	report_number(report, "posts", topic->posts);
	report_number(report, "messages", topic->messages);
	if (topic->has_rate) {
		report_real(report, "posts_per_second", topic->posts_rate);
		report_real(report, "messages_per_second", topic->messages_rate);
	}
	report_item_end(report);
}

char *top_model_json(const struct top_model *model)
{
	struct report report = { .is_plain = true };
	char time[LINE_TIME_SIZE], *line;

	line_time(line_wall_clock(model->at_ns), time);
	report_text(&report, "time", time);
	report_real(&report, "seconds", model->seconds);
	report_number(&report, "pid", model->pid);
	report_text(&report, "version", model->version);
	report_number(&report, "uptime_ms", model->uptime_ms);
	report_number(&report, "clients", model->clients);
	report_real(&report, "posts_per_second", model->posts_rate);
	report_real(&report, "messages_per_second", model->messages_rate);
	report_flag(&report, "cut", model->is_cut);
	report_list(&report, "topics");
	for (size_t i = 0; i < model->n_shown; i++)
		report_topic(&report, &model->topics[model->order[i]]);
	line = report.failed ? NULL : report_json(&report);
	report_free(&report);
	return line;
}
