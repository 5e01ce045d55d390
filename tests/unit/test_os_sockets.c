/* SPDX-License-Identifier: MIT */
/* test_os_sockets.c - what common/os promises of sockets: pairs, those in a folder, who is at the other end; and of watches
 * that tell of removals. */
#include "harness/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/process.h"
#include "os/os.h"

static const int types[] = { SOCK_STREAM, SOCK_SEQPACKET };

static int folder = -1; /* with a path far longer than a socket's may be */

static void setup(void)
{
	int dir = os_open_folder(AT_FDCWD, harness_tmpdir(), true);

	for (int i = 0; i < 20; i++) {
		int next;

		ck_assert_int_eq(mkdirat(dir, "a-folder-with-a-name", 0700), 0);
		next = os_open_folder(dir, "a-folder-with-a-name", false);
		ck_assert_int_ge(next, 0);
		close(dir);
		dir = next;
	}
	folder = dir;
}

static void teardown(void)
{
	close(folder);
}

static void check(int fd, int type, bool nonblocking)
{
	socklen_t size = sizeof(int);
	int got;

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
	ck_assert_int_eq((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0, nonblocking);
	ck_assert_int_eq(getsockopt(fd, SOL_SOCKET, SO_TYPE, &got, &size), 0);
	ck_assert_int_eq(got, type);
}

START_TEST(pairs)
{
	char bytes[8];
	int pair[2];

	ck_assert_int_eq(os_socket_pair(types[_i], pair), 0);
	check(pair[0], types[_i], false);
	check(pair[1], types[_i], false);
	ck_assert_int_eq(write(pair[0], "ab", 2), 2);
	ck_assert_int_eq(read(pair[1], bytes, 8), 2);
	close(pair[0]);
	close(pair[1]);
	pair[0] = 77;
	ck_assert_int_lt(os_socket_pair(12345, pair), 0);
	ck_assert_int_eq(pair[0], 77);
}
END_TEST

static int listen_in_folder(int type, const char *name)
{
	int fd = os_socket_of(type);

	check(fd, type, true);
	ck_assert_int_eq(os_socket_bind(fd, folder, name), 0);
	ck_assert_int_eq(listen(fd, 4), 0);
	return fd;
}

START_TEST(in_a_folder)
{
	int listener = listen_in_folder(types[_i], "socket"), one = os_socket_of(types[_i]), two = os_socket_of(types[_i]);
	int marked = os_socket_of(types[_i]), other = os_socket_of(types[!_i]), file, fd;
	bool is_marked = true;
	struct os_peer peer;

	ck_assert_int_eq(os_socket_accept(listener, &is_marked), -EAGAIN);
	ck_assert_int_eq(os_socket_connect(one, folder, "nothing"), -ENOENT);
	ck_assert_int_eq(os_socket_connect(other, folder, "socket"), -EPROTOTYPE);
	ck_assert_int_eq(os_socket_connect(one, folder, "socket"), 0);
	fd = os_socket_accept(listener, &is_marked);
	check(fd, types[_i], false);
	ck_assert(!is_marked);
	ck_assert_int_eq(os_peer_credentials(fd, &peer), 0);
	ck_assert_int_eq(peer.pid, getpid());
	ck_assert_uint_eq(peer.uid, geteuid());
	ck_assert_uint_eq(peer.gid, getegid());
	close(fd);
	/* By the file itself, also when it has no name any more. */
	file = os_open_path(folder, "socket", false);
	ck_assert_int_ge(file, 0);
	ck_assert_int_eq(unlinkat(folder, "socket", 0), 0);
	ck_assert_int_eq(os_socket_connect(two, folder, "socket"), -ENOENT);
	ck_assert_int_eq(os_socket_connect(two, file, NULL), 0);
	fd = os_socket_accept(listener, &is_marked);
	ck_assert(fd >= 0 && !is_marked);
	close(fd);
	ck_assert_int_eq(os_socket_mark(marked), 0);
	ck_assert_int_eq(os_socket_connect(marked, file, NULL), 0);
	fd = os_socket_accept(listener, &is_marked);
	ck_assert(fd >= 0 && is_marked);
	close(fd);
	close(listener);
	ck_assert_int_eq(os_socket_connect(other, file, NULL), -ECONNREFUSED);
	close(file);
	close(one);
	close(two);
	close(marked);
	close(other);
}
END_TEST

static int connect_there(struct harness_process *peer, void *arg)
{
	int fd = os_socket_of(SOCK_STREAM);
	struct os_peer listener;

	(void)arg;
	ck_assert_int_eq(os_socket_connect(fd, folder, "socket"), 0);
	ck_assert_int_eq(os_peer_credentials(fd, &listener), 0);
	ck_assert_int_eq(listener.pid, getppid());
	harness_expect_line(peer, "end");
	return 0;
}

START_TEST(who_is_there)
{
	int listener = listen_in_folder(SOCK_STREAM, "socket"), fd;
	struct harness_process child;
	struct os_peer peer;
	bool is_marked;

	harness_spawn(&child, connect_there, NULL);
	harness_await((fd = os_socket_accept(listener, &is_marked)) >= 0);
	ck_assert_int_eq(os_peer_credentials(fd, &peer), 0);
	ck_assert_int_eq(peer.pid, child.pid);
	harness_tell(&child, "end");
	harness_expect_exit(&child, 0);
	close(fd);
	close(listener);
}
END_TEST

static struct os_watch_buffer buffer;

static int n_events(int watch, int id)
{
	struct os_watch_event event;
	int n = 0;

	while (os_watch_next(watch, &buffer, &event) == 1)
		n += event.id == id || event.id == 0;
	return n;
}

START_TEST(removals)
{
	int watch = os_watch_new(), id, dir, fd;

	ck_assert_int_eq(mkdirat(folder, "watched", 0700), 0);
	dir = os_open_folder(folder, "watched", false);
	fd = openat(dir, "file", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_ge(watch, 0);
	id = os_watch_add_removals(watch, dir);
	ck_assert_int_gt(id, 0);
	ck_assert_int_eq(os_watch_add_removals(watch, dir), id);
	ck_assert_int_eq(n_events(watch, id), 0);
	ck_assert_int_eq(unlinkat(dir, "file", 0), 0); /* though it is open */
	ck_assert_int_gt(n_events(watch, id), 0);
	ck_assert_int_eq(renameat(folder, "watched", folder, "elsewhere"), 0);
	ck_assert_int_gt(n_events(watch, id), 0);
	close(fd);
	fd = openat(dir, "another", O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	ck_assert_int_gt(n_events(watch, id), 0);
	close(fd);
	close(dir);
	close(watch);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(pairs, 2), HARNESS_CASE_EACH(in_a_folder, 2), HARNESS_CASE(who_is_there),
	HARNESS_CASE(removals),	     { 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){
				    .name = "os_sockets", .cases = cases, .setup = setup, .teardown = teardown });
}
