/* SPDX-License-Identifier: MIT */
/*
 * top.c - `pathbusctl top`: the busiest topics, again and again. On a terminal a screen with keys; else lines, or JSON.
 *
 * Keys are taken while an answer is waited for, too, so that a daemon that stands still keeps nobody. One that has gone is told
 * of, and asked for again at each interval.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "control.h"
#include "escape.h"
#include "os/os.h"
#include "paint.h"
#include "screen.h"
#include "stop.h"
#include "tell.h"
#include "top_model.h"
#include "top_view.h"
#include "width.h"

#define SECOND_NS UINT64_C(1000000000)
#define LEAST_INTERVAL_NS (SECOND_NS / 10)
#define MOST_INTERVAL_NS (3600 * SECOND_NS)

enum { FIRST_ROW = 3, EDIT_SIZE = 512 };

static bool as_json, once;
static uint64_t count, interval_ns = SECOND_NS;
static struct top_model model;

enum { OPTION_ONCE = OPTION_LONG, OPTION_INTERVAL, OPTION_SORT, OPTION_REVERSE, OPTION_FILTER, OPTION_JSON };

static const struct option_spec specs[] = {
	{ OPTION_INTERVAL, "interval", "SECONDS", "look so often (default: 1)" },
	{ 'n', "count", "N", "print N times, then end; no screen" },
	{ OPTION_ONCE, "once", NULL, "the same, once" },
	{ OPTION_SORT, "sort", "KEY", "posts/s (default), msgs/s, members, listen, posts, messages, age or path" },
	{ OPTION_REVERSE, "reverse", NULL, "the other way round" },
	{ OPTION_FILTER, "filter", "GLOB", "only of paths that match: /srv/**; or, without the first /, that have this part" },
	{ OPTION_JSON, "json", NULL, "print a JSON object each time" },
	{ 0 },
};

static bool set_text(char **to, const char *value)
{
	char *text = strdup(value);

	if (!text)
		return false;
	free(*to);
	*to = text;
	return true;
}

static bool set(int id, const char *value)
{
	switch (id) {
	case OPTION_INTERVAL:
		if (!options_seconds("interval", value, &interval_ns))
			return false;
		if (interval_ns >= LEAST_INTERVAL_NS && interval_ns <= MOST_INTERVAL_NS)
			return true;
		tell("--interval needs seconds from 0.1 to 3600, not \"%s\"", tell_name(value));
		return false;
	case 'n':
		return options_number("count", value, 1, UINT64_MAX, &count);
	case OPTION_ONCE:
		once = true;
		return true;
	case OPTION_SORT:
		if (top_sort_find(value, &model.sort))
			return true;
		tell("--sort is posts/s, msgs/s, members, listen, posts, messages, age or path, not \"%s\"", tell_name(value));
		return false;
	case OPTION_REVERSE:
		model.reverse = true;
		return true;
	case OPTION_FILTER:
		return set_text(&model.filter, value);
	default:
		as_json = true;
		return true;
	}
}

enum mode { MODE_LIST, MODE_FILTER, MODE_HELP };

struct top {
	struct control *control;
	int signals, set;
	bool has_screen, quit;
	enum mode mode;
	size_t scroll;        /* topics above the first that is shown */
	char edit[EDIT_SIZE]; /* the filter that is being written: UTF-8 */
	size_t edit_size;
	bool look_now;
	char *why;            /* the last look failed; NULL: it did not */
	unsigned n_silent;    /* times that the terminal was readable, and had nothing */
};

enum { TAG_SIGNALS, TAG_KEYS };

/* --- the screen ------------------------------------------------------------------------------------------------------ */

static const char *const help_lines[] = {
	"Keys",
	"  p  sort by posts a second         m  by messages a second",
	"  t  by all posts                   x  by all messages",
	"  u  by members                     l  by those that listen",
	"  a  by age, the oldest first       n  by name",
	"  r  the other way round            /  show only some: a part of the path, or",
	"                                       a pattern for all of it, as /srv/**",
	"  +  look more often                -  less often",
	"  space  look now                   q  quit",
	"  arrows, page up, page down, home and end move in the list",
	"",
	"The numbers of a second are those between the last two looks.",
	"MEMBERS have the topic open, LISTEN of them are told of posts.",
	"",
	"Any key goes back.",
};

static void draw_help(int rows)
{
	int n = (int)(sizeof(help_lines) / sizeof(help_lines[0]));

	for (int i = 0; i < n && i < rows; i++)
		screen_put(i, help_lines[i], i == 0 ? SCREEN_BOLD : SCREEN_PLAIN);
}

