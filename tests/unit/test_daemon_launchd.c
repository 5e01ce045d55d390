/* SPDX-License-Identifier: MIT */
/* test_daemon_launchd.c - sockets that launchd made, with the test as launchd: not macOS's own is tried here. */
#include "daemon/service_manager.h"

#include <errno.h>
#include <fcntl.h>
#include <launch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "harness/harness.h"
#include "os/os.h"

struct job {
	const char *name;
	int error;
	int fds[2];
	size_t n;
};

static struct job jobs[2];

int launch_activate_socket(const char *name, int **fds, size_t *cnt)
{
	for (size_t i = 0; i < 2; i++) {
		if (!jobs[i].name || strcmp(jobs[i].name, name) != 0)
			continue;
		if (jobs[i].error)
			return jobs[i].error;
		*fds = malloc(sizeof(jobs[i].fds));
		ck_assert_ptr_nonnull(*fds);
		memcpy(*fds, jobs[i].fds, sizeof(jobs[i].fds));
		*cnt = jobs[i].n;
		return 0;
	}
	return ENOENT;
}

static int listen_at(const char *name, char *ret_path)
{
	struct sockaddr_un address;
	int fd = os_socket_new();

	snprintf(ret_path, ADDRESS_SIZE, "%s/%s", harness_tmpdir(), name);
	ck_assert_int_eq(address_fill(ret_path, &address), 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	/* As launchd's are. */
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
	ck_assert_int_eq(fcntl(fd, F_SETFD, 0), 0);
	return fd;
}

static void expect(const struct inherited_socket *socket, int fd, const char *path)
{
	ck_assert_int_eq(socket->fd, fd);
	if (fd < 0)
		return;
	ck_assert_str_eq(socket->path, path);
	ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
}

START_TEST(two_sockets)
{
	char bus[ADDRESS_SIZE], control[ADDRESS_SIZE], other[ADDRESS_SIZE];
	struct inherited_sockets sockets;

	jobs[0] = (struct job){ .name = "control", .fds = { listen_at("control", control) }, .n = 1 };
	jobs[1] = (struct job){ .name = "bus", .fds = { listen_at("bus", bus), listen_at("other", other) }, .n = 2 };
	ck_assert_int_eq(service_manager_sockets(&sockets), 0);
	expect(&sockets.bus, jobs[1].fds[0], bus);
	expect(&sockets.control, jobs[0].fds[0], control);
	ck_assert_int_lt(fcntl(jobs[1].fds[1], F_GETFD), 0); /* closed */
	close(sockets.bus.fd);
	close(sockets.control.fd);
}
END_TEST

START_TEST(one_socket)
{
	char bus[ADDRESS_SIZE];
	struct inherited_sockets sockets;

	jobs[0] = (struct job){ .name = "bus", .fds = { listen_at("bus", bus) }, .n = 1 };
	jobs[1] = (struct job){ .name = NULL };
	ck_assert_int_eq(service_manager_sockets(&sockets), 0);
	expect(&sockets.bus, jobs[0].fds[0], bus);
	expect(&sockets.control, -1, NULL);
	close(sockets.bus.fd);
}
END_TEST

START_TEST(without_launchd)
{
	struct inherited_sockets sockets;

	jobs[0] = (struct job){ .name = "bus", .error = ESRCH };
	jobs[1] = (struct job){ .name = "control", .error = ESRCH };
	ck_assert_int_eq(service_manager_sockets(&sockets), 0);
	expect(&sockets.bus, -1, NULL);
	expect(&sockets.control, -1, NULL);
	ck_assert_ptr_null(service_manager_new());
}
END_TEST

START_TEST(failures)
{
	struct inherited_sockets sockets;
	int pair[2];

	jobs[0] = (struct job){ .name = "bus", .error = EALREADY };
	ck_assert_int_eq(service_manager_sockets(&sockets), -1);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	jobs[0] = (struct job){ .name = "control", .fds = { pair[0] }, .n = 1 };
	ck_assert_int_eq(service_manager_sockets(&sockets), -1);
	close(pair[0]);
	close(pair[1]);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(two_sockets),
	HARNESS_CASE(one_socket),
	HARNESS_CASE(without_launchd),
	HARNESS_CASE(failures),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv, &(struct harness_suite){ .name = "daemon-launchd", .cases = cases });
}
