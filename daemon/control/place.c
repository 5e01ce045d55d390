/* SPDX-License-Identifier: MIT */
/* place.c - see place.h; serving.c makes the socket, as it makes the other. */
#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/exit.h"
#include "daemon/log.h"
#include "daemon/options.h"
#include "os/os.h"

#define OFF "off"
#define SUFFIX ".control" /* behind an address that was given */
#define NAME "control"    /* beside the instance's own */

/* A name or a number. Here, since later nobody can look into the user database. */
static int find_group(const char *name, gid_t *ret)
{
	unsigned long number;
	struct group *entry;
	char *end;

	errno = 0;
	number = strtoul(name, &end, 10);
	if (name[0] >= '0' && name[0] <= '9' && *end == '\0') {
		if (errno || number >= UINT32_MAX)
			return -EINVAL;
		*ret = (gid_t)number;
		return 0;
	}
	entry = getgrnam(name);
	if (!entry)
		return -ENOENT;
	*ret = entry->gr_gid;
	return 0;
}

static int set_group(const char *name, struct control_place *place)
{
	if (!name || find_group(name, &place->group) == 0)
		return EXIT_STOPPED;
	log_event(REASON_ADDRESS, "there is no group '%s' for the control socket: make one (groupadd --system %s), or name another with "
	          "--control-group", name, name);
	return EXIT_FAILED;
}

/* Whether the path fits. */
static bool make_path(const struct options *options, const struct serving *bus, char *ret)
{
	int n;

	if (options->control)
		n = snprintf(ret, PATH_MAX, "%s", options->control);
	else if (options->address)
		n = snprintf(ret, PATH_MAX, "%s" SUFFIX, bus->path);
	else
		n = snprintf(ret, PATH_MAX, "%.*s" NAME, (int)(bus->name - bus->path), bus->path);
	return n >= 0 && (size_t)n < (options->control ? PATH_MAX : sizeof(bus->path));
}

static int inherit(int socket, struct control_place *place)
{
	int flags = fcntl(socket, F_GETFL);

	place->serving = (struct serving){ .dir = -1, .lock = -1, .listener = socket };
	if (flags < 0 || fcntl(socket, F_SETFL, flags | O_NONBLOCK) < 0 || fcntl(socket, F_SETFD, FD_CLOEXEC) < 0) {
		log_event(REASON_ADDRESS, "the control socket that was passed cannot be used: %s", strerror(errno));
		return EXIT_FAILED;
	}
	os_refuse_descriptors(socket);
	return EXIT_STOPPED;
}

int control_place_take(const struct options *options, const struct serving *bus, const struct service_user *user, int inherited,
                       struct control_place *ret)
{
	bool is_off = options->control && strcmp(options->control, OFF) == 0;
	struct control_place place = { .group = (gid_t)-1, .serving = { .dir = -1, .lock = -1, .listener = -1 } };
	char path[PATH_MAX];
	int status = set_group(options->control_group, &place);

	if (status == EXIT_STOPPED && inherited >= 0 && !is_off) {
		status = inherit(inherited, &place);
		inherited = -1;
		place.is_on = true;
	} else if (status == EXIT_STOPPED && !is_off) {
		if (!make_path(options, bus, path)) {
			log_event(REASON_SETUP, "there is no control socket: its path would be too long beside %s; give --control another", bus->path);
		} else {
			status = serving_start_control(path, user, place.group, &place.serving);
			place.is_on = status == EXIT_STOPPED;
		}
	}
	if (inherited >= 0)
		close(inherited);
	if (status != EXIT_STOPPED) {
		if (place.is_on)
			serving_stop(&place.serving);
		return status;
	}
	*ret = place;
	if (place.serving.name)
		ret->serving.name = ret->serving.path + (place.serving.name - place.serving.path);
	return EXIT_STOPPED;
}

void control_place_leave(struct control_place *place)
{
	if (place->is_on)
		serving_stop(&place->serving);
	place->is_on = false;
}
