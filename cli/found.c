/* SPDX-License-Identifier: MIT */
/* found.c - collects what is found under a file. */
#include "found.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "command.h"
#include "tell.h"
#include "thing.h"

/* One more, zeroed, at the end of an array of *n; NULL: out of memory. */
static void *grow(void *array_, size_t *n, size_t size)
{
	char **array = array_, *larger = realloc(*array, (*n + 1) * size);

	if (!larger)
		return NULL;
	*array = larger;
	return memset(larger + size * (*n)++, 0, size);
}

static int add_member(const struct pathbus_member *member, void *arg)
{
	struct found *found = arg;
	struct pathbus_member *copy;

	if (member->is_self)
		return 0;
	copy = grow(&found->members, &found->n_members, sizeof(*copy));
	if (!copy)
		return -ENOMEM;
	*copy = *member;
	return 0;
}

static int add_region(const struct pathbus_region_entry *entry, void *arg)
{
	struct found *found = arg;
	struct pathbus_region_entry *copy = grow(&found->regions, &found->n_regions, sizeof(*copy));
	size_t size = entry->n_listed * sizeof(*entry->holders);
	struct pathbus_holder *holders;

	if (!copy)
		return -ENOMEM;
	copy->name = strdup(entry->name);
	holders = malloc(size + 1);
	copy->holders = holders;
	if (!copy->name || !holders)
		return -ENOMEM;
	if (size > 0)
		memcpy(holders, entry->holders, size);
	copy->data_size = entry->data_size;
	copy->version = entry->version;
	copy->flags = entry->flags;
	copy->pages = entry->pages;
	copy->place = entry->place;
	copy->n_holders = entry->n_holders;
	copy->n_listed = entry->n_listed;
	return 0;
}

static int add_lock(const struct pathbus_lock_info *info, void *arg)
{
	struct found *found = arg;
	struct pathbus_lock_info *copy = grow(&found->locks, &found->n_locks, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	*copy = *info;
	copy->name = strdup(info->name);
	return copy->name ? 0 : -ENOMEM;
}

static int add_endpoint(const struct pathbus_endpoint_entry *entry, void *arg)
{
	struct found *found = arg;
	struct pathbus_endpoint_entry *copy = grow(&found->endpoints, &found->n_endpoints, sizeof(*copy));

	if (!copy)
		return -ENOMEM;
	*copy = *entry;
	copy->name = strdup(entry->name);
	return copy->name ? 0 : -ENOMEM;
}

static int look_at(pathbus_topic *topic, unsigned part, struct found *found)
{
	switch (part) {
	case FOUND_MEMBERS:
		return pathbus_member_list(topic, add_member, found);
	case FOUND_REGIONS:
		return pathbus_region_list(topic, add_region, found);
	case FOUND_LOCKS:
		return pathbus_lock_list(topic, add_lock, found);
	default:
		return pathbus_endpoint_list(topic, add_endpoint, found);
	}
}

int found_look(pathbus_topic *topic, const char *file, unsigned parts, struct found *ret)
{
	static const char *const kinds[] = { "member", "region", "lock", "endpoint" };
	struct pathbus_transport transport = { .size = sizeof(transport) };
	int status = STATUS_OK;

	*ret = (struct found){ .file = file };
	if (pathbus_transport(topic, &transport) == 0)
		ret->transport = transport.kind;
	for (unsigned i = 0; i < 4; i++) {
		const struct thing thing = { .kind = kinds[i], .file = file };
		int error = parts & 1u << i ? look_at(topic, 1u << i, ret) : -ENOENT, one;

		if (error == 0)
			ret->parts |= 1u << i;
		if (error == 0 || !(parts & 1u << i))
			continue;
		one = thing_tell_error(&thing, "list", error);
		if (status == STATUS_OK)
			status = one;
	}
	return status;
}

void found_free(struct found *found)
{
	/* The copies are ours, whatever the entries say of those who only look. */
	for (size_t i = 0; i < found->n_regions; i++) {
		free((char *)found->regions[i].name);
		free((struct pathbus_holder *)found->regions[i].holders);
	}
	for (size_t i = 0; i < found->n_locks; i++)
		free((char *)found->locks[i].name);
	for (size_t i = 0; i < found->n_endpoints; i++)
		free((char *)found->endpoints[i].name);
	free(found->members);
	free(found->more);
	free(found->regions);
	free(found->locks);
	free(found->endpoints);
	*found = (struct found){ 0 };
}

const char *found_pages(enum pathbus_region_pages pages)
{
	switch (pages) {
	case PATHBUS_PAGES_ORDINARY:
		return "ordinary";
	case PATHBUS_PAGES_TRANSPARENT:
		return "transparent";
	case PATHBUS_PAGES_HUGE:
		return "huge";
	}
	return "unknown";
}

const char *found_lock_state(enum pathbus_lock_state state)
{
	switch (state) {
	case PATHBUS_LOCK_FREE:
		return "free";
	case PATHBUS_LOCK_IS_EXCLUSIVE:
		return "held";
	case PATHBUS_LOCK_IS_SHARED:
		return "shared";
	}
	return "unknown";
}

int found_print(const struct found *found, bool as_json, bool (*print)(const struct found *))
{
	char *text;

	if (!as_json)
		return print(found) ? tell_flush() : STATUS_FAILED;
	text = found_json(found);
	if (!text) {
		tell("out of memory");
		return STATUS_FAILED;
	}
	fputs(text, stdout);
	free(text);
	return tell_flush();
}

int found_list(const struct pathbus_options *options, const char *file, unsigned parts, bool as_json,
	       bool (*print)(const struct found *))
{
	struct found found;
	pathbus_topic *topic;
	pathbus *bus;
	int status = thing_open_topic(options, file, PATHBUS_SUBSCRIBE, &bus, &topic);

	if (status != STATUS_OK)
		return status;
	status = found_look(topic, file, parts, &found);
	if (status == STATUS_OK)
		status = found_print(&found, as_json, print);
	found_free(&found);
	pathbus_free(bus);
	return status;
}
