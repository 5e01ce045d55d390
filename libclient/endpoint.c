/* SPDX-License-Identifier: MIT */
/* endpoint.c - listening: an endpoint of this program, what comes to it, and where it is registered. */
#include "endpoint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LISTEN_TRIES = 8 }; /* the topic may move between two looks */

int endpoint_check_name(const char *name, uint32_t *ret_size)
{
	size_t size = name ? strlen(name) : 0;

	if (size == 0)
		return -EINVAL;
	if (size > WIRE_MAX_ENDPOINT_NAME)
		return -ENAMETOOLONG;
	*ret_size = (uint32_t)size;
	return 0;
}

/* --- what comes ------------------------------------------------------------------------------------------- */

static pathbus_endpoint *endpoint_of(struct attachment *attachment)
{
	return (pathbus_endpoint *)(void *)attachment;
}

void endpoint_keep(pathbus_endpoint *endpoint, const struct kept *kept)
{
	if (endpoint->n_kept == endpoint->kept_size) {
		unsigned size = endpoint->kept_size ? 2 * endpoint->kept_size : 4;
		struct kept *larger = size > ENDPOINT_MOST_KEPT ? NULL : realloc(endpoint->kept, size * sizeof(*larger));

		if (!larger) {
			close(kept->fd);
			if (kept->serial)
				endpoint_bus_taken(endpoint, kept);
			return;
		}
		endpoint->kept = larger;
		endpoint->kept_size = size;
	}
	endpoint->kept[endpoint->n_kept++] = *kept;
	handle_queue(endpoint->attachment.topic);
}

void endpoint_fail(pathbus_endpoint *endpoint, int error)
{
	if (endpoint->gone)
		return;
	endpoint->gone = true;
	endpoint->error_due = error;
	endpoint->number = endpoint->request = 0;
	handle_queue(endpoint->attachment.topic);
}

static void take_kept(pathbus_endpoint *endpoint, struct kept *ret)
{
	*ret = endpoint->kept[0];
	endpoint->n_kept--;
	memmove(endpoint->kept, endpoint->kept + 1, endpoint->n_kept * sizeof(*endpoint->kept));
	if (ret->serial)
		endpoint_bus_taken(endpoint, ret);
	if (endpoint->is_full && endpoint->n_kept < ENDPOINT_KEPT)
		endpoint_peer_accept(endpoint);
}

static bool take_event(struct attachment *attachment, uint64_t generation, struct pathbus_event *event)
{
	pathbus_endpoint *endpoint = endpoint_of(attachment);
	struct kept kept;

	(void)generation;
	if (endpoint->n_kept > 0) {
		take_kept(endpoint, &kept);
		event->kind = PATHBUS_EVENT_CONNECTION;
		event->fd = kept.fd;
		event->pid = kept.peer.pid;
		event->uid = kept.peer.uid;
		event->gid = kept.peer.gid;
	} else if (endpoint->error_due && !endpoint->making) {
		event->kind = PATHBUS_EVENT_UNLISTENED;
		event->error = endpoint->error_due;
		endpoint->error_due = 0;
	} else {
		return false;
	}
	event->endpoint = endpoint;
	return true;
}

void endpoints_accept(struct pathbus *bus)
{
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		for (struct attachment *one = topic->attachments; one; one = one->next)
			if (one->type == &endpoint_type && endpoint_of(one)->is_full && endpoint_of(one)->n_kept < ENDPOINT_KEPT)
				endpoint_peer_accept(endpoint_of(one));
}

/* --- where it is registered --------------------------------------------------------------------------------- */

/* What was on its way to where it was before is not lost: it is kept first. */
static void moved(struct attachment *attachment)
{
	pathbus_endpoint *endpoint = endpoint_of(attachment);
	pathbus_topic *topic = attachment->topic;
	int r;

	if (endpoint->making || endpoint->gone)
		return;
	endpoint_peer_leave(endpoint, true);
	endpoint->request = 0;
	if (topic_is_on_bus(topic))
		r = endpoint_bus_register(endpoint);
	else
		r = endpoint_peer_listen(endpoint, os_now_ns() + JOIN_QUICKLY_MS * UINT64_C(1000000));
	if (r == -ESTALE)
		endpoint_peer_lost(topic); /* and comes here again */
	else if (r < 0)
		endpoint_fail(endpoint, r);
}

