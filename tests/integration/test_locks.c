/* SPDX-License-Identifier: MIT */
/*
 * test_locks.c - the file is never opened, so the POSIX locks that this process holds on it survive everything the
 * library does. Closing any descriptor of a file would drop them, without a word.
 */
#include "conformance/transports.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "harness/process.h"

/* --- somebody who looks from outside ----------------------------------------------------------------------- */

static struct {
	struct harness_process looker;
	const char *path;
	int fd;
} file; /* what is locked */

static bool hears_to(struct harness_process *peer, const char *order)
{
	const char *line = harness_hear(peer);

	return line && strcmp(line, order) == 0;
}

static bool is_locked_by(pid_t pid, int fd, short kind, off_t start)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = 1 };

	ck_assert_int_eq(fcntl(fd, F_GETLK, &lock), 0);
	return lock.l_type == kind && lock.l_pid == pid;
}

static int look_from_outside(struct harness_process *peer, void *arg)
{
	int fd = open(arg, O_RDWR | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	while (hears_to(peer, "look"))
		harness_tell(peer, "%s", is_locked_by(peer->pid, fd, F_WRLCK, 0) &&
		                                         is_locked_by(peer->pid, fd, F_RDLCK, 200) ?
		                                 "held" :
		                                 "lost");
	close(fd);
	return 0;
}

/* Two ranges, as SQLite does. */
static void lock_file(const char *path)
{
	struct flock write_lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 100 };
	struct flock read_lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 200, .l_len = 100 };

	file.path = path;
	file.fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(file.fd, 0);
	ck_assert_int_eq(fcntl(file.fd, F_SETLK, &write_lock), 0);
	ck_assert_int_eq(fcntl(file.fd, F_SETLK, &read_lock), 0);
	harness_spawn(&file.looker, look_from_outside, (void *)(uintptr_t)path);
}

static bool is_held(void)
{
	const char *answer;

	harness_tell(&file.looker, "look");
	answer = harness_hear(&file.looker);
	ck_assert_ptr_nonnull(answer);
	return strcmp(answer, "held") == 0;
}

static void unlock_file(void)
{
	harness_tell(&file.looker, "end");
	harness_expect_exit(&file.looker, 0);
	close(file.fd);
}

