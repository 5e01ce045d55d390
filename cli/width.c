/* SPDX-License-Identifier: MIT */
/*
 * width.c - columns by the C library's table, in a locale of our own: what is printed is UTF-8 whatever the user's locale is.
 */
#include "width.h"

#include <locale.h>
#include <stdbool.h>
#include <stdint.h>
#include <wchar.h>
#ifdef __APPLE__
#include <xlocale.h>
#endif

static locale_t unicode(void)
{
	static const char *const names[] = { "C.UTF-8", "en_US.UTF-8", "UTF-8" };
	static locale_t locale;
	static bool is_looked_for;

	for (size_t i = 0; !is_looked_for && !locale && i < sizeof(names) / sizeof(names[0]); i++)
		locale = newlocale(LC_CTYPE_MASK, names[i], (locale_t)0);
	is_looked_for = true;
	return locale;
}

/* One character: its length in bytes, at least 1. The text was made valid when it was escaped; what is not is taken byte by byte. */
static size_t decode(const char *text, uint32_t *ret)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t length = at[0] < 0xc0 ? 1 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : 4;
	uint32_t point = length == 1 ? at[0] : at[0] & (0x7fu >> length);

	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80) {
			*ret = at[0];
			return 1;
		}
		point = point << 6 | (at[i] & 0x3fu);
	}
	*ret = point;
	return length;
}

static size_t columns_of(uint32_t point)
{
	int columns = point < 0x80 ? 1 : wcwidth((wchar_t)point);

	return columns < 0 ? 1 : (size_t)columns; /* newer than the table */
}

size_t width_fit(const char *text, size_t columns)
{
	locale_t locale = unicode(), old = locale ? uselocale(locale) : (locale_t)0;
	const char *at = text;
	size_t used = 0;

	while (*at) {
		uint32_t point;
		size_t length = decode(at, &point), width = columns_of(point);

		if (width > columns - used)
			break;
		used += width;
		at += length;
	}
	if (locale)
		uselocale(old);
	return (size_t)(at - text);
}

size_t width_of(const char *text)
{
	locale_t locale = unicode(), old = locale ? uselocale(locale) : (locale_t)0;
	size_t used = 0;

	while (*text) {
		uint32_t point;

		text += decode(text, &point);
		used += columns_of(point);
	}
	if (locale)
		uselocale(old);
	return used;
}
