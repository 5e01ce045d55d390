/* SPDX-License-Identifier: MIT */
/* top_view.c - the lines of `pathbusctl top`. */
#include "top_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "line.h"
#include "tell.h"
#include "width.h"

enum { NUMBER_SIZE = 16 };

/* At most six characters. */
static void rate_text(double rate, char ret[NUMBER_SIZE])
{
	static const struct { double from, by; const char *unit; } units[] = {
		{ 999.5e9, 1e12, "T" }, { 999.5e6, 1e9, "G" }, { 999.5e3, 1e6, "M" }, { 99999.5, 1e3, "k" },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (rate >= units[i].from) {
			double value = rate / units[i].by;

			snprintf(ret, NUMBER_SIZE, value < 9.95 ? "%.1f%s" : "%.0f%s", value < 1e6 ? value : 1e6, units[i].unit);
			return;
		}
	snprintf(ret, NUMBER_SIZE, rate > 0 && rate < 9.95 ? "%.1f" : "%.0f", rate);
}

static void count_text(uint64_t count, char ret[NUMBER_SIZE])
{
	rate_text((double)count, ret);
	if (count < 100000)
		snprintf(ret, NUMBER_SIZE, "%" PRIu64, count);
}

char *top_view_cut(const char *text, size_t columns)
{
	size_t width = width_of(text), n, gone;
	char *ret;

	if (width <= columns)
		return strdup(text);
	if (columns == 0)
		return strdup("");
	gone = width - columns + 1;
	n = width_fit(text, gone);
	if (width_of(text + n) > columns - 1)
		n = width_fit(text, gone + 1); /* a wide character stood on the edge */
	return asprintf(&ret, "\u2026%s", text + n) < 0 ? NULL : ret;
}

void top_view_daemon(const struct top_model *model, char *ret)
{
	char up[LINE_DURATION_SIZE], *version = strdup(model->version ? tell_name(model->version) : "?");

	line_duration(model->uptime_ms, up);
	snprintf(ret, TOP_VIEW_SIZE, "pathbusd %.40s (%.20s), process %" PRIu64 ", up %s: %" PRIu64 " topics, %" PRIu64 " clients",
		 version ? version : "?", model->instance ? tell_name(model->instance) : "?", model->pid, up, model->all_topics,
		 model->clients);
	free(version);
}

void top_view_sums(const struct top_model *model, double interval_s, char *ret)
{
	char posts[NUMBER_SIZE], messages[NUMBER_SIZE];
	int n;

	rate_text(model->posts_rate, posts);
	rate_text(model->messages_rate, messages);
	n = snprintf(ret, TOP_VIEW_SIZE, "%s posts/s, %s msgs/s, every %g s, by %s%s", posts, messages, interval_s,
		     top_sort_name(model->sort), model->reverse ? " reversed" : "");
	if (model->filter && model->filter[0])
		n += snprintf(ret + n, TOP_VIEW_SIZE - (size_t)n, ", %zu of %.500s", model->n_shown, tell_name(model->filter));
	if (model->is_cut)
		snprintf(ret + n, TOP_VIEW_SIZE - (size_t)n, ", of the first %d", TOP_MOST);
}

/* The numbers of a row, all alike. */
static int put_numbers(char ret[TOP_VIEW_SIZE], size_t columns, const char *const texts[7])
{
	int n = snprintf(ret, TOP_VIEW_SIZE, "%7s %7s %7s %6s %7s ", texts[0], texts[1], texts[2], texts[3], texts[4]);

	if (columns >= TOP_VIEW_WIDE)
		n += snprintf(ret + n, TOP_VIEW_SIZE - (size_t)n, "%8s ", texts[5]);
	return n + snprintf(ret + n, TOP_VIEW_SIZE - (size_t)n, "%6s ", texts[6]);
}

void top_view_titles(size_t columns, char *ret)
{
	int n = put_numbers(ret, columns, (const char *const[]){ "POSTS/S", "MSGS/S", "MEMBERS", "LISTEN", "POSTS", "MESSAGES", "AGE" });

	snprintf(ret + n, TOP_VIEW_SIZE - (size_t)n, "PATH");
}

char *top_view_row(const struct top_topic *topic, uint64_t now_ms, size_t columns)
{
	char rates[2][NUMBER_SIZE] = { "-", "-" }, counts[4][NUMBER_SIZE], age[LINE_DURATION_SIZE], numbers[TOP_VIEW_SIZE];
	char *path, *ret;
	int n;

	if (topic->has_rate) {
		rate_text(topic->posts_rate, rates[0]);
		rate_text(topic->messages_rate, rates[1]);
	}
	count_text(topic->members, counts[0]);
	count_text(topic->subscribers, counts[1]);
	count_text(topic->posts, counts[2]);
	count_text(topic->messages, counts[3]);
	line_duration(now_ms > topic->opened_ms ? now_ms - topic->opened_ms : 0, age);
	n = put_numbers(numbers, columns,
			(const char *const[]){ rates[0], rates[1], counts[0], counts[1], counts[2], counts[3], age });
	path = top_view_cut(topic->shown, columns > (size_t)n ? columns - (size_t)n : 0);
	if (!path || asprintf(&ret, "%s%s", numbers, path) < 0)
		ret = NULL;
	free(path);
	return ret;
}
