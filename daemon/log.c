/* SPDX-License-Identifier: MIT */
/* log.c - levels, reasons, what is left out; log_target.c is where the lines go. */
#include "log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "escape.h"
#include "happening.h"
#include "limit.h"
#include "log_target.h"
#include "os/os.h"

#define MS UINT64_C(1000000)

enum how_often { ALWAYS, OFTEN, LIMITED };

static const struct {
	enum log_level level;
	enum how_often how_often;
	const char *name, *meaning;
} reasons[N_REASONS] = {
#define LOG_REASON(reason, level, how_often, name, meaning) \
	[REASON_##reason] = { LOG_LEVEL_##level, how_often, name, meaning },
	LOG_REASONS(LOG_REASON)
#undef LOG_REASON
};

static const char *const level_names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

static enum log_level max_level = LOG_LEVEL_INFO;
static struct log_limit of_all[N_REASONS];
static struct log_limit *left_out; /* those that have left something out */
static void (*wake)(void *arg, unsigned ms);
static void *wake_arg;
static uint64_t wake_ns; /* when it was said to be called; 0: it was not */

void log_set_level(enum log_level level)
{
	max_level = level;
}

enum log_level log_level(void)
{
	return max_level;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

bool log_level_from(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < sizeof(level_names) / sizeof(level_names[0]); i++) {
		if (strcmp(level_names[i], name) == 0) {
			*ret = (enum log_level)i;
			return true;
		}
	}
	return false;
}

const char *log_reason_name(enum log_reason reason)
{
	return reasons[reason].name;
}

enum log_level log_reason_level(enum log_reason reason)
{
	return reasons[reason].level;
}

/* --- a line ------------------------------------------------------------------------------------------ */

/* What whoever wrote the line has escaped stays as it is: a backslash is a character like any other here. */
static void make_printable(const char *from, char *ret, size_t size)
{
	const unsigned char *at = (const unsigned char *)from;
	size_t left = strlen(from), used = 0;

	while (left > 0) {
		size_t length = at[0] == '\\' ? 1 : escape_printable(at, left);
		char text[8];

		if (length == 0)
			length = (size_t)snprintf(text, sizeof(text), "\\x%02x", at[0]);
		else
			memcpy(text, at, length);
		if (used + length >= size)
			break;
		memcpy(ret + used, text, length);
		used += length;
		length = text[0] == '\\' && at[0] != '\\' ? 1 : length;
		at += length;
		left -= length;
	}
	ret[used] = '\0';
}

static void put(enum log_reason reason, const char *text)
{
	enum log_level level = reasons[reason].level;
	char line[LOG_TEXT_SIZE];

	make_printable(text, line, sizeof(line));
	log_target_put(level, reasons[reason].name, line);
	happening_note(HAPPENING_LOG, .name = reasons[reason].name, .what = level_names[level], .text = line);
}

/* Nobody would see it. */
static bool is_hidden(enum log_reason reason)
{
	return reasons[reason].level > max_level;
}

/* --- what is left out ---------------------------------------------------------------------------------- */

static unsigned pause_ms(unsigned n_pauses)
{
	unsigned ms = LIMIT_LOG_PAUSE_MS;

	while (n_pauses-- > 0 && ms < LIMIT_LOG_LONGEST_PAUSE_MS)
		ms *= 2;
	return ms < LIMIT_LOG_LONGEST_PAUSE_MS ? ms : LIMIT_LOG_LONGEST_PAUSE_MS;
}

static void unlist(struct log_limit *limit)
{
	if (!limit->at)
		return;
	*limit->at = limit->next;
	if (limit->next)
		limit->next->at = limit->at;
	limit->at = NULL;
}

static unsigned ms_until(uint64_t end_ns, uint64_t now)
{
	return end_ns > now ? (unsigned)((end_ns - now) / MS) + 1 : 1;
}

static void leave_out(struct log_limit *limit, enum log_reason reason, const char *whose, uint64_t now)
{
	limit->n_dropped++;
	limit->reason = reason;
	if (limit->at)
		return;
	if (whose)
		snprintf(limit->whose, sizeof(limit->whose), "%s", whose);
	limit->next = left_out;
	limit->at = &left_out;
	if (left_out)
		left_out->at = &limit->next;
	left_out = limit;
	if (wake && (wake_ns == 0 || limit->end_ns < wake_ns)) {
		wake_ns = limit->end_ns;
		wake(wake_arg, ms_until(wake_ns, now));
	}
}

static bool allows(struct log_limit *limit, unsigned most, enum log_reason reason, const char *whose);

static void tell(struct log_limit *limit, uint64_t now)
{
	uint64_t ms = pause_ms(limit->n_pauses), over = limit->end_ns > now ? (limit->end_ns - now) / MS : 0;
	char text[LOG_TEXT_SIZE];

	unlist(limit);
	if (limit->n_dropped == 0 || is_hidden(limit->reason))
		return;
	/* There may be any number of users. */
	if (limit->whose[0] && !allows(&of_all[limit->reason], LIMIT_LOG_LINES_OF_ALL, limit->reason, NULL)) {
		of_all[limit->reason].n_dropped += limit->n_dropped - 1;
		return;
	}
	snprintf(text, sizeof(text), "%s%s%" PRIu64 " more in %" PRIu64 " s: %s", limit->whose, limit->whose[0] ? ": " : "",
	         limit->n_dropped, ((over < ms ? ms - over : 0) + 999) / 1000, reasons[limit->reason].meaning);
	put(limit->reason, text);
}

/* As long as each is followed by the next, pauses grow. */
static void begin_pause(struct log_limit *limit, uint64_t now)
{
	bool goes_on = limit->n_dropped > 0;

	tell(limit, now);
	limit->n_pauses = goes_on ? limit->n_pauses + 1 : 0;
	limit->n = goes_on; /* that line is one */
	limit->n_dropped = 0;
	limit->end_ns = now + pause_ms(limit->n_pauses) * MS;
}

/* How many lines in a pause: fewer while it goes on. */
static bool allows(struct log_limit *limit, unsigned most, enum log_reason reason, const char *whose)
{
	uint64_t now = os_now_ns();

	if (now >= limit->end_ns)
		begin_pause(limit, now);
	if (limit->n >= (limit->n_pauses > 0 ? 1 : most)) {
		leave_out(limit, reason, whose, now);
		return false;
	}
	limit->n++;
	return true;
}

void log_limit_end(struct log_limit *limit)
{
	if (limit->at)
		tell(limit, os_now_ns());
}

void log_set_waker(void (*fn)(void *arg, unsigned ms), void *arg)
{
	wake = fn;
	wake_ns = 0;
	wake_arg = arg;
}

unsigned log_tell_left_out(void)
{
	uint64_t now = os_now_ns(), first_ns = UINT64_MAX;

	for (struct log_limit *limit = left_out; limit;) {
		if (now < limit->end_ns) {
			first_ns = limit->end_ns < first_ns ? limit->end_ns : first_ns;
			limit = limit->next;
		} else {
			begin_pause(limit, now);
			limit = left_out; /* others may have come and gone with it */
			first_ns = UINT64_MAX;
		}
	}
	wake_ns = first_ns == UINT64_MAX ? 0 : first_ns;
	return wake_ns == 0 ? 0 : ms_until(wake_ns, now);
}

void log_tell_all_left_out(void)
{
	while (left_out)
		tell(left_out, os_now_ns());
}

static unsigned most_of(enum log_reason reason)
{
	return reasons[reason].how_often == OFTEN ? LIMIT_LOG_LINES_OF_ALL : LIMIT_LOG_LINES;
}

/* --- saying it ------------------------------------------------------------------------------------------- */

void log_event(enum log_reason reason, const char *format, ...)
{
	char text[LOG_TEXT_SIZE];
	va_list arguments;

	if (is_hidden(reason))
		return;
	if (reasons[reason].how_often != ALWAYS && !allows(&of_all[reason], most_of(reason), reason, NULL))
		return;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	put(reason, text);
}

void log_event_of(struct log_limit *limit, const char *whose, enum log_reason reason, const char *format, ...)
{
	char text[LOG_TEXT_SIZE];
	va_list arguments;
	int used;

	if (is_hidden(reason) || !allows(limit, LIMIT_LOG_LINES, reason, whose) ||
	    !allows(&of_all[reason], LIMIT_LOG_LINES_OF_ALL, reason, NULL))
		return;
	used = snprintf(text, sizeof(text), "%s: ", whose);
	va_start(arguments, format);
	vsnprintf(text + used, sizeof(text) - (size_t)used, format, arguments);
	va_end(arguments);
	put(reason, text);
}
