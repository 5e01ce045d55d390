/* SPDX-License-Identifier: MIT */
/*
 * transports.c - the ways a topic can take, prepared for a case.
 */
#include "conformance/transports.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY 65534u

static int current = -1;
static struct harness_daemon daemon_of_case;
static bool own_mounts;
static const char *view; /* read-only, of the case's folder; NULL: there is none */

struct harness_daemon *transport_daemon(void)
{
	return &daemon_of_case;
}

void transport_become_nobody(void)
{
	const char *folder = harness_tmpdir();

	if (geteuid() != 0)
		return; /* is one already */
	ck_assert_int_eq(chown(harness_path(".."), NOBODY, NOBODY), 0);
	ck_assert_int_eq(chown(folder, NOBODY, NOBODY), 0);
	ck_assert_int_eq(setgroups(0, NULL), 0);
	ck_assert_int_eq(setgid(NOBODY), 0);
	ck_assert_int_eq(setuid(NOBODY), 0);
	ck_assert_int_eq(prctl(PR_SET_DUMPABLE, 1), 0); /* else /proc/self is no longer ours */
}

static bool write_map(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, strlen(text)) >= 0;

	if (fd >= 0)
		close(fd);
	return written;
}

static bool unshare_mounts(void)
{
	char uid[64], gid[64];

	snprintf(uid, sizeof(uid), "%u %u 1", (unsigned)geteuid(), (unsigned)geteuid());
	snprintf(gid, sizeof(gid), "%u %u 1", (unsigned)getegid(), (unsigned)getegid());
	if (unshare(CLONE_NEWNS) == 0)
		return true;
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) == 0 && write_map("/proc/self/setgroups", "deny") &&
	       write_map("/proc/self/uid_map", uid) && write_map("/proc/self/gid_map", gid);
}

