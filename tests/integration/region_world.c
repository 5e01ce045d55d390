/* SPDX-License-Identifier: MIT */
/* region_world.c - see region_world.h. */
#include "region_world.h"

#include <dirent.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "harness/harness.h"

struct harness_daemon world_daemon;

void world_begin(bool serves)
{
	transport_own_mounts();
	harness_allow_sidecars();
	ck_assert_int_eq(mkdir(harness_path("files"), 0700), 0);
	harness_write_file(harness_path("files/data"), "x");
	world_daemon.address = harness_path("socket");
	if (serves)
		harness_daemon_start(&world_daemon, NULL);
}

void world_end(void)
{
	if (world_daemon.process.pid > 0)
		harness_daemon_stop(&world_daemon);
}

struct world_member world_join(enum pathbus_transport_kind kind, unsigned timeout_ms)
{
	struct pathbus_options options = { .size = sizeof(options), .transport = kind, .address = world_daemon.address,
		                           .timeout_ms = timeout_ms };
	struct world_member member;
	int r;

	ck_assert_int_eq(pathbus_new(&member.bus, &options), 0);
	r = pathbus_open(member.bus, harness_path("files/data"), 0, &member.topic);
	ck_assert_msg(r == 0, "opening the topic: %s", strerror(-r));
	return member;
}

void world_leave(struct world_member *member)
{
	member->bus = pathbus_free(member->bus);
	member->topic = NULL;
}

unsigned world_pump(struct world_member *member, enum pathbus_event_kind kind)
{
	struct pathbus_event event;
	unsigned n = 0;

	while (take(member->bus, &event) == 1) {
		ck_assert_int_ne(event.kind, PATHBUS_EVENT_ERROR);
		n += event.kind == kind;
	}
	return n;
}

static bool is_at(struct world_member *member, enum pathbus_transport_kind kind)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	(void)world_pump(member, 0);
	ck_assert_int_eq(pathbus_transport(member->topic, &transport), 0);
	return transport.kind == kind;
}

void world_await_place(struct world_member *member, enum pathbus_transport_kind kind)
{
	harness_await(is_at(member, kind));
}

pathbus_region *world_create(struct world_member *member, const char *name, unsigned flags)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_create(member->topic, name, REGION_BYTES, flags, &region);

	ck_assert_msg(r == 0, "creating %s: %s", name, strerror(-r));
	return region;
}

int world_try_open(struct world_member *member, const char *name)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_open(member->topic, name, 0, &region);

	pathbus_region_close(region);
	return r;
}

int world_try_create(struct world_member *member, const char *name)
{
	pathbus_region *region = NULL;
	int r = pathbus_region_create(member->topic, name, 1, 0, &region);

	pathbus_region_close(region);
	return r;
}

void world_publish(pathbus_region *region, int byte)
{
	void *data;

	ck_assert_int_eq(pathbus_region_begin(region, 0, 0, &data), 0);
	memset(data, byte, REGION_BYTES);
	ck_assert_int_eq(pathbus_region_end(region), 0);
}

void world_expect(pathbus_region *region, int byte, uint64_t version)
{
	const unsigned char *data;
	const void *at;
	uint64_t got;

	ck_assert_int_eq(pathbus_region_read_begin(region, &at, &got), 0);
	data = at;
	ck_assert_uint_eq(got, version);
	for (size_t i = 0; i < REGION_BYTES; i += 100)
		ck_assert_int_eq(data[i], byte);
	ck_assert_int_eq(pathbus_region_read_end(region), 0);
}

struct pathbus_region_info world_info(const pathbus_region *region)
{
	struct pathbus_region_info info = { .size = sizeof(info) };

	ck_assert_int_eq(pathbus_region_get_info(region, &info), 0);
	return info;
}

int world_region_files(void)
{
	DIR *dir = opendir(transport_runtime_folder());
	struct dirent *entry;
	int n = 0;

	while (dir && (entry = readdir(dir)))
		n += strstr(entry->d_name, ".region") != NULL;
	if (dir)
		closedir(dir);
	return n;
}