static void end(struct attachment *attachment, bool forked)
{
	pathbus_endpoint *endpoint = endpoint_of(attachment);
	int *const fds[] = { &endpoint->dir, &endpoint->record, &endpoint->socket };

	if (!forked) {
		endpoint_bus_leave(endpoint);
		endpoint_peer_leave(endpoint, false);
	}
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++)
		if (*fds[i] >= 0)
			close(*fds[i]);
	for (unsigned i = 0; i < endpoint->n_kept; i++)
		close(endpoint->kept[i].fd);
	free(endpoint->kept);
	free(endpoint);
}

const struct attachment_type endpoint_type = { .end = end, .moved = moved, .take_event = take_event };

/* --- listening ---------------------------------------------------------------------------------------------- */

static int register_first(pathbus_endpoint *endpoint)
{
	pathbus_topic *topic = endpoint->attachment.topic;
	struct pathbus *bus = topic->bus;
	int r = -EAGAIN;

	for (int i = 0; i < LISTEN_TRIES; i++) {
		r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
		if (r < 0)
			return r;
		r = topic_is_on_bus(topic) ? endpoint_bus_listen(endpoint) :
		                             endpoint_peer_listen(endpoint, os_now_ns() + JOIN_MS * UINT64_C(1000000));
		if (r == -ESTALE)
			endpoint_peer_lost(topic);
		else if (r != -ENOTCONN || bus->kind != PATHBUS_AUTO)
			return r;
	}
	return r == -ESTALE ? -EBUSY : r;
}

int pathbus_listen(pathbus_topic *topic, const char *name, unsigned flags, pathbus_endpoint **ret)
{
	const unsigned known = PATHBUS_ENDPOINT_SEQPACKET | PATHBUS_ENDPOINT_TAKE_OVER | PATHBUS_ENDPOINT_READERS |
	                       PATHBUS_ENDPOINT_WRITERS;
	pathbus_endpoint *endpoint;
	uint32_t name_size;
	int r;

	if (!topic || !ret || (flags & ~known))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic_is_apart(topic))
		return -EOPNOTSUPP;
	r = endpoint_check_name(name, &name_size);
	if (r < 0)
		return r;
	endpoint = calloc(1, sizeof(*endpoint) + name_size + 1);
	if (!endpoint)
		return -ENOMEM;
	endpoint->flags = flags;
	endpoint->dir = endpoint->record = endpoint->socket = -1;
	endpoint->name_size = name_size;
	memcpy(endpoint->name, name, name_size);

	pthread_mutex_lock(&topic->bus->lock);
	/* Added first: a connection may come right behind the answer. */
	endpoint->making = true;
	attachment_add(topic, &endpoint->attachment, &endpoint_type);
	r = register_first(endpoint);
	endpoint->making = false;
	if (r == 0 && endpoint->error_due)
		r = endpoint->error_due; /* another has taken over in this very moment */
	if (r < 0) {
		attachment_remove(&endpoint->attachment);
		end(&endpoint->attachment, false);
	}
	control_finish(topic->bus);
	handle_unlock(topic->bus);
	if (r == 0)
		*ret = endpoint;
	return r;
}

pathbus_endpoint *pathbus_unlisten(pathbus_endpoint *endpoint)
{
	struct pathbus *bus;
	bool forked;

	if (!endpoint)
		return NULL;
	bus = endpoint->attachment.topic->bus;
	forked = is_forked(bus->alive);
	if (!forked)
		pthread_mutex_lock(&bus->lock);
	attachment_remove(&endpoint->attachment);
	if (!forked)
		endpoint_bus_unlisten(endpoint);
	end(&endpoint->attachment, forked);
	if (!forked) {
		control_finish(bus);
		handle_unlock(bus);
	}
	return NULL;
}
