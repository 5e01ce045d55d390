/* SPDX-License-Identifier: MIT */
/*
 * names.c - which topic is it: by key, by the name in the runtime folder, by the existing file.
 *
 * The hash is the one that names a topic's folder in the runtime folder, so one table serves both.
 */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "meeting.h"
#include "user.h"

int names_init(struct topics *topics)
{
	int r = table_init(&topics->by_key);

	if (r < 0)
		return r;
	r = table_init(&topics->by_file);
	if (r < 0)
		table_deinit(&topics->by_key);
	return r;
}

void names_deinit(struct topics *topics)
{
	table_deinit(&topics->by_key);
	table_deinit(&topics->by_file);
	roster_deinit(&topics->roster);
}

/* The first 16 of a runtime name's hexadecimal digits; 0 if it does not look like one. */
static uint64_t hash_of_runtime_name(const char *name)
{
	uint64_t hash = 0;

	for (int i = 0; i < 16; i++) {
		char c = name[i];
		int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;

		if (digit < 0)
			return 0;
		hash = hash << 4 | (uint64_t)digit;
	}
	return hash;
}

static uint64_t hash_of_key(const struct topic_key *key)
{
	char name[KEY_NAME_MAX + 1];

	key_runtime_name(key, name);
	return hash_of_runtime_name(name);
}

static uint64_t hash_of_file(uint64_t dev, uint64_t ino)
{
	return table_mix(dev * 31 + ino);
}

static struct topic_name *name_of(struct table_entry *entry)
{
	return entry ? table_container(entry, struct topic_name, by_key) : NULL;
}

struct topic_name *topics_find(const struct topics *topics, const struct topic_key *key)
{
	struct table_entry *entry = table_first(&topics->by_key, hash_of_key(key));

	while (entry && !key_equal(&name_of(entry)->key, key))
		entry = table_next(entry);
	return name_of(entry);
}

struct topic_name *topics_find_runtime(const struct topics *topics, const char *name)
{
	struct table_entry *entry = table_first(&topics->by_key, hash_of_runtime_name(name));

	for (; entry; entry = table_next(entry)) {
		char other[KEY_NAME_MAX + 1];

		key_runtime_name(&name_of(entry)->key, other);
		if (strcmp(other, name) == 0)
			return name_of(entry);
	}
	return NULL;
}

static struct topic_name *name_of_file(struct table_entry *entry, uint64_t dev, uint64_t ino)
{
	for (; entry; entry = table_next(entry)) {
		struct topic_name *name = table_container(entry, struct topic_name, by_file);

		if (name->file_dev == dev && name->file_ino == ino)
			return name;
	}
	return NULL;
}

struct topic_name *topics_find_file(const struct topics *topics, uint64_t dev, uint64_t ino)
{
	return name_of_file(table_first(&topics->by_file, hash_of_file(dev, ino)), dev, ino);
}

struct topic_name *topics_next_of_file(const struct topic_name *name)
{
	return name_of_file(table_next(&name->by_file), name->file_dev, name->file_ino);
}

void topics_each(const struct topics *topics, void (*fn)(struct topic_name *name, void *arg), void *arg)
{
	for (size_t i = 0; i < topics->by_key.n_buckets; i++)
		for (struct table_entry *entry = topics->by_key.buckets[i]; entry; entry = entry->next)
			fn(name_of(entry), arg);
}

int topic_add_name(struct topic *topic, const struct topic_key *key, struct topic_name **ret)
{
	struct topic_name *name = calloc(1, sizeof(*name));

	if (!name)
		return -ENOMEM;
	name->topic = topic;
	name->key = *key;
	name->next = topic->names;
	topic->names = name;
	table_add(&topic->topics->by_key, &name->by_key, hash_of_key(key));
	*ret = name;
	return 0;
}

void names_free_first(struct topic *topic)
{
	struct topic_name *name = topic->names;

	while (name->meetings)
		meeting_free(name->meetings);
	topic_name_set_file(name, false, 0, 0);
	table_remove(&topic->topics->by_key, &name->by_key);
	topic->names = name->next;
	if (name->user)
		user_release(name->user, CHARGE_WATCHES, 1);
	user_unref(name->user);
	free(name->path);
	free(name);
}

void names_free_but(struct topic *topic, struct topic_name *stays)
{
	struct topic_name **at = &topic->names;

	while (*at != stays)
		at = &(*at)->next;
	*at = stays->next;
	while (topic->names)
		names_free_first(topic);
	stays->next = NULL;
	topic->names = stays;
}

void topic_name_set_file(struct topic_name *name, bool exists, uint64_t dev, uint64_t ino)
{
	struct table *files = &name->topic->topics->by_file;

	if (!exists)
		dev = ino = 0;
	if (name->file_dev == dev && name->file_ino == ino)
		return;
	if (name->file_ino != 0)
		table_remove(files, &name->by_file);
	name->file_dev = dev;
	name->file_ino = ino;
	if (ino != 0)
		table_add(files, &name->by_file, hash_of_file(dev, ino));
}

int topic_name_set_path(struct topic_name *name, const char *path, bool is_foreign)
{
	char *copy;

	if (is_foreign && name->path && !name->is_foreign)
		return 0;
	if (!name->path || strcmp(name->path, path) != 0) {
		copy = strdup(path);
		if (!copy)
			return -ENOMEM;
		free(name->path);
		name->path = copy;
	}
	name->is_foreign = is_foreign;
	return 0;
}
