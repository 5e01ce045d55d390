/* SPDX-License-Identifier: MIT */
/* region_list.c - which regions a topic has, and who holds them: the daemon's, then those in the runtime folder. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "region_internal.h"
#include "wire_region.h"

/* One region, and where its parts are kept while the program is told of it. */
struct found {
	struct pathbus_region_entry entry;
	struct pathbus_holder holders[REGION_SLOTS];
	char name[REGION_MAX_NAME + 1];
	uint64_t number;
	bool any;
};

_Static_assert(WIRE_REGION_HOLDERS <= REGION_SLOTS, "there is room for the daemon's");
_Static_assert(sizeof(((struct pathbus_holder *)0)->command) == WIRE_COMMAND_SIZE, "one size");

/* --- the daemon's ------------------------------------------------------------------------------------------ */

static size_t put_list(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	return wire_put_region_list(to, request, &(struct wire_region_list){ .topic = topic->bus_topic,
	                                                                     .after = *(const uint64_t *)arg });
}

static int take_regions(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct found *found = call->to;
	struct wire_regions body;
	int r;

	(void)fds;
	found->any = header->type != WIRE_DONE;
	if (!found->any)
		return wire_get_empty(frame, header->size);
	r = header->type == WIRE_REGIONS ? wire_get_regions(frame, header->size, &body) : -EPROTO;
	if (r < 0)
		return r;
	memcpy(found->name, body.name, body.name_size);
	found->name[body.name_size] = '\0';
	found->number = body.number;
	found->entry = (struct pathbus_region_entry){
		.name = found->name,
		.data_size = body.data_size,
		.version = body.version,
		.flags = body.flags,
		.pages = (enum pathbus_region_pages)body.pages,
		.place = PATHBUS_BUS,
		.n_holders = body.n_holders,
		.n_listed = body.n_listed,
		.holders = found->holders,
	};
	for (uint32_t i = 0; i < body.n_listed; i++) {
		struct wire_region_holder holder;

		wire_get_region_holder(&body, i, &holder);
		found->holders[i] = (struct pathbus_holder){ .pid = (pid_t)holder.pid, .uid = holder.uid,
			                                     .writes = (int)holder.writes };
		memcpy(found->holders[i].command, holder.command, sizeof(holder.command));
	}
	return 0;
}

/* The program is told without the lock: it may call the library. */
static int list_bus(pathbus_topic *topic, pathbus_region_fn *fn, void *arg)
{
	struct found found = { .number = 0 };
	struct bus_call call = { .put = put_list, .arg = &found.number, .take = take_regions, .to = &found };
	int r;

	for (;;) {
		pthread_mutex_lock(&topic->bus->lock);
		r = topic_settle(topic, os_now_ns() + topic->bus->timeout_ns);
		if (r == 0 && topic->place != PLACE_BUS)
			r = -ENOTCONN;
		if (r == 0)
			r = call_daemon(topic->bus, topic, &call, 0);
		control_finish(topic->bus);
		handle_unlock(topic->bus);
		if (r == -ENOTCONN && topic->bus->kind != PATHBUS_BUS)
			return 0; /* it has none, or none any more */
		if (r < 0)
			return r;
		if (!found.any)
			return 0;
		r = fn(&found.entry, arg);
		if (r != 0)
			return r;
	}
}

/* --- those in the runtime folder ---------------------------------------------------------------------------- */

static void list_holders(int file, const struct region_header *header, struct found *found)
{
	for (unsigned i = 0; i < REGION_SLOTS; i++) {
		struct pathbus_holder *holder = &found->holders[found->entry.n_listed];
		uint32_t pid = atomic_load(&header->slots[i].pid);

		if (pid == 0 || os_lock_is_held(file, REGION_LOCK_SLOT + (off_t)i, 1) <= 0)
			continue;
		*holder = (struct pathbus_holder){ .pid = (pid_t)pid, .uid = geteuid(),
			                           .writes = atomic_load(&header->slots[i].writes) != 0 };
		(void)os_process_name(holder->pid, &holder->uid, holder->command, sizeof(holder->command));
		found->entry.n_listed++;
	}
	found->entry.n_holders = found->entry.n_listed;
}

/* 1: it is one of this topic's; 0; -EMFILE, -ENFILE, -ENOMEM. What nobody holds is removed. */
static int look_at(int dir, const char *name, const struct topic_key *key, struct found *found)
{
	struct region_header *header = NULL;
	struct region_shape shape;
	struct stat st;
	unsigned flags;
	int file = os_open_own_file(dir, name), r = 0;

	if (file < 0)
		return file == -EMFILE || file == -ENFILE || file == -ENOMEM ? file : 0;
	if (fstat(file, &st) == 0 && st.st_size >= (off_t)REGION_PAGE) {
		header = os_map(file, REGION_PAGE, false, NULL);
		r = header ? 0 : -ENOMEM;
	}
	if (header && region_header_check(header, (uint64_t)st.st_size, key, NULL, &shape, &flags, found->name) == 0 &&
	    os_lock_is_held(file, REGION_LOCK_MEMBER, 1) > 0) {
		r = 1;
		found->entry = (struct pathbus_region_entry){
			.name = found->name,
			.data_size = shape.data_size,
			.version = region_version(atomic_load(&header->sequence)),
			.flags = flags,
			.place = PATHBUS_PEER,
			.holders = found->holders,
		};
		list_holders(file, header, found);
	}
	if (header)
		munmap(header, REGION_PAGE);
	close(file);
	if (r == 0)
		anchor_tidy(dir, name);
	return r;
}

static bool is_region_name(const char *name)
{
	size_t size = strlen(name);

	return size == ANCHOR_NAME_SIZE - 2 && strcmp(name + HASH_TEXT_SIZE - 1, ANCHOR_SUFFIX) == 0;
}

static int list_folder(pathbus_topic *topic, pathbus_region_fn *fn, void *arg)
{
	int dir = sidecar_runtime_folder(), again, r = 0;
	struct topic_key key;
	struct found found;
	struct dirent *entry;
	DIR *folder;

	if (dir < 0)
		return dir == -EMFILE || dir == -ENFILE || dir == -ENOMEM ? dir : 0;
	if (region_key(topic, &key) < 0) {
		close(dir);
		return -EIO;
	}
	again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	folder = again >= 0 ? fdopendir(again) : NULL;
	if (!folder) {
		r = -errno;
		if (again >= 0)
			close(again);
	}
	while (r == 0 && (entry = readdir(folder))) {
		if (!is_region_name(entry->d_name))
			continue;
		r = look_at(dir, entry->d_name, &key, &found);
		if (r == 1)
			r = fn(&found.entry, arg);
	}
	if (folder)
		closedir(folder);
	close(dir);
	return r;
}

int pathbus_region_list(pathbus_topic *topic, pathbus_region_fn *fn, void *arg)
{
	int r = 0;

	if (!topic || !fn)
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic->remote || topic_is_apart(topic))
		return -EOPNOTSUPP;
	if (topic->bus->kind != PATHBUS_PEER)
		r = list_bus(topic, fn, arg);
	return r != 0 ? r : list_folder(topic, fn, arg);
}
