/* SPDX-License-Identifier: MIT */
/* json_read.c - JSON that comes from elsewhere. One of the two files that know the JSON library. */
#include "json_read.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static const json_t *of(const struct json *value)
{
	return (const json_t *)value;
}

static const struct json *as_json(const json_t *value)
{
	return (const struct json *)value;
}

struct json *json_parse(const char *text, size_t size)
{
	/* What is nested deeper than JSON_PARSER_MAX_DEPTH, has a key twice or a zero byte in a string, is refused. */
	json_t *value = json_loadb(text, size, JSON_REJECT_DUPLICATES, NULL);

	if (!json_is_object(value)) {
		json_decref(value);
		return NULL;
	}
	return (struct json *)value;
}

struct json *json_free(struct json *value)
{
	json_decref((json_t *)value);
	return NULL;
}

const struct json *json_get(const struct json *object, const char *key)
{
	return as_json(json_object_get(of(object), key));
}

const char *json_text(const struct json *object, const char *key)
{
	return json_string_value(of(json_get(object, key)));
}

bool json_has_number(const struct json *object, const char *key)
{
	return json_is_number(of(json_get(object, key)));
}

uint64_t json_number(const struct json *object, const char *key)
{
	const json_t *value = of(json_get(object, key));
	json_int_t number;

	if (json_is_real(value)) {
		double real = json_real_value(value);

		return real > 0 && real < 9e18 ? (uint64_t)real : 0;
	}
	number = json_integer_value(value);
	return number > 0 ? (uint64_t)number : 0;
}

bool json_flag(const struct json *object, const char *key)
{
	return json_is_true(of(json_get(object, key)));
}

char *json_shown(const struct json *object, const char *key)
{
	const json_t *value = of(json_get(object, key));

	if (!value || json_is_null(value))
		return NULL;
	if (json_is_string(value))
		return strdup(json_string_value(value));
	return json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
}

static int digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* NULL: it is no hexadecimal, has a zero byte, or there is no memory. */
static char *bytes_of_hex(const char *hex)
{
	size_t size = strlen(hex) / 2;
	char *bytes = malloc(size + 1);

	for (size_t i = 0; bytes && i < size; i++) {
		int high = digit(hex[2 * i]), low = digit(hex[2 * i + 1]);

		if (high < 0 || low < 0 || high + low == 0) {
			free(bytes);
			return NULL;
		}
		bytes[i] = (char)(high << 4 | low);
	}
	if (bytes)
		bytes[size] = '\0';
	return bytes;
}

char *json_name(const struct json *object, const char *key)
{
	char key_bytes[64];
	const char *text = json_text(object, key), *hex = NULL;
	size_t size = strlen(key);
	char *exact = NULL;

	if (size + sizeof("_bytes") <= sizeof(key_bytes)) {
		memcpy(key_bytes, key, size);
		memcpy(key_bytes + size, "_bytes", sizeof("_bytes"));
		hex = json_text(object, key_bytes);
	}
	if (hex)
		exact = bytes_of_hex(hex);
	return exact ? exact : text ? strdup(text) : NULL;
}

/* The library's iterators are of no const. */
static json_t *loose(const struct json *object)
{
	return (json_t *)(uintptr_t)object;
}

const void *json_first(const struct json *object)
{
	return json_object_iter(loose(object));
}

const void *json_after(const struct json *object, const void *at)
{
	return json_object_iter_next(loose(object), (void *)(uintptr_t)at);
}

const char *json_key(const void *at)
{
	return json_object_iter_key((void *)(uintptr_t)at);
}

size_t json_length(const struct json *list)
{
	return json_array_size(of(list));
}

const struct json *json_at(const struct json *list, size_t i)
{
	return as_json(json_array_get(of(list), i));
}

const char *json_as_text(const struct json *value)
{
	return json_string_value(of(value));
}

size_t json_move_entries(struct json *to, struct json *from, const char *key)
{
	json_t *have = json_object_get((json_t *)to, key), *more = json_object_get((json_t *)from, key);
	size_t n = json_array_size(more);

	return json_array_extend(have, more) == 0 ? n : 0;
}

char *json_line(const struct json *value)
{
	char *text = json_dumps(of(value), JSON_COMPACT | JSON_ENCODE_ANY), *line = text ? json_safe_line(text) : NULL;

	free(text);
	return line;
}

char *json_of_text(const char *key, const char *text)
{
	json_t *object = json_object();
	char *ret = NULL;

	if (json_object_set_new(object, key, json_string(text)) == 0)
		ret = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return ret;
}
