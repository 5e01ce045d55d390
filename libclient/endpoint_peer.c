/* SPDX-License-Identifier: MIT */
/*
 * endpoint_peer.c - endpoints without a daemon: a socket in the sidecar's folder.
 *
 * It is bound and reached by the descriptor of the folder, so its path may be of any length. Whoever wants to listen makes a
 * record and a socket under other names and puts them in place, the record first, so that what stands there accepts. That is
 * done with the name's lock; the lock on the record tells that its owner lives.
 *
 * Taking over needs no help from the one who listens, who may stand still: its files are replaced, and then its socket,
 * which nobody finds any more, gets a connection from an address (those who connect have none). Seeing that, or that the
 * record is not its own, it accepts the others and tells its program.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "endpoint.h"

_Static_assert(sizeof(((struct endpoint_record *)0)->name) == WIRE_MAX_ENDPOINT_NAME + 1, "every name fits");

int endpoint_peer_folder(const pathbus_topic *topic)
{
	const struct sidecar *sidecar = &topic->sidecar;
	struct stat there, mine;
	int dir = openat(sidecar->parent, sidecar->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? -ESTALE : -errno;
	if (fstatat(dir, "page", &there, AT_SYMLINK_NOFOLLOW) < 0 || fstat(sidecar->file, &mine) < 0 ||
	    there.st_dev != mine.st_dev || there.st_ino != mine.st_ino) {
		close(dir);
		return -ESTALE;
	}
	return dir;
}

void endpoint_peer_lost(pathbus_topic *topic)
{
	topic->sidecar_seen_ns = 0; /* however soon after the last look */
	topic_look_for_sidecar(topic);
	topic_lose(topic); /* or it is a folder that has its name now */
}

/* --- the name's lock ------------------------------------------------------------------------------------------ */

/* A descriptor that holds it, so closing it gives it back. -ESTALE: there is no page any more; -EBUSY. */
static int lock_name(int dir, const struct endpoint_names *names, uint64_t deadline_ns)
{
	int page = os_open_own_file(dir, "page"), r; /* opened anew: a lock belongs to the open file */

	if (page < 0)
		return page == -ENOENT ? -ESTALE : page;
	while ((r = os_lock(page, OS_LOCK_EXCLUSIVE, names->byte, 1)) == -EAGAIN && os_now_ns() < deadline_ns)
		nanosleep(&(struct timespec){ .tv_nsec = 200000 }, NULL); /* for microseconds, unless it stands still */
	if (r == 0)
		return page;
	close(page);
	return r == -EAGAIN ? -EBUSY : r;
}

/* --- listening ---------------------------------------------------------------------------------------------------- */

/* The file may be written by this process, as the kernel decides now. */
static int check_right(const pathbus_topic *topic)
{
	struct place place;
	bool may_write;
	int r = place_resolve(-1, topic->path, &place);

	if (topic->has_key && (r == -ENOENT || r == -ENOTDIR || r == -EACCES))
		return 0; /* the folder has gone: they go on by the key that they all know (peer.c) */
	if (r < 0)
		return r;
	may_write = place.may_write;
	place_deinit(&place);
	return may_write ? 0 : -EACCES;
}

static int make_socket(int dir, const struct endpoint_names *names, unsigned flags)
{
	int fd = os_socket_of(flags & PATHBUS_ENDPOINT_SEQPACKET ? SOCK_SEQPACKET : SOCK_STREAM), r;

	if (fd < 0)
		return fd;
	(void)unlinkat(dir, names->new_socket, 0);
	r = os_socket_bind(fd, dir, names->new_socket);
	if (r == 0 && (fchmodat(dir, names->new_socket, 0600, 0) < 0 || listen(fd, ENDPOINT_BACKLOG) < 0))
		r = -errno;
	if (r < 0) {
		(void)unlinkat(dir, names->new_socket, 0);
		close(fd);
		return r;
	}
	return fd;
}

/* To the one whose socket has been replaced: an address, and the end. If its backlog is full it looks for itself. */
static void tell_replaced(int old)
{
	static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };
	int r = -EPROTOTYPE;

	for (size_t i = 0; i < 2 && r == -EPROTOTYPE; i++) {
		int fd = os_socket_of(types[i]);

		if (fd < 0)
			return;
		r = os_socket_mark(fd);
		if (r == 0)
			r = os_socket_connect(fd, old, NULL);
		close(fd);
	}
}

