/* SPDX-License-Identifier: MIT */
/*
 * json.c - the lines of --json. With json_read.c, all that knows the JSON library.
 */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "escape.h"
#include "found.h"
#include "json_read.h"
#include "line.h"
#include "report.h"
#include "tell.h"

/* Numbers of JSON are signed here; no counter gets that far. */
static json_t *number(uint64_t value)
{
	return json_integer(value > INT64_MAX ? INT64_MAX : (json_int_t)value);
}

static json_t *hex(const char *name)
{
	static const char digits[] = "0123456789abcdef";
	size_t size = strlen(name);
	char *text = malloc(2 * size + 1);
	json_t *ret;

	if (!text)
		return NULL;
	for (size_t i = 0; i < size; i++) {
		text[2 * i] = digits[(unsigned char)name[i] >> 4];
		text[2 * i + 1] = digits[name[i] & 15];
	}
	ret = json_stringn(text, 2 * size);
	free(text);
	return ret;
}

/* JSON's strings are Unicode, names are bytes: one that is not UTF-8 comes escaped, and exactly beside it. */
static int set_name(json_t *object, const char *key, const char *key_exact, const char *name)
{
	json_t *exact = json_string(name); /* NULL: it is not UTF-8 */

	if (exact)
		return json_object_set_new(object, key, exact);
	if (json_object_set_new(object, key, json_string(tell_name(name))) < 0)
		return -1;
	return json_object_set_new(object, key_exact, hex(name));
}

static int set_file(json_t *object, const char *name)
{
	return set_name(object, "file", "file_bytes_hex", name);
}

static json_t *time_string(struct timespec time)
{
	char text[LINE_TIME_SIZE];

	line_time(time, text);
	return json_string(text);
}

static json_t *origin_string(uint64_t origin)
{
	char text[LINE_ORIGIN_SIZE];

	line_origin(origin, text);
	return json_string(text);
}

static json_t *base64(const void *bytes, size_t size)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const unsigned char *at = bytes;
	size_t length = (size + 2) / 3 * 4;
	char *text = malloc(length + 1), *to = text;
	json_t *ret;

	if (!text)
		return NULL;
	for (; size > 0; at += 3, to += 4) {
		size_t n = size < 3 ? size : 3;
		unsigned three = (unsigned)at[0] << 16 | (n > 1 ? (unsigned)at[1] << 8 : 0) | (n > 2 ? at[2] : 0u);

		for (unsigned i = 0; i < 4; i++)
			to[i] = i <= n ? digits[three >> (18 - 6 * i) & 63] : '=';
		size -= n;
	}
	ret = json_stringn(text, length);
	free(text);
	return ret;
}

/* Bytes of a message: as `name` if they are UTF-8, else as `name_base64`. */
static int set_bytes(json_t *object, const char *name, const char *name_base64, const void *bytes, size_t size)
{
	json_t *text = json_stringn(bytes, size); /* NULL: they are not */

	if (text)
		return json_object_set_new(object, name, text);
	return json_object_set_new(object, name_base64, base64(bytes, size));
}

/* The code point at `at`, which is valid UTF-8 of at most three bytes. */
static unsigned code_point(const unsigned char *at, size_t length)
{
	unsigned point = length == 1 ? at[0] : at[0] & (0x7fu >> length);

	for (size_t i = 1; i < length; i++)
		point = point << 6 | (at[i] & 0x3fu);
	return point;
}

char *json_safe_line(const char *text)
{
	size_t size = strlen(text);
	const unsigned char *at = (const unsigned char *)text;
	char *line = malloc(6 * size + 2), *to = line;

	while (line && size > 0) {
		/* A backslash is JSON's own. */
		size_t length = *at == '\\' ? 1 : escape_printable(at, size);

		if (length > 0) {
			memcpy(to, at, length);
			to += length;
		} else {
			length = *at < 0x80 ? 1 : *at < 0xe0 ? 2 : 3;
			to += sprintf(to, "\\u%04x", code_point(at, length));
		}
		at += length;
		size -= length;
	}
	if (line)
		memcpy(to, "\n", 2);
	return line;
}

/* Takes the object. NULL: it was not complete, or there is no memory for the text. */
static char *finish(json_t *object, int failed)
{
	char *text = failed ? NULL : json_dumps(object, JSON_COMPACT), *line = text ? json_safe_line(text) : NULL;

	json_decref(object);
	free(text);
	return line;
}