static void draw_head(const struct top *top, int columns)
{
	char text[TOP_VIEW_SIZE];

	top_view_daemon(&model, text);
	screen_put(0, text, SCREEN_BOLD);
	if (top->why) {
		screen_put(1, top->why, SCREEN_WARNING);
	} else {
		top_view_sums(&model, (double)interval_ns / 1e9, text);
		screen_put(1, text, SCREEN_PLAIN);
	}
	top_view_titles((size_t)columns, text);
	screen_put(2, text, SCREEN_REVERSE);
}

static size_t page_size(void)
{
	int rows, columns;

	screen_size(&rows, &columns);
	return rows > FIRST_ROW + 1 ? (size_t)(rows - FIRST_ROW - 1) : 0;
}

static void draw_rows(struct top *top, int columns)
{
	size_t page = page_size(), last = model.n_shown > page ? model.n_shown - page : 0;
	uint64_t now_ms = model.at_ns / 1000000;

	if (top->scroll > last)
		top->scroll = last;
	for (size_t i = 0; i < page && top->scroll + i < model.n_shown; i++) {
		const struct top_topic *topic = &model.topics[model.order[top->scroll + i]];
		char *row = top_view_row(topic, now_ms, (size_t)columns);
		unsigned style = top->why ? SCREEN_DIM : topic->posts_rate + topic->messages_rate > 0 ? SCREEN_BOLD : SCREEN_PLAIN;

		screen_put(FIRST_ROW + (int)i, row ? row : "out of memory", style);
		free(row);
	}
}

static void draw_foot(const struct top *top, int row, int columns)
{
	static const char prompt[] = "Show only (enter, escape: as before): ";
	char shown[ESCAPE_SIZE(EDIT_SIZE)], text[sizeof(prompt) + sizeof(shown) + 8], *end;
	size_t room = (size_t)columns > sizeof(prompt) ? (size_t)columns - sizeof(prompt) : 0; /* with the cursor's place */

	if (top->mode != MODE_FILTER) {
		screen_put(row, "q quit  ? help  / filter  r reverse  p posts  m messages  u members  a age", SCREEN_REVERSE);
		return;
	}
	escape(top->edit, top->edit_size, shown, sizeof(shown));
	end = top_view_cut(shown, room);
	snprintf(text, sizeof(text), "%s%s", prompt, end ? end : "");
	free(end);
	screen_put(row, text, SCREEN_PLAIN);
	screen_cursor(row, (int)width_of(text));
}

static void draw(struct top *top)
{
	int rows, columns;

	if (!top->has_screen)
		return;
	screen_size(&rows, &columns);
	screen_cursor(-1, 0);
	if (top->mode == MODE_HELP) {
		draw_help(rows);
	} else {
		draw_head(top, columns);
		draw_rows(top, columns);
		draw_foot(top, rows - 1, columns);
	}
	screen_show();
}

/* --- keys ------------------------------------------------------------------------------------------------------------ */

static void sort_by(struct top *top, enum top_sort sort)
{
	model.sort = sort;
	top->scroll = 0;
	top_model_arrange(&model);
}

/* Twice as often, or half as often. */
static void change_interval(bool faster)
{
	interval_ns = faster ? interval_ns / 2 : interval_ns * 2;
	if (interval_ns < LEAST_INTERVAL_NS)
		interval_ns = LEAST_INTERVAL_NS;
	if (interval_ns > MOST_INTERVAL_NS)
		interval_ns = MOST_INTERVAL_NS;
}

static void move(struct top *top, int key)
{
	size_t page = page_size();

	switch (key) {
	case SCREEN_UP:
		top->scroll -= top->scroll > 0;
		break;
	case SCREEN_DOWN:
		top->scroll++; /* drawing puts right what is too far */
		break;
	case SCREEN_PAGE_UP:
		top->scroll -= top->scroll < page ? top->scroll : page;
		break;
	case SCREEN_PAGE_DOWN:
		top->scroll += page;
		break;
	case SCREEN_HOME:
		top->scroll = 0;
		break;
	default:
		top->scroll = model.n_shown;
		break;
	}
}

