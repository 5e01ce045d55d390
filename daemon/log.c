/* SPDX-License-Identifier: MIT */
/* log.c - lines on stderr. */
#include "log.h"

#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "limit.h"
#include "os/os.h"

#define LINE_SIZE 1024 /* below PIPE_BUF: a line is written whole */

static enum log_level max_level = LOG_LEVEL_INFO;
static uint64_t n_unwritten;

static const char *const names[] = {
	[LOG_LEVEL_ERROR] = "error",
	[LOG_LEVEL_WARNING] = "warning",
	[LOG_LEVEL_INFO] = "info",
	[LOG_LEVEL_DEBUG] = "debug",
};

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
	return names[level];
}

bool log_level_from(const char *name, enum log_level *ret)
{
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (strcmp(names[i], name) == 0) {
			*ret = (enum log_level)i;
			return true;
		}
	}
	return false;
}

/* stderr is shared with whoever started us, so it cannot be made non-blocking; a pipe that is ready for
 * writing takes a line of this size without blocking. */
static bool stderr_takes_a_line(void)
{
	struct pollfd poll_fd = { .fd = STDERR_FILENO, .events = POLLOUT };

	return poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLOUT);
}

static void put_line(char *line, size_t size)
{
	if (!stderr_takes_a_line() || write(STDERR_FILENO, line, size) < 0)
		n_unwritten++;
}

void log_write(enum log_level level, const char *format, ...)
{
	char line[LINE_SIZE];
	int used, n;
	va_list arguments;

	if (level > max_level)
		return;
	if (n_unwritten > 0) {
		used = snprintf(line, sizeof(line), "pathbusd: warning: %" PRIu64 " lines of the log could not be written\n",
		                n_unwritten);
		n_unwritten = 0;
		put_line(line, (size_t)used);
	}
	used = snprintf(line, sizeof(line), "pathbusd: %s%s", level == LOG_LEVEL_INFO ? "" : names[level],
	                level == LOG_LEVEL_INFO ? "" : ": ");
	va_start(arguments, format);
	n = vsnprintf(line + used, sizeof(line) - (size_t)used - 1, format, arguments);
	va_end(arguments);
	if (n < 0)
		return;
	used = (int)strlen(line);
	line[used++] = '\n';
	put_line(line, (size_t)used);
}

bool log_allows(struct log_limit *limit, const char *what)
{
	uint64_t now = os_now_ns();

	if (now - limit->window_ns > UINT64_C(1000000) * LIMIT_LOG_WINDOW_MS) {
		if (limit->n_dropped > 0)
			log_warning("%s: %" PRIu64 " more times", what, limit->n_dropped);
		limit->window_ns = now;
		limit->n = 0;
		limit->n_dropped = 0;
	}
	if (limit->n >= LIMIT_LOG_LINES) {
		limit->n_dropped++;
		return false;
	}
	limit->n++;
	return true;
}