/* Setting a member to NULL, which is what the makers of values return without memory, fails too. */
char *line_event_json(const struct line_event *line)
{
	const struct pathbus_event *event = line->event;
	json_t *object = json_object();
	int failed = set_file(object, line->file);

	failed |= json_object_set_new(object, "event", json_string(line_event_name(event->kind)));
	failed |= json_object_set_new(object, "count", number(event->count));
	failed |= json_object_set_new(object, "generation", number(event->generation));
	failed |= json_object_set_new(object, "time", time_string(line->time));
	failed |= json_object_set_new(object, "transport", json_string(tell_transport(line->transport)));
	if (event->pid)
		failed |= json_object_set_new(object, "pid", json_integer(event->pid));
	if (event->uid != (uid_t)-1)
		failed |= json_object_set_new(object, "uid", json_integer(event->uid));
	if (event->kind == PATHBUS_EVENT_MESSAGE) {
		failed |= json_object_set_new(object, "origin", origin_string(event->origin));
		if (event->key)
			failed |= set_bytes(object, "key", "key_base64", event->key, event->key_size);
		failed |= set_bytes(object, "data", "data_base64", event->data, event->data_size);
	}
	if (event->error)
		failed |= json_object_set_new(object, "error", json_string(strerror(-event->error)));
	return finish(object, failed);
}

static json_t *daemon_object(const struct line_check *check)
{
	json_t *object = json_object();
	int failed = 0;

	failed |= json_object_set_new(object, "asked", json_boolean(check->daemon_asked));
	failed |= json_object_set_new(object, "answers",
				      json_boolean(check->daemon_asked && check->daemon_error == 0));
	if (check->address)
		failed |= json_object_set_new(object, "address", json_string(tell_name(check->address)));
	if (check->daemon_asked && check->daemon_error == 0)
		failed |= json_object_set_new(object, "round_trip_ns", number(check->ping_ns));
	if (failed) {
		json_decref(object);
		return NULL;
	}
	return object;
}

char *line_check_json(const struct line_check *check)
{
	const struct pathbus_transport *transport = &check->transport;
	json_t *object = json_object();
	int failed = set_file(object, check->file);

	failed |= json_object_set_new(object, "transport", json_string(tell_transport(transport->kind)));
	failed |= json_object_set_new(object, "why", json_string(tell_name(transport->why)));
	failed |= json_object_set_new(object, "since", time_string(line_wall_clock(transport->since_ns)));
	failed |= json_object_set_new(object, "local_only", json_boolean(transport->local_only));
	failed |= json_object_set_new(object, "in_runtime_folder",
				      json_boolean(transport->in_runtime_folder));
	failed |= json_object_set_new(object, "may_listen", json_boolean(check->may_subscribe));
	failed |= json_object_set_new(object, "may_post", json_boolean(check->may_post));
	failed |= json_object_set_new(object, "daemon", daemon_object(check));
	return finish(object, failed);
}

/* The object, if nothing has failed; else NULL, and it is freed. */
static json_t *whole(json_t *object, int failed)
{
	if (!failed)
		return object;
	json_decref(object);
	return NULL;
}

static int set_process(json_t *object, pid_t pid, uid_t uid, const char *command)
{
	int failed = json_object_set_new(object, "pid", json_integer(pid));

	if (uid != (uid_t)-1) {
		failed |= json_object_set_new(object, "uid", json_integer(uid));
		failed |= json_object_set_new(object, "user", json_string(tell_name(line_user(uid))));
	}
	if (command[0])
		failed |= json_object_set_new(object, "command", json_string(tell_name(command)));
	return failed;
}

static json_t *laggard(const struct pathbus_laggard *from)
{
	json_t *object = json_object();
	int failed = set_process(object, from->pid, from->uid, from->command);

	failed |= json_object_set_new(object, "origin", origin_string(from->origin));
	return whole(object, failed);
}

char *line_sync_json(const struct line_sync *line)
{
	const struct pathbus_sync *sync = line->sync;
	json_t *object = json_object(), *missing = json_array();
	int failed = set_file(object, line->file);

	failed |= json_object_set_new(object, "transport", json_string(tell_transport(line->transport)));
	failed |= json_object_set_new(object, "subscribers", number(sync->n_subscribers));
	failed |= json_object_set_new(object, "caught_up", number(sync->n_caught_up));
	failed |= json_object_set_new(object, "untracked", number(sync->n_untracked));
	for (unsigned i = 0; i < sync->n_laggards; i++)
		failed |= json_array_append_new(missing, laggard(&sync->laggards[i]));
	failed |= json_object_set_new(object, "missing", missing);
	return finish(object, failed);
}

/* The value is a string: numbers of JSON are signed here, and of 53 bits in many a reader. */
char *line_state_json(const char *file, uint64_t value, uint64_t version)
{
	json_t *object = json_object();
	int failed = set_file(object, file);
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	failed |= json_object_set_new(object, "value", json_string(text));
	failed |= json_object_set_new(object, "version", number(version));
	return finish(object, failed);
}

/* --- what is found under a file ------------------------------------------------------------------------------------ */

static int set_flag(json_t *object, const char *name, bool flag)
{
	return json_object_set_new(object, name, json_boolean(flag));
}

