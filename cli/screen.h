/* SPDX-License-Identifier: MIT */
/*
 * screen.h - a terminal as a grid of lines, and its keys. screen.c is the only file that knows the library for it (ncurses);
 * built without one there is no screen, and who wanted it prints plainly.
 *
 * Who opens it has SIGINT, SIGTERM, SIGHUP and SIGWINCH handled before: the library then leaves them alone, and the terminal is
 * given back whole.
 */
#ifndef PATHBUS_CLI_SCREEN_H
#define PATHBUS_CLI_SCREEN_H

#include <stdbool.h>

enum screen_style {
	SCREEN_PLAIN = 0,
	SCREEN_BOLD = 1,
	SCREEN_DIM = 2,
	SCREEN_REVERSE = 4,
	SCREEN_WARNING = 8, /* red, where colours are wanted; and bold */
};

/* Keys that are no characters. */
enum {
	SCREEN_NO_KEY = 0,
	SCREEN_UP = 0x110000, /* beyond all characters */
	SCREEN_DOWN,
	SCREEN_PAGE_UP,
	SCREEN_PAGE_DOWN,
	SCREEN_HOME,
	SCREEN_END,
	SCREEN_BACKSPACE,
	SCREEN_ENTER,
	SCREEN_ESCAPE,
	SCREEN_OTHER,
};

/* 0; -ENOTTY: there is none, or not of a kind that is known; -ENOSYS: built without. `colours`: whether they are wanted. */
int screen_open(bool colours);
/* Gives the terminal back; does nothing if there is no screen. */
void screen_close(void);
/* The size has changed (SIGWINCH): looks. */
void screen_resize(void);
void screen_size(int *ret_rows, int *ret_columns);

/* UTF-8 without control characters, cut at the right edge; the rest of the line is emptied. */
void screen_put(int row, const char *text, unsigned styles);
/* Where the cursor is to be seen; row -1: nowhere. */
void screen_cursor(int row, int column);
/* Makes it visible. All lines that were not put since the last time are emptied. */
void screen_show(void);
/* The next key, a code point or one of those above; never waits. */
int screen_key(void);

#endif
