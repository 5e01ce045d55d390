/* SPDX-License-Identifier: MIT */
/* open.c - opening a topic: its path, its options, and getting it onto its first lane. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static char *absolute_path(const char *path, int *ret_error)
{
	char folder[PATH_MAX];
	char *text;

	if (path[0] == '/') {
		text = strdup(path);
	} else {
		if (!getcwd(folder, sizeof(folder))) {
			*ret_error = -errno;
			return NULL;
		}
		text = malloc(strlen(folder) + strlen(path) + 2);
		if (text)
			sprintf(text, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, path);
	}
	if (!text)
		*ret_error = -ENOMEM;
	else if (strlen(text) >= PATH_MAX) {
		free(text);
		text = NULL;
		*ret_error = -ENAMETOOLONG;
	}
	return text;
}

/* Others of this handle on the same path would meet the new one in vain if their sidecar had been removed. */
static void check_sidecars(struct pathbus *bus, const char *path)
{
	for (pathbus_topic *topic = bus->topics; topic; topic = topic->next)
		if (topic->place == PLACE_PEER && strcmp(topic->path, path) == 0 && topic_is_well(topic) &&
		    sidecar_is_gone(&topic->sidecar)) {
			lane_close(&(struct lane){ .page = topic->page, .bell = topic->bell, .carrier = -1 });
			topic_lose(topic);
		}
}

static int open_locked(struct pathbus *bus, char *path, unsigned flags, const struct pathbus_topic_options *options,
                       pathbus_topic **ret)
{
	pathbus_topic *topic;
	int r;

	check_sidecars(bus, path);
	topic = topic_new(bus, path, flags, options);

	if (!topic) {
		free(path);
		return -ENOMEM;
	}
	r = topic_settle(topic, os_now_ns() + bus->timeout_ns);
	if (r < 0) {
		topic_free(topic);
		control_finish(bus);
		return r;
	}
	if (topic->last > 0)
		handle_queue(topic); /* what it asked for is there already */
	else
		topic_rest(topic);
	control_finish(bus);
	*ret = topic;
	return 0;
}

int pathbus_open(pathbus *bus, const char *path, unsigned flags, pathbus_topic **ret)
{
	return pathbus_open_with(bus, path, flags, NULL, ret);
}

int pathbus_open_with(pathbus *bus, const char *path, unsigned flags, const struct pathbus_topic_options *options,
                      pathbus_topic **ret)
{
	static const struct pathbus_topic_options defaults = { .size = sizeof(defaults) };
	const unsigned known = PATHBUS_SUBSCRIBE | PATHBUS_POST | PATHBUS_ECHO | PATHBUS_NEWEST | PATHBUS_HIDE_PROCESS |
	                       PATHBUS_WALL_CLOCK | PATHBUS_STATE_POSTS | PATHBUS_LOCKS_ONLY;
	struct lane_shape shape;
	char *text;
	int r = 0;

	if (!options)
		options = &defaults;
	if (!bus || !path || !ret || path[0] == '\0' || (flags & ~known) ||
	    ((flags & PATHBUS_LOCKS_ONLY) && flags != PATHBUS_LOCKS_ONLY) || options->size != sizeof(*options) ||
	    lane_shape_make(options->ring_slots, options->max_message, &shape) < 0)
		return -EINVAL;
	if (is_forked(bus->alive))
		return -ECHILD;
	text = absolute_path(path, &r);
	if (!text)
		return r;
	pthread_mutex_lock(&bus->lock);
	r = open_locked(bus, text, flags, options, ret);
	pthread_mutex_unlock(&bus->lock);
	return r;
}

int pathbus_open_fd(pathbus *bus, int fd, unsigned flags, pathbus_topic **ret)
{
	char path[PATH_MAX];
	int r;

	if (!bus)
		return -EINVAL;
	if (is_forked(bus->alive))
		return -ECHILD;
	r = os_path_of(fd, path, sizeof(path));
	return r < 0 ? r : pathbus_open(bus, path, flags, ret);
}