static int set_text(json_t *object, const char *name, const char *text)
{
	return json_object_set_new(object, name, json_string(text));
}

/* A size is exact in a signed number of 64 bits. */
static int set_region(json_t *object, uint64_t size, uint64_t version, unsigned flags, enum pathbus_region_pages pages,
		      enum pathbus_transport_kind place)
{
	int failed = json_object_set_new(object, "size", number(size));

	failed |= json_object_set_new(object, "version", number(version));
	failed |= set_flag(object, "double", flags & PATHBUS_REGION_DOUBLE);
	failed |= set_flag(object, "reserved", flags & PATHBUS_REGION_RESERVE);
	failed |= set_text(object, "pages", found_pages(pages));
	failed |= set_text(object, "where", tell_transport(place));
	return failed;
}

char *line_region_json(const struct line_region *line)
{
	const struct pathbus_region_info *info = line->info;
	json_t *object = json_object();
	int failed = set_file(object, line->file);

	failed |= set_name(object, "name", "name_bytes_hex", line->name);
	failed |= set_region(object, info->data_size, line->version, info->flags, info->pages, info->place);
	failed |= set_flag(object, "replaced", info->replaced);
	failed |= set_flag(object, "whole", line->bytes != NULL);
	if (line->bytes)
		failed |= json_object_set_new(object, "data_base64", base64(line->bytes, line->n_bytes));
	return finish(object, failed);
}

static int set_more(json_t *object, const struct found_more *more)
{
	int failed = 0;

	if (more->transport)
		failed |= set_text(object, "transport", more->transport);
	if (more->knows_behind) {
		failed |= json_object_set_new(object, "behind_posts", number(more->behind_posts));
		failed |= json_object_set_new(object, "behind_messages", number(more->behind_messages));
	}
	if (more->has_rate)
		failed |= json_object_set_new(object, "posts_per_second", json_real(more->rate));
	return failed;
}

/* `more` may be NULL. */
static json_t *member(const struct pathbus_member *from, const struct found_more *more)
{
	json_t *object = json_object();
	int failed = set_process(object, from->pid, from->uid, from->command);

	failed |= json_object_set_new(object, "origin", origin_string(from->origin));
	failed |= set_flag(object, "subscribes", from->subscribes);
	failed |= json_object_set_new(object, "posts", number(from->n_posts));
	failed |= set_flag(object, "link", from->is_link);
	if (more)
		failed |= set_more(object, more);
	return whole(object, failed);
}

static json_t *region(const struct pathbus_region_entry *from)
{
	json_t *object = json_object(), *holders = json_array();
	int failed = set_name(object, "name", "name_bytes_hex", from->name);

	failed |= set_region(object, from->data_size, from->version, from->flags, from->pages, from->place);
	failed |= json_object_set_new(object, "n_holders", number(from->n_holders));
	for (unsigned i = 0; i < from->n_listed; i++) {
		json_t *holder = json_object();
		int bad = set_process(holder, from->holders[i].pid, from->holders[i].uid, from->holders[i].command);

		bad |= set_flag(holder, "writes", from->holders[i].writes);
		failed |= json_array_append_new(holders, whole(holder, bad));
	}
	failed |= json_object_set_new(object, "holders", holders);
	return whole(object, failed);
}

static json_t *party(const struct pathbus_lock_party *from)
{
	json_t *object = json_object();
	int failed = set_process(object, from->pid, from->uid, from->command);

	failed |= json_object_set_new(object, "since", time_string(line_time_of(from->since_ns)));
	failed |= set_flag(object, "shared", from->shared);
	return whole(object, failed);
}

static int set_lock(json_t *object, const struct pathbus_lock_info *from)
{
	json_t *holders = json_array(), *waiters = json_array();
	int failed = set_text(object, "state", found_lock_state(from->state));

	failed |= set_flag(object, "abandoned", from->abandoned);
	failed |= json_object_set_new(object, "n_holders", number(from->n_holders));
	failed |= json_object_set_new(object, "n_waiters", number(from->n_waiters));
	for (unsigned i = 0; i < from->n_parties; i++)
		failed |= json_array_append_new(from->parties[i].waits ? waiters : holders, party(&from->parties[i]));
	failed |= json_object_set_new(object, "holders", holders);
	failed |= json_object_set_new(object, "waiters", waiters);
	return failed;
}

char *line_lock_json(const char *file, const struct pathbus_lock_info *info)
{
	json_t *object = json_object();
	int failed = set_file(object, file);

	failed |= set_bytes(object, "lock", "lock_base64", info->name, strlen(info->name));
	failed |= set_lock(object, info);
	return finish(object, failed);
}

