/* SPDX-License-Identifier: MIT */
/* stats.c - `pathbusctl stats`: what the daemon counts. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "control.h"
#include "line.h"
#include "paint.h"
#include "table.h"
#include "tell.h"

enum { OPTION_JSON = OPTION_LONG };

static const struct option_spec specs[] = {
	{ OPTION_JSON, "json", NULL, "print one JSON object" },
	{ 0 },
};

static bool as_json;

static bool set(int id, const char *value)
{
	(void)id, (void)value; /* there is only one */
	as_json = true;
	return true;
}

static void print_title(const char *title)
{
	printf("\n%s%s%s\n", paint(PAINT_BOLD), title, paint_end(PAINT_BOLD));
}

/* --- the daemon ---------------------------------------------------------------------------------------------------- */

/* "-" if there is no such text. */
static void print_text(const char *title, const struct json *stats, const char *key)
{
	char *text = json_shown(stats, key);

	printf("%-10s %s\n", title, text ? tell_name(text) : "-");
	free(text);
}

static void print_daemon(const struct json *stats)
{
	char up[LINE_DURATION_SIZE];

	line_duration(json_number(stats, "uptime_ms"), up);
	print_text("version", stats, "version");
	print_text("process", stats, "pid");
	print_text("instance", stats, "instance");
	print_text("address", stats, "address");
	printf("%-10s %s\n", "up for", up);
	print_text("log level", stats, "log_level");
}

/* --- counts -------------------------------------------------------------------------------------------------------- */

/* Each member in a row; an object's members under its own name: "drops bad-frame". */
static void add_counts(struct table *table, const struct json *counts, const char *prefix)
{
	for (const void *at = json_first(counts); at; at = json_after(counts, at)) {
		const char *key = json_key(at);
		const struct json *inner = json_get(counts, key);
		char *value = json_shown(counts, key), *name = NULL;

		if (!prefix && json_first(inner)) {
			add_counts(table, inner, key);
		} else if (json_has_number(counts, key) && value) {
			if (asprintf(&name, "%s%s%s", prefix ? prefix : "", prefix ? ": " : "", key) < 0)
				name = NULL;
			table->failed |= !name;
			for (char *c = name; c && *c; c++)
				*c = *c == '_' ? ' ' : *c;
			if (name)
				table_add(table, (const char *const[]){ tell_name(name), value });
		}
		free(name);
		free(value);
	}
}

static bool print_counts(const char *title, const struct json *counts)
{
	struct table table = { .n_columns = 2, .right = 2 };

	add_counts(&table, counts, NULL);
	if (table.n_cells > 0)
		print_title(title);
	return table_print(&table);
}

/* --- latencies ----------------------------------------------------------------------------------------------------- */

static void duration_of_ns(uint64_t ns, char *ret, size_t size)
{
	static const struct { const char *name; double ns; } units[] = { { "s", 1e9 }, { "ms", 1e6 }, { "us", 1e3 }, { "ns", 1 } };
	size_t i = 0;

	while (i < 3 && (double)ns < units[i].ns)
		i++;
	snprintf(ret, size, i == 3 ? "%.0f %s" : "%.1f %s", (double)ns / units[i].ns, units[i].name);
}

/* What so many of a hundred took at most: the end of the bucket in which the last of them is. */
static void percentile(const struct json *histogram, uint64_t total, unsigned percent, char *ret, size_t size)
{
	const struct json *buckets = json_get(histogram, "buckets");
	uint64_t seen = 0;
	char limit[24];

	snprintf(ret, size, total > 0 ? "more" : "-");
	for (size_t i = 0; i < json_length(buckets) && total > 0; i++) {
		const struct json *bucket = json_at(buckets, i);

		seen += json_number(bucket, "count");
		if ((double)seen * 100 < (double)total * percent)
			continue;
		if (json_has_number(bucket, "le_ns")) {
			duration_of_ns(json_number(bucket, "le_ns"), limit, sizeof(limit));
			snprintf(ret, size, "< %s", limit);
		}
		return;
	}
}