bool transport_try_own_mounts(void)
{
	if (!own_mounts)
		own_mounts = unshare_mounts() && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
			     mount("tmpfs", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777,size=16m") == 0;
	return own_mounts;
}

void transport_own_mounts(void)
{
	if (!transport_try_own_mounts())
		harness_skip("no mounts of one's own: %s", strerror(errno));
}

const char *transport_runtime_folder(void)
{
	static char path[64];

	snprintf(path, sizeof(path), "/dev/shm/pathbus-%u", (unsigned)geteuid());
	return path;
}

bool transport_own_runtime(void)
{
	return own_mounts;
}

static void check_runtime_folder(void)
{
	DIR *dir = opendir(transport_runtime_folder());
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		ck_assert_msg(strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0,
			      "left in the runtime folder: %s", entry->d_name);
	if (dir)
		closedir(dir);
}

static void make_view(void)
{
	const char *path = harness_path("view");

	transport_own_mounts();
	ck_assert_int_eq(mkdir(harness_path("files"), 0700), 0);
	ck_assert_int_eq(mkdir(path, 0700), 0);
	ck_assert_msg(mount(harness_path("files"), path, NULL, MS_BIND, NULL) == 0, "bind: %s", strerror(errno));
	view = path;
	ck_assert_msg(mount(NULL, path, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) == 0, "read-only: %s",
		      strerror(errno));
}

void transport_begin(int id)
{
	current = id;
	if (id == ON_RUNTIME) {
		make_view();
		return;
	}
	ck_assert_int_eq(mkdir(harness_path("files"), 0700), 0);
	if (id == ON_BUS || id == ON_SOCKET) {
		if (access(harness_program("pathbusd"), X_OK) < 0 && errno == EACCES)
			harness_skip("this user cannot run pathbusd");
		/* Another case's daemon that stops removes the runtime folder they share: a post too many here. */
		if (geteuid() == 0)
			(void)transport_try_own_mounts();
		harness_daemon_start(&daemon_of_case, NULL);
	}
}

void transport_end(void)
{
	if (view)
		ck_assert_int_eq(umount2(view, MNT_DETACH), 0);
	view = NULL;
	if (daemon_of_case.process.pid > 0)
		harness_daemon_stop(&daemon_of_case);
	if (own_mounts)
		check_runtime_folder();
}

enum transport_id current_transport(void)
{
	return (enum transport_id)current;
}

static enum pathbus_transport_kind kind_of_current(void)
{
	return current == ON_BUS ? PATHBUS_BUS : current == ON_SOCKET ? PATHBUS_SOCKET : PATHBUS_PEER;
}

struct pathbus_options transport_options(void)
{
	return (struct pathbus_options){
		.size = sizeof(struct pathbus_options),
		.transport = kind_of_current(),
		.address = current == ON_BUS || current == ON_SOCKET ? daemon_of_case.address : NULL,
		.timeout_ms = HARNESS_LIMIT_MS, /* a busy machine is no silent daemon */
	};
}

pathbus *transport_new(void)
{
	struct pathbus_options options = transport_options();
	pathbus *bus;

	ck_assert_int_eq(pathbus_new(&bus, &options), 0);
	return bus;
}

const char *transport_path(const char *name)
{
	return view ? harness_path("view/%s", name) : transport_edit(name);
}

const char *transport_edit(const char *name)
{
	return harness_path("files/%s", name);
}

pathbus_topic *transport_open(pathbus *bus, const char *name, unsigned flags)
{
	pathbus_topic *topic;
	int r;

	r = pathbus_open(bus, transport_path(name), flags, &topic);
	ck_assert_msg(r == 0, "opening %s: %s", name, strerror(-r));
	transport_expect(topic);
	return topic;
}

void transport_expect(const pathbus_topic *topic)
{
	struct pathbus_transport transport = { .size = sizeof(transport) };

	ck_assert_int_eq(pathbus_transport(topic, &transport), 0);
	ck_assert_int_eq(transport.kind, kind_of_current());
	ck_assert_int_eq(transport.in_runtime_folder, current == ON_RUNTIME);
	ck_assert_int_eq(transport.local_only, 0);
	ck_assert_uint_gt(transport.since_ns, 0);
	ck_assert_uint_le(transport.since_ns, harness_now_ns());
	ck_assert_uint_gt(strlen(transport.why), 0);
}

/* --- events ------------------------------------------------------------------------------------------ */

bool is_readable(int fd)
{
	return poll(&(struct pollfd){ .fd = fd, .events = POLLIN }, 1, 0) == 1;
}

int take(pathbus *bus, struct pathbus_event *ret)
{
	struct pathbus_event event = { .size = sizeof(event) };
	int r = pathbus_next(bus, &event);

	ck_assert_msg(r == 0 || r == 1, "pathbus_next: %s", strerror(-r));
	if (r == 0) {
		ck_assert_int_eq(event.kind, 0); /* untouched */
		return 0;
	}
	ck_assert_uint_eq(event.size, sizeof(event));
	*ret = event;
	return 1;
}

void take_soon(pathbus *bus, struct pathbus_event *ret)
{
	do
		await_readable(bus);
	while (!take(bus, ret));
}

bool transport_is_immediate(void)
{
	return current != ON_SOCKET;
}

uint64_t take_posts(pathbus *bus)
{
	struct pathbus_event event;
	uint64_t n = 0;

	while (take(bus, &event)) {
		ck_assert_int_eq(event.kind, PATHBUS_EVENT_POST);
		ck_assert_uint_gt(event.count, 0);
		n += event.count;
	}
	return n;
}

void drain(pathbus *bus)
{
	struct pathbus_event event;

	while (take(bus, &event))
		ck_assert_msg(event.kind != PATHBUS_EVENT_ERROR, "error event: %s", strerror(-event.error));
}

void await_readable(pathbus *bus)
{
	struct pollfd pollfd = { .fd = pathbus_fd(bus), .events = POLLIN };
	uint64_t deadline = harness_deadline(harness_limit_ms);
	int r;

	do
		r = poll(&pollfd, 1, (int)harness_limit_ms);
	while (r < 0 && errno == EINTR && harness_now_ns() < deadline);
	ck_assert_msg(r == 1, "not readable after %u ms", harness_limit_ms);
}

void await_posts(pathbus *bus, uint64_t n)
{
	uint64_t sum = 0;

	while (sum < n) {
		await_readable(bus);
		sum += take_posts(bus);
	}
	ck_assert_uint_eq(sum, n);
}

void await_event(pathbus *bus, enum pathbus_event_kind kind)
{
	struct pathbus_event event = { 0 };

	do {
		await_readable(bus);
		if (!take(bus, &event))
			continue;
		ck_assert_msg(event.kind == kind || event.kind == PATHBUS_EVENT_POST, "event %d, error %d",
			      (int)event.kind, event.error);
	} while (event.kind != kind);
}

static bool is_quiet(pathbus *bus)
{
	struct pathbus_event event;

	ck_assert_int_eq(take(bus, &event), 0);
	return !is_readable(pathbus_fd(bus));
}

void expect_quiet(pathbus *bus)
{
	harness_await(is_quiet(bus)); /* spurious wake-ups are allowed, for a while */
}
