/* SPDX-License-Identifier: MIT */
/* paint.h - colour on a terminal, and only there. */
#ifndef PATHBUS_CLI_PAINT_H
#define PATHBUS_CLI_PAINT_H

#include <stdbool.h>

enum paint { PAINT_PLAIN, PAINT_BOLD, PAINT_DIM, PAINT_RED, PAINT_GREEN, PAINT_YELLOW, PAINT_BLUE, PAINT_CYAN };

/* Is stdout a terminal that has colours, and are they wanted (no NO_COLOR, no TERM=dumb)? */
bool paint_wanted(void);
/* What begins this colour, and what ends any; "" where none is wanted. */
const char *paint(enum paint colour);
const char *paint_end(enum paint colour);
/* May lines and corners be drawn: is the terminal's text, or that of whoever reads the output, UTF-8 by the locale? */
bool paint_lines(void);

#endif
