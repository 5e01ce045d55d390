/* SPDX-License-Identifier: MIT */
/*
 * elder.c - watches for the system-wide daemon.
 *
 * The socket's folder is watched, and the folder above it as well, since the first comes and goes with the
 * system's daemon. A socket file that does not accept yet is tried again for a second.
 */
#include "elder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "address.h"
#include "log.h"
#include "os/os.h"

#define TRIES 20
#define PAUSE_MS 50

struct elder {
	struct folders *folders;
	char folder[ADDRESS_SIZE], parent[ADDRESS_SIZE];
	struct loop_event *look; /* now, or again after a pause */
	unsigned n_tries;
	loop_fn *came;
	void *arg;
};

bool elder_serves(void)
{
	struct sockaddr_un address;
	bool serves;
	int fd;

	if (access(ADDRESS_SYSTEM, F_OK) < 0 || address_fill(ADDRESS_SYSTEM, &address) < 0)
		return false;
	fd = os_socket_new();
	if (fd < 0)
		return false;
	/* EAGAIN: so many wait to be accepted that it does serve */
	serves = connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 || errno == EAGAIN;
	close(fd);
	return serves;
}

static void changed(void *arg, const char *entry, bool gone);

static void watch(struct elder *elder, const char *folder)
{
	int dir = os_open_path(AT_FDCWD, folder, true);
	int r = dir;

	if (dir >= 0) {
		r = folders_watch_own(elder->folders, dir, changed, elder);
		close(dir);
	}
	if (r < 0 && r != -ENOENT)
		log_event(REASON_SETUP, "%s cannot be watched for a system-wide pathbusd: %s", folder, strerror(-r));
}

static void look(void *arg)
{
	struct elder *elder = arg;

	watch(elder, elder->parent);
	watch(elder, elder->folder);
	if (elder_serves())
		elder->came(elder->arg);
	else if (elder->n_tries > 0 && elder->n_tries-- > 0 && access(ADDRESS_SYSTEM, F_OK) == 0)
		loop_set(elder->look, PAUSE_MS);
}

static void changed(void *arg, const char *entry, bool gone)
{
	struct elder *elder = arg;
	const char *name = strrchr(elder->folder, '/') + 1, *socket_name = strrchr(ADDRESS_SYSTEM, '/') + 1;

	(void)gone;
	/* Much comes and goes in the folder above. */
	if (entry && strcmp(entry, name) != 0 && strcmp(entry, socket_name) != 0)
		return;
	elder->n_tries = TRIES;
	loop_set(elder->look, 0);
}

/* The path without its last component. */
static void parent_of(const char *path, char *ret)
{
	snprintf(ret, ADDRESS_SIZE, "%.*s", (int)(strrchr(path, '/') - path), path);
}

struct elder *elder_new(struct loop *loop, struct folders *folders, loop_fn *came, void *arg)
{
	struct elder *elder = calloc(1, sizeof(*elder));

	if (!elder)
		return NULL;
	*elder = (struct elder){ .folders = folders, .came = came, .arg = arg };
	parent_of(ADDRESS_SYSTEM, elder->folder);
	parent_of(elder->folder, elder->parent);
	elder->look = loop_timer(loop, look, elder);
	if (!elder->look) {
		free(elder);
		return NULL;
	}
	/* The watches first, then the look: also at what came since the daemon's start. */
	loop_set(elder->look, 0);
	return elder;
}

struct elder *elder_free(struct elder *elder)
{
	if (elder) {
		loop_event_free(elder->look);
		free(elder);
	}
	return NULL;
}