#define step(statement)                                                                                                \
	do {                                                                                                           \
		statement;                                                                                             \
		ck_assert_msg(is_held(), "the locks are lost after %s", #statement);                                   \
	} while (0)

/* --- the library's part ------------------------------------------------------------------------------------ */

static int keep_company(struct harness_process *peer, void *arg)
{
	pathbus *bus = transport_new();
	pathbus_topic *topic;

	ck_assert_int_eq(pathbus_open(bus, arg, 0, &topic), 0);
	harness_tell(peer, "open");
	while (hears_to(peer, "post")) {
		ck_assert_int_eq(pathbus_post(topic), 0);
		harness_tell(peer, "posted");
	}
	pathbus_free(bus);
	return 0;
}

static void get_a_post(struct harness_process *company)
{
	harness_tell(company, "post");
	harness_expect_line(company, "posted");
}

/* The whole life of topics on a path, alone at first and at last. */
static void live_on(const char *path, int fd)
{
	struct harness_process company;
	pathbus *bus;
	pathbus_topic *first, *topic;
	uint64_t seen = 0;

	step(bus = transport_new());
	step(ck_assert_int_eq(pathbus_open(bus, path, 0, &first), 0));
	harness_spawn(&company, keep_company, (void *)(uintptr_t)path);
	harness_expect_line(&company, "open");
	for (int i = 0; i < 3; i++) {
		if (i == 0)
			step(ck_assert_int_eq(pathbus_open(bus, path, 0, &topic), 0));
		else if (i == 1)
			step(ck_assert_int_eq(pathbus_open(bus, path, PATHBUS_POST, &topic), 0));
		else
			step(ck_assert_int_eq(pathbus_open_fd(bus, fd, PATHBUS_SUBSCRIBE | PATHBUS_POST, &topic), 0));
		step(ck_assert_int_eq(pathbus_post(topic), 0));
		step(ck_assert_int_eq(pathbus_wait(first, &seen, transport_is_immediate() ? 0 : UINT64_MAX, 0), 1));
		get_a_post(&company);
		step(ck_assert_int_eq(pathbus_wait(first, &seen, harness_deadline(harness_limit_ms), 0), 1));
		step(await_readable(bus));
		step(drain(bus));
		step(topic = pathbus_close(topic));
	}
	harness_tell(&company, "end");
	harness_expect_exit(&company, 0);
	step(first = pathbus_close(first));
	step(ck_assert_int_eq(pathbus_open(bus, path, 0, &first), 0)); /* to be closed with the handle */
	step(bus = pathbus_free(bus));
}

/* By a descriptor whose closing harms nobody. */
static void live_on_name(const char *name)
{
	int fd = open(transport_path(name), O_PATH | O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	live_on(transport_path(name), fd);
	close(fd);
}

START_TEST(of_the_file_by_its_path)
{
	transport_begin(_i);
	lock_file(transport_edit("data"));
	live_on_name("data");
	if (_i != ON_RUNTIME) /* where it is a descriptor of another place */
		live_on(transport_path("data"), file.fd);
	unlock_file();
}
END_TEST

START_TEST(of_the_file_by_a_link)
{
	transport_begin(_i);
	lock_file(transport_edit("data"));
	ck_assert_int_eq(symlink("data", transport_edit("link")), 0);
	live_on_name("link");
	unlock_file();
}
END_TEST

/* A daemon compares the other names of such a file. */
START_TEST(of_a_file_with_two_names)
{
	transport_begin(_i);
	lock_file(transport_edit("data"));
	ck_assert_int_eq(link(transport_edit("data"), transport_edit("other")), 0);
	live_on_name("data");
	live_on_name("other");
	unlock_file();
}
END_TEST

START_TEST(of_a_neighbour)
{
	transport_begin(_i);
	lock_file(transport_edit("neighbour"));
	harness_write_file(transport_edit("data"), "");
	live_on_name("data");
	unlock_file();
}
END_TEST

START_TEST(of_a_file_in_the_folder)
{
	transport_begin(_i);
	ck_assert_int_eq(mkdir(transport_edit("folder"), 0700), 0);
	lock_file(transport_edit("folder/data"));
	live_on_name("folder");
	unlock_file();
}
END_TEST

/* From the bus to the sidecar, and back. */
START_TEST(while_the_daemon_comes_and_goes)
{
	struct pathbus_options options = { .size = sizeof(options), .timeout_ms = HARNESS_LIMIT_MS };
	pathbus_topic *topic;
	pathbus *bus;

	transport_begin(ON_BUS);
	lock_file(transport_edit("data"));
	options.address = transport_daemon()->address;
	step(ck_assert_int_eq(pathbus_new(&bus, &options), 0));
	step(ck_assert_int_eq(pathbus_open(bus, file.path, 0, &topic), 0));
	transport_expect(topic);
	for (int i = 0; i < 3; i++) {
		harness_daemon_kill(transport_daemon());
		if (i % 2)
			step(ck_assert_int_eq(pathbus_post(topic), 0));
		step(await_event(bus, PATHBUS_EVENT_RESYNC));
		step(drain(bus));
		step(ck_assert_int_eq(pathbus_post(topic), 0));
		harness_daemon_start(transport_daemon(), NULL);
		step(await_event(bus, PATHBUS_EVENT_RESYNC));
		step(drain(bus));
		transport_expect(topic);
	}
	step(bus = pathbus_free(bus));
	unlock_file();
}
END_TEST

/* --- and nobody else opens it either ------------------------------------------------------------------------ */

/* The daemon and its files process would do no harm to locks, but to leases, and to tapes. */
START_TEST(nobody_opens_the_file)
{
	struct inotify_event event;
	int watch;

	transport_begin(_i);
	lock_file(transport_edit("data"));
	ck_assert(is_held()); /* by now the looker has opened it */
	ck_assert_int_eq(symlink("data", transport_edit("link")), 0);
	watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	ck_assert_int_ge(inotify_add_watch(watch, file.path, IN_OPEN | IN_ACCESS | IN_MODIFY | IN_ATTRIB), 0);
	live_on_name("data");
	live_on_name("link");
	ck_assert_int_eq(read(watch, &event, sizeof(event)), -1);
	ck_assert_int_eq(errno, EAGAIN);
	/* It would have been seen. */
	close(open(file.path, O_RDONLY | O_CLOEXEC));
	ck_assert_int_eq(read(watch, &event, sizeof(event)), sizeof(event));
	ck_assert_uint_eq(event.mask, IN_OPEN);
	ck_assert(!is_held());
	close(watch);
	unlock_file();
}
END_TEST

static const struct harness_case cases[] = {
	HARNESS_CASE_EACH(of_the_file_by_its_path, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_the_file_by_a_link, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_a_file_with_two_names, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_a_neighbour, N_TRANSPORTS),
	HARNESS_CASE_EACH(of_a_file_in_the_folder, N_TRANSPORTS),
	HARNESS_CASE(while_the_daemon_comes_and_goes),
	HARNESS_CASE_EACH(nobody_opens_the_file, N_TRANSPORTS),
	{ 0 },
};

int main(int argc, char **argv)
{
	return harness_main(argc, argv,
	                    &(struct harness_suite){ .name = "locks", .cases = cases, .teardown = transport_end });
}
