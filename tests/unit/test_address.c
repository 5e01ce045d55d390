/* SPDX-License-Identifier: MIT */
/* test_address.c - where a daemon's socket may be. */
#include "harness/harness.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "address.h"
#include "harness/process.h"
#include "os/os.h"

START_TEST(fills_addresses)
{
	struct sockaddr_un address = { .sun_family = 99 };
	char path[ADDRESS_SIZE + 1];

	ck_assert_int_eq(address_fill("", &address), -EINVAL);
	memset(path, 'x', sizeof(path));
	path[ADDRESS_SIZE] = '\0';
	ck_assert_int_eq(address_fill(path, &address), -ENAMETOOLONG);
	ck_assert_int_eq(address.sun_family, 99); /* untouched */
	path[ADDRESS_SIZE - 1] = '\0';
	ck_assert_int_eq(address_fill(path, &address), 0);
	ck_assert_int_eq(address.sun_family, AF_UNIX);
	ck_assert_str_eq(address.sun_path, path);
	ck_assert_int_eq(address_fill("/s", &address), 0);
	ck_assert_str_eq(address.sun_path, "/s");
}
END_TEST

START_TEST(environment)
{
	unsetenv("PATHBUS_ADDRESS");
	ck_assert_ptr_null(address_from_environment());
	setenv("PATHBUS_ADDRESS", "", 1);
	ck_assert_ptr_null(address_from_environment());
	setenv("PATHBUS_ADDRESS", "/some/socket", 1);
	ck_assert_str_eq(address_from_environment(), "/some/socket");
	unsetenv("PATHBUS_CONTROL");
	ck_assert_ptr_null(address_control_from_environment());
	setenv("PATHBUS_CONTROL", "/some/control", 1);
	ck_assert_str_eq(address_control_from_environment(), "/some/control");
}
END_TEST

START_TEST(control_sockets)
{
	char socket[ADDRESS_SIZE], control[ADDRESS_SIZE], given[ADDRESS_SIZE];

	ck_assert_int_eq(address_of_user(4000000124u, socket), 0);
	ck_assert_int_eq(address_control_of_user(4000000124u, control), 0);
	ck_assert_str_eq(strrchr(control, '/'), "/control"); /* in the same folder */
	ck_assert_uint_eq((size_t)(strrchr(socket, '/') - socket), (size_t)(strrchr(control, '/') - control));
	ck_assert_mem_eq(socket, control, (size_t)(strrchr(socket, '/') - socket));
	ck_assert_int_eq(address_control_of("/s", control), 0);
	ck_assert_str_eq(control, "/s.control");
	memset(given, 'x', sizeof(given));
	given[ADDRESS_SIZE - sizeof(".control") + 1] = '\0';
	ck_assert_int_eq(address_control_of(given, control), -ENAMETOOLONG);
	given[ADDRESS_SIZE - sizeof(".control")] = '\0';
	ck_assert_int_eq(address_control_of(given, control), 0);
}
END_TEST

START_TEST(runtime_folder)
{
	char path[64], expected[64];

	snprintf(expected, sizeof(expected), "%s/pathbus-4294967294", os_runtime_root());
	ck_assert_int_eq(address_runtime_folder((uid_t)-2, path, sizeof(path)), 0);
	ck_assert_str_eq(path, expected);
	ck_assert_int_eq(address_runtime_folder((uid_t)-2, path, strlen(expected)), -ENAMETOOLONG);
	ck_assert_int_eq(address_runtime_folder((uid_t)-2, path, strlen(expected) + 1), 0);
}
END_TEST

/* A user without a session: the place in the runtime folder. No such user is logged in here. */
START_TEST(user_without_session)
{
	char address[ADDRESS_SIZE], expected[ADDRESS_SIZE];
	const uid_t uid = 4000000123u;

	snprintf(expected, sizeof(expected), "%s/pathbus-%u/socket", os_runtime_root(),
		 (unsigned)uid);
	ck_assert_int_eq(address_of_user(uid, address), 0);
	ck_assert_str_eq(address, expected);
}
END_TEST

