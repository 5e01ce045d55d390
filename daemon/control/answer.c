/* SPDX-License-Identifier: MIT */
/* answer.c - see answer.h. */
#include "answer.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_DEPTH = 32, FIRST_ROOM = 512 };

struct answer {
	char *text;
	size_t size, room, most;
	bool failed;
	unsigned depth;
	uint32_t is_list; /* a bit for each depth */
	uint32_t has_any; /* the same: something is in there already */
};

struct answer *answer_new(size_t most)
{
	struct answer *answer = calloc(1, sizeof(*answer));

	if (answer)
		answer->most = most;
	return answer;
}

struct answer *answer_free(struct answer *answer)
{
	if (answer)
		free(answer->text);
	free(answer);
	return NULL;
}

/* --- text ------------------------------------------------------------------------------------------ */

static bool has_room(struct answer *answer, size_t size)
{
	size_t room = answer->room > 0 ? answer->room : FIRST_ROOM;
	char *text;

	if (answer->failed || size > answer->most - answer->size) {
		answer->failed = true;
		return false;
	}
	while (room - answer->size < size)
		room *= 2;
	if (room == answer->room)
		return true;
	text = realloc(answer->text, room);
	if (!text) {
		answer->failed = true;
		return false;
	}
	answer->text = text;
	answer->room = room;
	return true;
}

static void put(struct answer *answer, const char *text, size_t size)
{
	if (!has_room(answer, size))
		return;
	memcpy(answer->text + answer->size, text, size);
	answer->size += size;
}

static void put_text(struct answer *answer, const char *text)
{
	put(answer, text, strlen(text));
}

/* The length of the character at `at` that is valid UTF-8; 0: none is. No surrogates, nothing longer than it has to be. */
static size_t utf8_length(const unsigned char *at, size_t size)
{
	unsigned char first = at[0], low = 0x80, high = 0xbf;
	size_t n = first < 0x80 ? 1 : first >= 0xc2 && first <= 0xdf ? 2 : (first & 0xf0) == 0xe0 ? 3 :
	           first >= 0xf0 && first <= 0xf4 ? 4 : 0;

	if (n == 0 || n > size)
		return 0;
	if (first == 0xe0)
		low = 0xa0;
	else if (first == 0xed)
		high = 0x9f;
	else if (first == 0xf0)
		low = 0x90;
	else if (first == 0xf4)
		high = 0x8f;
	for (size_t i = 1; i < n; i++, low = 0x80, high = 0xbf)
		if (at[i] < low || at[i] > high)
			return 0;
	return n;
}

static bool is_utf8(const char *text, size_t size)
{
	for (size_t at = 0, n; at < size; at += n) {
		n = utf8_length((const unsigned char *)text + at, size - at);
		if (n == 0)
			return false;
	}
	return true;
}

static void put_string(struct answer *answer, const char *text, size_t size)
{
	put_text(answer, "\"");
	for (size_t at = 0; at < size && !answer->failed;) {
		size_t n = utf8_length((const unsigned char *)text + at, size - at);
		unsigned char first = (unsigned char)text[at];
		char escaped[8];

		if (n == 0) {
			put_text(answer, "\xef\xbf\xbd"); /* U+FFFD */
			n = 1;
		} else if (first < 0x20 || first == 0x7f) {
			snprintf(escaped, sizeof(escaped), "\\u%04x", first);
			put_text(answer, escaped);
		} else if (first == '"' || first == '\\') {
			escaped[0] = '\\';
			escaped[1] = (char)first;
			put(answer, escaped, 2);
		} else {
			put(answer, text + at, n);
		}
		at += n;
	}
	put_text(answer, "\"");
}

/* --- structure ------------------------------------------------------------------------------------- */

