/* SPDX-License-Identifier: MIT */
/*
 * region_bus.c - regions of the daemon: asking for them, and bringing one back to a daemon that does not know it.
 *
 * Bringing back asks and does not wait: the answer, or its absence, changes nothing for who holds the region. A region that
 * was replaced is not brought back.
 */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "region_internal.h"
#include "wire_region.h"

/* --- asking ------------------------------------------------------------------------------------------ */

/* One of the two is 0. */
static void close_holder(struct pathbus *bus, uint32_t topic, uint32_t holder, uint32_t restore)
{
	const struct wire_region_close body = { .topic = topic, .holder = holder, .restore = restore };
	unsigned char frame[64];

	(void)bus_send_frame(bus, frame, wire_put_region_close(frame, &body));
}

void region_bus_give_back(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct wire_region body;

	if (wire_get_region(frame, header->size, &body) == 0)
		close_holder(bus, body.topic, body.holder, 0);
}

static size_t put_open(void *to, uint32_t request, const pathbus_topic *topic, const void *arg)
{
	struct wire_region_open open = *(const struct wire_region_open *)arg;

	open.topic = topic->bus_topic;
	return wire_put_region_open(to, request, &open);
}

struct given {
	struct wire_region body;
	uint32_t serial;
	const struct pathbus *bus;
	int fd;
};

static int take_region(struct bus_call *call, const void *frame, const struct wire_header *header, struct frame_fds *fds)
{
	struct given *given = call->to;
	int r = header->type == WIRE_REGION ? wire_get_region(frame, header->size, &given->body) : -EPROTO;

	if (r < 0)
		return r;
	if (fds->cut)
		return -EMFILE;
	given->fd = fds->fds[0];
	given->serial = given->bus->connection.serial;
	fds->fds[0] = -1;
	return 0;
}

/* Is it memory of that shape that nobody can make smaller? */
static int check_memory(int fd, const struct wire_region *body, struct region_shape *ret)
{
	struct stat st;

	if (region_shape_make(body->data_size, body->flags, body->page_size, ret) < 0)
		return -EPROTO;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!os_is_sealed(fd) || st.st_size < 0 || (uint64_t)st.st_size != ret->total)
		return -EPROTO;
	return body->page_size == REGION_PAGE || (uint64_t)st.st_blksize == body->page_size ? 0 : -EPROTO;
}

int region_bus_open(pathbus_topic *topic, pathbus_region *region, const struct region_plan *plan,
                    const pathbus_region *replaces, uint64_t deadline_ns)
{
	struct wire_region_open open = { .name = region->name, .name_size = (uint32_t)strlen(region->name) };
	struct given given = { .fd = -1, .bus = topic->bus };
	struct bus_call call = { .put = put_open, .arg = &open, .take = take_region, .to = &given };
	int r;

	if (plan) {
		open.flags = plan->flags | (replaces ? WIRE_REGION_REPLACE : WIRE_REGION_CREATE);
		open.data_size = plan->data_size;
		if (replaces)
			memcpy(open.replaces, replaces->id, sizeof(open.replaces));
	} else if (!region->writable) {
		open.flags = WIRE_REGION_READ_ONLY;
	}
	r = call_daemon(topic->bus, topic, &call, deadline_ns);
	if (r < 0)
		return r;
	region->place = PATHBUS_BUS;
	region->file = given.fd;
	region->holder = given.body.holder;
	region->bus_topic = given.body.topic;
	region->bus_serial = given.serial;
	region->flags = given.body.flags;
	region->pages = (enum region_pages)given.body.pages;
	region->writable = region->writable && given.body.writable;
	memcpy(region->id, given.body.id, sizeof(region->id));
	r = check_memory(given.fd, &given.body, &region->shape);
	if (r == 0)
		r = region_map(region);
	if (r < 0) {
		region_bus_close(region);
		close(region->file);
		region->file = -1;
	}
	return r;
}

void region_bus_close(pathbus_region *region)
{
	struct pathbus *bus = region->attachment.topic->bus;

	/* What it is being given back by is not waited for. */
	if ((region->holder != 0 || region->restoring != 0) && bus->connection.state == BUS_UP &&
	    bus->connection.serial == region->bus_serial)
		close_holder(bus, region->bus_topic, region->holder, region->holder ? 0 : region->restoring);
	region->holder = region->restoring = 0;
}

/* --- bringing back -------------------------------------------------------------------------------------- */

static void restore(pathbus_region *region)
{
	pathbus_topic *topic = region->attachment.topic;
	struct bus_connection *connection = &topic->bus->connection;
	unsigned char frame[WIRE_SMALL_FRAME];
	struct wire_region_restore body = {
		.topic = topic->bus_topic,
		.flags = region->flags,
		.pages = (uint32_t)region->pages,
		.descriptor = (uint32_t)region->file,
		.writes = region->writable,
		.data_size = region->shape.data_size,
		.page_size = region->shape.page_size,
		.name = region->name,
		.name_size = (uint32_t)strlen(region->name),
	};
	uint32_t request;

	region->holder = region->restoring = 0;
	region->attachment.stuck = false;
	if (topic->place != PLACE_BUS || connection->state != BUS_UP || region->lost_name ||
	    atomic_load(&region->header->replaced))
		return;
	memcpy(body.id, region->id, sizeof(body.id));
	request = bus_new_request(connection);
	if (bus_send_frame(topic->bus, frame, wire_put_region_restore(frame, request, &body)) == 0) {
		region->restoring = request;
		region->bus_serial = connection->serial;
		region->bus_topic = topic->bus_topic;
	} else {
		region->attachment.stuck = true;
	}
}

void region_moved(struct attachment *attachment)
{
	pathbus_region *region = (pathbus_region *)attachment;

	if (region->place == PATHBUS_BUS)
		restore(region);
}

static pathbus_region *find_restoring(struct pathbus *bus, uint32_t request)
{
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		for (struct attachment *one = topic->attachments; one; one = one->next) {
			pathbus_region *region = one->type == &region_type ? (pathbus_region *)one : NULL;

			if (region && region->restoring == request && region->bus_serial == bus->connection.serial)
				return region;
		}
	return NULL;
}

int region_bus_on_restored(struct pathbus *bus, const void *frame, const struct wire_header *header)
{
	struct wire_restored body;
	pathbus_region *region;
	int r = wire_get_restored(frame, header->size, &body);

	if (r < 0)
		return r;
	region = header->request ? find_restoring(bus, header->request) : NULL;
	if (!region) { /* closed meanwhile */
		close_holder(bus, body.topic, body.holder, 0);
		return 0;
	}
	region->restoring = 0;
	region->holder = body.holder;
	region->bus_topic = body.topic;
	return 0;
}

bool region_bus_on_error(struct pathbus *bus, uint32_t request, int error)
{
	pathbus_region *region = request ? find_restoring(bus, request) : NULL;

	if (!region)
		return false;
	region->restoring = 0;
	if (error == -EEXIST) {
		region->lost_name = true;
		handle_queue(region->attachment.topic);
	} else if (control_may_pass(error) || error == -EDQUOT) {
		region->attachment.stuck = true; /* others may give something back */
		control_due(bus);
	}
	return true;
}

void region_bus_settle(pathbus_region *region, uint64_t deadline_ns)
{
	struct pathbus *bus = region->attachment.topic->bus;

	while (region->restoring != 0 && bus->connection.state == BUS_UP && os_now_ns() < deadline_ns)
		(void)bus_await(bus, deadline_ns);
}
