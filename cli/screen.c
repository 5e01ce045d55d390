/* SPDX-License-Identifier: MIT */
/* screen.c - a terminal by ncurses. The only file that knows it. */
#include "screen.h"

#include <errno.h>

#ifdef PATHBUS_NCURSES

#define NCURSES_WIDECHAR 1
#include <curses.h>
#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "width.h"

enum { PAIR_WARNING = 1, ESCAPE_MS = 25 };

static SCREEN *terminal;
static bool is_open, has_colours;
static bool is_begun; /* something was put since it was shown */
static int cursor_row = -1, cursor_column;

/* What is written is UTF-8, whatever the user's locale is; the library has to know that, for the widths. */
static void use_unicode(void)
{
	setlocale(LC_CTYPE, "");
	if (strcmp(nl_langinfo(CODESET), "UTF-8") != 0)
		setlocale(LC_CTYPE, "C.UTF-8");
}

int screen_open(bool colours)
{
	use_unicode();
	if (!terminal) {
		terminal = newterm(NULL, stdout, stdin);
		if (!terminal)
			return -ENOTTY;
		atexit(screen_close);
	}
	is_open = true;
	set_escdelay(ESCAPE_MS);
	cbreak();
	noecho();
	nonl();
	keypad(stdscr, TRUE);
	nodelay(stdscr, TRUE);
	curs_set(0);
	has_colours = colours && has_colors() && start_color() == OK && use_default_colors() == OK &&
		      init_pair(PAIR_WARNING, COLOR_RED, -1) == OK;
	screen_resize();
	return 0;
}

void screen_close(void)
{
	if (!is_open)
		return;
	is_open = false;
	curs_set(1);
	endwin();
	delscreen(terminal);
	terminal = NULL;
}

void screen_resize(void)
{
	struct winsize size;

	/* By the terminal, not by LINES and COLUMNS of the environment. */
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 && size.ws_col > 0 &&
	    is_term_resized(size.ws_row, size.ws_col))
		resizeterm(size.ws_row, size.ws_col);
	clearok(curscr, TRUE);
}

void screen_size(int *ret_rows, int *ret_columns)
{
	getmaxyx(stdscr, *ret_rows, *ret_columns);
}

static attr_t attributes(unsigned styles)
{
	attr_t ret = A_NORMAL;

	if (styles & (SCREEN_BOLD | SCREEN_WARNING))
		ret |= A_BOLD;
	if (styles & SCREEN_DIM)
		ret |= A_DIM;
	if (styles & SCREEN_REVERSE)
		ret |= A_REVERSE;
	return ret;
}

/* What is the same as before is not written again. */
static void begin(void)
{
	if (!is_begun)
		erase();
	is_begun = true;
}

void screen_put(int row, const char *text, unsigned styles)
{
	int rows, columns, n;

	begin();
	getmaxyx(stdscr, rows, columns);
	if (row < 0 || row >= rows)
		return;
	n = (int)width_fit(text, (size_t)columns);
	move(row, 0);
	clrtoeol();
	attr_set(attributes(styles), styles & SCREEN_WARNING && has_colours ? PAIR_WARNING : 0, NULL);
	addnstr(text, n);
	for (int x = getcurx(stdscr); styles & SCREEN_REVERSE && getcury(stdscr) == row && x < columns; x++)
		addch(' ');
	attr_set(A_NORMAL, 0, NULL);
}

void screen_cursor(int row, int column)
{
	cursor_row = row;
	cursor_column = column;
}

void screen_show(void)
{
	int rows, columns;

	begin();
	is_begun = false;
	getmaxyx(stdscr, rows, columns);
	curs_set(cursor_row >= 0);
	if (cursor_row >= 0 && cursor_row < rows)
		move(cursor_row, cursor_column < columns ? cursor_column : columns - 1);
	refresh();
}

int screen_key(void)
{
	wint_t key;
	int kind = get_wch(&key);

	if (kind == ERR)
		return SCREEN_NO_KEY;
	if (kind == OK)
		return key == '\r' || key == '\n' ? SCREEN_ENTER : key == 27 ? SCREEN_ESCAPE : key == 127 || key == 8 ? SCREEN_BACKSPACE :
		       key >= ' ' ? (int)key : SCREEN_OTHER;
	switch (key) {
	case KEY_UP:
		return SCREEN_UP;
	case KEY_DOWN:
		return SCREEN_DOWN;
	case KEY_PPAGE:
		return SCREEN_PAGE_UP;
	case KEY_NPAGE:
		return SCREEN_PAGE_DOWN;
	case KEY_HOME:
		return SCREEN_HOME;
	case KEY_END:
		return SCREEN_END;
	case KEY_BACKSPACE:
		return SCREEN_BACKSPACE;
	case KEY_ENTER:
		return SCREEN_ENTER;
	default:
		return SCREEN_OTHER;
	}
}

#else

int screen_open(bool colours)
{
	(void)colours;
	return -ENOSYS;
}

void screen_close(void)
{
}

void screen_resize(void)
{
}

void screen_size(int *ret_rows, int *ret_columns)
{
	*ret_rows = *ret_columns = 0;
}

void screen_put(int row, const char *text, unsigned styles)
{
	(void)row, (void)text, (void)styles;
}

void screen_cursor(int row, int column)
{
	(void)row, (void)column;
}

void screen_show(void)
{
}

int screen_key(void)
{
	return SCREEN_NO_KEY;
}

#endif
