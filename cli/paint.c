/* SPDX-License-Identifier: MIT */
/* paint.c - colour on a terminal. */
#include "paint.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

bool paint_wanted(void)
{
	static int wanted = -1;

	if (wanted < 0) {
		const char *no = getenv("NO_COLOR"), *terminal = getenv("TERM");

		wanted = !(no && *no) && terminal && *terminal && strcmp(terminal, "dumb") != 0 && isatty(STDOUT_FILENO);
	}
	return wanted;
}

const char *paint(enum paint colour)
{
	static const char *const codes[] = {
		[PAINT_PLAIN] = "",	     [PAINT_BOLD] = "\033[1m",	  [PAINT_DIM] = "\033[2m",
		[PAINT_RED] = "\033[31m",    [PAINT_GREEN] = "\033[32m",  [PAINT_YELLOW] = "\033[33m",
		[PAINT_BLUE] = "\033[34m",   [PAINT_CYAN] = "\033[36m",
	};

	return paint_wanted() ? codes[colour] : "";
}

const char *paint_end(enum paint colour)
{
	return colour != PAINT_PLAIN && paint_wanted() ? "\033[0m" : "";
}

bool paint_lines(void)
{
	static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" }; /* the first that is set decides */

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		const char *value = getenv(names[i]), *set;

		if (!value || !*value)
			continue;
		set = strchr(value, '.');
		return set && (strncasecmp(set, ".utf-8", 6) == 0 || strncasecmp(set, ".utf8", 5) == 0);
	}
	return false;
}