/* Holding the name's lock. */
static int put_in_place(pathbus_endpoint *endpoint, int dir, const struct endpoint_names *names)
{
	struct endpoint_record record = { .pid = (uint32_t)getpid(), .name_size = endpoint->name_size };
	int fd, socket, old, r = 0;

	record.flags = endpoint->flags & ~PATHBUS_ENDPOINT_TAKE_OVER;
	memcpy(record.name, endpoint->name, endpoint->name_size);
	fd = endpoint_record_make(dir, names, &record);
	if (fd < 0)
		return fd;
	socket = make_socket(dir, names, endpoint->flags);
	if (socket < 0) {
		(void)unlinkat(dir, names->new_record, 0);
		close(fd);
		return socket;
	}
	old = os_open_path(dir, names->socket, false);
	if (renameat(dir, names->new_record, dir, names->record) < 0 || renameat(dir, names->new_socket, dir, names->socket) < 0)
		r = -errno;
	if (r == 0)
		r = os_set_add(endpoint->attachment.topic->bus->control, socket, OS_READ, (uint64_t)(uintptr_t)endpoint);
	if (r < 0) {
		(void)unlinkat(dir, names->new_record, 0);
		(void)unlinkat(dir, names->new_socket, 0);
		close(socket);
		close(fd);
		socket = fd = -1;
	} else {
		endpoint->record = fd;
		endpoint->socket = socket;
		endpoint->is_full = false;
	}
	if (old >= 0) {
		tell_replaced(old);
		close(old);
	}
	return r;
}

int endpoint_peer_listen(pathbus_endpoint *endpoint, uint64_t deadline_ns)
{
	pathbus_topic *topic = endpoint->attachment.topic;
	struct endpoint_record record;
	struct endpoint_names names;
	int dir, page, r = check_right(topic);

	if (r < 0)
		return r;
	dir = endpoint_peer_folder(topic);
	if (dir < 0)
		return dir;
	endpoint_names_make(endpoint->name, endpoint->name_size, &names);
	page = lock_name(dir, &names, deadline_ns);
	if (page < 0) {
		close(dir);
		return page;
	}
	r = endpoint_record_read(dir, names.record, &record);
	if (r == 1)
		r = endpoint->making && (endpoint->flags & PATHBUS_ENDPOINT_TAKE_OVER) ? 0 : -EADDRINUSE;
	if (r == 0)
		r = put_in_place(endpoint, dir, &names);
	close(page);
	if (r == 0)
		endpoint->dir = dir;
	else
		close(dir);
	return r == -ENOENT ? -ESTALE : r; /* taken apart meanwhile */
}

static bool is_still_ours(const pathbus_endpoint *endpoint, const struct endpoint_names *names)
{
	struct stat there, mine;

	return fstatat(endpoint->dir, names->record, &there, AT_SYMLINK_NOFOLLOW) == 0 && fstat(endpoint->record, &mine) == 0 &&
	       there.st_dev == mine.st_dev && there.st_ino == mine.st_ino;
}

/* Without the name's lock they stay, for whoever comes next. */
static void remove_files(const pathbus_endpoint *endpoint, const struct endpoint_names *names)
{
	int page;

	if (!is_still_ours(endpoint, names))
		return;
	page = lock_name(endpoint->dir, names, os_now_ns() + JOIN_QUICKLY_MS * UINT64_C(1000000));
	if (page < 0)
		return;
	if (is_still_ours(endpoint, names)) {
		(void)unlinkat(endpoint->dir, names->socket, 0);
		(void)unlinkat(endpoint->dir, names->record, 0);
	}
	close(page);
}

/* --- accepting ----------------------------------------------------------------------------------------------------- */

/* Until so many are kept. -EAGAIN: there is nobody left; 0: enough; -EMFILE and the like. */
static int accept_some(pathbus_endpoint *endpoint, unsigned most, bool *ret_replaced)
{
	bool is_marked = false;

	while (endpoint->n_kept < most) {
		struct kept kept = { .fd = os_socket_accept(endpoint->socket, &is_marked) };

		if (kept.fd < 0)
			return kept.fd;
		*ret_replaced |= is_marked;
		/* Other users do not get to the folder, root does. */
		if (is_marked || os_peer_credentials(kept.fd, &kept.peer) < 0 || kept.peer.uid != geteuid())
			close(kept.fd);
		else
			endpoint_keep(endpoint, &kept);
	}
	return 0;
}

void endpoint_peer_leave(pathbus_endpoint *endpoint, bool keep)
{
	struct endpoint_names names;
	bool replaced = false;

	if (endpoint->socket < 0)
		return;
	endpoint_names_make(endpoint->name, endpoint->name_size, &names);
	remove_files(endpoint, &names);
	if (!endpoint->is_full)
		os_set_remove(endpoint->attachment.topic->bus->control, endpoint->socket);
	if (keep) {
		/* Nobody else gets in from now on, and who is in can still be accepted. */
		(void)shutdown(endpoint->socket, SHUT_RDWR);
		(void)accept_some(endpoint, UINT32_MAX, &replaced);
	}
	close(endpoint->socket);
	close(endpoint->record);
	close(endpoint->dir);
	endpoint->socket = endpoint->record = endpoint->dir = -1;
}

