/* SPDX-License-Identifier: MIT */
/*
 * endpoint_connect.c - connecting, where the topic is, and waiting for a listener wherever the topic goes meanwhile.
 *
 * The daemon waits for us. In a sidecar the folder is watched, first the watch and then the look: a listener's socket is
 * moved into place. (And if somebody removes the folder, it is looked for anew.) Both with what the handle watches anyway, so that a daemon that comes is noticed too.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "endpoint.h"

struct waiting {
	int watch;       /* the sidecar's folder; 0: not yet, negative: it cannot be */
	bool is_looked;  /* nobody listened there after the watch was set */
};

static void unwatch(struct pathbus *bus, struct waiting *waiting)
{
	if (waiting->watch > 0)
		control_unwatch_folder(bus, waiting->watch);
	*waiting = (struct waiting){ 0 };
}

/* 0: look again. */
static int watch(struct pathbus *bus, int dir, struct waiting *waiting)
{
	int id = control_watch_sidecar(bus, dir);

	waiting->is_looked = waiting->watch != 0 && waiting->watch == id;
	if (waiting->watch > 0 && id != waiting->watch)
		control_unwatch_folder(bus, waiting->watch);
	waiting->watch = id == 0 ? -1 : id;
	return waiting->is_looked || id <= 0 ? -ECONNREFUSED : 0;
}

/* -ECONNREFUSED: nobody listens; -ESTALE. */
static int connect_beside(pathbus_topic *topic, const struct endpoint_names *names, uint64_t deadline_ns, struct waiting *waiting,
                          struct pathbus_connection *ret)
{
	struct pathbus *bus = topic->bus;
	int dir = endpoint_peer_folder(topic), r;

	if (dir < 0)
		return dir;
	do
		r = endpoint_peer_connect(bus, dir, names->socket, deadline_ns, ret);
	while (r == -ECONNREFUSED && deadline_ns > os_now_ns() && watch(bus, dir, waiting) == 0);
	close(dir);
	return r;
}

/* -EAGAIN: look again; errors of the others, and -ECONNREFUSED and -ENOTCONN, which may be waited for. */
static int connect_once(pathbus_topic *topic, const char *name, uint32_t name_size, uint64_t deadline_ns, struct waiting *waiting,
                        struct pathbus_connection *ret)
{
	struct pathbus *bus = topic->bus;
	struct endpoint_names names;
	int r = topic_settle(topic, os_now_ns() + bus->timeout_ns);

	if (r < 0)
		return r;
	if (topic_is_on_bus(topic)) {
		unwatch(bus, waiting);
		r = endpoint_bus_connect(topic, name, name_size, deadline_ns, ret);
		return r == -ENOTCONN && topic_is_well(topic) ? -ESTALE : r; /* it has just moved */
	}
	endpoint_names_make(name, name_size, &names);
	r = connect_beside(topic, &names, deadline_ns, waiting, ret);
	if (r == -ESTALE)
		endpoint_peer_lost(topic);
	return r;
}

static int connect_locked(pathbus_topic *topic, const char *name, uint32_t name_size, uint64_t deadline_ns,
                          struct pathbus_connection *ret)
{
	struct pathbus *bus = topic->bus;
	struct waiting waiting = { 0 };
	int r;

	for (;;) {
		bool is_late = os_now_ns() >= deadline_ns;
		uint64_t until;

		r = connect_once(topic, name, name_size, deadline_ns, &waiting, ret);
		if (r != -ECONNREFUSED && r != -ENOTCONN && r != -ESTALE && r != -EAGAIN)
			break;
		if (is_late) {
			r = r == -ESTALE ? -ECONNREFUSED : deadline_ns != 0 && r != -ENOTCONN ? -ETIMEDOUT : r;
			break;
		}
		if (r == -EAGAIN)
			control_process(bus); /* that has taken its time */
		if (r == -ESTALE || r == -EAGAIN)
			continue;
		until = waiting.watch < 0 ? os_now_ns() + ENDPOINT_LOOK_MS * UINT64_C(1000000) : deadline_ns;
		r = call_sleep(bus, until < deadline_ns ? until : deadline_ns);
		if (r < 0)
			break;
	}
	unwatch(bus, &waiting);
	return r;
}

int pathbus_connect(pathbus_topic *topic, const char *name, uint64_t deadline_ns, struct pathbus_connection *ret)
{
	struct pathbus_connection connection;
	uint32_t name_size;
	int r;

	if (!topic || !ret || ret->size != sizeof(*ret))
		return -EINVAL;
	if (is_forked(topic->alive))
		return -ECHILD;
	if (topic_is_apart(topic))
		return -EOPNOTSUPP;
	r = endpoint_check_name(name, &name_size);
	if (r < 0)
		return r;
	pthread_mutex_lock(&topic->bus->lock);
	r = connect_locked(topic, name, name_size, deadline_ns, &connection);
	control_finish(topic->bus);
	handle_unlock(topic->bus);
	if (r == 0)
		*ret = connection;
	return r;
}
