/* SPDX-License-Identifier: MIT */
/*
 * service_manager_systemd.c - the protocol of systemd: sd_listen_fds(3), sd_notify(3), sd_watchdog_enabled(3).
 *
 * It is a few environment variables and datagrams, described there for those who do without the library. Where no such
 * variable is set nobody is there.
 */
#include "service_manager.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "log.h"
#include "os/os.h"

#define FIRST_FD 3
#define MAX_FDS 64
#define NAME_SIZE 256

static bool number_from(const char *name, long *ret)
{
	const char *text = getenv(name);
	char *end;

	if (!text || text[0] < '0' || text[0] > '9')
		return false;
	errno = 0;
	*ret = strtol(text, &end, 10);
	return errno == 0 && *end == '\0';
}

/* The next of the names, which colons separate. "" where there are no more. */
static const char *next_name(const char *names, char *ret)
{
	size_t size = strcspn(names, ":");
	size_t copied = size < NAME_SIZE ? size : NAME_SIZE - 1;

	memcpy(ret, names, copied);
	ret[copied] = '\0';
	return names[size] == ':' ? names + size + 1 : names + size;
}

/* A single socket that its unit gives no name has the unit's, and is for clients. */
static struct inherited_socket *place_for(const char *name, long n, struct inherited_sockets *sockets)
{
	if (strcmp(name, "control") == 0)
		return &sockets->control;
	return strcmp(name, "bus") == 0 || n == 1 ? &sockets->bus : NULL;
}

static int take_all(long n, struct inherited_sockets *ret)
{
	const char *names = getenv("LISTEN_FDNAMES");
	int r = 0;

	for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++) {
		char name[NAME_SIZE];
		struct inherited_socket *to;

		names = next_name(names ? names : "", name);
		to = place_for(name, n, ret);
		if (to && to->fd < 0) {
			if (service_manager_take(fd, name, to) < 0)
				r = -1;
			continue;
		}
		log_event(REASON_MANAGER, "the service manager's descriptor '%s' is %s (FileDescriptorName=bus and =control are known): closed", name,
		            to ? "there twice" : "of no use");
		close(fd);
	}
	return r;
}

int service_manager_sockets(struct inherited_sockets *ret)
{
	long pid, n;
	int r = 0;

	ret->bus.fd = ret->control.fd = -1;
	/* Of another process, which has not taken them from its environment: they are not ours. */
	if (number_from("LISTEN_PID", &pid) && pid == getpid() && number_from("LISTEN_FDS", &n) && n > 0) {
		if (n > MAX_FDS) {
			log_event(REASON_ADDRESS, "the service manager handed %ld descriptors over, more than %d", n, MAX_FDS);
			return -1;
		}
		r = take_all(n, ret);
	}
	unsetenv("LISTEN_PID");
	unsetenv("LISTEN_FDS");
	unsetenv("LISTEN_FDNAMES");
	return r;
}

/* --- what it is told ------------------------------------------------------------------------------------ */

/* sd_notify(3) would wait for a manager that stands still, or whose queue others have filled. */
#define MAX_WAITING 4
#define TEXT_SIZE 512

struct service_manager {
	struct sockaddr_un address;
	socklen_t size;
	int socket;
	uint64_t watchdog_us; /* 0: there is none */
	struct loop_event *writable, *ping;
	char waiting[MAX_WAITING][TEXT_SIZE]; /* in this order */
	unsigned n_waiting;
	char told[TEXT_SIZE / 2]; /* the status */
	service_status_fn *status;
	void *arg;
};

static bool fill_address(const char *path, struct service_manager *manager)
{
	size_t size = strlen(path);

	if ((path[0] != '/' && path[0] != '@') || size < 2 || size >= sizeof(manager->address.sun_path))
		return false;
	manager->address.sun_family = AF_UNIX;
	memcpy(manager->address.sun_path, path, size);
	manager->size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size + (path[0] == '/'));
	if (path[0] == '@')
		manager->address.sun_path[0] = '\0';
	return true;
}

/* Connected: then writability says whether there is room. */
static int connect_to(struct service_manager *manager)
{
	return connect(manager->socket, (const struct sockaddr *)&manager->address, manager->size) < 0 ? -errno : 0;
}

static uint64_t watchdog_from_environment(void)
{
	long pid, us;

	if (!number_from("WATCHDOG_USEC", &us) || us <= 0 || (getenv("WATCHDOG_PID") && (!number_from("WATCHDOG_PID", &pid) || pid != getpid())))
		return 0;
	return (uint64_t)us;
}