static bool has_page(const pathbus_endpoint *endpoint)
{
	struct stat st;

	return fstatat(endpoint->dir, "page", &st, AT_SYMLINK_NOFOLLOW) == 0;
}

void endpoint_peer_accept(pathbus_endpoint *endpoint)
{
	struct pathbus *bus = endpoint->attachment.topic->bus;
	struct endpoint_names names;
	bool replaced = false, is_full;
	int r;

	if (endpoint->socket < 0)
		return;
	r = accept_some(endpoint, ENDPOINT_KEPT, &replaced);
	endpoint_names_make(endpoint->name, endpoint->name_size, &names);
	if (!replaced && !has_page(endpoint)) {
		endpoint_peer_lost(endpoint->attachment.topic); /* removed by hand, or by somebody who moves: it will move too */
		return;
	}
	if (replaced || !is_still_ours(endpoint, &names)) {
		endpoint_peer_leave(endpoint, true);
		endpoint_fail(endpoint, -EADDRINUSE);
		return;
	}
	/* Enough, or no descriptor for more: the others wait in the backlog, and the set is not to be readable for them. */
	is_full = endpoint->n_kept >= ENDPOINT_KEPT || r == -EMFILE || r == -ENFILE || r == -ENOMEM || r == -ENOBUFS;
	if (is_full && endpoint->n_kept < ENDPOINT_KEPT && bus->accept_ns == 0) {
		bus->accept_ns = os_now_ns() + ENDPOINT_PAUSE_MS * UINT64_C(1000000);
		control_set_timer(bus);
	}
	if (is_full && !endpoint->is_full)
		os_set_remove(bus->control, endpoint->socket);
	else if (!is_full && endpoint->is_full && os_set_add(bus->control, endpoint->socket, OS_READ, (uint64_t)(uintptr_t)endpoint) < 0)
		return; /* no memory: is tried again when the next one is taken */
	endpoint->is_full = is_full;
}

/* --- connecting ---------------------------------------------------------------------------------------------------- */

/* For a moment without the handle's lock, since the listener has to accept somebody first. The kernel has no event for that,
 * but waits for it: some time, so that a topic that moves is noticed. */
static int connect_slowly(struct pathbus *bus, int fd, int dir, const char *name, uint64_t deadline_ns)
{
	uint64_t now = os_now_ns(), left_us = deadline_ns > now ? (deadline_ns - now) / 1000 + 1 : 1;
	struct timeval most = { .tv_usec = left_us < 100000 ? (suseconds_t)left_us : 100000 };
	int r;

	if (fcntl(fd, F_SETFL, 0) < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most)) < 0)
		return -errno;
	control_finish(bus);
	handle_unlock(bus);
	r = os_socket_connect(fd, dir, name);
	pthread_mutex_lock(&bus->lock);
	most = (struct timeval){ 0 };
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));
	return r;
}

static int connect_as(struct pathbus *bus, int type, int dir, const char *name, uint64_t deadline_ns, struct pathbus_connection *ret)
{
	int fd = os_socket_of(type), r;
	struct os_peer peer;

	if (fd < 0)
		return fd;
	r = os_socket_connect(fd, dir, name);
	if (r == -EAGAIN && deadline_ns > os_now_ns())
		r = connect_slowly(bus, fd, dir, name, deadline_ns);
	if (r == 0)
		r = os_peer_credentials(fd, &peer);
	if (r == 0 && fcntl(fd, F_SETFL, 0) < 0)
		r = -errno;
	if (r < 0) {
		close(fd);
		return r == -ENOENT || r == -ENOTSOCK ? -ECONNREFUSED : r;
	}
	*ret = (struct pathbus_connection){
		.size = sizeof(*ret), .fd = fd, .pid = peer.pid, .uid = peer.uid, .gid = peer.gid, .type = type
	};
	return 0;
}

int endpoint_peer_connect(struct pathbus *bus, int dir, const char *name, uint64_t deadline_ns, struct pathbus_connection *ret)
{
	int r = connect_as(bus, SOCK_STREAM, dir, name, deadline_ns, ret);

	return r == -EPROTOTYPE ? connect_as(bus, SOCK_SEQPACKET, dir, name, deadline_ns, ret) : r;
}