/* In a mount namespace of its own, where /run/user can be made up. Exits with 77 where there can be none. */
static int in_session(struct harness_process *peer, void *arg)
{
	char address[ADDRESS_SIZE];

	(void)peer, (void)arg;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/run", "tmpfs", 0, NULL) < 0)
		return 77;
	ck_assert_int_eq(mkdir("/run/user", 0755), 0);
	ck_assert_int_eq(mkdir("/run/user/4000000124", 0700), 0);
	ck_assert_int_eq(chown("/run/user/4000000124", 4000000124u, 0), 0);
	ck_assert_int_eq(mkdir("/run/user/4000000125", 0700), 0); /* but it is root's */

	ck_assert_int_eq(address_of_user(4000000124u, address), 0);
	ck_assert_str_eq(address, "/run/user/4000000124/pathbus/socket");
	ck_assert_int_eq(address_of_user(4000000125u, address), 0);
	ck_assert_str_eq(address, "/dev/shm/pathbus-4000000125/socket");
	return 0;
}

START_TEST(user_with_session)
{
	struct harness_process process;
	int status;

	harness_spawn(&process, in_session, NULL);
	status = harness_wait(&process);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		harness_skip("no mount namespace to be had: needs root");
	ck_assert_int_eq(status, 0);
}
END_TEST

/* The same, where the system's place can be made up. */
static int at_system_place(struct harness_process *peer, void *arg)
{
	static const struct {
		uid_t owner;
		mode_t mode, above;
		bool served;
	} cases[] = {
		{ 4000000124u, 0755, 0755, true },  { 4000000124u, 0700, 0755, true },  { 0, 0755, 0755, false },
		{ 4000000125u, 0755, 0755, false }, { 4000000124u, 0775, 0755, false }, { 4000000124u, 0757, 0755, false },
		{ 4000000124u, 0755, 0775, false }, { 4000000124u, 01777, 0755, false }, { 4000000124u, 0755, 01777, false },
	};

	(void)peer, (void)arg;
	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/run", "tmpfs", 0, "mode=755") < 0)
		return 77;
	ck_assert(!address_may_be_served_by(ADDRESS_SYSTEM, 4000000124u)); /* no such folder */
	ck_assert_int_eq(mkdir("/run/pathbus", 0755), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(chown("/run/pathbus", cases[i].owner, 0), 0);
		ck_assert_int_eq(chmod("/run/pathbus", cases[i].mode), 0);
		ck_assert_int_eq(chmod("/run", cases[i].above), 0);
		ck_assert_msg(address_may_be_served_by(ADDRESS_SYSTEM, 4000000124u) == cases[i].served, "case %zu", i);
		ck_assert(address_may_be_served_by(ADDRESS_SYSTEM_CONTROL, 4000000124u) == cases[i].served);
		ck_assert(address_may_be_served_by(ADDRESS_SYSTEM, 0));
		ck_assert(address_may_be_served_by(ADDRESS_SYSTEM, geteuid()));
		/* Any other place may be made by anybody. */
		ck_assert(!address_may_be_served_by("/run/pathbus/../pathbus/socket", 4000000124u));
		ck_assert(!address_may_be_served_by("/run/pathbus/other", 4000000124u));
	}
	ck_assert_int_eq(chown("/run/pathbus", 4000000124u, 0), 0);
	ck_assert_int_eq(chmod("/run/pathbus", 0755), 0);
	ck_assert_int_eq(chmod("/run", 0755), 0);
	ck_assert_int_eq(chown("/run", 4000000124u, 0), 0);
	ck_assert(!address_may_be_served_by(ADDRESS_SYSTEM, 4000000124u));
	ck_assert_int_eq(chown("/run", 0, 0), 0);
	ck_assert_int_eq(rename("/run/pathbus", "/run/real"), 0);
	ck_assert_int_eq(symlink("/run/real", "/run/pathbus"), 0);
	ck_assert(!address_may_be_served_by(ADDRESS_SYSTEM, 4000000124u));
	return 0;
}

START_TEST(who_may_serve)
{
	struct harness_process process;
	int status;

	ck_assert(address_may_be_served_by("/tmp/socket", 0));
	ck_assert(address_may_be_served_by("/tmp/socket", geteuid()));
	ck_assert(!address_may_be_served_by("/tmp/socket", 4000000124u));
	harness_spawn(&process, at_system_place, NULL);
	status = harness_wait(&process);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		harness_skip("no mount namespace to be had: needs root");
	ck_assert_int_eq(status, 0);
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE(fills_addresses),	 HARNESS_CASE(environment),
	HARNESS_CASE(runtime_folder),	 HARNESS_CASE(user_without_session),
	HARNESS_CASE(user_with_session), HARNESS_CASE(who_may_serve),
	HARNESS_CASE(control_sockets),	 { 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
			    &(struct harness_suite){ .name = "address", .cases = cases });
}