static bool print_latencies(const struct json *all)
{
	struct table table = { .n_columns = 6, .right = 2 + 4 + 8 + 16 + 32, .titled = true };

	table_add(&table, (const char *const[]){ "LATENCY", "COUNT", "MEAN", "HALF", "90 %", "99 %" });
	for (const void *at = json_first(all); at; at = json_after(all, at)) {
		const struct json *histogram = json_get(all, json_key(at));
		uint64_t n = json_number(histogram, "count");
		char count[24], mean[24] = "-", parts[3][32];

		snprintf(count, sizeof(count), "%" PRIu64, n);
		if (n > 0)
			duration_of_ns(json_number(histogram, "sum_ns") / n, mean, sizeof(mean));
		for (size_t i = 0; i < 3; i++)
			percentile(histogram, n, (const unsigned[]){ 50, 90, 99 }[i], parts[i], sizeof(parts[i]));
		table_add(&table, (const char *const[]){ tell_name(json_key(at)), count, mean, parts[0], parts[1], parts[2] });
	}
	if (json_first(all))
		printf("\n");
	else
		table_clear(&table);
	return table_print(&table);
}

/* --- users --------------------------------------------------------------------------------------------------------- */

/* What a user has of each limit, if anything. */
static void add_user(struct table *table, const struct json *user)
{
	const struct json *charges = json_get(user, "charges");

	for (const void *at = json_first(charges); at; at = json_after(charges, at)) {
		const struct json *charge = json_get(charges, json_key(at));
		uint64_t has = json_number(charge, "has"), refused = json_number(charge, "refused");
		char *most = json_shown(charge, "most"), texts[2][24], *name;

		snprintf(texts[0], sizeof(texts[0]), "%" PRIu64, has);
		snprintf(texts[1], sizeof(texts[1]), "%" PRIu64, refused);
		name = strdup(tell_name(line_user((uid_t)json_number(user, "uid"))));
		table->failed |= !name;
		if (name && (has > 0 || refused > 0))
			table_add(table, (const char *const[]){ name, texts[0], most ? tell_name(most) : NULL, texts[1],
							       tell_name(json_key(at)) });
		free(most);
		free(name);
	}
}

static bool print_users(const struct json *stats)
{
	struct table table = { .n_columns = 5, .right = 2 + 4 + 8, .titled = true };
	const struct json *users = json_get(stats, "users");

	table_add(&table, (const char *const[]){ "USER", "HAS", "MOST", "REFUSED", "OF" });
	for (size_t i = 0; i < json_length(users); i++)
		add_user(&table, json_at(users, i));
	if (table.n_cells > table.n_columns)
		printf("\n");
	else
		table_clear(&table);
	return table_print(&table);
}

/* --- all together -------------------------------------------------------------------------------------------------- */

static int print(const struct json *stats)
{
	bool done;
	char *line;

	if (as_json) {
		line = json_line(stats);
		fputs(line ? line : "", stdout);
		done = line != NULL;
		free(line);
		if (!done)
			tell("out of memory");
		return done ? tell_flush() : STATUS_FAILED;
	}
	print_daemon(stats);
	done = print_counts("now", json_get(stats, "totals")) && print_counts("so far", json_get(stats, "counts")) &&
	       print_latencies(json_get(stats, "latency")) && print_users(stats);
	return done ? tell_flush() : STATUS_FAILED;
}

/* The users come in pages; all of them are put together. */
static int get(struct control *control, struct json **ret)
{
	char *target = control_target("/v1/stats", NULL), *after = NULL;
	struct json *page;
	bool more;
	int status;

	*ret = NULL;
	do {
		status = target ? control_get(control, target, &page) : STATUS_FAILED;
		free(target);
		target = NULL;
		if (status != STATUS_OK)
			break;
		free(after);
		after = json_shown(page, "users_next");
		more = after != NULL;
		if (!*ret)
			*ret = page;
		else if (json_move_entries(*ret, page, "users") == 0)
			more = false; /* an empty page: it would never end */
		if (page != *ret)
			json_free(page);
		if (more)
			target = control_target("/v1/stats", (const char *const[]){ "users_after", after, NULL });
	} while (more);
	free(after);
	return status;
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct control *control;
	struct json *stats;
	int status = control_open(options, &control);

	(void)n_words, (void)words;
	if (status != STATUS_OK)
		return status;
	status = get(control, &stats);
	status = status == STATUS_OK ? print(stats) : control_tell(control, status);
	json_free(stats);
	control_close(control);
	return status;
}

const struct command command_stats = {
	.name = "stats",
	.summary = "print what the daemon has and counts",
	.about = "What there is now, what has been counted since it started, how long the daemon took for what it has a\n"
		 "part in (half of all took less than HALF says, and so on), and what each user has of what is limited.",
	.options = specs,
	.set = set,
	.run = run,
};