static void take_list_key(struct top *top, int key)
{
	static const struct { int key; enum top_sort sort; } sorts[] = {
		{ 'p', TOP_POSTS_RATE }, { 'm', TOP_MESSAGES_RATE }, { 't', TOP_POSTS }, { 'x', TOP_MESSAGES },
		{ 'u', TOP_MEMBERS },	 { 'l', TOP_SUBSCRIBERS },   { 'a', TOP_AGE },	 { 'n', TOP_PATH },
	};

	for (size_t i = 0; i < sizeof(sorts) / sizeof(sorts[0]); i++)
		if (sorts[i].key == key)
			sort_by(top, sorts[i].sort);
	if (key >= SCREEN_UP && key <= SCREEN_END)
		move(top, key);
	if (key == 'q' || key == 'Q')
		top->quit = true;
	if (key == '?' || key == 'h')
		top->mode = MODE_HELP;
	if (key == ' ')
		top->look_now = true;
	if (key == '+' || key == '-') {
		change_interval(key == '+');
		top->look_now = true;
	}
	if (key == 'r') {
		model.reverse = !model.reverse;
		sort_by(top, model.sort);
	}
	if (key == '/') {
		top->mode = MODE_FILTER;
		snprintf(top->edit, sizeof(top->edit), "%s", model.filter ? model.filter : "");
		top->edit_size = strlen(top->edit);
	}
	if (key == SCREEN_OTHER)
		screen_resize(); /* control-L, say: draws all of it anew */
}

/* A code point as UTF-8, if there is room. */
static void add_character(struct top *top, int point)
{
	unsigned c = (unsigned)point, n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	if (top->edit_size + n >= EDIT_SIZE)
		return;
	for (unsigned i = n; i-- > 0; c >>= 6)
		top->edit[top->edit_size + i] = (char)(i > 0 ? 0x80 | (c & 0x3f) : n == 1 ? c : (0xf00u >> n & 0xff) | c);
	top->edit_size += n;
	top->edit[top->edit_size] = '\0';
}

static void take_filter_key(struct top *top, int key)
{
	if (key < SCREEN_UP) {
		add_character(top, key);
	} else if (key == SCREEN_BACKSPACE) {
		while (top->edit_size > 0 && (top->edit[--top->edit_size] & 0xc0) == 0x80)
			;
		top->edit[top->edit_size] = '\0';
	} else if (key == SCREEN_ESCAPE) {
		top->mode = MODE_LIST;
	} else if (key == SCREEN_ENTER && set_text(&model.filter, top->edit)) {
		top->mode = MODE_LIST;
		top->scroll = 0;
		top->look_now = true;
		top_model_arrange(&model);
	}
}

/* All that there are. */
static void take_keys(struct top *top)
{
	bool any = false;
	int key;

	while (!top->quit && (key = screen_key()) != SCREEN_NO_KEY) {
		any = true;
		if (top->mode == MODE_FILTER)
			take_filter_key(top, key);
		else if (top->mode == MODE_HELP)
			top->mode = MODE_LIST;
		else
			take_list_key(top, key);
	}
	/* A terminal that has gone is readable for ever. */
	top->n_silent = any ? 0 : top->n_silent + 1;
	top->quit |= top->n_silent > 100;
	draw(top);
}

/* --- looking --------------------------------------------------------------------------------------------------------- */

static void take_input(struct top *top, uint64_t deadline_ns)
{
	uint64_t tags[2];
	int n = os_set_wait(top->set, tags, 2, deadline_ns);

	for (int i = 0; i < n; i++) {
		if (tags[i] == TAG_KEYS) {
			take_keys(top);
		} else if (stop_take()) {
			top->quit = true;
		} else if (top->has_screen) {
			screen_resize();
			draw(top);
		}
	}
}

static bool on_ready(void *userdata)
{
	struct top *top = userdata;

	take_input(top, 0);
	return !top->quit;
}

/* False: it failed; `why` says why. */
static bool look(struct top *top, int *ret_status)
{
	bool given_up;

	*ret_status = top_model_look(&model, top->control, &given_up);
	free(top->why);
	top->why = NULL;
	if (*ret_status == STATUS_OK)
		return true;
	if (asprintf(&top->why, "%s", control_why(top->control)) < 0)
		top->why = NULL;
	top_model_forget(&model);
	return false;
}

/* --- without a screen -------------------------------------------------------------------------------------------------- */

static bool print_json(void)
{
	char *line = top_model_json(&model);

	if (!line) {
		tell("out of memory");
		return false;
	}
	fputs(line, stdout);
	free(line);
	return true;
}