/* What comes before each value. */
static void begin(struct answer *answer, const char *key)
{
	uint32_t bit = UINT32_C(1) << answer->depth;

	assert(answer->depth == 0 || (key == NULL) == ((answer->is_list & bit) != 0));
	if (answer->has_any & bit)
		put_text(answer, ",");
	answer->has_any |= bit;
	if (key) {
		put_string(answer, key, strlen(key));
		put_text(answer, ":");
	}
}

static void open(struct answer *answer, const char *key, bool is_list)
{
	uint32_t bit;

	begin(answer, key);
	put_text(answer, is_list ? "[" : "{");
	assert(answer->depth + 1 < MAX_DEPTH);
	bit = UINT32_C(1) << ++answer->depth;
	answer->has_any &= ~bit;
	answer->is_list = is_list ? answer->is_list | bit : answer->is_list & ~bit;
}

void answer_object(struct answer *answer, const char *key)
{
	open(answer, key, false);
}

void answer_list(struct answer *answer, const char *key)
{
	open(answer, key, true);
}

void answer_end(struct answer *answer)
{
	assert(answer->depth > 0);
	put_text(answer, answer->is_list & UINT32_C(1) << answer->depth ? "]" : "}");
	answer->depth--;
}

/* --- values ---------------------------------------------------------------------------------------- */

void answer_number(struct answer *answer, const char *key, uint64_t number)
{
	char text[24];

	begin(answer, key);
	snprintf(text, sizeof(text), "%" PRIu64, number);
	put_text(answer, text);
}

void answer_signed(struct answer *answer, const char *key, int64_t number)
{
	char text[24];

	begin(answer, key);
	snprintf(text, sizeof(text), "%" PRId64, number);
	put_text(answer, text);
}

void answer_bool(struct answer *answer, const char *key, bool value)
{
	begin(answer, key);
	put_text(answer, value ? "true" : "false");
}

void answer_null(struct answer *answer, const char *key)
{
	begin(answer, key);
	put_text(answer, "null");
}

void answer_bytes(struct answer *answer, const char *key, const char *bytes, size_t size)
{
	begin(answer, key);
	put_string(answer, bytes, size);
}

void answer_text(struct answer *answer, const char *key, const char *text)
{
	if (text)
		answer_bytes(answer, key, text, strlen(text));
	else
		answer_null(answer, key);
}

void answer_path(struct answer *answer, const char *key, const char *path)
{
	size_t size = path ? strlen(path) : 0;
	char name[64];

	answer_text(answer, key, path);
	if (!path || is_utf8(path, size))
		return;
	snprintf(name, sizeof(name), "%s_bytes", key);
	begin(answer, name);
	put_text(answer, "\"");
	for (size_t i = 0; i < size; i++) {
		char hex[3];

		snprintf(hex, sizeof(hex), "%02x", (unsigned char)path[i]);
		put(answer, hex, 2);
	}
	put_text(answer, "\"");
}

void answer_time(struct answer *answer, const char *key, uint64_t unix_ns)
{
	time_t seconds = (time_t)(unix_ns / 1000000000);
	char date[32], text[48];
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0) {
		answer_null(answer, key);
		return;
	}
	snprintf(text, sizeof(text), "%s.%03uZ", date, (unsigned)(unix_ns / 1000000 % 1000));
	answer_text(answer, key, text);
}

/* --- the whole ------------------------------------------------------------------------------------- */

size_t answer_size(const struct answer *answer)
{
	return answer->size;
}

bool answer_failed(const struct answer *answer)
{
	return answer->failed;
}

const char *answer_bytes_of(const struct answer *answer)
{
	return answer->text;
}

void answer_clear(struct answer *answer)
{
	answer->size = 0;
	answer->depth = 0;
	answer->is_list = answer->has_any = 0;
	answer->failed = false;
}

char *answer_take(struct answer *answer, size_t *ret_size)
{
	char *text = answer->failed ? NULL : answer->text;

	assert(answer->failed || answer->depth == 0);
	if (!text)
		return NULL;
	*ret_size = answer->size;
	answer->text = NULL;
	answer->room = 0;
	answer_clear(answer);
	return text;
}
