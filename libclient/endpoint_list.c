/* SPDX-License-Identifier: MIT */
/* endpoint_list.c - which endpoints a topic has, where it is now. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "endpoint.h"

struct found {
	struct pathbus_endpoint_entry entry;
	char name[WIRE_MAX_ENDPOINT_NAME + 1];
};

struct list {
	struct found *found;
	size_t n, size;
};

/* 0, -ENOMEM. */
static int add(struct list *list, const struct pathbus_endpoint_entry *entry, const char *name, uint32_t name_size)
{
	struct found *found;

	if (list->n == list->size) {
		size_t size = list->size ? 2 * list->size : 16;
		struct found *larger = realloc(list->found, size * sizeof(*larger));

		if (!larger)
			return -ENOMEM;
		list->found = larger;
		list->size = size;
	}
	found = &list->found[list->n++];
	*found = (struct found){ .entry = *entry };
	memcpy(found->name, name, name_size);
	return 0;
}

/* --- the daemon's ------------------------------------------------------------------------------------------- */

struct page_of {
	struct list *list;
	uint64_t before;
};

static size_t put_list(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	const struct page_of *page = arg;

	return wire_put_endpoint_list(to, request,
	                              &(struct wire_endpoint_list){ .topic = topic->bus_topic, .before = page->before });
}

static int take_list(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct page_of *page = call->to;
	struct wire_endpoints body;
	int r = header->type == WIRE_ENDPOINTS ? wire_get_endpoints(frame, header->size, &body) : -EPROTO;

	(void)fds;
	if (r == 0 && body.next != 0 && page->before != 0 && body.next >= page->before)
		r = -EPROTO; /* it would never end */
	if (r < 0)
		return r;
	for (uint32_t i = 0; i < body.n && r == 0; i++) {
		const struct wire_endpoint_entry *from = &body.entries[i];
		struct pathbus_endpoint_entry entry = {
			.pid = (pid_t)from->pid,
			.uid = from->uid,
			.flags = from->flags,
			.place = PATHBUS_BUS,
			.n_waiting = from->n_waiting,
		};

		memcpy(entry.command, from->command, sizeof(entry.command));
		r = add(page->list, &entry, from->name, from->name_size);
	}
	page->before = body.next;
	return r;
}

static int list_on_bus(pathbus_topic *topic, struct list *list)
{
	struct page_of page = { .list = list };
	struct bus_call call = { .put = put_list, .arg = &page, .take = take_list, .to = &page };
	int r;

	list->n = 0; /* what a connection that has ended said before */
	do
		r = call_daemon(topic->bus, topic, &call, 0);
	while (r == 0 && page.before != 0);
	return r;
}

/* --- a sidecar's ---------------------------------------------------------------------------------------------- */

static int add_record(const struct endpoint_record *record, void *arg)
{
	struct pathbus_endpoint_entry entry = {
		.pid = (pid_t)record->pid, .uid = geteuid(), .flags = record->flags, .place = PATHBUS_PEER
	};
	uid_t uid;

	(void)os_process_name(entry.pid, &uid, entry.command, sizeof(entry.command));
	entry.command[sizeof(entry.command) - 1] = '\0';
	return add(arg, &entry, record->name, record->name_size);
}

static int list_beside(pathbus_topic *topic, struct list *list)
{
	int dir = endpoint_peer_folder(topic), r;

	if (dir < 0)
		return dir;
	r = endpoint_records_each(dir, add_record, list);
	close(dir);
	return r < 0 ? r : 0;
}

static int list_locked(pathbus_topic *topic, struct list *list)
{
	struct pathbus *bus = topic->bus;
	int r = -ESTALE;

	for (int i = 0; i < 8 && (r == -ESTALE || (r == -ENOTCONN && bus->kind == PATHBUS_AUTO)); i++) {
		list->n = 0;
		r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r < 0)
			return r;
		r = topic_is_on_bus(topic) ? list_on_bus(topic, list) : list_beside(topic, list);
		if (r == -ESTALE)
			endpoint_peer_lost(topic);
	}
	return r == -ESTALE ? -EBUSY : r;
}

int pathbus_endpoint_list(pathbus_topic *topic, pathbus_endpoint_fn *fn, void *arg)
{
	struct list list = { 0 };
	int r;

	if (!topic || !fn)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic_is_apart(topic))
		return -EOPNOTSUPP;
	pthread_mutex_lock(&topic->bus->lock);
	r = list_locked(topic, &list);
	control_finish(topic->bus);
	handle_unlock(topic->bus);
	/* Without the lock: it may call the library. */
	for (size_t i = 0; r == 0 && i < list.n; i++) {
		list.found[i].entry.name = list.found[i].name;
		r = fn(&list.found[i].entry, arg);
	}
	free(list.found);
	return r;
}