static json_t *lock(const struct pathbus_lock_info *from)
{
	json_t *object = json_object();
	int failed = set_name(object, "name", "name_bytes_hex", from->name);

	failed |= set_lock(object, from);
	return whole(object, failed);
}

static json_t *endpoint(const struct pathbus_endpoint_entry *from)
{
	json_t *object = json_object();
	int failed = set_name(object, "name", "name_bytes_hex", from->name);

	failed |= set_process(object, from->pid, from->uid, from->command);
	failed |= set_text(object, "type", from->flags & PATHBUS_ENDPOINT_SEQPACKET ? "seqpacket" : "stream");
	failed |= set_text(object, "for", from->flags & PATHBUS_ENDPOINT_READERS ? "readers" :
					  from->flags & PATHBUS_ENDPOINT_WRITERS ? "writers" : "user");
	failed |= set_text(object, "where", tell_transport(from->place));
	failed |= json_object_set_new(object, "waiting", number(from->n_waiting));
	return whole(object, failed);
}

char *found_json(const struct found *found)
{
	json_t *object = json_object(), *lists[4] = { json_array(), json_array(), json_array(), json_array() };
	static const char *const names[4] = { "members", "regions", "locks", "endpoints" };
	int failed = set_file(object, found->file);

	failed |= set_text(object, "transport", tell_transport(found->transport));
	for (size_t i = 0; i < found->n_members; i++)
		failed |= json_array_append_new(lists[0], member(&found->members[i], found->more ? &found->more[i] : NULL));
	for (size_t i = 0; i < found->n_regions; i++)
		failed |= json_array_append_new(lists[1], region(&found->regions[i]));
	for (size_t i = 0; i < found->n_locks; i++)
		failed |= json_array_append_new(lists[2], lock(&found->locks[i]));
	for (size_t i = 0; i < found->n_endpoints; i++)
		failed |= json_array_append_new(lists[3], endpoint(&found->endpoints[i]));
	for (unsigned i = 0; i < 4; i++)
		if (found->parts & 1u << i)
			failed |= json_object_set_new(object, names[i], lists[i]);
		else
			json_decref(lists[i]);
	return finish(object, failed);
}

/* --- a report -------------------------------------------------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static int set_fact(json_t *object, const struct report_entry *entry)
{
	char exact[64];

	switch (entry->kind) {
	case REPORT_TEXT:
		return json_object_set_new(object, entry->name, text_or_null(entry->text));
	case REPORT_NAME:
		snprintf(exact, sizeof(exact), "%s_bytes_hex", entry->name);
		return set_name(object, entry->name, exact, entry->text);
	case REPORT_NUMBER:
		return json_object_set_new(object, entry->name, number(entry->number));
	case REPORT_REAL:
		return json_object_set_new(object, entry->name, json_real(entry->real));
	case REPORT_FLAG:
		return set_flag(object, entry->name, entry->number);
	case REPORT_LIST:
		return json_object_set_new(object, entry->name, json_array());
	default:
		return 0;
	}
}

/* One more object of the list; NULL: out of memory. Borrowed from it. */
static json_t *add_item(json_t *in, const char *name)
{
	json_t *list = json_object_get(in, name), *item = json_object();

	if (!list && json_object_set_new(in, name, list = json_array()) < 0)
		list = NULL;
	return json_array_append_new(list, item) < 0 ? NULL : item;
}

static json_t *findings_list(const struct report *report)
{
	json_t *list = json_array();
	int failed = 0;

	for (size_t i = 0; i < report->n_findings; i++) {
		const struct report_finding *at = &report->findings[i];
		json_t *object = json_object();
		int bad = set_text(object, "code", at->code);

		bad |= set_flag(object, "problem", at->is_problem);
		bad |= set_text(object, "what", at->what);
		bad |= set_text(object, "remedy", at->remedy);
		failed |= json_array_append_new(list, whole(object, bad));
	}
	return whole(list, failed);
}

char *report_json(const struct report *report)
{
	json_t *object = json_object(), *in[REPORT_DEPTH] = { object };
	unsigned depth = 0;
	int failed = 0;

	for (size_t i = 0; i < report->n_entries && !failed; i++) {
		const struct report_entry *entry = &report->entries[i];

		switch (entry->kind) {
		case REPORT_SECTION:
			depth = 1;
			in[1] = json_object();
			failed |= json_object_set_new(object, entry->name, in[1]);
			break;
		case REPORT_ITEM:
			in[depth + 1] = add_item(in[depth], entry->name);
			failed |= !in[++depth];
			break;
		case REPORT_ITEM_END:
			depth--;
			break;
		default:
			failed |= set_fact(in[depth], entry);
			break;
		}
	}
	if (report->is_plain)
		return finish(object, failed);
	failed |= json_object_set_new(object, "findings", findings_list(report));
	failed |= json_object_set_new(object, "problems", number(report->n_problems));
	return finish(object, failed);
}