static bool print_text(bool is_first)
{
	char text[TOP_VIEW_SIZE];

	top_view_daemon(&model, text);
	printf("%s%s\n", is_first ? "" : "\n", text);
	top_view_sums(&model, (double)interval_ns / 1e9, text);
	printf("%s\n", text);
	top_view_titles(TOP_VIEW_NO_LIMIT, text);
	printf("%s%s%s\n", paint(PAINT_BOLD), text, paint_end(PAINT_BOLD));
	for (size_t i = 0; i < model.n_shown; i++) {
		char *row = top_view_row(&model.topics[model.order[i]], model.at_ns / 1000000, TOP_VIEW_NO_LIMIT);

		if (!row) {
			tell("out of memory");
			return false;
		}
		printf("%s\n", row);
		free(row);
	}
	return true;
}

/* False: enough. */
static bool print(struct top *top, uint64_t n_before, int *ret_status)
{
	bool printed = as_json ? print_json() : print_text(n_before == 0);

	if (printed && fflush(stdout) == 0 && !ferror(stdout))
		return true;
	/* Nobody reads it any more, or a signal came while nobody did. */
	if (printed && (errno == EPIPE || (errno == EINTR && stop_take()))) {
		top->quit = true;
		return false;
	}
	*ret_status = printed ? tell_flush() : STATUS_FAILED;
	return false;
}

/* --- the loop ---------------------------------------------------------------------------------------------------------- */

/* What a look has found, or not. False: that was all. */
static bool show(struct top *top, bool found, uint64_t *n_printed, int *status)
{
	static bool is_told;

	if (top->quit)
		return false;
	if (top->has_screen) {
		draw(top);
		return true;
	}
	if (!found) {
		if (count > 0)
			*status = control_tell(top->control, *status);
		else if (!is_told)
			control_tell(top->control, *status);
		is_told = true;
		return count == 0;
	}
	*status = STATUS_OK;
	is_told = false;
	if (model.seconds <= 0)
		return true; /* there is nothing to compare with yet */
	if (!print(top, (*n_printed)++, status))
		return false;
	return count == 0 || *n_printed < count;
}

static int loop(struct top *top)
{
	uint64_t next_ns = os_now_ns() + interval_ns, n_printed = 0;
	int status = STATUS_OK;

	while (!top->quit) {
		bool found;

		take_input(top, top->look_now ? 0 : next_ns);
		if (top->quit || (!top->look_now && os_now_ns() < next_ns))
			continue;
		top->look_now = false;
		found = look(top, &status);
		next_ns = os_now_ns() + interval_ns;
		if (!show(top, found, &n_printed, &status))
			break;
	}
	return top->has_screen || top->quit ? STATUS_OK : status;
}

/* 0, -errno. */
static int prepare(struct top *top)
{
	int r;

	top->signals = stop_init();
	top->set = top->signals < 0 ? top->signals : os_set_new();
	if (top->set < 0)
		return top->set;
	r = os_set_add(top->set, top->signals, OS_READ, TAG_SIGNALS);
	if (r == 0)
		control_watch(top->control, top->set, 0, on_ready, top);
	return r;
}

static void open_screen(struct top *top)
{
	if (as_json || count > 0 || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		return;
	if (os_set_add(top->set, STDIN_FILENO, OS_READ, TAG_KEYS) < 0)
		return;
	/* Before the screen is: then it leaves the signal to us. */
	top->has_screen = stop_watch_size() == 0 && screen_open(paint_wanted()) == 0;
	if (!top->has_screen)
		os_set_remove(top->set, STDIN_FILENO);
	draw(top);
}

static int run(const struct pathbus_options *options, size_t n_words, char **words)
{
	struct top top = { .set = -1 };
	int status = control_open(options, &top.control), r;

	(void)n_words, (void)words;
	if (status != STATUS_OK)
		return status;
	count = once ? 1 : count;
	r = prepare(&top);
	if (r < 0) {
		tell("cannot start: %s", strerror(-r));
		status = STATUS_FAILED;
	} else if (!look(&top, &status)) {
		control_tell(top.control, status);
	} else if (!top.quit) {
		open_screen(&top);
		status = loop(&top);
		screen_close();
	}
	if (top.set >= 0)
		close(top.set);
	free(top.why);
	top_model_free(&model);
	control_close(top.control);
	return status;
}

const struct command command_top = {
	.name = "top",
	.summary = "show the busiest topics of the daemon, again and again",
	.about = "On a terminal a screen that is drawn anew at each interval: ? tells the keys, q ends it. Otherwise, and with\n"
		 "--count or --once, the same is printed at each interval, from the end of the first on. A daemon that goes away\n"
		 "is told of, and waited for. Its control socket has to let this user in.\n"
		 "\n"
		 "It ends with 0 by q, SIGINT, SIGTERM or SIGHUP, after --count, and when nobody reads its output any more.",
	.options = specs,
	.set = set,
	.run = run,
};