struct service_manager *service_manager_new(void)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct service_manager *manager = path ? calloc(1, sizeof(*manager)) : NULL;
	int r = -ENOMEM;

	if (manager) {
		manager->socket = -1;
		r = fill_address(path, manager) ? 0 : -EINVAL;
	}
	if (r == 0) {
		manager->socket = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
		r = manager->socket < 0 ? -errno : connect_to(manager);
	}
	if (r == 0)
		manager->watchdog_us = watchdog_from_environment();
	else if (path)
		log_event(REASON_MANAGER, "the service manager cannot be told anything (NOTIFY_SOCKET): %s", strerror(-r));
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return r == 0 ? manager : service_manager_free(manager);
}

struct service_manager *service_manager_free(struct service_manager *manager)
{
	if (!manager)
		return NULL;
	loop_event_free(manager->writable);
	loop_event_free(manager->ping);
	if (manager->socket >= 0)
		close(manager->socket);
	free(manager);
	return NULL;
}

/* Returns whether it need not be tried again. */
static bool send_text(struct service_manager *manager, const char *text)
{
	int r;

	for (unsigned i = 0; i < 2; i++) {
		r = send(manager->socket, text, strlen(text), MSG_NOSIGNAL) < 0 ? -errno : 0;
		/* The manager has another socket under this name since. */
		if (r != -ECONNREFUSED && r != -ENOTCONN && r != -ECONNRESET)
			break;
		r = connect_to(manager);
		if (r < 0)
			break;
	}
	if (r < 0 && r != -EAGAIN)
		log_event(REASON_MANAGER, "the service manager was not told: %s", strerror(-r));
	return r != -EAGAIN;
}

static void writable(void *arg)
{
	struct service_manager *manager = arg;

	while (manager->n_waiting > 0 && send_text(manager, manager->waiting[0])) {
		manager->n_waiting--;
		memmove(manager->waiting[0], manager->waiting[1], manager->n_waiting * sizeof(manager->waiting[0]));
	}
	if (manager->n_waiting == 0)
		loop_disable(manager->writable);
}

/* In order; a sign of life that waits already is enough. */
static void tell(struct service_manager *manager, const char *text, bool is_ping)
{
	if (!manager->writable || (manager->n_waiting == 0 && send_text(manager, text)) || (is_ping && manager->n_waiting > 0))
		return;
	if (manager->n_waiting == MAX_WAITING) {
		log_event(REASON_MANAGER, "the service manager does not read what it is told");
		return;
	}
	snprintf(manager->waiting[manager->n_waiting++], TEXT_SIZE, "%s", text);
	loop_enable(manager->writable);
}

/* "STATUS=..." if it is another than it was told, or "". */
static const char *status_line(struct service_manager *manager, char *ret, size_t size)
{
	char text[sizeof(manager->told)] = "";

	manager->status(manager->arg, text, sizeof(text));
	ret[0] = '\0';
	if (strcmp(text, manager->told) != 0)
		snprintf(ret, size, "STATUS=%s\n", text);
	strcpy(manager->told, text);
	return ret;
}

/* What is told is escaped by nobody else, and a line is a field. */
static void ping(void *arg)
{
	struct service_manager *manager = arg;
	char text[TEXT_SIZE], status[TEXT_SIZE / 2 + 16];

	snprintf(text, sizeof(text), "WATCHDOG=1\n%s", status_line(manager, status, sizeof(status)));
	tell(manager, text, true);
	loop_set(manager->ping, (unsigned)(manager->watchdog_us / 2000));
}

int service_manager_attach(struct service_manager *manager, struct loop *loop, service_status_fn *status, void *arg)
{
	if (!manager)
		return 0;
	manager->status = status;
	manager->arg = arg;
	manager->writable = loop_on_writable(loop, manager->socket, writable, manager);
	manager->ping = loop_timer(loop, ping, manager);
	if (!manager->writable || !manager->ping)
		return -ENOMEM;
	if (manager->watchdog_us > 0)
		loop_set(manager->ping, 0);
	return 0;
}

void service_manager_tell(struct service_manager *manager, enum service_state state)
{
	char text[TEXT_SIZE], status[TEXT_SIZE / 2 + 16];

	if (!manager || !manager->writable)
		return;
	switch (state) {
	case SERVICE_READY:
		snprintf(text, sizeof(text), "READY=1\n%s", status_line(manager, status, sizeof(status)));
		break;
	case SERVICE_RELOADING:
		snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64 "\n", os_now_ns() / 1000);
		break;
	case SERVICE_STOPPING:
		snprintf(text, sizeof(text), "STOPPING=1\nSTATUS=Stopping\n");
		break;
	}
	tell(manager, text, false);
}
