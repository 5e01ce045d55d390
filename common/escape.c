/* SPDX-License-Identifier: MIT */
/* escape.c - bytes to printable text. */
#include "escape.h"

#include <stdint.h>
#include <string.h>

/* RFC 3629, section 4. */
size_t escape_printable(const unsigned char *at, size_t size)
{
	static const uint32_t lowest[] = { 0, 0, 0x80, 0x800, 0x10000 };
	size_t length = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
	uint32_t point;

	if (length == 0 || length > size)
		return 0;
	if (length == 1)
		return at[0] >= 0x20 && at[0] != 0x7f && at[0] != '\\' ? 1 : 0;
	point = at[0] & (0x7fu >> length);
	for (size_t i = 1; i < length; i++) {
		if ((at[i] & 0xc0) != 0x80)
			return 0;
		point = point << 6 | (at[i] & 0x3fu);
	}
	if (point < lowest[length] || point > 0x10ffff || (point >= 0xd800 && point < 0xe000))
		return 0;
	/* C1 controls, line and paragraph separators, and marks that turn the direction of writing */
	if (point < 0xa0 || point == 0x61c || point == 0x200e || point == 0x200f ||
	    (point >= 0x2028 && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069))
		return 0;
	return length;
}

size_t escape(const char *from, size_t size, char *ret, size_t ret_size)
{
	static const char digits[] = "0123456789abcdef";
	const unsigned char *at = (const unsigned char *)from;
	size_t used = 0;

	while (size > 0) {
		size_t length = escape_printable(at, size), taken = length ? length : 1;
		char text[4] = { '\\', 'x', digits[at[0] >> 4], digits[at[0] & 15] };
		size_t n = 4;

		if (length) {
			memcpy(text, at, length);
			n = length;
		} else if (at[0] == '\\') {
			text[1] = '\\';
			n = 2;
		}
		if (used + n >= ret_size)
			break;
		memcpy(ret + used, text, n);
		used += n;
		at += taken;
		size -= taken;
	}
	if (ret_size > 0)
		ret[used] = '\0';
	return used;
}
